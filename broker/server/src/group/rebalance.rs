//! How a group comes from one generation to the next: the moves between its states, with the answers they release.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::classic::{ClassicGroup, Removed};
use super::outbox::{Effect, Outbox, Timer};
use super::{GroupResponse, GroupState, JoinGroupResponse, SyncGroupResponse};

impl<T> ClassicGroup<T> {
    /// After a member came, went or changed: begins a rebalance, or ends its first phase if that was all it waited for.
    pub(super) fn rebalance_or_complete_join(&mut self, out: &mut Outbox<T>) {
        match self.state() {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(out);
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(out),
            GroupState::Dead => {}
        }
    }

    /// Begins a rebalance. A group that had no members waits a while for more of them than the first.
    pub(super) fn prepare_rebalance(&mut self, out: &mut Outbox<T>) {
        if self.state() == GroupState::CompletingRebalance {
            self.reset_assignments(out, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.pending_sync.clear();
        out.timers.cancel(&Timer::Sync(self.id.clone()));
        let is_initial = self.state() == GroupState::Empty;
        self.transition_to(GroupState::PreparingRebalance, out.now_ms);
        self.new_member_added = false;
        self.initial_wait = None;
        if is_initial {
            let delay_ms = i64::from(out.config.initial_rebalance_delay_ms.max(0));
            self.initial_wait = Some((delay_ms, (self.rebalance_timeout_ms() - delay_ms).max(0)));
            out.after(delay_ms, Timer::Join(self.id.clone()));
        } else if self.has_all_members_joined() {
            self.complete_join(out);
        } else {
            self.await_joins(out);
        }
    }

    /// Ends the first phase if all have joined. The first rebalance of a group waits for its delay all the same.
    pub(super) fn maybe_complete_join(&mut self, out: &mut Outbox<T>) {
        if self.state() == GroupState::PreparingRebalance
            && self.previous_state() != GroupState::Empty
            && self.has_all_members_joined()
        {
            self.complete_join(out);
        }
    }

    /// The time to join is up. While a new group still gains members, its delay is drawn out, up to the rebalance
    /// timeout.
    pub(super) fn join_expired(&mut self, out: &mut Outbox<T>) {
        if self.state() != GroupState::PreparingRebalance {
            return;
        }
        match self.initial_wait.take() {
            Some((delay_ms, remaining_ms)) if self.new_member_added && remaining_ms > 0 => {
                self.new_member_added = false;
                let next_ms = i64::from(out.config.initial_rebalance_delay_ms.max(0)).min(remaining_ms);
                self.initial_wait = Some((next_ms, (remaining_ms - delay_ms).max(0)));
                out.after(next_ms, Timer::Join(self.id.clone()));
            }
            _ => self.complete_join(out),
        }
    }

    /// Ends the first phase: who has not rejoined is out (static members stay until their session ends), the others
    /// learn of their generation.
    pub(super) fn complete_join(&mut self, out: &mut Outbox<T>) {
        out.timers.cancel(&Timer::Join(self.id.clone()));
        let late = self.members().filter(|member| !member.is_awaiting_join());
        let late: Vec<_> = late
            .filter(|member| member.group_instance_id.is_none())
            .map(|member| member.member_id.clone())
            .collect();
        for member_id in &late {
            self.remove_and_answer(member_id, out);
        }
        if !self.elect_joined_leader() && self.members().len() > 0 {
            // Only static members are left, and none rejoined: wait until one does or their sessions end.
            return self.await_joins(out);
        }
        self.init_next_generation(out.now_ms);
        if self.state() == GroupState::Empty {
            out.append(&self.record(None), Effect::Group(self.id.clone()), None);
            return;
        }
        for member_id in self.member_ids() {
            let response = self.join_response(&member_id);
            if let Some(token) = self.take_join(&member_id) {
                out.reply_join(token, response);
            }
            if let Some(member) = self.member_mut(&member_id) {
                member.is_new = false;
                let session_timeout_ms = member.session_timeout_ms;
                out.expect_member(&self.id, &member_id, session_timeout_ms);
            }
            self.pending_sync.insert(member_id);
        }
        out.after(self.rebalance_timeout_ms(), Timer::Sync(self.id.clone()));
    }

    /// The time to sync is up: who has not is out, and the others begin anew.
    pub(super) fn sync_expired(&mut self, out: &mut Outbox<T>) {
        if !matches!(self.state(), GroupState::CompletingRebalance | GroupState::Stable)
            || self.pending_sync.is_empty()
        {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            self.remove_and_answer(&member_id, out);
        }
        self.prepare_rebalance(out);
    }

    /// A member, or an id that was handed out, was silent for too long.
    pub(super) fn session_expired(&mut self, member_id: &Arc<str>, out: &mut Outbox<T>) {
        let is_pending = self.pending_join.contains(member_id);
        let is_dead = self.member(member_id).is_some_and(|member| !member.has_satisfied_heartbeat());
        if !is_pending && !is_dead {
            return;
        }
        self.remove_and_answer(member_id, out);
        match self.state() {
            GroupState::CompletingRebalance | GroupState::Stable if is_dead => self.prepare_rebalance(out),
            GroupState::PreparingRebalance if self.has_all_members_joined() => self.complete_join(out),
            _ => {}
        }
    }

    /// Takes a member out. Should it be alive, UNKNOWN_MEMBER_ID makes it join anew.
    pub(super) fn remove_and_answer(&mut self, member_id: &Arc<str>, out: &mut Outbox<T>) {
        out.forget_member(&self.id, member_id);
        if let Some(removed) = self.remove(member_id) {
            answer_removed(removed, Arc::from(""), ErrorCode::UNKNOWN_MEMBER_ID, out);
        }
    }

    /// Takes back the ids that were handed out and have not joined.
    pub(super) fn forget_pending(&mut self, out: &mut Outbox<T>) {
        for member_id in std::mem::take(&mut self.pending_join) {
            out.forget_member(&self.id, &member_id);
        }
    }

    /// A member has sent SyncGroup.
    pub(super) fn note_sync(&mut self, member_id: &str, out: &mut Outbox<T>) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            out.timers.cancel(&Timer::Sync(self.id.clone()));
        }
    }

    /// The leader's assignment is committed: the group is stable.
    pub(super) fn set_assignments(
        &mut self,
        mut assignments: BTreeMap<Arc<str>, Arc<[u8]>>,
        out: &mut Outbox<T>,
    ) {
        for member in self.members_mut() {
            member.assignment = assignments.remove(&member.member_id).unwrap_or_else(|| Arc::from([]));
        }
        self.answer_syncs(ErrorCode::NONE, out);
        self.transition_to(GroupState::Stable, out.now_ms);
    }

    /// The generation will have no assignment.
    pub(super) fn reset_assignments(&mut self, out: &mut Outbox<T>, error: ErrorCode) {
        for member in self.members_mut() {
            member.assignment = Arc::from([]);
        }
        self.answer_syncs(error, out);
    }

    /// What a member is told of its assignment.
    pub(super) fn sync_response(&self, member_id: &str) -> SyncGroupResponse {
        SyncGroupResponse {
            error: ErrorCode::NONE,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self
                .member(member_id)
                .map_or_else(|| Arc::from([]), |member| member.assignment.clone()),
        }
    }

    /// Answers the parked SyncGroups. Sessions begin anew: one that ended meanwhile was overlooked.
    fn answer_syncs(&mut self, error: ErrorCode, out: &mut Outbox<T>) {
        for member_id in self.member_ids() {
            let response = match error {
                ErrorCode::NONE => self.sync_response(&member_id),
                error => SyncGroupResponse::error(error),
            };
            let Some(member) = self.member_mut(&member_id) else { continue };
            let Some(token) = member.awaiting_sync.take() else { continue };
            let session_timeout_ms = member.session_timeout_ms;
            out.reply(token, GroupResponse::SyncGroup(response));
            out.expect_member(&self.id, &member_id, session_timeout_ms);
        }
    }

    /// Answers every parked request with `error`.
    pub(super) fn answer_all(&mut self, error: ErrorCode, out: &mut Outbox<T>) {
        for member_id in self.member_ids() {
            if let Some(token) = self.take_join(&member_id) {
                out.reply_join(token, JoinGroupResponse::error(member_id, error));
            }
        }
        self.answer_syncs(error, out);
    }

    fn await_joins(&self, out: &mut Outbox<T>) {
        // At least a moment, or a timeout of 0 would come due again and again.
        out.after(self.rebalance_timeout_ms().max(1), Timer::Join(self.id.clone()));
    }
}

/// Answers the parked requests of a member that is no more.
pub(super) fn answer_removed<T>(
    removed: Removed<T>,
    member_id: Arc<str>,
    error: ErrorCode,
    out: &mut Outbox<T>,
) {
    if let Some(token) = removed.awaiting_join {
        out.reply_join(token, JoinGroupResponse::error(member_id, error));
    }
    if let Some(token) = removed.awaiting_sync {
        out.reply(token, GroupResponse::SyncGroup(SyncGroupResponse::error(error)));
    }
}
