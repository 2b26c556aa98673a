//! G.711 by table, and the arithmetic that the tables are made by while this is compiled. 21 KiB in all.

use super::Law;

/// Both slices have one length.
pub fn encode(law: Law, pcm: &[i16], octets: &mut [u8]) {
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
}

/// Both slices have one length.
pub fn decode(law: Law, octets: &[u8], pcm: &mut [i16]) {
    let expanded = match law {
        Law::Mu => &MU_EXPANDED,
        Law::A => &A_EXPANDED,
    };
    for (sample, &octet) in pcm.iter_mut().zip(octets) {
        *sample = expanded[octet as usize];
    }
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

/// The A-law octet for each of mu-law.
pub static A_OF_MU: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < table.len() {
        table[octet] = compress_a(expand_mu(octet as u8));
        octet += 1;
    }
    table
};

/// The mu-law octet for each of A-law.
pub static MU_OF_A: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < table.len() {
        table[octet] = compress_mu(expand_a(octet as u8));
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
