//! The safe twin: plain Rust in loops that a compiler can turn into what vectors the target has.

use super::{Branch, Filter, Output, STEP_GROUPS, Windows};

/// Groups whose sums fit in the registers of most processors.
const LANES: usize = 16;

pub(super) fn filter(
    filter: &Filter,
    windows: Windows<'_>,
    first_group: usize,
    output: &mut [i16],
) {
    let interpolation = filter.shape.interpolation;
    let steps = output.chunks_exact_mut(STEP_GROUPS * interpolation);
    for (step, samples) in steps.enumerate() {
        let first_group = first_group + step * STEP_GROUPS;
        for (offset, output) in filter.outputs.iter().enumerate() {
            let every = samples.iter_mut().skip(offset).step_by(interpolation);
            match output {
                Output::Copy { phase, age } => {
                    let copied = windows.of_copy(*phase, *age, first_group);
                    every
                        .zip(copied)
                        .for_each(|(sample, copied)| *sample = *copied);
                }
                Output::Sum(branches) => {
                    let sums = sums(branches, windows, first_group, filter.fraction_bits);
                    every.zip(sums).for_each(|(sample, sum)| *sample = sum);
                }
            }
        }
    }
}

fn sums(
    branches: &[Branch],
    windows: Windows<'_>,
    first_group: usize,
    fraction_bits: u32,
) -> [i16; STEP_GROUPS] {
    let mut samples = [0; STEP_GROUPS];
    for (index, samples) in samples.chunks_exact_mut(LANES).enumerate() {
        let mut sums = [1 << (fraction_bits - 1); LANES];
        for branch in branches {
            let window = &windows.of_branch(branch, first_group)[index * LANES..];
            for (&coefficient, samples) in branch.coefficients.iter().zip(window.windows(LANES)) {
                for (sum, &sample) in sums.iter_mut().zip(samples) {
                    *sum += i32::from(coefficient) * i32::from(sample);
                }
            }
        }
        for (sample, sum) in samples.iter_mut().zip(sums) {
            *sample = (sum >> fraction_bits).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
    }
    samples
}

pub(super) fn deinterleave(input: &[i16], phases: &mut [&mut [i16]]) {
    match phases {
        [a] => a.copy_from_slice(input),
        [a, b] => {
            let (pairs, _) = input.as_chunks::<2>();
            for ((a, b), &[x, y]) in a.iter_mut().zip(b.iter_mut()).zip(pairs) {
                (*a, *b) = (x, y);
            }
        }
        [a, b, c] => {
            let (triples, _) = input.as_chunks::<3>();
            for (((a, b), c), &[x, y, z]) in a
                .iter_mut()
                .zip(b.iter_mut())
                .zip(c.iter_mut())
                .zip(triples)
            {
                (*a, *b, *c) = (x, y, z);
            }
        }
        _ => {}
    }
}
