//! Which stored object holds a partition's record: the first with room. A topic's entry is found from its name alone
//! ([`taffrail_control::slices::topic_slice`]).

use std::collections::BTreeMap;

use crate::model::PARTITIONS_PER_SLICE;

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
