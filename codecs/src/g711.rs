//! ITU-T G.711, mu-law and A-law, by lookup.
//!
//! Bit-exact to the ITU's software library (G.191 `ulaw_compress`, `alaw_compress` and their expansions), which takes
//! the one's complement of negative samples; some implementations (Python's `audioop`) floor instead and differ by one
//! code on 508 negative inputs. Lost frames are not this module's subject: conceal the decoded PCM with
//! [`crate::plc::Concealer`], which is G.711 Appendix I in spirit.

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
    // The table index is the sample without the low bits that the law ignores. The cast reads the two's complement
    // pattern as unsigned, so that negative samples fill the upper half of the table; the shift bounds it.
    match law {
        Law::Mu => {
            for (octet, &sample) in octets.iter_mut().zip(pcm) {
                *octet = MU_COMPRESSED[(sample.cast_unsigned() >> MU_IGNORED_BITS) as usize];
            }
        }
        Law::A => {
            for (octet, &sample) in octets.iter_mut().zip(pcm) {
                *octet = A_COMPRESSED[(sample.cast_unsigned() >> A_IGNORED_BITS) as usize];
            }
        }
    }
    pcm.len().min(octets.len())
}

/// Expands octets to 16-bit samples. Converts as many as fit in both slices and returns that number.
pub fn decode(law: Law, octets: &[u8], pcm: &mut [i16]) -> usize {
    let expanded = match law {
        Law::Mu => &MU_EXPANDED,
        Law::A => &A_EXPANDED,
    };
    for (sample, &octet) in pcm.iter_mut().zip(octets) {
        *sample = expanded[octet as usize];
    }
    pcm.len().min(octets.len())
}

/// Mu-law looks at the upper 14 bits of a sample.
const MU_IGNORED_BITS: u32 = 2;
/// A-law looks at the upper 12 bits (G.191 drops 13-bit A-law's last bit in the first segment as well).
const A_IGNORED_BITS: u32 = 4;
/// Added to a mu-law magnitude so that every segment begins at a power of two.
const MU_BIAS: u16 = 33;
/// A-law inverts every second bit on the line.
const A_EVEN_BITS: u8 = 0x55;

static MU_COMPRESSED: [u8; 1 << (16 - MU_IGNORED_BITS)] = {
    let mut table = [0; 1 << (16 - MU_IGNORED_BITS)];
    let mut index = 0;
    while index < table.len() {
        table[index] = compress_mu(((index as u16) << MU_IGNORED_BITS).cast_signed());
        index += 1;
    }
    table
};

static A_COMPRESSED: [u8; 1 << (16 - A_IGNORED_BITS)] = {
    let mut table = [0; 1 << (16 - A_IGNORED_BITS)];
    let mut index = 0;
    while index < table.len() {
        table[index] = compress_a(((index as u16) << A_IGNORED_BITS).cast_signed());
        index += 1;
    }
    table
};

static MU_EXPANDED: [i16; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < table.len() {
        table[octet] = expand_mu(octet as u8);
        octet += 1;
    }
    table
};

static A_EXPANDED: [i16; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < table.len() {
        table[octet] = expand_a(octet as u8);
        octet += 1;
    }
    table
};

/// The magnitude that both laws start from: one's complement, so that -1 is as quiet as 0.
const fn magnitude(sample: i16) -> u16 {
    if sample < 0 {
        !sample.cast_unsigned()
    } else {
        sample.cast_unsigned()
    }
}

const fn compress_mu(sample: i16) -> u8 {
    const MAGNITUDE_MAX: u16 = 0x1fff;
    let mut biased = (magnitude(sample) >> MU_IGNORED_BITS) + MU_BIAS;
    if biased > MAGNITUDE_MAX {
        biased = MAGNITUDE_MAX;
    }
    // The bias sets bit 5 at least, so the top bit is bit 5 (segment 0) to bit 12 (segment 7).
    let segment = biased.ilog2() as u8 - 5;
    let step = (biased >> (segment + 1)) as u8 & 0x0f;
    let sign = if sample < 0 { 0 } else { 0x80 };
    // Mu-law sends segment and step inverted.
    sign | (!(segment << 4 | step) & 0x7f)
}

const fn expand_mu(octet: u8) -> i16 {
    let inverted = !octet;
    let segment = (inverted >> 4) & 0x07;
    let step = (inverted & 0x0f) as i16;
    // Middle of the step, without the bias, at 16-bit scale: at most 32 124.
    let magnitude = (((step * 2 + 33) << segment) - MU_BIAS as i16) << MU_IGNORED_BITS;
    if octet & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}

const fn compress_a(sample: i16) -> u8 {
    let magnitude = magnitude(sample) >> A_IGNORED_BITS;
    // The first two segments have the same step; from bit 5 on, each doubling is one more segment.
    let segment = if magnitude < 32 {
        0
    } else {
        magnitude.ilog2() - 4
    };
    let code = (segment as u16 * 16 + (magnitude >> segment)) as u8;
    let sign = if sample < 0 { 0 } else { 0x80 };
    (sign | code) ^ A_EVEN_BITS
}

const fn expand_a(octet: u8) -> i16 {
    let code = octet ^ A_EVEN_BITS;
    let segment = (code >> 4) & 0x07;
    // Middle of the step, at 16-bit scale: at most 32 256.
    let step = ((code & 0x0f) as i16) << A_IGNORED_BITS | 8;
    let magnitude = match segment {
        0 => step,
        _ => (step + 0x100) << (segment - 1),
    };
    if octet & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SampleRate,
        signals::{snr_db, tone},
    };

    /// Plain transcription of the ITU G.191 algorithms, statement by statement, as the oracle.
    mod g191 {
        pub fn ulaw_compress(lin: i16) -> u8 {
            let lin = i32::from(lin);
            let mut absno = if lin < 0 {
                ((!lin) >> 2) + 33
            } else {
                (lin >> 2) + 33
            };
            if absno > 0x1fff {
                absno = 0x1fff;
            }
            let mut i = absno >> 6;
            let mut segno = 1;
            while i != 0 {
                segno += 1;
                i >>= 1;
            }
            let high_nibble = 0x0008 - segno;
            let low_nibble = 0x000f - ((absno >> segno) & 0x000f);
            let mut log = (high_nibble << 4) | low_nibble;
            if lin >= 0 {
                log |= 0x0080;
            }
            log as u8
        }

        pub fn ulaw_expand(log: u8) -> i16 {
            let sign = if log < 0x80 { -1 } else { 1 };
            let mantissa = !i32::from(log);
            let exponent = (mantissa >> 4) & 0x0007;
            let segment = exponent + 1;
            let mantissa = mantissa & 0x000f;
            let step = 4 << segment;
            (sign * ((0x0080 << exponent) + step * mantissa + step / 2 - 4 * 33)) as i16
        }

        pub fn alaw_compress(lin: i16) -> u8 {
            let lin = i32::from(lin);
            let mut ix = if lin < 0 { (!lin) >> 4 } else { lin >> 4 };
            if ix > 15 {
                let mut iexp = 1;
                while ix > 16 + 15 {
                    ix >>= 1;
                    iexp += 1;
                }
                ix -= 16;
                ix += iexp << 4;
            }
            if lin >= 0 {
                ix |= 0x0080;
            }
            (ix ^ 0x0055) as u8
        }

        pub fn alaw_expand(log: u8) -> i16 {
            let mut ix = i32::from(log) ^ 0x0055;
            ix &= 0x007f;
            let iexp = ix >> 4;
            let mut mant = ix & 0x000f;
            if iexp > 0 {
                mant += 16;
            }
            mant = (mant << 4) + 0x0008;
            if iexp > 1 {
                mant <<= iexp - 1;
            }
            (if log > 127 { mant } else { -mant }) as i16
        }
    }

    fn encode_one(law: Law, sample: i16) -> u8 {
        let mut octet = [0];
        encode(law, &[sample], &mut octet);
        octet[0]
    }

    fn decode_one(law: Law, octet: u8) -> i16 {
        let mut sample = [0];
        decode(law, &[octet], &mut sample);
        sample[0]
    }

    #[test]
    fn every_sample_encodes_as_g191_does() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(
                encode_one(Law::Mu, sample),
                g191::ulaw_compress(sample),
                "mu-law of {sample}"
            );
            assert_eq!(
                encode_one(Law::A, sample),
                g191::alaw_compress(sample),
                "A-law of {sample}"
            );
        }
    }

    #[test]
    fn every_octet_decodes_as_g191_does() {
        for octet in 0..=u8::MAX {
            assert_eq!(
                decode_one(Law::Mu, octet),
                g191::ulaw_expand(octet),
                "mu-law {octet:#04x}"
            );
            assert_eq!(
                decode_one(Law::A, octet),
                g191::alaw_expand(octet),
                "A-law {octet:#04x}"
            );
        }
    }

    #[test]
    fn every_octet_survives_decode_and_encode() {
        for octet in 0..=u8::MAX {
            // Mu-law has two zeros; the negative one comes back as the positive.
            let expected = if octet == 0x7f { 0xff } else { octet };
            assert_eq!(encode_one(Law::Mu, decode_one(Law::Mu, octet)), expected);
            assert_eq!(encode_one(Law::A, decode_one(Law::A, octet)), octet);
        }
    }

    #[test]
    #[expect(
        clippy::approx_constant,
        reason = "3.14 dB is the level in G.711, not pi"
    )]
    fn the_digital_milliwatt_has_its_level() {
        // G.711 tables 5 and 6: a 1 kHz sine at 0 dBm0, which is 3.17 dB (mu) or 3.14 dB (A) below overload, at 14 and 13
        // bits with peaks 8159 and 4096.
        let mu = [0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e];
        let a = [0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4];
        for (law, period, below_overload_db, peak) in [
            (Law::Mu, mu, 3.17, 8159.0 * 4.0),
            (Law::A, a, 3.14, 4096.0 * 8.0),
        ] {
            let mut pcm = [0; 8];
            decode(law, &period, &mut pcm);
            let mean_square: f64 = pcm
                .iter()
                .map(|&sample| f64::from(sample).powi(2))
                .sum::<f64>()
                / 8.0;
            let below_db = 10.0 * (f64::powi(peak, 2) / 2.0 / mean_square).log10();
            assert!(
                (below_db - below_overload_db).abs() < 0.05,
                "{law:?}: {below_db} dB"
            );
        }
    }

    #[test]
    fn speech_level_tones_keep_35_db_snr() {
        for law in [Law::Mu, Law::A] {
            for amplitude in [30_000.0, 8_000.0, 1_500.0] {
                let pcm = tone(SampleRate::Hz8000, 1_004.0, amplitude, 8_000);
                let mut octets = vec![0; pcm.len()];
                let mut back = vec![0; pcm.len()];
                encode(law, &pcm, &mut octets);
                decode(law, &octets, &mut back);
                let snr_db = snr_db(&pcm, &back);
                assert!(snr_db > 35.0, "{law:?} at {amplitude}: {snr_db} dB");
            }
        }
    }

    #[test]
    fn silence_is_silence_and_short_slices_bound_the_work() {
        assert_eq!(encode_one(Law::Mu, 0), Law::Mu.silence());
        assert_eq!(encode_one(Law::A, 0), Law::A.silence());
        let mut octets = [0x11; 2];
        assert_eq!(encode(Law::Mu, &[0; 3], &mut octets), 2);
        assert_eq!(encode(Law::A, &[0], &mut octets), 1);
        assert_eq!(octets, [0xd5, 0xff]);
        assert_eq!(decode(Law::A, &[0xd5; 2], &mut [0; 1]), 1);
    }
}
