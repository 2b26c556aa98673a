//! Streaming conversion between the four sample rates.
//!
//! A polyphase FIR (its design is in `design.rs`): linear phase, so that its delay is the same for every frequency and known exactly. Each
//! output sample is one dot product of a branch of the filter with the newest input. Plain scalar code for now; vector
//! code will take its place behind the same type.

mod design;

use crate::SampleRate;
use design::Polyphase;

/// Input samples that are filtered at a time; longer input is cut up. 10 ms at 48 kHz.
const BLOCK_SAMPLES: usize = 480;

/// Converts one stream from one rate to another. Blocks may have any length; where the stream is cut changes nothing.
/// Allocates only in [`new`](Self::new).
#[derive(Debug, Clone)]
pub struct Resampler {
    /// `None` when both rates are the same.
    filter: Option<Filter>,
}

#[derive(Debug, Clone)]
struct Filter {
    polyphase: &'static Polyphase,
    /// The newest `taps - 1` samples of what came before, then room for one block.
    window: Box<[f32]>,
    /// When the next output is due, in steps of the common multiple of both rates, counted from the first sample of the
    /// next block.
    next_output: usize,
}

impl Resampler {
    /// A converter for a stream that begins now, after silence.
    pub fn new(from: SampleRate, to: SampleRate) -> Self {
        let filter = Polyphase::between(from, to).map(|polyphase| Filter {
            polyphase,
            window: vec![0.0; polyphase.taps() - 1 + BLOCK_SAMPLES].into_boxed_slice(),
            next_output: 0,
        });
        Self { filter }
    }

    /// Converts `input`, all of it, and returns the samples written to `output`. Give it
    /// [`output_len_max`](Self::output_len_max) of room; what does not fit is dropped, and the stream stays in time.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let Some(filter) = &mut self.filter else {
            let copied = input.len().min(output.len());
            output[..copied].copy_from_slice(&input[..copied]);
            return copied;
        };
        let mut written = 0;
        for block in input.chunks(BLOCK_SAMPLES) {
            written += filter.process_block(block, &mut output[written..]);
        }
        written
    }

    /// The most samples that `input_len` samples of input can give.
    pub fn output_len_max(&self, input_len: usize) -> usize {
        match &self.filter {
            None => input_len,
            Some(filter) => (input_len * filter.polyphase.interpolation())
                .div_ceil(filter.polyphase.decimation()),
        }
    }

    /// How much later the same sound comes out, in output samples. Exact and the same at every frequency.
    pub fn group_delay(&self) -> usize {
        self.filter
            .as_ref()
            .map_or(0, |filter| filter.polyphase.delay_output_samples())
    }

    /// Forgets the stream so far.
    pub fn reset(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.window.fill(0.0);
            filter.next_output = 0;
        }
    }
}

impl Filter {
    /// `block` has at most [`BLOCK_SAMPLES`].
    fn process_block(&mut self, block: &[i16], output: &mut [i16]) -> usize {
        let taps = self.polyphase.taps();
        let interpolation = self.polyphase.interpolation();
        for (slot, &sample) in self.window[taps - 1..].iter_mut().zip(block) {
            *slot = f32::from(sample);
        }
        let mut room = output.iter_mut();
        let mut written = 0;
        while self.next_output < block.len() * interpolation {
            let newest = self.next_output / interpolation;
            let branch = self.polyphase.branch(self.next_output % interpolation);
            self.next_output += self.polyphase.decimation();
            if let Some(slot) = room.next() {
                // In bounds: `newest` < `block.len()`, and the window holds `taps - 1` samples before the block.
                *slot = to_i16(dot_product(&self.window[newest..newest + taps], branch));
                written += 1;
            }
        }
        self.next_output -= block.len() * interpolation;
        self.window
            .copy_within(block.len()..block.len() + taps - 1, 0);
        written
    }
}

/// Sums in eight lanes, so that the compiler may use vector instructions; `design` makes every branch a multiple of eight.
fn dot_product(samples: &[f32], branch: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (samples, _) = samples.as_chunks::<LANES>();
    let (branch, _) = branch.as_chunks::<LANES>();
    for (samples, coefficients) in samples.iter().zip(branch) {
        for lane in 0..LANES {
            sums[lane] += samples[lane] * coefficients[lane];
        }
    }
    sums.iter().sum()
}

/// Nearest sample, without the call to the maths library that `round` is on plain x86-64. The cast saturates.
fn to_i16(value: f32) -> i16 {
    (value + 0.5_f32.copysign(value)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::{noise, sine_fit, tone};
    use proptest::prelude::*;

    fn pairs() -> impl Iterator<Item = (SampleRate, SampleRate)> {
        SampleRate::ALL
            .into_iter()
            .flat_map(|from| SampleRate::ALL.into_iter().map(move |to| (from, to)))
    }

    fn convert(from: SampleRate, to: SampleRate, input: &[i16], block: usize) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to);
        let mut output = Vec::new();
        for block in input.chunks(block.max(1)) {
            let mut converted = vec![0; resampler.output_len_max(block.len())];
            let written = resampler.process(block, &mut converted);
            output.extend_from_slice(&converted[..written]);
        }
        output
    }

    /// A tone of one second through the resampler, without the first 100 ms.
    fn settled_tone(from: SampleRate, to: SampleRate, frequency_hz: f64) -> Vec<i16> {
        let input = tone(from, frequency_hz, 20_000.0, from.samples(1_000));
        convert(from, to, &input, from.samples(20)).split_off(to.samples(100))
    }

    fn gain_db(amplitude: f64) -> f64 {
        20.0 * (amplitude / 20_000.0).log10()
    }

    fn rms_db(pcm: &[i16]) -> f64 {
        let mean_square = pcm.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / pcm.len() as f64;
        gain_db((2.0 * mean_square).sqrt().max(1e-3))
    }

    #[test]
    fn tones_in_the_pass_band_come_out_clean_and_level() {
        for (from, to) in pairs() {
            let low_hz = f64::from(from.hz().min(to.hz()));
            for fraction in [0.01, 0.04, 0.125, 0.25, 0.375, 0.425] {
                let frequency_hz = (low_hz * fraction).round();
                let (amplitude, snr_db) =
                    sine_fit(to, frequency_hz, &settled_tone(from, to, frequency_hz));
                assert!(
                    gain_db(amplitude).abs() <= 0.01,
                    "{from:?} to {to:?}, {frequency_hz} Hz: {} dB",
                    gain_db(amplitude)
                );
                assert!(
                    snr_db >= 70.0,
                    "{from:?} to {to:?}, {frequency_hz} Hz: SNR {snr_db} dB"
                );
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_carry_is_gone() {
        for (from, to) in pairs().filter(|(from, to)| from > to) {
            let low_hz = f64::from(to.hz());
            let mut frequency_hz = 0.56 * low_hz;
            while frequency_hz < f64::from(from.hz()) / 2.0 {
                let left_db = rms_db(&settled_tone(from, to, frequency_hz));
                assert!(
                    left_db <= -68.0,
                    "{from:?} to {to:?}: alias of {frequency_hz} Hz at {left_db} dB"
                );
                frequency_hz += low_hz / 23.0;
            }
        }
    }

    #[test]
    fn delay_is_exactly_what_is_said() {
        for (from, to) in pairs() {
            let mut input = vec![0; from.samples(20)];
            input[0] = 30_000;
            let output = convert(from, to, &input, 7);
            let peak = (0..output.len()).max_by_key(|&n| output[n]);
            assert_eq!(
                peak,
                Some(Resampler::new(from, to).group_delay()),
                "{from:?} to {to:?}"
            );
        }
        assert_eq!(
            Resampler::new(SampleRate::Hz8000, SampleRate::Hz16000).group_delay(),
            48,
            "3 ms"
        );
        assert_eq!(
            Resampler::new(SampleRate::Hz48000, SampleRate::Hz8000).group_delay(),
            24,
            "3 ms"
        );
    }

    #[test]
    fn an_upsampled_stream_still_holds_its_own_samples() {
        // The pure-delay branch of the L-th band filter.
        let input = noise(20_000, 400);
        for to in [
            SampleRate::Hz16000,
            SampleRate::Hz24000,
            SampleRate::Hz48000,
        ] {
            let output = convert(SampleRate::Hz8000, to, &input, 160);
            let ratio = (to.hz() / 8_000) as usize;
            let delay = Resampler::new(SampleRate::Hz8000, to).group_delay();
            let kept: Vec<i16> = output.into_iter().skip(delay).step_by(ratio).collect();
            assert_eq!(kept, input[..kept.len()], "{to:?}");
        }
    }

    #[test]
    fn overload_saturates() {
        for (from, to) in pairs().filter(|(from, to)| from != to) {
            // A full-scale square wave rings beyond full scale when its harmonics are cut.
            let half_period = from.samples(1);
            let input: Vec<i16> = (0..from.samples(100))
                .map(|n| {
                    if n / half_period % 2 == 0 {
                        i16::MAX
                    } else {
                        i16::MIN
                    }
                })
                .collect();
            let delay = Resampler::new(from, to).group_delay();
            let output = convert(from, to, &input, 160).split_off(delay + to.samples(20));
            for (index, half) in output.chunks_exact(to.samples(1)).enumerate() {
                let middle = half[half.len() / 2];
                assert!(
                    middle.unsigned_abs() > 20_000,
                    "{from:?} to {to:?}: {middle}"
                );
                assert_eq!(
                    middle > 0,
                    index % 2 == 0,
                    "{from:?} to {to:?}: the sign wrapped"
                );
            }
            assert!(output.contains(&i16::MAX) && output.contains(&i16::MIN));
        }
    }

    #[test]
    fn too_little_room_loses_sound_but_not_time() {
        let (from, to) = (SampleRate::Hz8000, SampleRate::Hz16000);
        let input = noise(10_000, 480);
        let whole = convert(from, to, &input, 160);
        let mut resampler = Resampler::new(from, to);
        let mut output = [0; 320];
        assert_eq!(resampler.process(&input[..160], &mut output[..100]), 100);
        assert_eq!(output[..100], whole[..100]);
        assert_eq!(resampler.process(&input[160..320], &mut output), 320);
        assert_eq!(output[..], whole[320..640]);
    }

    #[test]
    fn reset_begins_anew() {
        let input = noise(10_000, 480);
        for (from, to) in pairs() {
            let mut resampler = Resampler::new(from, to);
            let mut first = vec![0; resampler.output_len_max(input.len())];
            let mut second = first.clone();
            resampler.process(&input[..477], &mut first);
            resampler.reset();
            let written = resampler.process(&input, &mut first);
            let mut fresh = Resampler::new(from, to);
            assert_eq!(fresh.process(&input, &mut second), written);
            assert_eq!(first, second);
        }
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_changes_nothing(
            pair in 0_usize..16,
            cuts in proptest::collection::vec(0_usize..700, 1..12),
        ) {
            let (from, to) = (SampleRate::ALL[pair / 4], SampleRate::ALL[pair % 4]);
            let input = noise(32_000, cuts.iter().sum());
            let whole = convert(from, to, &input, input.len());
            let mut resampler = Resampler::new(from, to);
            let mut in_parts = Vec::new();
            let mut rest = &input[..];
            for cut in cuts {
                let (block, after) = rest.split_at(cut);
                rest = after;
                let mut converted = vec![0; resampler.output_len_max(cut)];
                let written = resampler.process(block, &mut converted);
                in_parts.extend_from_slice(&converted[..written]);
            }
            prop_assert_eq!(&in_parts, &whole);
            let expected = (input.len() * to.hz() as usize).div_ceil(from.hz() as usize);
            prop_assert_eq!(whole.len(), expected);
        }
    }
}
