//! Which partition of `__consumer_offsets` a group lives in.

/// The partition of `group_id` among `partitions` (at least 1), as Kafka's `GroupCoordinatorService.partitionFor`
/// computes it: `String.hashCode` over UTF-16 units, made positive as `Utils.abs` does.
#[must_use]
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    let hash =
        group_id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The smallest number has no positive counterpart; Kafka makes it 0.
    let positive = hash.checked_abs().unwrap_or(0);
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    #[test]
    fn a_group_is_placed_as_java_places_it() {
        // String.hashCode: "" 0, "a" 97, "group" 98629247, "console-consumer-1" by hand below.
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("a", 50), 97 % 50);
        assert_eq!(partition_for("group", 50), 98_629_247 % 50);
    }

    #[test]
    fn the_hash_that_has_no_absolute_value_goes_to_partition_zero() {
        // A known string whose hashCode is Integer.MIN_VALUE.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
    }

    #[test]
    fn characters_outside_the_basic_plane_count_as_two_units() {
        // U+1F600 is d83d de00: 0xd83d * 31 + 0xde00 = 1772899.
        assert_eq!(partition_for("\u{1F600}", 1_000_000), 772_899);
    }
}
