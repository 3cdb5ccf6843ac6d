//! Who waits on a partition, and how its effects reach them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use taffrail_protocol::ErrorCode;
use tokio::sync::Notify;

use crate::cluster::{PartitionKey, Replica};
use crate::follower_session::{FollowerBell, Slot};
use crate::groups::GroupCell;
use crate::net::parked::Waiter;
use crate::replication::Errands;
use taffrail_replication::partition::{Effect, Effects, ParkId};

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
    /// A follower's fetch session, which waits for records and for news of the high watermark.
    Follower {
        /// What to ring.
        bell: Arc<FollowerBell>,
        /// Where the partition is in the session.
        slot: Slot,
    },
    /// A request to delete records, which waits until they are gone from all replicas.
    Deletion(Arc<Notify>),
    /// Nobody in particular: who does what the partition itself needs done.
    Shell {
        /// Where it is noted down.
        errands: Arc<Errands>,
        /// The partition.
        key: PartitionKey,
    },
}

/// A place where a fetch or a deletion of records waits on a partition. Dropping it leaves.
pub struct ParkedPlace {
    replica: Arc<Replica>,
    id: ParkId,
}

impl ParkedPlace {
    /// The place that `replica` gave out as `id`.
    pub fn new(replica: Arc<Replica>, id: ParkId) -> Self {
        Self { replica, id }
    }

    /// Whether it is on this replica.
    pub fn is_at(&self, replica: &Arc<Replica>) -> bool {
        Arc::ptr_eq(&self.replica, replica)
    }
}

impl Drop for ParkedPlace {
    fn drop(&mut self) {
        self.replica.lock().leave(self.id);
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
            Effect::Readable { token: PartitionWaiter::Follower { bell, slot }, bytes } => {
                bell.ring(slot, bytes);
            }
            Effect::Moved { token: PartitionWaiter::Follower { bell, slot } } => bell.ring(slot, u64::MAX),
            Effect::StartWritten { token: PartitionWaiter::Deletion(deletion) }
            | Effect::Moved { token: PartitionWaiter::Deletion(deletion) } => deletion.notify_one(),
            Effect::Propose { token: PartitionWaiter::Shell { errands, key }, proposal } => {
                errands.propose(key, proposal);
            }
            Effect::FlushWanted { token: PartitionWaiter::Shell { errands, key } } => {
                errands.flushes.push(key)
            }
            Effect::Failed { token: PartitionWaiter::Shell { errands, key } } => errands.reports.push(key),
            Effect::Fetchable { token: PartitionWaiter::Shell { errands, key } } => {
                errands.fetchable.push(key)
            }
            Effect::StartMoved { token: PartitionWaiter::Shell { errands, key } } => {
                errands.log_starts.push(key);
            }
            // A fetch is never parked as a produce nor the other way round, and no request is what a partition reports by.
            Effect::Readable { .. }
            | Effect::Moved { .. }
            | Effect::StartWritten { .. }
            | Effect::StartMoved { .. }
            | Effect::Committed { .. }
            | Effect::Propose { .. }
            | Effect::FlushWanted { .. }
            | Effect::Failed { .. }
            | Effect::Fetchable { .. } => {
                unreachable!("a waiter was parked as something that it is not")
            }
        }
    }
}
