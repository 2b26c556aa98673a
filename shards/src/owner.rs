//! The owner of a tenant: rendezvous hashing (Thaler and Ravishankar, 1998) over the shards.
//!
//! The score of a pair is XXH3-64 with seed 0 over the bytes of `tenant_id` in UTF-8, followed by the shard index as
//! two bytes, little-endian. The shards with the highest scores own the tenant; equal scores go to the lower index.
//! When the number of shards changes from n to n+1, only 1/(n+1) of the tenants move. The same function maps tenants
//! to hosts outside this process, so its bytes are a contract: a test pins them.

use std::cmp::Reverse;

use xxhash_rust::xxh3::Xxh3;

use crate::ShardIndex;

/// The shards that own `tenant`, best first: the top `spread` of `shards`.
///
/// A `spread` of 0 counts as 1, one beyond `shards` as all of them; without shards there is no owner.
pub fn owners(tenant: &str, shards: u16, spread: u16) -> impl Iterator<Item = ShardIndex> + use<> {
    let mut scored: Vec<(Reverse<u64>, ShardIndex)> = (0..shards)
        .map(|index| (Reverse(score(tenant, ShardIndex(index))), ShardIndex(index)))
        .collect();
    scored.sort_unstable();
    scored
        .into_iter()
        .map(|(_, index)| index)
        .take(usize::from(spread.max(1)))
}

/// The first of [`owners`]; shard 0 when `shards` is 0.
pub fn owner(tenant: &str, shards: u16) -> ShardIndex {
    (0..shards)
        .map(ShardIndex)
        .min_by_key(|index| (Reverse(score(tenant, *index)), *index))
        .unwrap_or(ShardIndex(0))
}

fn score(tenant: &str, shard: ShardIndex) -> u64 {
    let mut hash = Xxh3::with_seed(0);
    hash.update(tenant.as_bytes());
    hash.update(&shard.0.to_le_bytes());
    hash.digest()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made with another implementation (Python's xxhash): hosts and tools that hash tenants must agree with us.
    #[test]
    fn the_hash_is_a_contract() {
        assert_eq!(score("acme", ShardIndex(0)), 0x1831_e927_14d0_e63b);
        assert_eq!(score("t1", ShardIndex(0)), 0xe74c_70ad_3416_0ef4);
        assert_eq!(score(&"x".repeat(64), ShardIndex(0)), 0xbb7c_4505_7ade_928a);
        let of_8 = |tenant| {
            owners(tenant, 8, 8)
                .map(|index| index.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(of_8("acme"), [3, 6, 2, 7, 0, 4, 5, 1]);
        assert_eq!(of_8("t1"), [7, 6, 0, 2, 4, 5, 1, 3]);
        assert_eq!(of_8("globex-eu_2"), [7, 2, 6, 1, 3, 0, 5, 4]);
        assert_eq!(owner("acme", 3), ShardIndex(2));
        assert_eq!(owner("t1", 3), ShardIndex(0));
    }

    #[test]
    fn tenants_are_spread_evenly_and_few_move_when_a_shard_is_added() {
        let tenants: Vec<String> = (0..10_000)
            .map(|number| format!("tenant-{number}"))
            .collect();
        let mut counts = [0_usize; 4];
        let mut moved = 0;
        for tenant in &tenants {
            counts[usize::from(owner(tenant, 4).0)] += 1;
            if owner(tenant, 5) != owner(tenant, 4) {
                assert_eq!(
                    owner(tenant, 5),
                    ShardIndex(4),
                    "a tenant only moves to the new shard"
                );
                moved += 1;
            }
        }
        assert!(
            counts.iter().all(|count| (2300..2700).contains(count)),
            "{counts:?}"
        );
        assert!((1800..2200).contains(&moved), "{moved}");
    }

    #[test]
    fn without_shards_there_is_no_owner() {
        assert_eq!(owners("acme", 0, 1).count(), 0);
        assert_eq!(owner("acme", 0), ShardIndex(0));
    }

    proptest! {
        #[test]
        fn owners_are_distinct_and_begin_with_the_owner(
            tenant in "[A-Za-z0-9_-]{1,64}", shards in 1_u16..64, spread in 0_u16..80,
        ) {
            let all: Vec<ShardIndex> = owners(&tenant, shards, spread).collect();
            prop_assert_eq!(all.len(), usize::from(spread.max(1).min(shards)));
            prop_assert_eq!(all[0], owner(&tenant, shards));
            let mut sorted = all.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), all.len());
            prop_assert!(all.iter().all(|index| index.0 < shards));
        }
    }
}
