//! The judge judged: what must pass, what must fail, and by how much.

use super::*;
use crate::speech;

/// 20 ms at 8 kHz.
const FRAME: usize = 160;

fn at_8k(audio: &Audio) -> Audio {
    audio.resampled(8_000)
}

fn eight(samples: Vec<i16>) -> Audio {
    Audio { sample_rate_hz: 8_000, samples }
}

/// `samples` in a longer recording, as if heard `delay_ms` after it was spoken at 500 ms.
fn recorded(audio: &Audio, delay_ms: u32) -> Audio {
    let mut recording = Audio::silence(audio.sample_rate_hz, 500 + delay_ms);
    recording.samples.extend_from_slice(&audio.samples);
    recording.samples.extend(Audio::silence(audio.sample_rate_hz, 400).samples);
    recording
}

fn question(bar: Bar) -> Question {
    Question::new(bar).spoken_at_ms(500.0)
}

fn verdict(recording: &Audio, bar: Bar) -> Verdict {
    let verdict = judge(&speech::alpha(), recording, &question(bar)).unwrap();
    println!("{bar:?}: {verdict}");
    verdict
}

fn probe(name: &str, recording: &Audio) {
    println!("== {name}");
    for bar in [Bar::PcmuToRtp, Bar::OpusClean, Bar::Loss5] { verdict(recording, bar); }
}

#[test]
fn experiments() {
    let a8 = at_8k(&speech::alpha());
    probe("clean", &recorded(&a8, 30));
    probe("quant 8 bit", &recorded(&eight(a8.samples.iter().map(|s| s / 256 * 256).collect()), 30));
    probe("silence", &Audio::silence(8000, 11_000));
    probe("bravo", &recorded(&at_8k(&speech::bravo()), 30));
    for phase in [0, 40, 80, 10] {
        let zero: Vec<i16> = a8.samples.iter().enumerate().map(|(n, s)| if ((n + phase) / FRAME) % 10 == 9 { 0 } else { *s }).collect();
        probe(&format!("zero 10th {phase}"), &recorded(&eight(zero), 30));
    }
    let spliced: Vec<i16> = a8.samples.chunks(FRAME).enumerate().filter(|(n, _)| n % 10 != 9).flat_map(|(_, c)| c.to_vec()).collect();
    probe("spliced 10th", &recorded(&eight(spliced), 30));
    let repeat: Vec<i16> = a8.samples.chunks(FRAME).enumerate().flat_map(|(n, c)| if n % 10 == 9 { a8.samples[(n-1)*FRAME..n*FRAME].to_vec() } else { c.to_vec() }).collect();
    probe("10th is previous", &recorded(&eight(repeat), 30));
    let repeat: Vec<i16> = a8.samples.chunks(FRAME).enumerate().flat_map(|(n, c)| if n % 20 == 19 { a8.samples[(n-1)*FRAME..n*FRAME].to_vec() } else { c.to_vec() }).collect();
    probe("20th is previous", &recorded(&eight(repeat), 30));
    let doubled: Vec<i16> = a8.samples.chunks(FRAME).flat_map(|c| [c, c].concat()).collect();
    probe("doubled", &recorded(&eight(doubled), 30));
    let doubled: Vec<i16> = a8.samples.chunks(FRAME).step_by(2).flat_map(|c| [c, c].concat()).collect();
    probe("each second is the one before", &recorded(&eight(doubled), 30));
    probe("swapped", &recorded(&eight(a8.samples.iter().map(|s| s.swap_bytes()).collect()), 30));
    probe("swapped 48k", &recorded(&Audio{ sample_rate_hz: 16000, samples: speech::alpha().samples.iter().map(|s| s.swap_bytes()).collect()}, 30));
    let drift = Audio { sample_rate_hz: 8000, samples: Audio { sample_rate_hz: 80_000, samples: speech::alpha().resampled(80_008).samples }.resampled(8_000).samples };
    probe("100ppm", &recorded(&drift, 30));
}
mod scratch {
    use opusic_sys as o;
    pub struct Enc(*mut o::OpusEncoder); pub struct Dec(*mut o::OpusDecoder);
    impl Enc { pub fn new(hz:i32,bps:i32,cx:i32,fec:i32,loss:i32)->Self{ unsafe{ let mut e=0; let p=o::opus_encoder_create(hz,1,o::OPUS_APPLICATION_VOIP,&mut e); o::opus_encoder_ctl(p,o::OPUS_SET_BITRATE_REQUEST,bps); o::opus_encoder_ctl(p,o::OPUS_SET_COMPLEXITY_REQUEST,cx); o::opus_encoder_ctl(p,o::OPUS_SET_INBAND_FEC_REQUEST,fec); o::opus_encoder_ctl(p,o::OPUS_SET_PACKET_LOSS_PERC_REQUEST,loss); Self(p)} }
      pub fn enc(&mut self,x:&[i16])->Vec<u8>{ let mut b=vec![0u8;1500]; let n=unsafe{o::opus_encode(self.0,x.as_ptr(),x.len() as i32,b.as_mut_ptr(),1500)}; b.truncate(n as usize); b } }
    impl Dec { pub fn new(hz:i32)->Self{ unsafe{ let mut e=0; Self(o::opus_decoder_create(hz,1,&mut e)) } }
      pub fn dec(&mut self,p:Option<&[u8]>,n:usize,fec:i32)->Vec<i16>{ let mut out=vec![0i16;n]; unsafe{ match p {Some(p)=>o::opus_decode(self.0,p.as_ptr(),p.len() as i32,out.as_mut_ptr(),n as i32,fec),None=>o::opus_decode(self.0,std::ptr::null(),0,out.as_mut_ptr(),n as i32,0)} }; out } }
}
/// lost(n) for each leg
fn chain(lost_in: &dyn Fn(usize)->bool, lost_out:&dyn Fn(usize)->bool, pcmu_only: bool) -> Audio {
    let a = speech::alpha().resampled(48_000);
    let mut e=scratch::Enc::new(48000,32000,5,1,5); let mut d=scratch::Dec::new(8000);
    let mut e2=scratch::Enc::new(8000,24000,0,0,0); let mut d2=scratch::Dec::new(48000);
    let mut out=vec![]; let mut narrow=vec![];
    for (n,c) in a.samples.chunks_exact(960).enumerate() {
        let p=e.enc(c);
        let x = d.dec((!lost_in(n)).then_some(&p[..]),160,0);
        narrow.extend(&x);
        let p2=e2.enc(&x);
        out.extend(d2.dec((!lost_out(n)).then_some(&p2[..]),960,0));
    }
    if pcmu_only { eight(narrow) } else { Audio{sample_rate_hz:48000,samples:out} }
}
#[test]
fn codec_experiments() {
    let never = |_:usize| false;
    probe("opus->pcmu->opus clean", &recorded(&chain(&never,&never,false),30));
    probe("opus->8k clean", &recorded(&chain(&never,&never,true),30));
    for seed in [1u32,2,3] {
      let lossy = move |n:usize| { let h=(n as u32).wrapping_add(seed*7919).wrapping_mul(2654435761); (h>>8)%100 < 5 };
      probe("5% in, plc", &recorded(&chain(&lossy,&never,false),30));
      probe("5% out, plc", &recorded(&chain(&never,&lossy,false),30));
      probe("5% in+out, plc", &recorded(&chain(&lossy,&move |n| lossy(n+5000),false),30));
    }
    let tenth=|n:usize| n%10==9;
    probe("10th dropped in, plc", &recorded(&chain(&tenth,&never,false),30));
    probe("10th dropped out, plc", &recorded(&chain(&never,&tenth,false),30));
    let x=chain(&never,&never,false);
    let z: Vec<i16> = x.samples.iter().enumerate().map(|(n,s)| if (n/960)%10==9 {0} else {*s}).collect();
    probe("opus clean then 10th zero", &recorded(&Audio{sample_rate_hz:48000,samples:z},30));
    let z: Vec<i16> = x.samples.chunks(960).step_by(2).flat_map(|c| [c, c].concat()).collect();
    probe("opus clean then each second doubled", &recorded(&Audio{sample_rate_hz:48000,samples:z},30));
}
