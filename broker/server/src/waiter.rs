//! Who waits on a partition, and how its effects reach them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use taffrail_protocol::ErrorCode;

use crate::cluster::Replica;
use crate::groups::GroupCell;
use crate::maintenance::SyncQueue;
use crate::net::parked::Waiter;
use taffrail_replication::partition::{Effect, Effects};

/// A request, or a part of the broker, that waits on a partition.
#[derive(Clone)]
pub enum PartitionWaiter {
    /// A fetch that waits for bytes.
    Fetch(Arc<FetchWait>),
    /// A produce request that waits for its batch in one partition to be committed.
    Produce {
        /// The request.
        wait: Arc<ProduceWait>,
        /// Which of its batches.
        batch: usize,
    },
    /// A group coordinator that waits for its records to be committed.
    Group(Arc<GroupCell>),
    /// The partition itself, for what concerns no request.
    Reporter(Arc<Reporter>),
}

/// What a partition needs done for itself.
pub struct Reporter {
    replica: Weak<Replica>,
    sync_queue: SyncQueue,
}

impl Reporter {
    /// For the replica that is about to be made.
    pub fn new(replica: Weak<Replica>, sync_queue: SyncQueue) -> Arc<Self> {
        Arc::new(Self { replica, sync_queue })
    }

    fn flush(&self) {
        if let Some(replica) = self.replica.upgrade() {
            self.sync_queue.push(&replica);
        }
    }
}

/// A fetch that waits until enough bytes are readable in any of its partitions.
#[derive(Debug)]
pub struct FetchWait {
    waiter: Waiter,
    /// Bytes that are missing to `min_bytes`.
    missing: AtomicI64,
}

impl FetchWait {
    /// Waits for `missing` bytes.
    pub fn new(waiter: Waiter, missing: i64) -> Arc<Self> {
        Arc::new(Self { waiter, missing: AtomicI64::new(missing) })
    }

    /// Whether what it waited for is there.
    pub fn is_due(&self) -> bool {
        self.missing.load(Ordering::Acquire) <= 0
    }

    fn add(&self, bytes: i64) {
        let before = self.missing.fetch_sub(bytes, Ordering::AcqRel);
        if before > 0 && before <= bytes {
            self.waiter.wake();
        }
    }

    /// Makes it due whatever is readable.
    pub fn look_again(&self) {
        self.missing.store(0, Ordering::Release);
        self.waiter.wake();
    }
}

/// How one of a produce request's batches ended.
pub type BatchOutcome = (usize, Result<(), ErrorCode>);

/// A produce request that waits for some of its batches to be committed.
#[derive(Debug)]
pub struct ProduceWait {
    waiter: Waiter,
    outcomes: Mutex<Vec<BatchOutcome>>,
}

impl ProduceWait {
    /// Nothing has been committed yet.
    pub fn new(waiter: Waiter) -> Arc<Self> {
        Arc::new(Self { waiter, outcomes: Mutex::default() })
    }

    /// Takes the outcomes that arrived since the last call.
    pub fn take(&self) -> Vec<BatchOutcome> {
        std::mem::take(&mut self.outcomes.lock())
    }
}

/// Tells everybody what a step made true for them. Call it without holding the partition.
pub fn carry_out(effects: &mut Effects<PartitionWaiter>) {
    for effect in effects.drain(..) {
        match effect {
            Effect::Readable { token: PartitionWaiter::Fetch(fetch), bytes } => {
                fetch.add(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            Effect::Moved { token: PartitionWaiter::Fetch(fetch) } => fetch.look_again(),
            Effect::Committed { token: PartitionWaiter::Produce { wait, batch }, outcome } => {
                wait.outcomes.lock().push((batch, outcome));
                wait.waiter.wake();
            }
            Effect::Committed { token: PartitionWaiter::Group(group), outcome } => group.committed(outcome),
            Effect::FlushWanted { token: PartitionWaiter::Reporter(reporter) } => reporter.flush(),
            // The only replica has nobody to propose and nobody to follow, and whoever saw its log fail has told.
            Effect::Propose { .. } | Effect::Fetchable { .. } | Effect::Failed { .. } => {}
            // A fetch is never parked as a produce nor the other way round.
            Effect::Readable { .. }
            | Effect::Moved { .. }
            | Effect::Committed { .. }
            | Effect::FlushWanted { .. } => {
                unreachable!("a waiter was parked as something that it is not")
            }
        }
    }
}
