//! The judge judged: what must pass, what must fail, and by how much.
//!
//! `cargo test -p loadtest judge -- --nocapture` prints every verdict. Found with the two sentences of `speech`:
//!
//! | what | snr_db | match_score | speech missing |
//! | --- | --- | --- | --- |
//! | PCMU or PCMA | 38 | 0.992 | 0 % |
//! | Opus to PCMU to Opus, clean | - | 0.983 | 0 % |
//! | the same, 5 % of the packets of a leg lost and concealed | - | 0.943 to 0.970 | < 1 % |
//! | the same, every 10th packet lost and concealed | - | 0.890 to 0.943 | < 2 % |
//! | every 10th frame empty | 8 to 12 | 0.82 to 0.87 | 9 to 10 % |
//! | every second frame replaced by the one before | -4 | 0.74 | 3 % |
//! | A-law read as mu-law | -1 | 0.54 | 0 % |
//! | swapped bytes, other speech, frames cut out or played twice | < -20 | < 0.1 | > 2 % |
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use codecs::SampleRate;
use codecs::g711::{self, Law};
use codecs::opus::{Decoder, Encoder, EncoderConfig};

use super::*;
use crate::speech;

/// 20 ms at 8 kHz.
const FRAME: usize = 160;
const ALL_BARS: [Bar; 4] = [Bar::PcmuToRtp, Bar::OpusClean, Bar::Chromium, Bar::Loss5];

fn eight(samples: Vec<i16>) -> Audio {
    Audio {
        sample_rate_hz: 8_000,
        samples,
    }
}

fn spoken() -> Audio {
    speech::alpha().resampled(8_000)
}

/// Applies `change` to the frames of `audio`, by their number.
fn by_frame(audio: &Audio, change: impl Fn(usize, &[i16]) -> Vec<i16>) -> Audio {
    eight(
        audio
            .samples
            .chunks(FRAME)
            .enumerate()
            .flat_map(|(number, frame)| change(number, frame))
            .collect(),
    )
}

/// A recording in which `audio`, spoken at 500 ms, is heard `delay_ms` later.
fn recorded(audio: &Audio, delay_ms: u32) -> Audio {
    let mut recording = Audio::silence(audio.sample_rate_hz, 500 + delay_ms);
    recording.samples.extend_from_slice(&audio.samples);
    recording
        .samples
        .extend(Audio::silence(audio.sample_rate_hz, 400).samples);
    recording
}

fn verdict(name: &str, recording: &Audio, question: &Question) -> Verdict {
    let verdict = judge(&speech::alpha(), recording, question).unwrap();
    println!("{name}, {:?}: {verdict}", question.bar);
    verdict
}

#[track_caller]
fn passes(name: &str, audio: &Audio, bars: &[Bar]) {
    for bar in bars {
        let verdict = verdict(
            name,
            &recorded(audio, 40),
            &Question::new(*bar).spoken_at_ms(500.0),
        );
        assert!(verdict.pass, "{name}, {bar:?}: {verdict}");
    }
}

#[track_caller]
fn fails(name: &str, audio: &Audio, bars: &[Bar]) {
    for bar in bars {
        // Without a known time, so that it is not the delay that fails.
        let verdict = verdict(name, &recorded(audio, 40), &Question::new(*bar));
        assert!(!verdict.pass, "{name}, {bar:?}: {verdict}");
        assert!(!verdict.reasons.is_empty());
    }
}

fn through_g711(audio: &Audio, encode: Law, decode: Law) -> Audio {
    let mut octets = vec![0; audio.samples.len()];
    g711::encode(encode, &audio.samples, &mut octets);
    let mut samples = vec![0; octets.len()];
    g711::decode(decode, &octets, &mut samples);
    eight(samples)
}

/// The gateway's way with an echo trunk on PCMU: Opus in, 8 kHz mu-law in the middle, Opus out; `lost_in` and `lost_out`
/// say which packets of each leg are lost and concealed.
fn through_opus(lost_in: impl Fn(usize) -> bool, lost_out: impl Fn(usize) -> bool) -> Audio {
    let mut caller = Encoder::new(EncoderConfig::fullband()).unwrap();
    let mut gateway_in = Decoder::new(SampleRate::Hz8000).unwrap();
    let mut gateway_out = Encoder::new(EncoderConfig::narrowband()).unwrap();
    let mut ear = Decoder::new(SampleRate::Hz48000).unwrap();
    let mut packet = [0; 1_276];
    let mut heard = Vec::new();
    for (number, frame) in speech::alpha()
        .resampled(48_000)
        .samples
        .chunks_exact(960)
        .enumerate()
    {
        let len = caller.encode(frame, &mut packet).unwrap();
        let mut narrow = [0; FRAME];
        if lost_in(number) {
            gateway_in.conceal(&mut narrow).unwrap();
        } else {
            gateway_in.decode(&packet[..len], &mut narrow).unwrap();
        }
        let mut octets = [0; FRAME];
        g711::encode(Law::Mu, &narrow, &mut octets);
        g711::decode(Law::Mu, &octets, &mut narrow);
        let len = gateway_out.encode(&narrow, &mut packet).unwrap();
        let mut wide = [0; 960];
        if lost_out(number) {
            ear.conceal(&mut wide).unwrap();
        } else {
            ear.decode(&packet[..len], &mut wide).unwrap();
        }
        heard.extend(wide);
    }
    Audio {
        sample_rate_hz: 48_000,
        samples: heard,
    }
}

fn never(_: usize) -> bool {
    false
}

/// 5 % of the packets, by a seeded hash.
fn one_in_twenty(seed: u32) -> impl Fn(usize) -> bool {
    move |number| {
        let mixed = (number as u32)
            .wrapping_add(seed.wrapping_mul(7_919))
            .wrapping_mul(2_654_435_761);
        (mixed >> 8) % 100 < 5
    }
}

#[test]
fn pcmu_passes_every_bar() {
    passes(
        "PCMU",
        &through_g711(&spoken(), Law::Mu, Law::Mu),
        &ALL_BARS,
    );
    passes("PCMA", &through_g711(&spoken(), Law::A, Law::A), &ALL_BARS);
}

#[test]
fn the_streaming_resampler_passes_every_bar() {
    let speech = speech::alpha();
    let mut resampler = codecs::resample::Resampler::new(SampleRate::Hz16000, SampleRate::Hz8000);
    let mut samples = vec![0; resampler.output_len_max(speech.samples.len())];
    let len = resampler.process(&speech.samples, &mut samples);
    samples.truncate(len);
    passes(
        "resampled PCMU",
        &through_g711(&eight(samples), Law::Mu, Law::Mu),
        &ALL_BARS,
    );
}

#[test]
fn opus_through_a_pcmu_trunk_passes_the_bars_for_opus() {
    let heard = through_opus(never, never);
    passes("Opus", &heard, &[Bar::OpusClean, Bar::Chromium, Bar::Loss5]);
    let verdict = verdict(
        "Opus",
        &recorded(&heard, 40),
        &Question::new(Bar::OpusClean),
    );
    assert!(verdict.match_score > 0.98, "{verdict}");
}

#[test]
fn five_percent_of_loss_concealed_passes_its_bar() {
    for seed in 0..4 {
        passes(
            "5 % lost on the way in",
            &through_opus(one_in_twenty(seed), never),
            &[Bar::Loss5],
        );
        passes(
            "5 % lost on the way out",
            &through_opus(never, one_in_twenty(seed)),
            &[Bar::Loss5],
        );
    }
}

#[test]
fn level_and_delay_are_measured() {
    let quiet = eight(spoken().samples.iter().map(|sample| sample / 2).collect());
    let verdict = verdict(
        "-6 dB",
        &recorded(&quiet, 100),
        &Question::new(Bar::PcmuToRtp).spoken_at_ms(500.0),
    );
    assert!(verdict.pass, "{verdict}");
    assert!((verdict.gain_db + 6.02).abs() < 0.05, "{verdict}");
    assert!(
        (verdict.delay_ms.unwrap() - 100.0).abs() < 0.02,
        "{verdict}"
    );
}

#[test]
fn delays_of_fractions_of_a_sample_are_measured() {
    // 1/6 of a sample at 8 kHz is one at 48 kHz.
    let mut wide = speech::alpha().resampled(48_000);
    wide.samples.insert(0, 0);
    let verdict = verdict(
        "1/48000 s",
        &recorded(&wide, 100),
        &Question::new(Bar::PcmuToRtp).spoken_at_ms(500.0),
    );
    assert!(
        (verdict.delay_ms.unwrap() - 100.0 - 1.0 / 48.0).abs() < 0.001,
        "{:?}",
        verdict.delay_ms
    );
    assert!(verdict.snr_db > 60.0, "{verdict}");
}

#[test]
fn clocks_that_drift_are_followed() {
    for ppm in [-100.0, 100.0] {
        let played_hz = 80_000.0 * (1.0 + ppm / 1e6);
        let mut slow = speech::alpha().resampled(played_hz as u32);
        slow.sample_rate_hz = 80_000;
        let question = Question::new(Bar::PcmuToRtp).spoken_at_ms(500.0);
        let verdict = verdict("drift", &recorded(&slow.resampled(8_000), 40), &question);
        assert!(verdict.pass, "{verdict}");
        assert!(
            (verdict.drift_ppm - ppm).abs() < 2.0,
            "{} for {ppm} ppm",
            verdict.drift_ppm
        );
    }
}

#[test]
fn a_loop_that_begins_anywhere_is_found() {
    let spoken = spoken();
    for begin in [0, 4_000, 30_000, 60_000] {
        let endless = spoken.samples.iter().copied().cycle();
        let mut recording = Audio::silence(8_000, 700);
        recording
            .samples
            .extend(endless.skip(begin).take(20 * 8_000));
        for bar in ALL_BARS {
            let verdict = verdict("loop", &recording, &Question::new(bar).looped());
            assert!(verdict.pass, "from {begin}: {verdict}");
            assert!(verdict.judged_ms > 19_000.0, "from {begin}: {verdict}");
        }
    }
}

#[test]
fn a_part_of_a_loop_is_enough() {
    let mut recording = Audio::silence(8_000, 300);
    recording
        .samples
        .extend_from_slice(&spoken().samples[20_000..60_000]);
    let verdict = verdict("part", &recording, &Question::new(Bar::Chromium).looped());
    assert!(verdict.pass, "{verdict}");
}

#[test]
fn a_jitter_buffer_that_stretches_time_passes_as_chromium_only() {
    // 25 ms are inserted at 3 s and 15 ms removed at 6 s, in pauses or not.
    let spoken = spoken().samples;
    let mut samples = spoken[..24_000].to_vec();
    samples.extend_from_slice(&spoken[23_800..48_000]);
    samples.extend_from_slice(&spoken[48_120..]);
    passes(
        "stretched",
        &eight(samples.clone()),
        &[Bar::Chromium, Bar::Loss5],
    );
    fails("stretched", &eight(samples), &[Bar::PcmuToRtp]);
}

#[test]
fn silence_fails() {
    fails("silence", &Audio::silence(8_000, 10_000), &ALL_BARS);
    fails("an empty recording", &eight(Vec::new()), &ALL_BARS);
}

#[test]
fn other_speech_fails() {
    // Directions swapped is the same thing: what bravo's end said, where alpha was expected.
    fails("bravo", &speech::bravo(), &ALL_BARS);
    let looped = verdict(
        "bravo",
        &recorded(&speech::bravo(), 40),
        &Question::new(Bar::Chromium).looped(),
    );
    assert!(!looped.pass && looped.match_score < 0.3, "{looped}");
}

#[test]
fn a_law_read_as_mu_law_fails() {
    fails(
        "A-law as mu-law",
        &through_g711(&spoken(), Law::A, Law::Mu),
        &ALL_BARS,
    );
    fails(
        "mu-law as A-law",
        &through_g711(&spoken(), Law::Mu, Law::A),
        &ALL_BARS,
    );
}

#[test]
fn swapped_bytes_fail() {
    for audio in [speech::alpha(), spoken()] {
        let samples = audio
            .samples
            .iter()
            .map(|sample| sample.swap_bytes())
            .collect();
        fails("swapped bytes", &Audio { samples, ..audio }, &ALL_BARS);
    }
}

#[test]
fn every_tenth_frame_dropped_fails() {
    for phase in 0..10 {
        let empty = by_frame(&spoken(), |number, frame| {
            if number % 10 == phase {
                vec![0; frame.len()]
            } else {
                frame.to_vec()
            }
        });
        fails("every 10th empty", &empty, &ALL_BARS);
        let spliced = by_frame(&spoken(), |number, frame| {
            if number % 10 == phase {
                Vec::new()
            } else {
                frame.to_vec()
            }
        });
        fails("every 10th cut out", &spliced, &ALL_BARS);
    }
    let empty_after_opus = by_frame(
        &through_opus(never, never).resampled(8_000),
        |number, frame| {
            if number % 10 == 9 {
                vec![0; frame.len()]
            } else {
                frame.to_vec()
            }
        },
    );
    fails("every 10th empty after Opus", &empty_after_opus, &ALL_BARS);
}

#[test]
fn every_tenth_packet_concealed_is_not_clean() {
    // Twice what Loss5 is for: that it passes there is no fault, but a clean path must not look like this.
    for phase in 0..10 {
        let tenth = |number: usize| number % 10 == phase;
        fails(
            "every 10th concealed on the way in",
            &through_opus(tenth, never),
            &[Bar::PcmuToRtp, Bar::OpusClean],
        );
        fails(
            "every 10th concealed on the way out",
            &through_opus(never, tenth),
            &[Bar::PcmuToRtp, Bar::OpusClean],
        );
    }
}

#[test]
fn doubled_frames_fail() {
    fails(
        "every frame twice",
        &by_frame(&spoken(), |_, frame| [frame, frame].concat()),
        &ALL_BARS,
    );
    let spoken = spoken();
    let instead = by_frame(&spoken, |number, frame| {
        let begin = (number - number % 2) * FRAME;
        spoken.samples[begin..(begin + frame.len())].to_vec()
    });
    fails(
        "the one before instead of every second",
        &instead,
        &ALL_BARS,
    );
}

#[test]
fn the_callers_own_side_tone_fails() {
    for bar in ALL_BARS {
        for delay_ms in [0, 2, 10] {
            let verdict = verdict(
                "side-tone",
                &recorded(&spoken(), delay_ms),
                &Question::new(bar).spoken_at_ms(500.0),
            );
            assert!(!verdict.pass, "{verdict}");
            assert!(
                verdict
                    .reasons
                    .iter()
                    .any(|reason| reason.contains("side-tone")),
                "{verdict}"
            );
        }
    }
}

#[test]
fn a_late_echo_fails() {
    let verdict = verdict(
        "late",
        &recorded(&spoken(), 350),
        &Question::new(Bar::PcmuToRtp).spoken_at_ms(500.0),
    );
    assert!(!verdict.pass, "{verdict}");
}

#[test]
fn a_gap_of_more_than_200_ms_fails() {
    for (gap, expected_pass) in [
        (0..0, true),
        (20_000..21_200, true),
        (20_000..22_400, false),
    ] {
        let mut holed = through_opus(never, never).resampled(8_000);
        holed.samples[gap.clone()].fill(0);
        let verdict = verdict(
            "a gap",
            &recorded(&holed, 40),
            &Question::new(Bar::OpusClean),
        );
        let missing = verdict.missing_ms_max > MISSING_MS_MAX;
        assert_eq!(!missing, expected_pass, "{gap:?}: {verdict}");
    }
}

#[test]
fn a_call_that_goes_silent_half_way_fails() {
    let mut cut = spoken();
    cut.samples.truncate(40_000);
    fails("cut off", &cut, &ALL_BARS);
    cut.samples.resize(20 * 8_000, 0);
    let verdict = verdict(
        "cut off",
        &recorded(&cut, 40),
        &Question::new(Bar::Chromium).looped(),
    );
    assert!(!verdict.pass, "{verdict}");
}

#[test]
fn speech_that_begins_in_the_middle_of_a_word_behind_silence_passes() {
    let all = speech::alpha().resampled(16_000);
    for first_frame in (0..300).step_by(5) {
        let mut recording = Audio::silence(16_000, 62);
        let begin = first_frame * 320;
        recording
            .samples
            .extend_from_slice(&all.samples[begin..(begin + 6 * 16_000).min(all.samples.len())]);
        let name = format!("from frame {first_frame}");
        let verdict = verdict(&name, &recording, &Question::new(Bar::PcmuToRtp).looped());
        assert!(verdict.pass, "{name}: {verdict}");
    }
}

#[test]
fn a_useless_reference_is_an_error() {
    let question = Question::new(Bar::OpusClean);
    let second = Audio::silence(8_000, 1_500);
    assert_eq!(
        judge(&second, &second, &question),
        Err(JudgeError::ReferenceSilent)
    );
    let short = Audio::silence(8_000, 500);
    assert_eq!(
        judge(&short, &second, &question),
        Err(JudgeError::ReferenceTooShort(500.0))
    );
}
