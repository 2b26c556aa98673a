//! Which vector instructions this processor has, found once. Every accelerated function has a twin in safe Rust that gives
//! the same result bit for bit, and is what runs where nothing better is.
//!
//! AVX-512 is left out on purpose: measured against AVX2 it gained nothing.

use std::fmt;
use std::sync::OnceLock;

/// A set of instructions that the accelerated functions of this crate are written for. A value is proof that this processor
/// has them: only [`available`](Self::available) and [`detected`](Self::detected) give one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Simd(pub(crate) Instructions);

/// What a [`Simd`] stands for. Inside this crate: the vector variants may be named only where the processor was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Instructions {
    /// None: safe, portable Rust.
    Scalar,
    /// x86-64 since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2 with dot products that add up: x86-64 since 2021. Where nothing profits from it, the same as AVX2.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// Every 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Simd {
    /// Safe, portable Rust, on every processor.
    pub const SCALAR: Self = Self(Instructions::Scalar);

    /// The best that this processor has. Looks once, at the first call.
    pub fn detected() -> Self {
        static DETECTED: OnceLock<Simd> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().last().copied().unwrap_or(Self::SCALAR))
    }

    /// All that this processor has, [`SCALAR`](Self::SCALAR) first, the best last: what tests and benchmarks go through.
    pub fn available() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            if std::is_x86_feature_detected!("avxvnni") {
                return &[
                    Self::SCALAR,
                    Self(Instructions::Avx2),
                    Self(Instructions::AvxVnni),
                ];
            }
            return &[Self::SCALAR, Self(Instructions::Avx2)];
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return &[Self::SCALAR, Self(Instructions::Neon)];
        }
        &[Self::SCALAR]
    }

    /// A name for logs and metrics: `scalar`, `avx2`, `avx-vnni`, `neon`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Instructions::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Instructions::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => "neon",
        }
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scalar_twin_is_always_there_and_the_best_is_chosen() {
        assert_eq!(Simd::available().first(), Some(&Simd::SCALAR));
        assert_eq!(Simd::available().last(), Some(&Simd::detected()));
    }
}
