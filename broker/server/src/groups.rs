//! The shell around the group coordinators: it carries their records into `__consumer_offsets`, their answers to the
//! connections, and the time to them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use taffrail_log::{ReadError, StorageFile};
use taffrail_protocol::ErrorCode;
use taffrail_protocol::record_batch::{BatchHeader, Batches};
use tokio::sync::{Notify, watch};

use crate::auto_create::OFFSETS_TOPIC;
use crate::clock;
use crate::cluster::Replica;
use crate::group::{
    ClientContext, GroupConfig, GroupRequest, GroupResponse, GroupShard, GroupState, Input, Output,
};
use crate::net::parked::Delivery;
use crate::random;
use crate::waiter::{PartitionWaiter, carry_out};
use taffrail_replication::partition::{Effects, RequiredAcks};

/// How much of a partition is read at once while a coordinator loads it, in bytes.
const LOAD_BYTES: u32 = 1024 * 1024;

/// The coordinators of the partitions of `__consumer_offsets` that this broker leads.
pub struct Groups {
    config: GroupConfig,
    cells: RwLock<HashMap<i32, Arc<GroupCell>>>,
    alarm: Arc<Alarm>,
}

/// When the next coordinator wants to be told the time.
#[derive(Debug)]
struct Alarm {
    armed_ms: AtomicI64,
    rearm: Notify,
}

/// One coordinator with its partition.
pub struct GroupCell {
    replica: Arc<Replica>,
    shard: Mutex<GroupShard<ReplyPlace>>,
    alarm: Arc<Alarm>,
}

/// Where one of the answers to a request belongs. A request that names groups of several coordinators is asked in parts.
#[derive(Clone)]
pub struct ReplyPlace {
    gather: Arc<Gather>,
    part: usize,
}

struct Gather {
    parts: Mutex<Vec<Option<GroupResponse>>>,
    missing: AtomicUsize,
    delivery: Delivery<Vec<GroupResponse>>,
}

impl ReplyPlace {
    fn put(&self, response: GroupResponse) {
        let first = self.gather.parts.lock()[self.part].replace(response).is_none();
        if first && self.gather.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let parts = std::mem::take(&mut *self.gather.parts.lock());
            self.gather.delivery.deliver(parts.into_iter().flatten().collect());
        }
    }
}

impl Groups {
    /// No coordinator yet.
    pub fn new(config: GroupConfig) -> Arc<Self> {
        let alarm = Alarm { armed_ms: AtomicI64::new(i64::MAX), rearm: Notify::new() };
        Arc::new(Self { config, cells: RwLock::default(), alarm: Arc::new(alarm) })
    }

    /// Asks the coordinators; the answers arrive together, in the order of `parts`. A partition of `__consumer_offsets`
    /// that is not led here answers for itself: NOT_COORDINATOR.
    pub fn ask(
        &self,
        context: &ClientContext,
        parts: Vec<(i32, GroupRequest)>,
        delivery: Delivery<Vec<GroupResponse>>,
    ) {
        if parts.is_empty() {
            delivery.deliver(Vec::new());
            return;
        }
        let gather = Arc::new(Gather {
            parts: Mutex::new(vec![None; parts.len()]),
            missing: AtomicUsize::new(parts.len()),
            delivery,
        });
        for (part, (partition, request)) in parts.into_iter().enumerate() {
            let place = ReplyPlace { gather: Arc::clone(&gather), part };
            match self.cell(partition) {
                None => place.put(request.error_response(ErrorCode::NOT_COORDINATOR)),
                Some(cell) => cell.step(Input::Request { token: place, request, context: context.clone() }),
            }
        }
    }

    /// The partitions whose coordinators are here.
    pub fn partitions(&self) -> Vec<i32> {
        let mut partitions: Vec<_> = self.cells.read().keys().copied().collect();
        partitions.sort_unstable();
        partitions
    }

    /// How many groups are in each state.
    pub fn count_by_state(&self) -> Vec<(&'static str, u64)> {
        let states = [
            GroupState::Empty,
            GroupState::PreparingRebalance,
            GroupState::CompletingRebalance,
            GroupState::Stable,
        ];
        let mut counts = states.map(|state| (state.name(), 0));
        for cell in self.all_cells() {
            let stats = cell.shard.lock().stats();
            let more = [stats.empty, stats.preparing_rebalance, stats.completing_rebalance, stats.stable];
            for ((_, count), more) in counts.iter_mut().zip(more) {
                *count += more as u64;
            }
        }
        counts.to_vec()
    }

    fn cell(&self, partition: i32) -> Option<Arc<GroupCell>> {
        self.cells.read().get(&partition).cloned()
    }

    fn all_cells(&self) -> Vec<Arc<GroupCell>> {
        self.cells.read().values().cloned().collect()
    }

    /// This broker became the leader of a partition of `__consumer_offsets`: reads it on a thread that may wait for the
    /// disk, and coordinates its groups from then on. Has to be called within the runtime.
    pub fn take_over(self: &Arc<Self>, partition: i32, replica: Arc<Replica>) {
        let cell = Arc::new(GroupCell {
            replica,
            shard: Mutex::new(GroupShard::new(self.config.clone(), Box::new(|| random::uuid().0))),
            alarm: Arc::clone(&self.alarm),
        });
        // Known while it loads, so that clients are told to wait rather than to look elsewhere.
        self.cells.write().insert(partition, Arc::clone(&cell));
        let groups = Arc::clone(self);
        tokio::task::spawn_blocking(move || groups.load(partition, &cell));
    }

    fn load(&self, partition: i32, cell: &Arc<GroupCell>) {
        match cell.load() {
            Ok((log_end_offset, high_watermark)) => {
                cell.step(Input::Loaded { log_end_offset });
                cell.step(Input::Committed { high_watermark });
            }
            Err(error) => {
                tracing::error!(
                    "{OFFSETS_TOPIC}-{partition} cannot be read: {error}; its groups have no coordinator until the \
                     broker is started again"
                );
                let mut cells = self.cells.write();
                // Leadership may have gone and come again meanwhile.
                if cells.get(&partition).is_some_and(|known| Arc::ptr_eq(known, cell)) {
                    cells.remove(&partition);
                }
            }
        }
    }

    /// This broker leads the partition no more: everybody who waits is told to look for the new coordinator.
    pub fn hand_over(&self, partition: i32) {
        let cell = self.cells.write().remove(&partition);
        if let Some(cell) = cell {
            cell.step(Input::Unload);
        }
    }

    /// Tells the coordinators the time when they asked for it, until `stop` changes.
    pub async fn run_clock(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            // A deadline that comes up behind this look at it rings, whatever was armed before.
            self.alarm.armed_ms.store(i64::MAX, Ordering::Release);
            let deadlines = self.all_cells().into_iter().filter_map(|cell| cell.tick_if_due());
            let next_ms = deadlines.min().unwrap_or(i64::MAX);
            self.alarm.armed_ms.store(next_ms, Ordering::Release);
            let wait_ms = u64::try_from(next_ms.saturating_sub(clock::now_ms())).unwrap_or(0);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait_ms)), if next_ms < i64::MAX => {}
                () = self.alarm.rearm.notified() => {}
                _ = stop.changed() => return,
            }
        }
    }
}

impl GroupCell {
    /// Steps the coordinator and carries out what comes of it.
    fn step(self: &Arc<Self>, input: Input<ReplyPlace>) {
        let mut effects = Effects::new();
        let mut shard = self.shard.lock();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in shard.step(clock::now_ms(), input) {
                match output {
                    Output::Reply { token, response } => token.put(response),
                    Output::LoadFailed { reason } => {
                        tracing::error!(
                            "{OFFSETS_TOPIC} cannot be loaded: {reason}; its groups have no coordinator"
                        );
                    }
                    Output::Append { write_id, batch } => {
                        let (result, high_watermark) = self.append(batch, &mut effects);
                        inputs.push_back(Input::Written { write_id, result });
                        inputs.push_back(Input::Committed { high_watermark });
                    }
                }
            }
        }
        let deadline_ms = shard.next_deadline().unwrap_or(i64::MAX);
        drop(shard);
        if deadline_ms < self.alarm.armed_ms.load(Ordering::Acquire) {
            self.alarm.rearm.notify_one();
        }
        // Only now: an effect may lead back here.
        carry_out(&mut effects);
    }

    fn append(
        self: &Arc<Self>,
        mut batch: Vec<u8>,
        effects: &mut Effects<PartitionWaiter>,
    ) -> (Result<i64, ErrorCode>, i64) {
        let mut replica = self.replica.lock();
        let result = match BatchHeader::parse(&batch) {
            Err(error) => Err(error.error_code()),
            Ok(header) => replica
                .produce(clock::now_ms(), &mut batch, &header, RequiredAcks::All, effects)
                .map_err(|error| error.code()),
        };
        let result = result.map(|produced| {
            if !produced.acknowledged {
                replica.await_commit(produced.info.last_offset, PartitionWaiter::Group(Arc::clone(self)));
            }
            produced.info.last_offset
        });
        (result, replica.high_watermark())
    }

    /// One of the coordinator's records was committed, or never will be here.
    pub fn committed(self: &Arc<Self>, outcome: Result<(), ErrorCode>) {
        let high_watermark = self.replica.lock().high_watermark();
        self.step(match outcome {
            Ok(()) => Input::Committed { high_watermark },
            Err(_lost_leadership) => Input::Unload,
        });
    }

    /// Has the coordinator told when everything below `end` is committed, which it may not be yet where another broker led
    /// before (rule 33).
    fn await_committed(self: &Arc<Self>, end: i64) {
        let mut replica = self.replica.lock();
        if replica.high_watermark() < end {
            replica.await_commit(end - 1, PartitionWaiter::Group(Arc::clone(self)));
        }
    }

    fn tick_if_due(self: &Arc<Self>) -> Option<i64> {
        let due = |cell: &Self| cell.shard.lock().next_deadline();
        let deadline_ms = due(self)?;
        if deadline_ms > clock::now_ms() {
            return Some(deadline_ms);
        }
        self.step(Input::Tick);
        due(self)
    }

    /// Feeds the coordinator everything that the partition holds. Returns the offset behind it, and the high watermark.
    fn load(self: &Arc<Self>) -> Result<(i64, i64), LoadError> {
        let mut buffer = Vec::new();
        let mut offset = self.replica.lock().log().log_start_offset();
        loop {
            let (records, high_watermark) = {
                let mut replica = self.replica.lock();
                (replica.read_to_end(offset, LOAD_BYTES)?, replica.high_watermark())
            };
            let Some(range) = records else {
                self.await_committed(offset);
                return Ok((offset, high_watermark));
            };
            buffer.resize(range.len as usize, 0);
            let read = range.file.read_at(&mut buffer, range.position).map_err(LoadError::Io)?;
            let Some((whole, next_offset)) = end_of_whole_batches(&buffer[..read]) else {
                return Err(LoadError::Torn { offset });
            };
            self.step(Input::Load { batches: buffer[..whole].to_vec() });
            offset = next_offset;
        }
    }
}

/// Why a coordinator could not read its partition back.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("reading the segment failed: {0}")]
    Io(std::io::Error),
    #[error("there is no whole batch at offset {offset}")]
    Torn { offset: i64 },
}

/// Where the last whole batch ends in `bytes`, and the offset behind it.
fn end_of_whole_batches(bytes: &[u8]) -> Option<(usize, i64)> {
    let whole = Batches::new(bytes).map_while(Result::ok);
    whole.fold(None, |end: Option<(usize, i64)>, batch| {
        let from = end.map_or(0, |(end, _)| end);
        Some((from + batch.bytes().len(), batch.header().next_offset()))
    })
}
