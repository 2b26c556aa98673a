//! ITU-T G.711, mu-law and A-law: 16-bit PCM to and from octets, and octets of one law to those of the other.
//!
//! Bit-exact to the ITU's software library (G.191 `ulaw_compress`, `alaw_compress` and their expansions), which takes
//! the one's complement of negative samples; some implementations (Python's `audioop`) floor instead and differ by one
//! code on 508 negative inputs. Lost frames are not this module's subject: conceal the decoded PCM with
//! [`crate::plc::Concealer`], which is G.711 Appendix I in spirit.
//!
//! By vector instructions where the processor has them (`avx2.rs`, `neon.rs`), else by table (`tables.rs`).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
mod tables;

#[cfg(test)]
mod tests;

use crate::simd::{Instructions, Simd};

/// Which of the two companding laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// PCMU, RTP payload type 0.
    Mu,
    /// PCMA, RTP payload type 8.
    A,
}

impl Law {
    /// The octet that digital silence encodes to.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xff,
            Self::A => 0xd5,
        }
    }
}

/// Compresses 16-bit samples to one octet each. Converts as many as fit in both slices and returns that number.
pub fn encode(law: Law, pcm: &[i16], octets: &mut [u8]) -> usize {
    encode_with(Simd::detected(), law, pcm, octets)
}

/// Expands octets to 16-bit samples. Converts as many as fit in both slices and returns that number.
pub fn decode(law: Law, octets: &[u8], pcm: &mut [i16]) -> usize {
    decode_with(Simd::detected(), law, octets, pcm)
}

/// [`encode`] with these instructions; for tests and benchmarks.
pub fn encode_with(simd: Simd, law: Law, pcm: &[i16], octets: &mut [u8]) -> usize {
    let samples = pcm.len().min(octets.len());
    let (pcm, octets) = (&pcm[..samples], &mut octets[..samples]);
    match simd.0 {
        Instructions::Scalar => tables::encode(law, pcm, octets),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Simd` proves that the processor has what it names.
        Instructions::Avx2 | Instructions::AvxVnni => unsafe { avx2::encode(law, pcm, octets) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Simd` proves that the processor has what it names.
        Instructions::Neon => unsafe { neon::encode(law, pcm, octets) },
    }
    samples
}

/// [`decode`] with these instructions; for tests and benchmarks.
pub fn decode_with(simd: Simd, law: Law, octets: &[u8], pcm: &mut [i16]) -> usize {
    let samples = octets.len().min(pcm.len());
    let (octets, pcm) = (&octets[..samples], &mut pcm[..samples]);
    match simd.0 {
        Instructions::Scalar => tables::decode(law, octets, pcm),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Simd` proves that the processor has what it names.
        Instructions::Avx2 | Instructions::AvxVnni => unsafe { avx2::decode(law, octets, pcm) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Simd` proves that the processor has what it names.
        Instructions::Neon => unsafe { neon::decode(law, octets, pcm) },
    }
    samples
}

/// Turns octets of one law into octets of the other, in place and by table; what they sound like is what [`decode`] and
/// then [`encode`] would give, octet by octet. Of one law to itself nothing changes.
///
/// For two legs that differ in their law alone, where nothing is concealed or mixed: a Twilio stream (always PCMU) to a
/// trunk that speaks PCMA.
///
/// G.711 has tables of its own for this (3 and 4), made between the steps of both laws and not through 16-bit PCM. Of 128
/// steps of each sign, counted from silence, these are one step off: from mu to A 48, 49, 64 and 81 to 95 (ours is the lower),
/// from A to mu 80 to 95 (ours is the higher). There a decoded value lies at the edge of two steps of the other law.
pub fn transcode(from: Law, to: Law, octets: &mut [u8]) {
    let table = match (from, to) {
        (Law::Mu, Law::A) => &tables::A_OF_MU,
        (Law::A, Law::Mu) => &tables::MU_OF_A,
        (Law::Mu, Law::Mu) | (Law::A, Law::A) => return,
    };
    for octet in octets {
        *octet = table[usize::from(*octet)];
    }
}
