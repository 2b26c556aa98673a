//! What else a call may need, beside the dearest part of one: so that a reader sees what it is worth to save.

use crate::measure::Contest;
use crate::speech::{Frames, frames};
use codecs::SampleRate;
use codecs::comfort_noise::{ComfortNoise, NoiseAnalyser, NoiseGenerator};
use codecs::dtmf::{ToneDetector, ToneGenerator, ToneLevels};
use codecs::level::rms_dbov;
use codecs::linear16;
use codecs::opus::{Encoder, EncoderConfig, GatedEncoder, PACKET_BYTES_MAX_20_MS, Repacketizer};
use codecs::plc::Concealer;
use codecs::red::{self, Block};
use codecs::telephone_event::{Event, events};
use codecs::voice_activity::VoiceActivityGate;

pub fn run() -> usize {
    let speech = frames(SampleRate::Hz8000);
    let mut contest =
        Contest::new("The rest, beside one Opus frame at 8 kHz, 20 ms").rounds(speech.len());
    let mut encoder = Encoder::new(EncoderConfig::narrowband()).expect("memory");
    let mut pcm = Frames::new(speech.clone());
    let mut packet = [0; PACKET_BYTES_MAX_20_MS];
    contest.enter("Opus, encoding", move || {
        encoder.encode(pcm.next(), &mut packet).expect("20 ms")
    });

    let (mut concealer, mut pcm, mut frame) = (
        Concealer::new(SampleRate::Hz8000),
        Frames::new(speech.clone()),
        [0; 160],
    );
    contest.enter("concealment, a frame that arrived", move || {
        frame.copy_from_slice(pcm.next());
        concealer.good_frame(&mut frame);
        frame[0]
    });
    let (mut concealer, mut pcm, mut frame) = (
        Concealer::new(SampleRate::Hz8000),
        Frames::new(speech.clone()),
        [0; 160],
    );
    contest.enter("concealment, a lost frame and the next one", move || {
        concealer.conceal(&mut frame);
        frame.copy_from_slice(pcm.next());
        concealer.good_frame(&mut frame);
        frame[0]
    });
    let mut gated = GatedEncoder::new(EncoderConfig::narrowband()).expect("memory");
    let mut packet = [0; PACKET_BYTES_MAX_20_MS];
    contest.enter("Opus, silence behind the gate", move || {
        gated.encode(&[0; 160], &mut packet).expect("20 ms")
    });
    let mut gate = VoiceActivityGate::new(SampleRate::Hz8000);
    let mut pcm = Frames::new(speech.clone());
    contest.enter("voice-activity gate alone", move || {
        gate.is_open(pcm.next())
    });
    let mut pcm = Frames::new(speech.clone());
    let mut packets = Frames::new(vec![vec![0x08, 1, 2, 3, 4, 5]]);
    let (mut repacketizer, mut packet) = (Repacketizer::new(40), [0; PACKET_BYTES_MAX_20_MS]);
    contest.enter("Opus, packets of 20 ms to 40 ms", move || {
        repacketizer.push(packets.next()).expect("a packet");
        repacketizer.pop(&mut packet)
    });
    let mut detector = ToneDetector::new(SampleRate::Hz8000);
    contest.enter("DTMF, listening", move || {
        detector.process(pcm.next(), |_digit| {});
        detector.held()
    });
    let mut generator = ToneGenerator::new(SampleRate::Hz8000, ToneLevels::default());
    let mut tones = [0; 160];
    contest.enter("DTMF, playing", move || {
        if !generator.is_playing() {
            generator.start("5", 10_000, 40).expect("a digit");
        }
        generator.fill(&mut tones)
    });
    let mut pcm = Frames::new(speech.clone());
    let mut analyser = NoiseAnalyser::new(SampleRate::Hz8000, 10);
    contest.enter("comfort noise, listening and describing", move || {
        analyser.process(pcm.next());
        analyser.describe()
    });
    let mut noise = NoiseGenerator::new(SampleRate::Hz8000, 1);
    noise.update(&ComfortNoise::new(60, &[0.5, -0.2]));
    let mut made = [0; 160];
    contest.enter("comfort noise, playing", move || {
        noise.fill(&mut made);
        made[0]
    });
    let mut pcm = Frames::new(speech.clone());
    contest.enter("level", move || rms_dbov(pcm.next()));
    let (mut pcm, mut bytes) = (Frames::new(speech), [0; 320]);
    contest.enter("linear16 to bytes", move || {
        linear16::to_be_bytes(pcm.next(), &mut bytes)
    });

    let event = Event {
        code: 5,
        end: false,
        volume: 10,
        duration_ticks: 800,
    };
    contest.enter("telephone-event, writing and reading", move || {
        events(&event.to_bytes()).map_or(0, |events| events.count())
    });
    let audio = [7; 60];
    let block = |offset_ticks| Block {
        payload_type: 111,
        offset_ticks,
        payload: &audio,
    };
    let blocks = [block(1_920), block(960)];
    let mut payload = [0; 400];
    contest.enter("redundant audio, writing and reading", move || {
        let written = red::write(&blocks, block(0), &mut payload).expect("room");
        red::RedPacket::parse(&payload[..written]).map_or(0, |payload| payload.blocks().count())
    });
    contest.run()
}
