//! What others resample with: speexdsp and soxr, loaded when the benchmark runs, so that nothing else needs them.

use libloading::{Library, Symbol};
use std::ffi::{c_int, c_ulong, c_void};
use std::ptr;

/// Debian's packages of both.
const INSTALL: &str = "apt-get install -y --no-install-recommends libspeexdsp1 libsoxr0";

/// Both libraries.
pub struct Yardsticks {
    speexdsp: Library,
    soxr: Library,
}

impl Yardsticks {
    /// # Errors
    /// What is missing, with the line that installs it.
    pub fn load() -> Result<Self, String> {
        let load = |name: &str| {
            // SAFETY: neither library runs code of its own when it is loaded.
            unsafe { Library::new(name) }.map_err(|error| {
                format!("{error}\nThe yardsticks are needed:\n\n    sudo {INSTALL}\n")
            })
        };
        Ok(Self {
            speexdsp: load("libspeexdsp.so.1")?,
            soxr: load("libsoxr.so.0")?,
        })
    }
}

type SpeexInit = unsafe extern "C" fn(u32, u32, u32, c_int, *mut c_int) -> *mut c_void;
type SpeexProcess =
    unsafe extern "C" fn(*mut c_void, u32, *const i16, *mut u32, *mut i16, *mut u32) -> c_int;
type SpeexDestroy = unsafe extern "C" fn(*mut c_void);

/// A mono resampler of speexdsp.
pub struct Speex<'a> {
    state: *mut c_void,
    process: Symbol<'a, SpeexProcess>,
    destroy: Symbol<'a, SpeexDestroy>,
}

impl<'a> Speex<'a> {
    /// `quality` as speexdsp counts it: 4 is what telephone systems use.
    pub fn new(yardsticks: &'a Yardsticks, from_hz: u32, to_hz: u32, quality: i32) -> Self {
        // SAFETY: names and types are those of speex/speex_resampler.h.
        let (init, process, destroy) = unsafe {
            (
                yardsticks
                    .speexdsp
                    .get::<SpeexInit>(b"speex_resampler_init")
                    .expect("speexdsp has it"),
                yardsticks
                    .speexdsp
                    .get(b"speex_resampler_process_int")
                    .expect("speexdsp has it"),
                yardsticks
                    .speexdsp
                    .get(b"speex_resampler_destroy")
                    .expect("speexdsp has it"),
            )
        };
        let mut error = 0;
        // SAFETY: plain values, and an error code that lives through the call.
        let state = unsafe { init(1, from_hz, to_hz, quality, &raw mut error) };
        assert!(
            !state.is_null() && error == 0,
            "speexdsp refused {from_hz} to {to_hz}"
        );
        Self {
            state,
            process,
            destroy,
        }
    }

    /// Returns the samples written.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let (mut taken, mut written) = (input.len() as u32, output.len() as u32);
        // SAFETY: the state is live; it reads and writes as many samples as the lengths say.
        unsafe {
            (self.process)(
                self.state,
                0,
                input.as_ptr(),
                &raw mut taken,
                output.as_mut_ptr(),
                &raw mut written,
            )
        };
        written as usize
    }
}

impl Drop for Speex<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `speex_resampler_init`, freed once.
        unsafe { (self.destroy)(self.state) };
    }
}

/// soxr_io_spec_t
#[repr(C)]
struct SoxrIo {
    input_type: c_int,
    output_type: c_int,
    scale: f64,
    internal: *mut c_void,
    flags: c_ulong,
}

/// SOXR_INT16_I
const SOXR_INT16: c_int = 3;

type SoxrIoSpec = unsafe extern "C" fn(c_int, c_int) -> SoxrIo;
type SoxrCreate = unsafe extern "C" fn(
    f64,
    f64,
    u32,
    *mut *const c_void,
    *const SoxrIo,
    *const c_void,
    *const c_void,
) -> *mut c_void;
type SoxrProcess = unsafe extern "C" fn(
    *mut c_void,
    *const i16,
    usize,
    *mut usize,
    *mut i16,
    usize,
    *mut usize,
) -> *const c_void;
type SoxrDelete = unsafe extern "C" fn(*mut c_void);

/// A mono resampler of soxr at its default quality, HQ.
pub struct Soxr<'a> {
    state: *mut c_void,
    process: Symbol<'a, SoxrProcess>,
    delete: Symbol<'a, SoxrDelete>,
}

impl<'a> Soxr<'a> {
    pub fn new(yardsticks: &'a Yardsticks, from_hz: u32, to_hz: u32) -> Self {
        // SAFETY: names and types are those of soxr.h.
        let (io_spec, create, process, delete) = unsafe {
            (
                yardsticks
                    .soxr
                    .get::<SoxrIoSpec>(b"soxr_io_spec")
                    .expect("soxr has it"),
                yardsticks
                    .soxr
                    .get::<SoxrCreate>(b"soxr_create")
                    .expect("soxr has it"),
                yardsticks.soxr.get(b"soxr_process").expect("soxr has it"),
                yardsticks.soxr.get(b"soxr_delete").expect("soxr has it"),
            )
        };
        let mut error = ptr::null();
        // SAFETY: plain values and pointers that live through the call; null asks for the defaults.
        let state = unsafe {
            let io = io_spec(SOXR_INT16, SOXR_INT16);
            create(
                from_hz.into(),
                to_hz.into(),
                1,
                &raw mut error,
                &raw const io,
                ptr::null(),
                ptr::null(),
            )
        };
        assert!(
            !state.is_null() && error.is_null(),
            "soxr refused {from_hz} to {to_hz}"
        );
        Self {
            state,
            process,
            delete,
        }
    }

    /// Returns the samples written: none for a while, then many at once.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let (mut taken, mut written) = (0, 0);
        // SAFETY: the state is live; it reads and writes as many samples as the lengths say.
        unsafe {
            (self.process)(
                self.state,
                input.as_ptr(),
                input.len(),
                &raw mut taken,
                output.as_mut_ptr(),
                output.len(),
                &raw mut written,
            )
        };
        written
    }
}

impl Drop for Soxr<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `soxr_create`, freed once.
        unsafe { (self.delete)(self.state) };
    }
}
