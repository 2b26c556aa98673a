//! Which vector instructions this processor has, found once. Every accelerated function has a twin in safe Rust that gives
//! the same result bit for bit, and is what runs where nothing better is.
//!
//! AVX-512 is left out on purpose: measured against AVX2 it gained nothing.

use std::fmt;
use std::sync::OnceLock;

/// A set of instructions that the accelerated functions of this crate are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Simd {
    /// None: safe, portable Rust.
    Scalar,
    /// x86-64 since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Every 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Simd {
    /// The best that this processor has. Looks once, at the first call.
    pub fn detected() -> Self {
        static DETECTED: OnceLock<Simd> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().last().copied().unwrap_or(Self::Scalar))
    }

    /// All that this processor has, [`Scalar`](Self::Scalar) first, the best last: what tests and benchmarks go through.
    pub fn available() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            return &[Self::Scalar, Self::Avx2];
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return &[Self::Scalar, Self::Neon];
        }
        &[Self::Scalar]
    }

    /// A name for logs and metrics: `scalar`, `avx2`, `neon`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
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
        assert_eq!(Simd::available().first(), Some(&Simd::Scalar));
        assert_eq!(Simd::available().last(), Some(&Simd::detected()));
    }
}
