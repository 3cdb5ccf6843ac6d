//! Where the last batches of a log are, so that a read at its tail touches neither index nor file.

use std::collections::VecDeque;

use taffrail_protocol::record_batch::BatchHeader;

const MOST: usize = 64;

/// One batch of the active segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecentBatch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub position: u64,
    pub size: u64,
}

/// The last batches of the active segment, without a gap up to its end.
#[derive(Debug, Default)]
pub(crate) struct RecentBatches(VecDeque<RecentBatch>);

impl RecentBatches {
    pub fn push(&mut self, header: &BatchHeader, position: u64) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(RecentBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            position,
            size: header.size_in_bytes() as u64,
        });
    }

    /// Forgets all, and gives the memory back.
    pub fn clear(&mut self) {
        self.0 = VecDeque::new();
    }

    /// The first batch that ends at `offset` or behind it, if it is surely among these.
    pub fn locate(&self, offset: i64) -> Option<RecentBatch> {
        if self.0.front()?.base_offset > offset {
            return None;
        }
        self.0.get(self.0.partition_point(|batch| batch.last_offset < offset)).copied()
    }
}
