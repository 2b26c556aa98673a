//! Arbitrary sound in arbitrary blocks: every digit that begins ends once, before the next, and where the stream is cut
//! changes nothing.
//!
//! The input is the rate, then steps: a kind, a length, and what the kind asks for. Sound of any bytes alone never holds a
//! digit, so some steps play digits, silence or noise.
#![no_main]

use codecs::SampleRate;
use codecs::digit::DigitProgress;
use codecs::dtmf::{ToneDetector, ToneGenerator, ToneLevels};
use codecs::telephone_event::DIGITS;
use libfuzzer_sys::fuzz_target;

/// Sound of one input at most, so that one input stays fast.
const STEPS_MAX: usize = 24;

fuzz_target!(|input: &[u8]| {
    let Some((&rate_byte, mut rest)) = input.split_first() else {
        return;
    };
    let rate = SampleRate::ALL[usize::from(rate_byte) % SampleRate::ALL.len()];
    let mut detector = ToneDetector::new(rate);
    let mut open = None;
    let mut told = Vec::new();
    let mut stream = Vec::new();
    for _ in 0..STEPS_MAX {
        let [kind, length, after @ ..] = rest else {
            break;
        };
        rest = after;
        let begin = stream.len();
        match kind & 3 {
            0 => stream.extend(std::iter::repeat_n(
                0,
                rate.samples(1) * usize::from(*length),
            )),
            1 => {
                let (bytes, after) = rest.split_at(rest.len().min(2 * usize::from(*length)));
                rest = after;
                let (samples, _) = bytes.as_chunks::<2>();
                stream.extend(samples.iter().map(|&bytes| i16::from_le_bytes(bytes)));
            }
            _ => play(*kind, *length, rate, &mut stream),
        }
        let block = &stream[begin..];
        detector.process(block, |progress| {
            told.push(progress);
            alternate(progress, &mut open);
        });
        assert_eq!(open, detector.held());
    }
    if let Some(progress) = detector.finish() {
        told.push(progress);
        alternate(progress, &mut open);
    }
    assert_eq!((open, detector.held()), (None, None));

    // The same detector once more, with everything at once: it has forgotten the stream before.
    let mut again = Vec::new();
    detector.process(&stream, |progress| again.push(progress));
    again.extend(detector.finish());
    assert_eq!(again, told);
});

/// A digit at any level, with noise or a hole in it if the kind says so.
fn play(kind: u8, length: u8, rate: SampleRate, stream: &mut Vec<i16>) {
    let levels = ToneLevels {
        low_dbm0: -f32::from(kind >> 4 & 3) * 9.0,
        high_dbm0: -f32::from(kind >> 6) * 9.0,
    };
    let digit = DIGITS[usize::from(length >> 4)];
    let mut generator = ToneGenerator::new(rate, levels);
    generator.press(digit, 40).expect("a digit");
    let mut pcm = vec![0; rate.samples(10) * usize::from(length & 15)];
    assert_eq!(generator.fill(&mut pcm), pcm.len());
    if kind & 4 != 0 {
        for (n, sample) in pcm.iter_mut().enumerate() {
            *sample = sample.wrapping_add((n * 7_919 % 4_001) as i16);
        }
    }
    if kind & 8 != 0 {
        let hole = rate.samples(u32::from(length & 15)).min(pcm.len());
        pcm[..hole].fill(0);
    }
    stream.extend(pcm);
}

fn alternate(progress: DigitProgress, open: &mut Option<char>) {
    match progress {
        DigitProgress::Started(digit) => assert_eq!(open.replace(digit), None),
        DigitProgress::Ended(ended) => {
            assert_eq!(open.take(), Some(ended.digit));
            assert!(ended.duration_ms >= 20);
        }
    }
}
