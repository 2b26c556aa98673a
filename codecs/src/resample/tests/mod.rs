//! The resampler as a listener hears it, as a caller cuts it, and its kernels against each other.

mod kernels;
mod quality;
mod stream;

use super::*;

/// Every pair of rates, equal ones too.
fn pairs() -> impl Iterator<Item = (SampleRate, SampleRate)> {
    SampleRate::ALL
        .into_iter()
        .flat_map(|from| SampleRate::ALL.into_iter().map(move |to| (from, to)))
}

fn convert(from: SampleRate, to: SampleRate, input: &[i16], block: usize) -> Vec<i16> {
    convert_with(Resampler::new(from, to), input, block)
}

fn convert_with(mut resampler: Resampler, input: &[i16], block: usize) -> Vec<i16> {
    let mut output = Vec::new();
    for block in input.chunks(block.max(1)) {
        let mut converted = vec![0; resampler.output_len_max(block.len())];
        let written = resampler.process(block, &mut converted);
        output.extend_from_slice(&converted[..written]);
    }
    output
}

/// Samples of `rate` that last `duration`, as a fraction.
fn samples_of(duration: Duration, rate: SampleRate) -> f64 {
    duration.as_secs_f64() * f64::from(rate.hz())
}
