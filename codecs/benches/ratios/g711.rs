//! G.711: the table, and vectors where there are any.

use crate::measure::{Bar, Contest};
use crate::sound;
use codecs::SampleRate;
use codecs::g711::{Law, decode_with, encode_with, transcode};
use codecs::simd::Simd;

pub fn run() -> usize {
    [("mu-law", Law::Mu), ("A-law", Law::A)]
        .into_iter()
        .map(|(name, law)| encoding(name, law).run() + decoding(name, law).run())
        .sum::<usize>()
        + from_law_to_law().run()
}

fn encoding(name: &str, law: Law) -> Contest<'static> {
    let mut contest = Contest::new(format!("G.711 {name}, encoding 20 ms"));
    for &simd in Simd::available() {
        let (pcm, mut octets) = (sound(SampleRate::Hz8000), [0; 160]);
        contest.enter(contestant(simd), move || {
            encode_with(simd, law, &pcm, &mut octets)
        });
    }
    contest.bar(Bar::PartOf(0.7));
    contest
}

fn decoding(name: &str, law: Law) -> Contest<'static> {
    let mut contest = Contest::new(format!("G.711 {name}, decoding 20 ms"));
    let mut octets = [0; 160];
    encode_with(Simd::SCALAR, law, &sound(SampleRate::Hz8000), &mut octets);
    for &simd in Simd::available() {
        let mut pcm = [0; 160];
        contest.enter(contestant(simd), move || {
            decode_with(simd, law, &octets, &mut pcm)
        });
    }
    contest.bar(Bar::PartOf(0.7));
    contest
}

fn contestant(simd: Simd) -> String {
    match simd {
        Simd::SCALAR => "table".to_owned(),
        _ => simd.to_string(),
    }
}

fn from_law_to_law() -> Contest<'static> {
    let mut contest = Contest::new("G.711, mu-law to A-law, 20 ms");
    let mut octets: [u8; 160] = std::array::from_fn(|n| n as u8);
    let (mut pcm, mut out) = ([0; 160], [0; 160]);
    contest.enter("decoding and encoding", move || {
        decode_with(Simd::detected(), Law::Mu, &octets, &mut pcm);
        encode_with(Simd::detected(), Law::A, &pcm, &mut out)
    });
    contest.enter("table", move || {
        transcode(Law::Mu, Law::A, &mut octets);
        octets[0]
    });
    contest
}
