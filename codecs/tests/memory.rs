//! No accelerated function reads or writes past a slice, and each gives what its scalar twin gives, wherever the slices lie:
//! exactly sized on the heap at every alignment, and between two pages that nobody may touch (a fault there kills this
//! process, which is the failure). `under_valgrind` runs the same once more where every byte of the heap is watched.
//!
//! Whatever takes a `Simd` is named in [`every_function`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]
#![cfg(unix)]

use codecs::SampleRate;
use codecs::g711::{self, Law};
use codecs::resample::Resampler;
use codecs::simd::Simd;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::process::Command;

/// Set to the instructions outside, where this runs under valgrind: less work, and proof that it watches vector code.
const UNDER_VALGRIND: &str = "CLUTCHCALL_CODECS_UNDER_VALGRIND";
/// Vectors have 32 bytes at most, so later alignments repeat.
const ALIGNMENTS_BYTES: usize = 32;

/// Runs every function that takes a `Simd` through `places`.
fn every_function(places: &mut dyn Places) {
    let pcm = |samples: usize| -> Vec<i16> { noise(samples).collect() };
    let octets = |samples: usize| -> Vec<u8> { noise(samples).map(|x| (x >> 8) as u8).collect() };
    // Some blocks of 32 and every remainder.
    let lengths = 0..=3 * 32 + 1;
    for law in [Law::Mu, Law::A] {
        check(
            places,
            &format!("g711::encode {law:?}"),
            lengths.clone(),
            pcm,
            |samples| samples,
            |simd, pcm: &[i16], octets: &mut [u8]| g711::encode_with(simd, law, pcm, octets),
        );
        check(
            places,
            &format!("g711::decode {law:?}"),
            lengths.clone(),
            octets,
            |samples| samples,
            |simd, octets: &[u8], pcm: &mut [i16]| g711::decode_with(simd, law, octets, pcm),
        );
    }
    for (from, to) in pairs_of_rates() {
        let out_len = |samples| Resampler::new(from, to).output_len_max(samples);
        check(
            places,
            &format!("resampling {from:?} to {to:?}"),
            // A whole step of groups and some more, for each ratio.
            250..=262,
            pcm,
            out_len,
            |simd, input: &[i16], output: &mut [i16]| {
                Resampler::with_simd(from, to, simd).process(input, output)
            },
        );
    }
}

fn pairs_of_rates() -> impl Iterator<Item = (SampleRate, SampleRate)> {
    let each = |from| SampleRate::ALL.into_iter().map(move |to| (from, to));
    SampleRate::ALL
        .into_iter()
        .flat_map(each)
        .filter(|(from, to)| from != to)
}

#[test]
fn on_the_heap_at_every_alignment() {
    every_function(&mut Heap);
}

#[test]
fn between_pages_that_nobody_may_touch() {
    every_function(&mut Guarded {
        input: GuardedPages::new(),
        output: GuardedPages::new(),
    });
}

#[test]
fn under_valgrind() {
    if std::env::var_os(UNDER_VALGRIND).is_some() {
        return;
    }
    let output = Command::new("valgrind")
        .args(["--error-exitcode=9", "--partial-loads-ok=no", "-q"])
        .arg(std::env::current_exe().unwrap())
        .args(["--skip", "under_valgrind", "--test-threads", "1"])
        .env(UNDER_VALGRIND, Simd::detected().name())
        .output()
        .expect(
            "valgrind is needed:\n\n    sudo apt-get install -y --no-install-recommends valgrind\n\n",
        );
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where the slices of one run lie.
trait Places {
    /// Calls `run` with `input` and room for `output_len` elements, in each combination of places, and with what is around
    /// the output watched.
    fn each(&mut self, input: Bytes<'_>, output: Room, run: &mut dyn FnMut(*const u8, *mut u8));
}

/// The elements of a slice as bytes, so that `Places` need not be generic.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    bytes: &'a [u8],
    element_bytes: usize,
}

/// How much room a result has.
#[derive(Clone, Copy)]
struct Room {
    bytes: usize,
    element_bytes: usize,
}

/// Holds `function` of the accelerated instructions to that of the scalar ones: the number it returns and all of its output,
/// for each length of input, with as much room as `output_len` says and with less.
fn check<I: Plain, O: Plain>(
    places: &mut dyn Places,
    name: &str,
    lengths: RangeInclusive<usize>,
    input_of: impl Fn(usize) -> Vec<I>,
    output_len: impl Fn(usize) -> usize,
    function: impl Fn(Simd, &[I], &mut [O]) -> usize,
) {
    let step = if is_under_valgrind() { 7 } else { 1 };
    for length in lengths.step_by(step) {
        let input = input_of(length);
        let full = output_len(length);
        for room in [full, full / 2 + full % 2] {
            let mut expected = vec![O::UNTOUCHED; room];
            let expected_len = function(Simd::SCALAR, &input, &mut expected);
            for &simd in &Simd::available()[1..] {
                places.each(
                    Bytes {
                        bytes: as_bytes(&input),
                        element_bytes: size_of::<I>(),
                    },
                    Room {
                        bytes: room * size_of::<O>(),
                        element_bytes: size_of::<O>(),
                    },
                    &mut |placed_input, placed_output| {
                        // SAFETY: `Places` gives initialised memory of these lengths, aligned to the elements and apart.
                        let (placed_input, placed_output) = unsafe {
                            (
                                std::slice::from_raw_parts(placed_input.cast::<I>(), length),
                                std::slice::from_raw_parts_mut(placed_output.cast::<O>(), room),
                            )
                        };
                        placed_output.fill(O::UNTOUCHED);
                        let written = function(simd, placed_input, placed_output);
                        assert_eq!(written, expected_len, "{name}, {simd}, {length} in, room for {room}");
                        assert!(
                            placed_output == expected,
                            "{name}, {simd}, {length} in, room for {room}:\n{placed_output:?}, expected\n{expected:?}"
                        );
                    },
                );
            }
        }
    }
}

/// Allocations of exactly the slices' size after `shift` more elements, for each shift: they end where the slices end.
struct Heap;

impl Places for Heap {
    fn each(&mut self, input: Bytes<'_>, output: Room, run: &mut dyn FnMut(*const u8, *mut u8)) {
        let stride = if is_under_valgrind() { 10 } else { 1 };
        for input_shift in (0..ALIGNMENTS_BYTES).step_by(input.element_bytes.max(stride)) {
            let mut placed_input = ExactAllocation::new(input_shift + input.bytes.len());
            placed_input.bytes()[input_shift..].copy_from_slice(input.bytes);
            for output_shift in (0..ALIGNMENTS_BYTES).step_by(output.element_bytes.max(stride)) {
                let mut placed_output = ExactAllocation::new(output_shift + output.bytes);
                placed_output.bytes().fill(0xc3);
                run(
                    placed_input.bytes()[input_shift..].as_ptr(),
                    placed_output.bytes()[output_shift..].as_mut_ptr(),
                );
                let before = &placed_output.bytes()[..output_shift];
                assert!(
                    before.iter().all(|&byte| byte == 0xc3),
                    "written before the output"
                );
            }
        }
    }
}

/// Memory of exactly this many bytes, aligned for any element.
struct ExactAllocation {
    memory: *mut u8,
    bytes: usize,
    layout: std::alloc::Layout,
}

impl ExactAllocation {
    fn new(bytes: usize) -> Self {
        // A slice of nothing needs an address as well; nobody may touch the byte.
        let layout = std::alloc::Layout::from_size_align(bytes.max(1), 16).unwrap();
        // SAFETY: the layout has at least one byte.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!memory.is_null());
        Self {
            memory,
            bytes,
            layout,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated and initialised in `new`, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.memory, self.bytes) }
    }
}

impl Drop for ExactAllocation {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { std::alloc::dealloc(self.memory, self.layout) };
    }
}

/// Both slices right after a forbidden page and right before one, in each combination.
struct Guarded {
    input: GuardedPages,
    output: GuardedPages,
}

impl Places for Guarded {
    fn each(&mut self, input: Bytes<'_>, output: Room, run: &mut dyn FnMut(*const u8, *mut u8)) {
        for input_at_end in [false, true] {
            let placed_input = self.input.place(input.bytes.len(), input_at_end);
            placed_input.copy_from_slice(input.bytes);
            for output_at_end in [false, true] {
                let placed_output = self.output.place(output.bytes, output_at_end);
                run(placed_input.as_ptr(), placed_output.as_mut_ptr());
            }
        }
    }
}

/// Usable memory with a forbidden page before and after it.
struct GuardedPages {
    mapping: *mut libc::c_void,
    page_bytes: usize,
}

impl GuardedPages {
    /// Pages that may be used; more than any slice here needs.
    const USABLE_PAGES: usize = 4;

    fn new() -> Self {
        // SAFETY: asks for a number.
        let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        // SAFETY: a new mapping, wherever the kernel likes.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                (Self::USABLE_PAGES + 2) * page_bytes,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(mapping, libc::MAP_FAILED);
        // SAFETY: these pages are in the middle of the mapping just made.
        let outcome = unsafe {
            libc::mprotect(
                mapping.byte_add(page_bytes),
                Self::USABLE_PAGES * page_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        assert_eq!(outcome, 0);
        Self {
            mapping,
            page_bytes,
        }
    }

    /// `bytes` that begin right after the first forbidden page, or end right before the last.
    fn place(&mut self, bytes: usize, at_end: bool) -> &mut [u8] {
        let usable_bytes = Self::USABLE_PAGES * self.page_bytes;
        assert!(bytes <= usable_bytes, "more usable pages are needed");
        let offset = if at_end { usable_bytes - bytes } else { 0 };
        // SAFETY: inside of the usable pages, which the kernel zeroed, and borrowed with `self`.
        unsafe {
            let start = self.mapping.byte_add(self.page_bytes + offset);
            std::slice::from_raw_parts_mut(start.cast(), bytes)
        }
    }
}

impl Drop for GuardedPages {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this size, and unmapped only here.
        unsafe { libc::munmap(self.mapping, (Self::USABLE_PAGES + 2) * self.page_bytes) };
    }
}

/// Numbers without padding, for which every pattern of bits is a value.
trait Plain: Copy + PartialEq + Debug {
    /// What output holds before it is written.
    const UNTOUCHED: Self;
}

impl Plain for u8 {
    const UNTOUCHED: Self = 0x5a;
}

impl Plain for i16 {
    const UNTOUCHED: Self = 0x5a5a;
}

fn as_bytes<T: Plain>(elements: &[T]) -> &[u8] {
    // SAFETY: `Plain` has no padding, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

fn is_under_valgrind() -> bool {
    let Some(outside) = std::env::var_os(UNDER_VALGRIND) else {
        return false;
    };
    // It does not know the newest of them.
    assert!(
        Simd::detected() != Simd::SCALAR || outside == Simd::SCALAR.name(),
        "valgrind hides all vector instructions"
    );
    true
}

/// Loud and quiet samples, positive and negative, from a fixed seed.
fn noise(samples: usize) -> impl Iterator<Item = i16> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..samples).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as i16 >> ((state >> 50) & 7)
    })
}
