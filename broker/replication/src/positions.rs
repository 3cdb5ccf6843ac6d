//! Which offset counts as the end of a log.

/// The offset up to which a log counts towards the high watermark, answers `acks=1` and is built on by the follower that
/// owns it (rule 26): its end, but with `flush.messages=n` no more than n - 1 records beyond what is on the disk. With n = 1
/// only flushed records count; by default all do.
///
/// ```text
/// counted_end = min(log_end_offset, recovery_point + flush_messages - 1)
/// ```
pub fn counted_end(log_end_offset: i64, recovery_point: i64, flush_messages: i64) -> i64 {
    let unflushed = flush_messages.max(1) - 1;
    log_end_offset.min(recovery_point.saturating_add(unflushed))
}

#[cfg(test)]
mod tests {
    use super::counted_end;

    #[test]
    fn with_flush_messages_1_only_what_is_on_the_disk_counts() {
        assert_eq!(counted_end(10, 7, 1), 7);
        assert_eq!(counted_end(10, 10, 1), 10);
    }

    #[test]
    fn fewer_unflushed_records_than_flush_messages_count_all() {
        assert_eq!(counted_end(10, 7, 4), 10);
        assert_eq!(counted_end(11, 7, 4), 10);
    }

    #[test]
    fn by_default_everything_counts() {
        assert_eq!(counted_end(10, 0, i64::MAX), 10);
        assert_eq!(counted_end(10, 5, i64::MAX), 10);
    }
}
