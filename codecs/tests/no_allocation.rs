//! The packet path allocates nothing: once made, every type of this crate works in its own memory. What libopus takes
//! from C's allocator is not seen here; it has its whole state from the start.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use codecs::comfort_noise::{
    ComfortNoise, NoiseAnalyser, NoiseGenerator, ORDER_MAX, PAYLOAD_BYTES_MAX,
};
use codecs::dtmf::{ToneDetector, ToneGenerator, ToneLevels};
use codecs::g711::{self, Law};
use codecs::level::{AudioLevel, LevelMeter};
use codecs::opus::{Decoder, EncoderConfig, GatedEncoder, Repacketizer, has_lbrr};
use codecs::plc::Concealer;
use codecs::resample::Resampler;
use codecs::{SampleRate, level, linear16, red, telephone_event};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands every request to the system's allocator as it came; the counter is a plain cell without destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn payloads_are_read_and_written_without_allocation() {
    let frame = [7; 60];
    let block = |offset_ticks| red::Block {
        payload_type: 111,
        offset_ticks,
        payload: &frame,
    };
    let event = telephone_event::Event {
        code: 5,
        end: false,
        volume: 10,
        duration_ticks: 160,
    };
    let mut payload = [0; 400];
    let before = ALLOCATIONS.with(Cell::get);
    let written = red::write(&[block(1_920), block(960)], block(0), &mut payload).unwrap();
    let packet = red::RedPacket::parse(&payload[..written]).unwrap();
    assert_eq!(packet.blocks().count(), 3);
    let written = telephone_event::write_events(&[event; 3], &mut payload).unwrap();
    let events = telephone_event::events(&payload[..written]).unwrap();
    assert_eq!(events.count(), 3);
    let _refused = red::RedPacket::parse(&[0xff; 9]).is_err();
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}

#[test]
fn tones_noise_and_levels_allocate_nothing_once_made() {
    for rate in SampleRate::ALL {
        let mut generator = ToneGenerator::new(rate, ToneLevels::default());
        let mut detector = ToneDetector::new(rate);
        let mut analyser = NoiseAnalyser::new(rate, ORDER_MAX);
        let mut noise = NoiseGenerator::new(rate, 1);
        let mut meter = LevelMeter::new(rate, 20);
        let mut pcm = vec![0; rate.samples(20)];
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        let mut told = 0;
        let before = ALLOCATIONS.with(Cell::get);
        generator.start("0123456789*#ABCD", 60, 60).unwrap();
        while generator.is_playing() {
            let _samples = generator.fill(&mut pcm);
            detector.process(&pcm, |_| told += 1);
            analyser.process(&pcm);
            meter.process(&pcm, |_| told += 1);
            let bytes = analyser.describe().write(&mut payload).unwrap();
            noise.update(&ComfortNoise::parse(&payload[..bytes]).unwrap());
            noise.fill(&mut pcm);
            let _byte = AudioLevel::of(&pcm, false).to_byte();
        }
        told += usize::from(detector.finish().is_some());
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
        assert_eq!(told, 2 * 16 + 16 * 120 / 20);
    }
}

#[test]
fn a_second_of_audio_through_everything_allocates_nothing() {
    let rate = SampleRate::Hz8000;
    let mut encoder = GatedEncoder::new(EncoderConfig::narrowband().with_fec(10)).unwrap();
    let mut repacketizer = Repacketizer::new(40);
    let mut decoder = Decoder::new(rate).unwrap();
    let mut concealer = Concealer::new(rate);
    let mut upsampler = Resampler::new(rate, SampleRate::Hz48000);
    let mut downsampler = Resampler::new(SampleRate::Hz48000, rate);
    let mut pcm = [0; 160];
    let mut wide = [0; 960];
    let mut octets = [0; 320];
    let mut packet = [0; 1_276];
    let mut wide_packet = [0; 2 * 1_276];
    let before = ALLOCATIONS.with(Cell::get);
    for index in 0..50 {
        for (n, sample) in pcm.iter_mut().enumerate() {
            *sample = ((index * 160 + n) * 37 % 4_001) as i16;
        }
        g711::encode(Law::Mu, &pcm, &mut octets);
        g711::decode(Law::Mu, &octets[..160], &mut pcm);
        if index % 10 == 9 {
            concealer.conceal(&mut pcm)
        } else {
            concealer.good_frame(&mut pcm)
        }
        assert_eq!(upsampler.process(&pcm, &mut wide), 960);
        assert_eq!(downsampler.process(&wide, &mut pcm), 160);
        linear16::to_be_bytes(&pcm, &mut octets);
        linear16::from_be_bytes(&octets, &mut pcm);
        let _level_dbov = level::rms_dbov(&pcm);
        let written = encoder.encode(&pcm, &mut packet).unwrap().len;
        let _silence = encoder.encode(&[0; 160], &mut wide_packet).unwrap();
        repacketizer.push(&packet[..written]).unwrap();
        let _joined = repacketizer.pop(&mut wide_packet);
        if index % 10 == 9 {
            let _samples = decoder.conceal(&mut pcm).unwrap();
        } else if has_lbrr(&packet[..written]) {
            let _samples = decoder.decode_fec(&packet[..written], &mut pcm).unwrap();
        }
        let _samples = decoder.decode(&packet[..written], &mut pcm).unwrap();
        let _refused = decoder.decode(&[], &mut pcm).is_err();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}
