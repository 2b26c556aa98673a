//! Bit-exactness to G.191, and that every way to do it is the same.

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

/// Tables 3 and 4 of G.711 as its best known copy has them since 1994, by the number of the step from 0 upwards, sign left
/// out; that of each law's silence is 0.
mod recommendation {
    pub const A_OF_MU: [u8; 128] = [
        0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
        19, 20, 21, 22, 23, 24, 26, 28, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 45, 47,
        48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 63, 64, 65, 66, 67, 68, 69, 70, 71,
        72, 73, 74, 75, 76, 77, 78, 79, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95,
        96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114,
        115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127,
    ];
    pub const MU_OF_A: [u8; 128] = [
        1, 3, 5, 7, 9, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
        32, 32, 33, 33, 34, 34, 35, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 48, 49,
        49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 64, 65, 66, 67, 68, 69, 70,
        71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92,
        93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111,
        112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127,
    ];
}

const LAWS: [Law; 2] = [Law::Mu, Law::A];

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
    let pcm: Vec<i16> = (i16::MIN..=i16::MAX).collect();
    let mut octets = vec![0; pcm.len()];
    for &simd in Simd::available() {
        for law in LAWS {
            octets.fill(0);
            assert_eq!(encode_with(simd, law, &pcm, &mut octets), pcm.len());
            for (&sample, &octet) in pcm.iter().zip(&octets) {
                let expected = match law {
                    Law::Mu => g191::ulaw_compress(sample),
                    Law::A => g191::alaw_compress(sample),
                };
                assert_eq!(octet, expected, "{simd}, {law:?}, sample {sample}");
            }
        }
    }
}

#[test]
fn every_octet_decodes_as_g191_does() {
    let octets: Vec<u8> = (0..=u8::MAX).collect();
    let mut pcm = vec![0; octets.len()];
    for &simd in Simd::available() {
        for law in LAWS {
            pcm.fill(0);
            assert_eq!(decode_with(simd, law, &octets, &mut pcm), octets.len());
            for (&octet, &sample) in octets.iter().zip(&pcm) {
                let expected = match law {
                    Law::Mu => g191::ulaw_expand(octet),
                    Law::A => g191::alaw_expand(octet),
                };
                assert_eq!(sample, expected, "{simd}, {law:?}, octet {octet:#04x}");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn vectors_and_tables_agree_on_any_slices(
        pcm in proptest::collection::vec(proptest::num::i16::ANY, 0..300),
        room in 0_usize..300,
        skipped in 0_usize..64,
    ) {
        // Skipping samples moves both slices off every alignment; what is beyond the end must stay as it was.
        let pcm = pcm.get(skipped..).unwrap_or_default();
        for law in LAWS {
            let mut expected = vec![0x5a; skipped + room];
            let samples = encode_with(Simd::SCALAR, law, pcm, &mut expected[skipped..]);
            let mut expected_pcm = vec![0x5a5a; skipped + room];
            decode_with(Simd::SCALAR, law, &expected[skipped..][..samples], &mut expected_pcm[skipped..]);
            for &simd in Simd::available() {
                let mut octets = vec![0x5a; skipped + room];
                assert_eq!(encode_with(simd, law, pcm, &mut octets[skipped..]), pcm.len().min(room));
                assert_eq!(octets, expected, "{simd}, {law:?}");
                let mut back = vec![0x5a5a; skipped + room];
                decode_with(simd, law, &octets[skipped..][..samples], &mut back[skipped..]);
                assert_eq!(back, expected_pcm, "{simd}, {law:?}");
            }
        }
    }
}

#[test]
fn transcoding_is_decoding_and_encoding() {
    for (from, to) in [(Law::Mu, Law::A), (Law::A, Law::Mu)] {
        let mut octets: Vec<u8> = (0..=u8::MAX).collect();
        transcode(from, to, &mut octets);
        for (octet, &transcoded) in (0..=u8::MAX).zip(&octets) {
            assert_eq!(
                transcoded,
                encode_one(to, decode_one(from, octet)),
                "{from:?} {octet:#04x}"
            );
        }
    }
    for law in LAWS {
        let mut octets: Vec<u8> = (0..=u8::MAX).collect();
        transcode(law, law, &mut octets);
        assert!((0..=u8::MAX).eq(octets), "{law:?} to itself");
    }
}

#[test]
fn transcoding_differs_from_the_recommendations_tables_as_its_docs_say() {
    // Numbers of steps; both laws send the line's inversion of them, which is that of silence.
    let differences = |from: Law, to: Law, table: &[u8; 128]| -> Vec<(u8, i32)> {
        let difference = |step: u8| {
            let mut octet = [step ^ from.silence()];
            transcode(from, to, &mut octet);
            i32::from(octet[0] ^ to.silence()) - i32::from(table[usize::from(step)])
        };
        let all = (0..128).map(|step| (step, difference(step)));
        all.filter(|&(_, difference)| difference != 0).collect()
    };
    let of_mu: Vec<(u8, i32)> = [48, 49, 64]
        .into_iter()
        .chain(81..=95)
        .map(|step| (step, -1))
        .collect();
    let of_a: Vec<(u8, i32)> = (80..=95).map(|step| (step, 1)).collect();
    assert_eq!(
        differences(Law::Mu, Law::A, &recommendation::A_OF_MU),
        of_mu
    );
    assert_eq!(differences(Law::A, Law::Mu, &recommendation::MU_OF_A), of_a);
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
