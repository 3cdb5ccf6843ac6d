//! The coordinator's step: what happens in, what is to be done out.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::classic::ClassicGroup;
use super::offsets::Offsets;
use super::outbox::{Effect, Outbox, Timer, Waiter, Write, client_error};
use super::{
    ClientContext, GroupConfig, GroupRequest, GroupResponse, GroupState, HeartbeatResponse, Input, Output,
};

/// Gives the random bytes that make member ids unique.
pub type IdSource = Box<dyn FnMut() -> [u8; 16] + Send>;

/// A group of some kind.
#[derive(Debug)]
pub(super) enum Group<T> {
    /// A group of the classic protocol, or of no protocol at all.
    Classic(ClassicGroup<T>),
}

/// How far the shard has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The partition is being read.
    Loading,
    /// It is read, but not all of it is known to be committed.
    CatchingUp { log_end_offset: i64 },
    /// Requests are served.
    Active,
    /// The partition makes no sense, or is led elsewhere.
    Retired,
}

/// Counts of what a shard holds, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupStats {
    /// Groups without members.
    pub empty: usize,
    /// Groups whose members are joining.
    pub preparing_rebalance: usize,
    /// Groups that wait for their assignment.
    pub completing_rebalance: usize,
    /// Groups at work.
    pub stable: usize,
    /// Members of all groups.
    pub members: usize,
    /// Committed offsets.
    pub offsets: usize,
    /// Rebalances that ended with an assignment, since the shard was made.
    pub completed_rebalances: u64,
    /// Records of a type or version that is not known here, left where they are.
    pub skipped_records: u64,
}

/// The coordinator of the groups in one partition of `__consumer_offsets`, as a step machine.
///
/// It begins by loading: [`Input::Load`] with the partition's batches, then [`Input::Loaded`]. It is served by one
/// owner, which performs the outputs in their order, calls again with what became of them, and with [`Input::Tick`]
/// when [`GroupShard::next_deadline`] has come.
///
/// Nothing is told to a client before the record that makes it so is committed: committed offsets change, and groups
/// appear and disappear, when the high watermark passes their records.
pub struct GroupShard<T> {
    phase: Phase,
    high_watermark: i64,
    pub(super) ids: IdSource,
    /// The groups as the next request finds them.
    pub(super) groups: BTreeMap<Arc<str>, Group<T>>,
    pub(super) offsets: Offsets,
    pub(super) out: Outbox<T>,
    pub(super) completed_rebalances: u64,
    pub(super) skipped_records: u64,
}

impl<T> GroupShard<T> {
    /// A shard that is to be loaded.
    #[must_use]
    pub fn new(config: GroupConfig, ids: IdSource) -> Self {
        Self {
            phase: Phase::Loading,
            high_watermark: 0,
            ids,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            out: Outbox::new(config),
            completed_rebalances: 0,
            skipped_records: 0,
        }
    }

    /// Takes one input at `now_ms` (ms since the epoch) and says what is to be done.
    pub fn step(&mut self, now_ms: i64, input: Input<T>) -> Vec<Output<T>> {
        self.out.now_ms = now_ms;
        match input {
            Input::Load { batches } => self.load(&batches),
            Input::Loaded { log_end_offset } => {
                if self.phase == Phase::Loading {
                    self.phase = Phase::CatchingUp { log_end_offset };
                    self.activate_if_committed();
                }
            }
            Input::Request { token, context, request } => self.request(token, &context, request),
            Input::Written { write_id, result } => self.written(write_id, result),
            Input::Committed { high_watermark } => {
                self.high_watermark = self.high_watermark.max(high_watermark);
                self.activate_if_committed();
            }
            Input::Tick => {}
            Input::Unload => self.retire(),
        }
        if self.phase == Phase::Active {
            self.settle();
        }
        self.out.take_outputs()
    }

    /// When the next [`Input::Tick`] is due, in ms since the epoch.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.out.timers.next()
    }

    /// Whether requests are served.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Counts of what the shard holds.
    #[must_use]
    pub fn stats(&self) -> GroupStats {
        let mut stats = GroupStats {
            offsets: self.offsets.len(),
            completed_rebalances: self.completed_rebalances,
            skipped_records: self.skipped_records,
            ..GroupStats::default()
        };
        for Group::Classic(group) in self.groups.values() {
            stats.members += group.members().len();
            match group.state() {
                GroupState::Empty => stats.empty += 1,
                GroupState::PreparingRebalance => stats.preparing_rebalance += 1,
                GroupState::CompletingRebalance => stats.completing_rebalance += 1,
                GroupState::Stable => stats.stable += 1,
                GroupState::Dead => {}
            }
        }
        stats
    }

    pub(super) fn is_loading(&self) -> bool {
        self.phase == Phase::Loading
    }

    /// The partition makes no sense: nothing is served from it.
    pub(super) fn fail_load(&mut self, reason: String) {
        self.retire();
        self.out.output(Output::LoadFailed { reason });
    }

    fn activate_if_committed(&mut self) {
        if let Phase::CatchingUp { log_end_offset } = self.phase
            && self.high_watermark >= log_end_offset
        {
            self.phase = Phase::Active;
            self.start_groups();
        }
    }

    fn request(&mut self, token: T, context: &ClientContext, request: GroupRequest) {
        match self.phase {
            Phase::Active => {}
            Phase::Loading | Phase::CatchingUp { .. } => {
                let response = match &request {
                    // A member that is told of an error would rejoin; its session has not begun here anyway.
                    GroupRequest::Heartbeat(_) => {
                        GroupResponse::Heartbeat(HeartbeatResponse { error: ErrorCode::NONE })
                    }
                    request => request.error_response(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
                };
                return self.out.reply(token, response);
            }
            Phase::Retired => {
                return self.out.reply(token, request.error_response(ErrorCode::NOT_COORDINATOR));
            }
        }
        match request {
            GroupRequest::JoinGroup(request) => self.join(token, context, request),
            GroupRequest::SyncGroup(request) => self.sync(token, request),
            GroupRequest::Heartbeat(request) => self.heartbeat(token, &request),
            GroupRequest::LeaveGroup(request) => self.leave(token, &request),
            GroupRequest::OffsetCommit(request) => self.offset_commit(token, &request),
            GroupRequest::OffsetFetch(request) => self.offset_fetch(token, request),
            GroupRequest::DescribeGroups(request) => self.describe_groups(token, &request),
            GroupRequest::ListGroups(request) => self.list_groups(token, &request),
            GroupRequest::DeleteGroups(request) => self.delete_groups(token, &request),
        }
    }

    fn written(&mut self, write_id: u64, result: Result<i64, ErrorCode>) {
        match result {
            Ok(last_offset) => {
                if let Some(write) = self.out.write_mut(write_id) {
                    write.last_offset = Some(last_offset);
                }
            }
            Err(error) => {
                if let Some(write) = self.out.remove_write(write_id) {
                    self.fail(write.effect, write.waiter, error);
                }
            }
        }
    }

    /// Does what has become due: committed writes, deadlines, writes that could not be tried.
    fn settle(&mut self) {
        loop {
            if let Some(write) = self.out.pop_committed(self.high_watermark) {
                self.committed(write);
            } else if let Some(refused) = self.out.next_refused() {
                self.fail(refused.effect, refused.waiter, refused.error);
            } else if let Some(timer) = self.out.timers.pop_due(self.out.now_ms) {
                self.expired(timer);
            } else {
                return;
            }
        }
    }

    /// A write is committed: first it takes effect, then it is told.
    fn committed(&mut self, write: Write<T>) {
        match write.effect {
            Effect::Group(group_id) => self.mark_durable(&group_id),
            Effect::Offsets { group_id, offsets } => {
                for (key, offset) in offsets {
                    self.offsets.put(&group_id, key, offset);
                }
                self.mark_durable(&group_id);
                // Its group may have been given up when an earlier write failed.
                if !self.out.leaving_groups().any(|group| group.id == group_id) {
                    self.adopt_orphans(&group_id);
                }
            }
            Effect::Removal { offsets, groups } => self.removed(&offsets, groups),
            Effect::None => {}
        }
        match write.waiter {
            None | Some(Waiter::NewGroup { reply: None, .. }) => {}
            Some(Waiter::Reply { token, response }) => self.out.reply(token, response),
            Some(Waiter::NewGroup { reply: Some((token, response)), .. }) => {
                self.out.reply_join(token, response);
            }
            Some(Waiter::Assignment { group_id, generation_id, assignments }) => {
                self.assignment_written(&group_id, generation_id, Ok(assignments));
            }
            Some(Waiter::StaticMember(replacement)) => self.static_member_written(*replacement, None, false),
            Some(Waiter::StableRead { token, request }) => {
                let response = self.fetch_offsets(&request);
                self.out.reply(token, GroupResponse::OffsetFetch(response));
            }
        }
    }

    /// A record of the group is committed. Where the group has been removed since, that is the group which is shown
    /// until its tombstone is committed, and not a new one of the same name.
    fn mark_durable(&mut self, group_id: &Arc<str>) {
        let leaving = self.out.leaving_groups_mut().find(|group| group.id == *group_id);
        if let Some(group) = leaving {
            group.durable = true;
        } else if let Some(Group::Classic(group)) = self.groups.get_mut(group_id) {
            group.durable = true;
        }
    }

    /// A write will never be in the log.
    fn fail(&mut self, effect: Effect<T>, waiter: Option<Waiter<T>>, error: ErrorCode) {
        match effect {
            Effect::Removal { groups, .. } => self.restore(groups),
            Effect::Offsets { group_id, .. } => self.drop_simple_group(&group_id),
            Effect::Group(_) | Effect::None => {}
        }
        if let Some(waiter) = waiter {
            self.disappoint(waiter, client_error(error), true);
        }
    }

    /// A group that was only there for a commit that failed.
    fn drop_simple_group(&mut self, group_id: &Arc<str>) {
        let Some(Group::Classic(group)) = self.groups.get(group_id) else { return };
        let is_used = group.durable || group.is_in_use();
        let is_written = |write: &Write<T>| match &write.effect {
            Effect::Group(id) | Effect::Offsets { group_id: id, .. } => id == group_id,
            Effect::Removal { .. } | Effect::None => false,
        };
        if !is_used && !self.out.writes().any(is_written) {
            self.groups.remove(group_id);
        }
    }

    /// Tells whoever waited for a write that it did not happen in time, or (`is_lost`) never will.
    fn disappoint(&mut self, waiter: Waiter<T>, error: ErrorCode, is_lost: bool) {
        match waiter {
            Waiter::Reply { token, response } => self.out.reply(token, response.failed(error)),
            Waiter::NewGroup { group_id, reply } => {
                if let Some((token, response)) = reply {
                    self.out.reply(token, GroupResponse::JoinGroup(response).failed(error));
                }
                if is_lost {
                    self.drop_new_group(&group_id, error);
                }
            }
            Waiter::Assignment { group_id, generation_id, .. } => {
                self.assignment_written(&group_id, generation_id, Err(error));
            }
            Waiter::StaticMember(replacement) => {
                self.static_member_written(*replacement, Some(error), is_lost);
            }
            // Consumers before 3.9 do not know the other code here, and would not try again.
            Waiter::StableRead { token, request } => {
                let request = GroupRequest::OffsetFetch(request);
                self.out.reply(token, request.error_response(ErrorCode::NOT_COORDINATOR));
            }
        }
    }

    fn expired(&mut self, timer: Timer) {
        let group_id = match &timer {
            Timer::Session { group_id, .. } | Timer::Join(group_id) | Timer::Sync(group_id) => group_id,
            Timer::Write(write_id) => {
                let waiter = self.out.write_mut(*write_id).and_then(|write| write.waiter.take());
                if let Some(waiter) = waiter {
                    self.disappoint(waiter, client_error(ErrorCode::REQUEST_TIMED_OUT), false);
                }
                return;
            }
            Timer::Retention => return self.expire_offsets(),
        };
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else { return };
        match &timer {
            Timer::Session { member_id, .. } => group.session_expired(member_id, &mut self.out),
            Timer::Join(_) => group.join_expired(&mut self.out),
            Timer::Sync(_) => group.sync_expired(&mut self.out),
            Timer::Write(_) | Timer::Retention => {}
        }
    }

    /// Answers everything parked and forgets everything.
    fn retire(&mut self) {
        self.phase = Phase::Retired;
        for Group::Classic(mut group) in std::mem::take(&mut self.groups).into_values() {
            group.answer_all(ErrorCode::NOT_COORDINATOR, &mut self.out);
        }
        self.offsets.clear();
        // With the groups gone, only requests that wait for their own record are left.
        for waiter in self.out.abandon() {
            self.disappoint(waiter, ErrorCode::NOT_COORDINATOR, false);
        }
        // Answers may have set deadlines.
        self.out.abandon();
    }
}
