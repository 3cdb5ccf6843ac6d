//! What compaction did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use taffrail_log::cleaner::CleanStats;

use super::Metrics;
use super::text::{Kind, TextWriter};

/// The cleaners' counters.
#[derive(Debug, Default)]
pub struct CleanerCounters {
    logs: AtomicU64,
    bytes_before: AtomicU64,
    bytes_after: AtomicU64,
    uncleanable: AtomicU64,
}

impl CleanerCounters {
    /// A log was compacted.
    pub fn cleaned(&self, stats: &CleanStats) {
        self.logs.fetch_add(1, Relaxed);
        self.bytes_before.fetch_add(stats.bytes_before, Relaxed);
        self.bytes_after.fetch_add(stats.bytes_after, Relaxed);
    }

    /// So many logs cannot be compacted.
    pub fn set_uncleanable(&self, count: usize) {
        self.uncleanable.store(count as u64, Relaxed);
    }
}

impl Metrics {
    pub(super) fn render_cleaner(&self, text: &mut TextWriter) {
        let cleaner = &self.cleaner;
        for (name, kind, help, value) in [
            ("taffrail_log_cleaner_runs_total", Kind::Counter, "Logs that were compacted.", &cleaner.logs),
            (
                "taffrail_log_cleaner_before_bytes_total",
                Kind::Counter,
                "Bytes of the segments that compaction wrote anew.",
                &cleaner.bytes_before,
            ),
            (
                "taffrail_log_cleaner_after_bytes_total",
                Kind::Counter,
                "Bytes that compaction left of them.",
                &cleaner.bytes_after,
            ),
            (
                "taffrail_log_cleaner_uncleanable_partitions",
                Kind::Gauge,
                "Logs that cannot be compacted, because a batch of theirs is damaged.",
                &cleaner.uncleanable,
            ),
        ] {
            text.single(name, kind, help, value.load(Relaxed));
        }
    }
}
