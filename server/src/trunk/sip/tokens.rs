//! Names that nobody may guess: tags, branches, Call-IDs, cnonces, keys; made from one seed, so that the same inputs give
//! the same messages in a test.

use aws_lc_rs::digest::{Context, SHA256};

/// Makes random names from a seed.
#[derive(Clone)]
pub struct Tokens {
    seed: [u8; 32],
    counter: u64,
}

impl Tokens {
    /// `seed` comes from the kernel.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    /// `N` random bytes, at most 32.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32, "one hash gives 32 bytes") };
        self.counter += 1;
        let mut context = Context::new(&SHA256);
        context.update(&self.seed);
        context.update(&self.counter.to_be_bytes());
        let hash = context.finish();
        let mut bytes = [0; N];
        bytes.copy_from_slice(&hash.as_ref()[..N]);
        bytes
    }

    /// A tag: 64 random bits (RFC 3261 section 19.3 wants 32).
    pub fn tag(&mut self) -> String {
        hex(&self.bytes::<8>())
    }

    /// A branch, with the cookie of RFC 3261 section 8.1.1.7.
    pub fn branch(&mut self) -> String {
        format!("z9hG4bK{}", hex(&self.bytes::<12>()))
    }

    /// A Call-ID.
    pub fn call_id(&mut self) -> String {
        hex(&self.bytes::<16>())
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from_be_bytes(self.bytes()) % bound.max(1)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens([secret])")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_a_seed_repeats_them() {
        let mut tokens = Tokens::new([7; 32]);
        let first = tokens.tag();
        assert_ne!(first, tokens.tag());
        assert_eq!(first, Tokens::new([7; 32]).tag());
        assert_ne!(first, Tokens::new([8; 32]).tag());
    }
}
