//! Which stored object holds what: a topic's entry by a hash of its name, a partition's record by first fit.

use std::collections::BTreeMap;

use crate::model::{PARTITIONS_PER_SLICE, TOPIC_SLICES};

/// The [`crate::model::TopicSlice`] that owns `name`, for ever.
///
/// FNV-1a over the name's bytes in 64 bits, with `.` read as `_`, its upper half folded onto the lower by exclusive
/// or, modulo [`TOPIC_SLICES`]. Names that Kafka holds to collide (`a.b` and `a_b`) thereby fall into one slice, so
/// that the one compare-and-swap that decides who owns a name also decides between colliding ones.
pub fn topic_slice(name: &str) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        let byte = if byte == b'.' { b'_' } else { byte };
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    ((hash ^ hash >> 32) % u64::from(TOPIC_SLICES)) as u32
}

/// Chooses partition slices for `count` new partitions: whole slices of their own first, then the rest into the first
/// slice with room for all of it, so that a topic is in as few slices as it can be.
///
/// `load` is the number of partitions that each slice holds or is promised. The answer is (slice, partitions) in order.
pub fn choose_slices(load: &BTreeMap<u32, i32>, count: i32) -> Vec<(u32, i32)> {
    let mut chosen: Vec<(u32, i32)> = Vec::new();
    let mut rest = count;
    while rest > 0 {
        let take = rest.min(PARTITIONS_PER_SLICE);
        let has_room = |slice: u32| load.get(&slice).copied().unwrap_or(0) <= PARTITIONS_PER_SLICE - take;
        let mut slice = 0;
        while !has_room(slice) || chosen.iter().any(|(other, _)| *other == slice) {
            slice += 1;
        }
        chosen.push((slice, take));
        rest -= take;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_topic_slices() {
        let slices = ["", "a", "orders", "__consumer_offsets", "my.topic", "my_topic", "flights-200k"]
            .map(topic_slice);
        assert_eq!(slices, GOLDEN);
    }

    // Computed by a second implementation in another language. A change here loses every topic ever made.
    const GOLDEN: [u32; 7] = [65, 64, 94, 80, 114, 114, 91];

    #[test]
    fn names_spread_over_all_slices() {
        let mut hits = vec![0; TOPIC_SLICES as usize];
        (0..12_800).for_each(|i| hits[topic_slice(&format!("topic-{i}")) as usize] += 1);
        assert!(hits.iter().all(|hits| (50..=150).contains(hits)), "{hits:?}");
    }

    #[test]
    fn small_topics_share_a_slice_and_large_ones_get_their_own() {
        assert_eq!(choose_slices(&BTreeMap::new(), 3), [(0, 3)]);
        assert_eq!(choose_slices(&BTreeMap::from([(0, 498)]), 3), [(1, 3)]);
        assert_eq!(choose_slices(&BTreeMap::from([(0, 10)]), 1_100), [(1, 500), (2, 500), (0, 100)]);
    }

    proptest! {
        #[test]
        fn no_slice_is_overfilled_or_named_twice(
            load in prop::collection::btree_map(0_u32..12, 0_i32..=PARTITIONS_PER_SLICE, 0..12),
            count in 1_i32..4_000,
        ) {
            let chosen = choose_slices(&load, count);
            prop_assert_eq!(chosen.iter().map(|(_, take)| take).sum::<i32>(), count);
            for (i, (slice, take)) in chosen.iter().enumerate() {
                prop_assert!(load.get(slice).copied().unwrap_or(0) + take <= PARTITIONS_PER_SLICE);
                prop_assert!(chosen[..i].iter().all(|(other, _)| other != slice));
            }
        }
    }
}
