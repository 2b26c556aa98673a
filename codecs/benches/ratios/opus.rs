//! Opus at the settings that the gateway uses, beside those of a browser; and the whole way between Opus and PCMU, beside how it is
//! usually done.

use crate::measure::{Bar, Contest};
use crate::speech::{Frames, frames};
use crate::yardsticks::{Speex, Yardsticks};
use codecs::SampleRate;
use codecs::g711::{Law, decode_with, encode_with};
use codecs::opus::{Decoder, Encoder, EncoderConfig, PACKET_BYTES_MAX_20_MS};
use codecs::simd::Simd;

/// What a browser sends, and what many gateways use for every call.
const BROWSER: EncoderConfig = EncoderConfig {
    bitrate_bps: 24_000,
    complexity: 9,
    ..EncoderConfig::fullband()
};

pub fn run(yardsticks: &Yardsticks) -> usize {
    encoding().run() + decoding().run() + chain(yardsticks).run()
}

/// All of the speech in each pass, since some of it is easier than other.
fn speech_frames() -> usize {
    frames(SampleRate::Hz8000).len()
}

fn encoding() -> Contest<'static> {
    let mut contest = Contest::new("Opus, encoding 20 ms of speech").rounds(speech_frames());
    let settings = [
        ("48 kHz, 24 kb/s, complexity 9", BROWSER),
        ("8 kHz, 24 kb/s, complexity 0", EncoderConfig::narrowband()),
        (
            "8 kHz, 32 kb/s, complexity 0, FEC",
            EncoderConfig::narrowband().with_fec(10),
        ),
        ("16 kHz, 32 kb/s, complexity 0", EncoderConfig::wideband()),
    ];
    for (name, config) in settings {
        let mut encoder = Encoder::new(config).expect("memory");
        let mut pcm = Frames::new(frames(config.sample_rate));
        let mut packet = [0; PACKET_BYTES_MAX_20_MS];
        contest.enter(name, move || {
            encoder.encode(pcm.next(), &mut packet).expect("20 ms")
        });
        if name.starts_with("8 kHz, 24") {
            contest.bar(Bar::PartOf(0.18));
        }
    }
    contest
}

fn decoding() -> Contest<'static> {
    let mut contest =
        Contest::new("Opus, decoding a browser's packet of 20 ms").rounds(speech_frames());
    let packets = browser_packets();
    for rate in [SampleRate::Hz48000, SampleRate::Hz16000, SampleRate::Hz8000] {
        let mut decoder = Decoder::new(rate).expect("memory");
        let mut packets = Frames::new(packets.clone());
        let mut pcm = vec![0; rate.samples(20)];
        contest.enter(format!("to {} Hz", rate.hz()), move || {
            decoder.decode(packets.next(), &mut pcm).expect("a packet")
        });
    }
    contest
}

/// Both ways of a call for 20 ms: a browser's packet to PCMU, and PCMU to a packet.
fn chain(yardsticks: &Yardsticks) -> Contest<'_> {
    let mut contest =
        Contest::new("Opus to PCMU and PCMU to Opus, 20 ms each way").rounds(speech_frames());
    let packets = browser_packets();
    let payloads: Vec<Vec<u8>> = frames(SampleRate::Hz8000)
        .iter()
        .map(|pcm| {
            let mut octets = vec![0; pcm.len()];
            encode_with(Simd::SCALAR, Law::Mu, pcm, &mut octets);
            octets
        })
        .collect();

    let (mut opus, mut pcmu) = (Frames::new(packets.clone()), Frames::new(payloads.clone()));
    let mut decoder = Decoder::new(SampleRate::Hz48000).expect("memory");
    let mut encoder = Encoder::new(BROWSER).expect("memory");
    let mut down = Speex::new(yardsticks, 48_000, 8_000, 4);
    let mut up = Speex::new(yardsticks, 8_000, 48_000, 4);
    let (mut wide, mut narrow) = ([0; 960], [0; 160]);
    let (mut octets, mut packet) = ([0; 160], [0; PACKET_BYTES_MAX_20_MS]);
    contest.enter("48 kHz, complexity 9, speexdsp, tables", move || {
        decoder.decode(opus.next(), &mut wide).expect("a packet");
        down.process(&wide, &mut narrow);
        encode_with(Simd::SCALAR, Law::Mu, &narrow, &mut octets);
        decode_with(Simd::SCALAR, Law::Mu, pcmu.next(), &mut narrow);
        up.process(&narrow, &mut wide);
        encoder.encode(&wide, &mut packet).expect("20 ms")
    });

    let (mut opus, mut pcmu) = (Frames::new(packets), Frames::new(payloads));
    let mut decoder = Decoder::new(SampleRate::Hz8000).expect("memory");
    let mut encoder = Encoder::new(EncoderConfig::narrowband()).expect("memory");
    let mut narrow = [0; 160];
    let (mut octets, mut packet) = ([0; 160], [0; PACKET_BYTES_MAX_20_MS]);
    contest.enter("ours: Opus at 8 kHz, complexity 0", move || {
        decoder.decode(opus.next(), &mut narrow).expect("a packet");
        encode_with(Simd::detected(), Law::Mu, &narrow, &mut octets);
        decode_with(Simd::detected(), Law::Mu, pcmu.next(), &mut narrow);
        encoder.encode(&narrow, &mut packet).expect("20 ms")
    });
    contest.bar(Bar::PartOf(0.2));
    contest
}

fn browser_packets() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(BROWSER).expect("memory");
    frames(SampleRate::Hz48000)
        .iter()
        .map(|pcm| {
            let mut packet = vec![0; PACKET_BYTES_MAX_20_MS];
            let written = encoder.encode(pcm, &mut packet).expect("20 ms");
            packet.truncate(written);
            packet
        })
        .collect()
}
