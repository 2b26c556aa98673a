//! How speech sounds after our Opus, by PESQ (ITU-T P.862, narrowband; the PyPI package `pesq`): one hop at 8 kHz, with losses
//! and FEC, through PCMU in the middle, and with its pauses not encoded.
//!
//! The speech is human, Asterisk's prompts as Debian has them; a figure is the mean over them. The synthetic speech that goes
//! through calls scores 0.1 to 0.3 less. `CLUTCHCALL_PYTHON` names the interpreter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use codecs::SampleRate;
use codecs::g711::{self, Law};
use codecs::opus::{Decoder, Encoder, EncoderConfig, GatedEncoder, has_lbrr};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PESQ: &str = "pesq==0.0.4";
const NUMPY: &str = "numpy==2.4.6";
const RATE: SampleRate = SampleRate::Hz8000;
const FRAME: usize = RATE.samples(20);
/// Of each prompt; PESQ is made for sentences of some seconds.
const SPOKEN: usize = RATE.samples(8_000);
/// Before and after it, as P.862 has it: an encoder that begins within a word is heard.
const SILENCE: usize = RATE.samples(500);
/// Two women and a man, 8 kHz: directory and Debian package.
const PROMPTS: [(&str, &str); 3] = [
    ("en_US_f_Allison", "asterisk-core-sounds-en-wav"),
    ("fr_CA_f_June", "asterisk-core-sounds-fr-wav"),
    ("it_IT_m_Carlo", "asterisk-core-sounds-it-wav"),
];
/// Losses are thrown anew for each, so that one unlucky packet does not decide.
const SEEDS: u64 = 4;

/// Pairs of reference and degraded come in as lengths and little-endian samples; one score a line goes out.
const SCRIPT: &str = r"
import struct, sys
import numpy
from pesq import pesq
data = sys.stdin.buffer.read()
at = 0
while at < len(data):
    (count,) = struct.unpack_from('<I', data, at)
    both = numpy.frombuffer(data, '<i2', 2 * count, at + 4)
    at += 4 + 4 * count
    print(pesq(8000, both[:count], both[count:], 'nb'))
";

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Mean score of pairs of reference and degraded, all at 8 kHz.
fn pesq(pairs: &[(Vec<i16>, Vec<i16>)]) -> f64 {
    let python = std::env::var_os("CLUTCHCALL_PYTHON").map_or_else(
        || workspace().join("target/test-peers/python/bin/python"),
        PathBuf::from,
    );
    let install = format!(
        "{0}: no PESQ. `cargo xtask test` installs it, or:\n\n    {0} -m pip install {PESQ} {NUMPY}\n",
        python.display()
    );
    let mut child = Command::new(&python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(&install);
    let mut bytes = Vec::new();
    for (reference, degraded) in pairs {
        assert_eq!(reference.len(), degraded.len());
        bytes.extend((reference.len() as u32).to_le_bytes());
        for sample in reference.iter().chain(degraded) {
            bytes.extend(sample.to_le_bytes());
        }
    }
    // An interpreter without the package is gone before it reads.
    let _told_by_its_end = child.stdin.take().unwrap().write_all(&bytes);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{install}\n{errors}");
    let scores: Vec<f64> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(scores.len(), pairs.len());
    scores.iter().sum::<f64>() / scores.len() as f64
}

/// Eight seconds of each prompt, at 8 kHz.
fn speech() -> Vec<Vec<i16>> {
    PROMPTS
        .iter()
        .flat_map(|(directory, package)| {
            ["demo-congrats", "conf-adminmenu-162"].map(|name| {
                let path = format!("/usr/share/asterisk/sounds/{directory}/{name}.wav");
                let install =
                    format!("{path}: apt-get install -y --no-install-recommends {package}");
                let bytes = std::fs::read(&path).expect(&install);
                let begin = 8 + bytes.windows(4).position(|word| word == b"data").unwrap();
                let samples = bytes[begin..]
                    .chunks_exact(2)
                    .map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
                let silence = || std::iter::repeat_n(0, SILENCE);
                let spoken = samples.take(SPOKEN);
                silence().chain(spoken).chain(silence()).collect()
            })
        })
        .collect()
}

struct Dice(u64);

impl Dice {
    /// 0..1, by xorshift.
    fn throw(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn encode(config: EncoderConfig, pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(config).unwrap();
    pcm.chunks_exact(FRAME)
        .map(|frame| {
            let mut packet = vec![0; 1_276];
            let written = encoder.encode(frame, &mut packet).unwrap();
            packet.truncate(written);
            packet
        })
        .collect()
}

/// Decodes all but the lost: from the next packet's LBRR, else by concealment, as the bridge does.
fn decode(packets: &[Vec<u8>], mut is_lost: impl FnMut() -> bool) -> Vec<i16> {
    let mut decoder = Decoder::new(RATE).unwrap();
    let lost: Vec<bool> = packets.iter().map(|_| is_lost()).collect();
    let mut heard = Vec::new();
    let mut pcm = [0; FRAME];
    for (index, packet) in packets.iter().enumerate() {
        let next = packets.get(index + 1).filter(|_| !lost[index + 1]);
        let samples = match next {
            _ if !lost[index] => decoder.decode(packet, &mut pcm),
            Some(next) if has_lbrr(next) => decoder.decode_fec(next, &mut pcm),
            _ => decoder.conceal(&mut pcm),
        };
        assert_eq!(samples, Ok(FRAME));
        heard.extend_from_slice(&pcm);
    }
    heard
}

fn one_hop(pcm: &[i16]) -> Vec<i16> {
    decode(&encode(EncoderConfig::narrowband(), pcm), || false)
}

fn score(degrade: impl Fn(&[i16]) -> Vec<i16>) -> f64 {
    let pairs: Vec<_> = speech()
        .into_iter()
        .map(|segment| {
            let degraded = degrade(&segment);
            (segment, degraded)
        })
        .collect();
    pesq(&pairs)
}

#[test]
fn one_hop_and_the_tandem_over_pcmu() {
    let hop = score(one_hop);
    let tandem = score(|pcm| {
        let mut once = one_hop(pcm);
        let mut law = vec![0; once.len()];
        g711::encode(Law::Mu, &once, &mut law);
        g711::decode(Law::Mu, &law, &mut once);
        one_hop(&once)
    });
    println!("PESQ-NB: one hop {hop:.3}, Opus to PCMU to Opus {tandem:.3}");
    assert!(hop >= 4.3, "one hop: {hop:.3}");
    assert!(hop - tandem <= 0.35, "one hop {hop:.3}, tandem {tandem:.3}");
}

#[test]
fn fec_at_10_percent_random_loss() {
    let config = EncoderConfig::narrowband().with_fec(10);
    let at = |loss: f64| {
        let pairs: Vec<_> = speech()
            .into_iter()
            .flat_map(|segment| (1..=SEEDS).map(move |seed| (segment.clone(), seed)))
            .map(|(segment, seed)| {
                let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let heard = decode(&encode(config, &segment), || dice.throw() < loss);
                (segment, heard)
            })
            .collect();
        pesq(&pairs)
    };
    let (clean, lossy) = (at(0.0), at(0.1));
    println!("PESQ-NB with FEC: {clean:.3} without loss, {lossy:.3} at 10 % random loss");
    assert!(lossy >= 3.8, "{lossy:.3}");
}

/// The voice-activity gate leaves out pauses and nothing of the speech, with and without a background.
#[test]
fn the_gate_is_not_heard() {
    for snr_db in [None, Some(30.0), Some(20.0)] {
        let mut silent = 0;
        let (mut gated, mut plain) = (Vec::new(), Vec::new());
        for mut pcm in speech() {
            if let Some(snr_db) = snr_db {
                add_background(&mut pcm, snr_db);
            }
            let mut encoder = GatedEncoder::new(EncoderConfig::narrowband()).unwrap();
            let packets: Vec<Vec<u8>> = pcm
                .chunks_exact(FRAME)
                .map(|frame| {
                    let mut packet = vec![0; 1_276];
                    let encoded = encoder.encode(frame, &mut packet).unwrap();
                    packet.truncate(encoded.len);
                    silent += usize::from(encoded.is_silence);
                    packet
                })
                .collect();
            plain.push((pcm.clone(), one_hop(&pcm)));
            gated.push((pcm, decode(&packets, || false)));
        }
        let (plain, gated) = (pesq(&plain), pesq(&gated));
        println!(
            "PESQ-NB at {snr_db:?} dB SNR: {plain:.3}, with the gate {gated:.3}, {silent} packets of silence"
        );
        assert!(
            gated >= plain - 0.05,
            "{snr_db:?}: {gated:.3} against {plain:.3}"
        );
        // Below 30 dB the background of a usual voice is too loud to be left out.
        assert!(silent > 50 || snr_db.is_some());
    }
}

/// White noise so much below the speech.
fn add_background(pcm: &mut [i16], snr_db: f64) {
    let spoken: Vec<f64> = pcm
        .iter()
        .map(|&sample| f64::from(sample).powi(2))
        .collect();
    let rms = (spoken.iter().sum::<f64>() / spoken.len() as f64).sqrt();
    // Evenly spread samples have a third of their peak's power.
    let amplitude = rms * 10_f64.powf(-snr_db / 20.0) * 3_f64.sqrt();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for sample in pcm {
        let noise = (2.0 * dice.throw() - 1.0) * amplitude;
        *sample = (f64::from(*sample) + noise).clamp(-32_768.0, 32_767.0) as i16;
    }
}
