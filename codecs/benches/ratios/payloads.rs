//! What else a call may need, beside the dearest part of one: so that a reader sees what it is worth to save.

use crate::measure::Contest;
use crate::speech::{Frames, frames};
use codecs::SampleRate;
use codecs::level::rms_dbov;
use codecs::linear16;
use codecs::opus::{Encoder, EncoderConfig, PACKET_BYTES_MAX_20_MS};
use codecs::plc::Concealer;
use codecs::red::{self, Block};
use codecs::telephone_event::{Event, events};

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
