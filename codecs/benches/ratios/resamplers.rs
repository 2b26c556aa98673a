//! Every pair of rates: speexdsp at quality 4, soxr HQ, and ours with each instruction set.

use crate::measure::{Bar, Contest};
use crate::sound;
use crate::yardsticks::{Soxr, Speex, Yardsticks};
use codecs::SampleRate;
use codecs::resample::Resampler;
use codecs::simd::Simd;

pub fn run(yardsticks: &Yardsticks) -> usize {
    let mut missed = 0;
    for from in SampleRate::ALL {
        for to in SampleRate::ALL.into_iter().filter(|to| *to != from) {
            missed += contest(yardsticks, from, to).run();
        }
    }
    missed
}

fn contest(yardsticks: &Yardsticks, from: SampleRate, to: SampleRate) -> Contest<'_> {
    let input = sound(from);
    let mut contest = Contest::new(format!("Resampling {} to {} Hz, 20 ms", from.hz(), to.hz()));
    let mut speex = Speex::new(yardsticks, from.hz(), to.hz(), 4);
    let (frame, mut output) = (input.clone(), vec![0; 2 * to.samples(20)]);
    contest.enter("speexdsp, quality 4", move || {
        speex.process(&frame, &mut output)
    });
    let mut soxr = Soxr::new(yardsticks, from.hz(), to.hz());
    // It gives more than a frame at a time, now and then.
    let (frame, mut output) = (input.clone(), vec![0; to.samples(400)]);
    contest.enter("soxr, HQ", move || soxr.process(&frame, &mut output));
    for &simd in Simd::available() {
        let mut resampler = Resampler::with_simd(from, to, simd);
        let (frame, mut output) = (input.clone(), vec![0; to.samples(20)]);
        contest.enter(format!("ours, {simd}"), move || {
            resampler.process(&frame, &mut output)
        });
    }
    if let Some(bar) = bar(from, to) {
        contest.bar(bar);
    }
    contest
}

fn bar(from: SampleRate, to: SampleRate) -> Option<Bar> {
    use SampleRate::{Hz8000, Hz16000, Hz48000};
    match (from, to) {
        (Hz8000, Hz16000) | (Hz16000, Hz8000) => Some(Bar::TimesFaster(15.0)),
        (Hz8000, Hz48000) | (Hz48000, Hz8000) => Some(Bar::TimesFaster(25.0)),
        _ => None,
    }
}
