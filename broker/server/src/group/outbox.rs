//! What a step has decided and what it waits for: answers, writes on their way, deadlines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use taffrail_protocol::record_batch::{BatchBuilder, Compression};
use taffrail_protocol::{EncodeError, ErrorCode};

use super::classic::ClassicGroup;
use super::offsets::{CommittedOffset, OffsetKey};
use super::records::GroupRecord;
use super::timers::Timers;
use super::{GroupConfig, GroupResponse, JoinGroupResponse, OffsetFetchRequest, Output, Protocol};

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A member, or an id that was handed out, has been silent for too long.
    Session { group_id: Arc<str>, member_id: Arc<str> },
    /// The members have had their time to join.
    Join(Arc<str>),
    /// The members have had their time to sync.
    Sync(Arc<str>),
    /// A request has waited long enough for its record.
    Write(u64),
    /// Offsets may have expired.
    Retention,
}

/// What becomes true once a write is committed.
#[derive(Debug)]
pub(super) enum Effect<T> {
    /// The group exists in the log.
    Group(Arc<str>),
    /// The group has these offsets.
    Offsets { group_id: Arc<str>, offsets: Vec<(OffsetKey, CommittedOffset)> },
    /// These offsets and groups are gone. The groups have left the coordinator already; they stand here so that they
    /// can be shown until it is true, and come back should the write fail.
    Removal { offsets: Vec<(Arc<str>, OffsetKey)>, groups: Vec<ClassicGroup<T>> },
    /// Nothing: the write of nothing that a reader of stable offsets waits for.
    None,
}

/// Who waits for a write.
#[derive(Debug)]
pub(super) enum Waiter<T> {
    /// A request with its answer.
    Reply { token: T, response: GroupResponse },
    /// A group that was made for a joining member, and the member's answer if it has one yet.
    NewGroup { group_id: Arc<str>, reply: Option<(T, JoinGroupResponse)> },
    /// The generation whose assignment is written.
    Assignment { group_id: Arc<str>, generation_id: i32, assignments: BTreeMap<Arc<str>, Arc<[u8]>> },
    /// A static member that came back without a rebalance.
    StaticMember(Box<Replacement>),
    /// A reader of stable offsets.
    StableRead { token: T, request: OffsetFetchRequest },
}

/// How a static member was replaced, and how to undo it.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) group_id: Arc<str>,
    pub(super) generation_id: i32,
    pub(super) old_member_id: Arc<str>,
    pub(super) new_member_id: Arc<str>,
    pub(super) old_protocols: Vec<Protocol>,
    pub(super) old_rebalance_timeout_ms: i32,
    pub(super) old_session_timeout_ms: i32,
    pub(super) old_leader: Option<Arc<str>>,
    pub(super) supports_skipping_assignment: bool,
}

/// A write on its way. Order of its life: made, written (`last_offset` known), committed (high watermark above it).
#[derive(Debug)]
pub(super) struct Write<T> {
    pub(super) id: u64,
    pub(super) last_offset: Option<i64>,
    pub(super) bytes: usize,
    pub(super) effect: Effect<T>,
    /// Gone once it was answered, be it because its time was up.
    pub(super) waiter: Option<Waiter<T>>,
}

/// A write that was not even tried.
#[derive(Debug)]
pub(super) struct Refused<T> {
    pub(super) effect: Effect<T>,
    pub(super) waiter: Option<Waiter<T>>,
    pub(super) error: ErrorCode,
}

/// The step's surroundings.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    pub(super) now_ms: i64,
    pub(super) config: GroupConfig,
    pub(super) timers: Timers<Timer>,
    outputs: Vec<Output<T>>,
    /// In the order of the log.
    writes: VecDeque<Write<T>>,
    refused: VecDeque<Refused<T>>,
    next_write_id: u64,
    uncommitted_bytes: usize,
}

impl<T> Outbox<T> {
    pub(super) fn new(config: GroupConfig) -> Self {
        Self {
            now_ms: 0,
            config,
            timers: Timers::new(),
            outputs: Vec::new(),
            writes: VecDeque::new(),
            refused: VecDeque::new(),
            next_write_id: 0,
            uncommitted_bytes: 0,
        }
    }

    pub(super) fn take_outputs(&mut self) -> Vec<Output<T>> {
        std::mem::take(&mut self.outputs)
    }

    pub(super) fn output(&mut self, output: Output<T>) {
        self.outputs.push(output);
    }

    pub(super) fn reply(&mut self, token: T, response: GroupResponse) {
        self.outputs.push(Output::Reply { token, response });
    }

    pub(super) fn reply_join(&mut self, token: T, response: JoinGroupResponse) {
        self.reply(token, GroupResponse::JoinGroup(response));
    }

    /// Sets `timer` to go off after `delay_ms`.
    pub(super) fn after(&mut self, delay_ms: i64, timer: Timer) {
        self.timers.set(timer, self.now_ms.saturating_add(delay_ms.max(0)));
    }

    /// Gives a member `timeout_ms` until it must be heard of again.
    pub(super) fn expect_member(&mut self, group_id: &Arc<str>, member_id: &Arc<str>, timeout_ms: i32) {
        let timer = Timer::Session { group_id: group_id.clone(), member_id: member_id.clone() };
        self.after(i64::from(timeout_ms), timer);
    }

    pub(super) fn forget_member(&mut self, group_id: &Arc<str>, member_id: &Arc<str>) {
        self.timers.cancel(&Timer::Session { group_id: group_id.clone(), member_id: member_id.clone() });
    }

    /// Writes `record`. Where that cannot even be tried, the write is among [`Outbox::next_refused`].
    pub(super) fn append(&mut self, record: &GroupRecord<'_>, effect: Effect<T>, waiter: Option<Waiter<T>>) {
        let batch = self.encode([record]);
        self.append_encoded(batch, effect, waiter);
    }

    /// Writes what [`Outbox::encode`] gave.
    pub(super) fn append_encoded(
        &mut self,
        batch: Result<Vec<u8>, UnwritableRecords>,
        effect: Effect<T>,
        waiter: Option<Waiter<T>>,
    ) {
        let batch = match batch {
            Ok(batch) if self.uncommitted_bytes + batch.len() <= self.config.max_uncommitted_bytes => batch,
            // As if the log had too few replicas, which is why so much is not committed.
            Ok(_) => return self.refuse(effect, waiter, ErrorCode::NOT_ENOUGH_REPLICAS),
            Err(UnwritableRecords) => return self.refuse(effect, waiter, ErrorCode::UNKNOWN_SERVER_ERROR),
        };
        let id = self.enqueue(None, batch.len(), effect, waiter);
        self.outputs.push(Output::Append { write_id: id, batch });
    }

    /// Encodes `records` as one batch.
    pub(super) fn encode<'a, R: std::borrow::Borrow<GroupRecord<'a>>>(
        &self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Vec<u8>, UnwritableRecords> {
        let mut builder = BatchBuilder::new(Compression::None);
        for record in records {
            let (key, value) = record.borrow().encode()?;
            builder.append(self.now_ms, Some(&key), value.as_deref(), &[]);
        }
        builder.build().map_err(|_| UnwritableRecords)
    }

    /// Lets `waiter` wait for the writes that are on their way.
    pub(super) fn append_nothing(&mut self, bytes: usize, waiter: Waiter<T>) {
        if self.uncommitted_bytes + bytes > self.config.max_uncommitted_bytes {
            return self.refuse(Effect::None, Some(waiter), ErrorCode::NOT_ENOUGH_REPLICAS);
        }
        self.enqueue(Some(-1), bytes, Effect::None, Some(waiter));
    }

    /// Answers once the last write since `mark` is committed, or at once where there was none.
    pub(super) fn reply_after(&mut self, mark: u64, token: T, response: GroupResponse) {
        let timeout_ms = self.config.offset_commit_timeout_ms;
        match self.writes.back_mut() {
            Some(write) if write.id >= mark && write.waiter.is_none() => {
                write.waiter = Some(Waiter::Reply { token, response });
                let timer = Timer::Write(write.id);
                self.after(i64::from(timeout_ms), timer);
            }
            _ => self.reply(token, response),
        }
    }

    /// Where the next write will stand, for [`Outbox::reply_after`].
    pub(super) fn mark(&self) -> u64 {
        self.next_write_id
    }

    pub(super) fn writes(&self) -> impl Iterator<Item = &Write<T>> {
        self.writes.iter()
    }

    /// Groups whose tombstones are on their way.
    pub(super) fn leaving_groups(&self) -> impl Iterator<Item = &ClassicGroup<T>> {
        self.writes.iter().flat_map(|write| match &write.effect {
            Effect::Removal { groups, .. } => groups.as_slice(),
            _ => &[],
        })
    }

    pub(super) fn leaving_groups_mut(&mut self) -> impl Iterator<Item = &mut ClassicGroup<T>> {
        self.writes.iter_mut().flat_map(|write| match &mut write.effect {
            Effect::Removal { groups, .. } => groups.as_mut_slice(),
            _ => &mut [],
        })
    }

    /// The write of `id`, if it is still on its way.
    pub(super) fn write_mut(&mut self, id: u64) -> Option<&mut Write<T>> {
        let index = self.writes.binary_search_by_key(&id, |write| write.id).ok()?;
        self.writes.get_mut(index)
    }

    /// Takes the oldest write if it is committed. Writes take effect in the order of the log.
    pub(super) fn pop_committed(&mut self, high_watermark: i64) -> Option<Write<T>> {
        if self.writes.front()?.last_offset? >= high_watermark {
            return None;
        }
        let write = self.writes.pop_front()?;
        self.forget(&write);
        Some(write)
    }

    /// Takes a write that has failed.
    pub(super) fn remove_write(&mut self, id: u64) -> Option<Write<T>> {
        let index = self.writes.binary_search_by_key(&id, |write| write.id).ok()?;
        let write = self.writes.remove(index)?;
        self.forget(&write);
        Some(write)
    }

    pub(super) fn next_refused(&mut self) -> Option<Refused<T>> {
        self.refused.pop_front()
    }

    /// Forgets every deadline and write, and gives the writes' waiters.
    pub(super) fn abandon(&mut self) -> Vec<Waiter<T>> {
        self.timers.clear();
        self.uncommitted_bytes = 0;
        let writes = std::mem::take(&mut self.writes);
        let refused = std::mem::take(&mut self.refused);
        let waiters = writes.into_iter().map(|write| write.waiter);
        waiters.chain(refused.into_iter().map(|write| write.waiter)).flatten().collect()
    }

    fn enqueue(
        &mut self,
        last_offset: Option<i64>,
        bytes: usize,
        effect: Effect<T>,
        waiter: Option<Waiter<T>>,
    ) -> u64 {
        let id = self.next_write_id;
        self.next_write_id += 1;
        if waiter.is_some() {
            self.after(i64::from(self.config.offset_commit_timeout_ms), Timer::Write(id));
        }
        self.uncommitted_bytes += bytes;
        self.writes.push_back(Write { id, last_offset, bytes, effect, waiter });
        id
    }

    fn refuse(&mut self, effect: Effect<T>, waiter: Option<Waiter<T>>, error: ErrorCode) {
        self.refused.push_back(Refused { effect, waiter, error });
    }

    fn forget(&mut self, write: &Write<T>) {
        self.uncommitted_bytes -= write.bytes;
        if write.waiter.is_some() {
            self.timers.cancel(&Timer::Write(write.id));
        }
    }
}

/// A string or the batch is longer than the format can say.
pub(super) struct UnwritableRecords;

impl From<EncodeError> for UnwritableRecords {
    fn from(_: EncodeError) -> Self {
        Self
    }
}

/// What a client is told where its record could not be appended (Kafka's `appendGroupMetadataErrorToResponseError`).
pub(super) fn client_error(append_error: ErrorCode) -> ErrorCode {
    match append_error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::REQUEST_TIMED_OUT => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE | ErrorCode::INVALID_FETCH_SIZE => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        other => other,
    }
}
