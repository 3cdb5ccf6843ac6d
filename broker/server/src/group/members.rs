//! SyncGroup, Heartbeat and LeaveGroup.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::classic::ClassicGroup;
use super::outbox::{Effect, Outbox, Waiter};
use super::shard::{Group, GroupShard};
use super::{
    GroupResponse, GroupState, HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse,
    LeftMember, MemberIdentity, SyncGroupRequest, SyncGroupResponse,
};

impl<T> GroupShard<T> {
    pub(super) fn sync(&mut self, token: T, request: SyncGroupRequest) {
        let error = if request.group_id.is_empty() {
            ErrorCode::INVALID_GROUP_ID
        } else if let Some(Group::Classic(group)) = self.groups.get_mut(&request.group_id) {
            return group.sync(token, request, &mut self.out);
        } else {
            ErrorCode::UNKNOWN_MEMBER_ID
        };
        self.out.reply(token, GroupResponse::SyncGroup(SyncGroupResponse::error(error)));
    }

    /// The assignment of a generation is committed, or is not.
    pub(super) fn assignment_written(
        &mut self,
        group_id: &Arc<str>,
        generation_id: i32,
        assignments: Result<BTreeMap<Arc<str>, Arc<[u8]>>, ErrorCode>,
    ) {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else { return };
        // Somebody may have come or gone meanwhile, which began another rebalance.
        if group.state() != GroupState::CompletingRebalance || group.generation_id != generation_id {
            return;
        }
        match assignments {
            Ok(assignments) => {
                group.set_assignments(assignments, &mut self.out);
                self.completed_rebalances += 1;
            }
            Err(error) => {
                group.reset_assignments(&mut self.out, error);
                group.prepare_rebalance(&mut self.out);
            }
        }
    }

    pub(super) fn heartbeat(&mut self, token: T, request: &HeartbeatRequest) {
        let error = if request.group_id.is_empty() {
            ErrorCode::INVALID_GROUP_ID
        } else if let Some(Group::Classic(group)) = self.groups.get(&request.group_id) {
            group.heartbeat(request, &mut self.out)
        } else {
            ErrorCode::UNKNOWN_MEMBER_ID
        };
        self.out.reply(token, GroupResponse::Heartbeat(HeartbeatResponse { error }));
    }

    pub(super) fn leave(&mut self, token: T, request: &LeaveGroupRequest) {
        let mark = self.out.mark();
        let response = if request.group_id.is_empty() {
            LeaveGroupResponse { error: ErrorCode::INVALID_GROUP_ID, members: Vec::new() }
        } else if let Some(Group::Classic(group)) = self.groups.get_mut(&request.group_id) {
            group.leave(request, &mut self.out)
        } else {
            request.error_per_member(ErrorCode::UNKNOWN_MEMBER_ID)
        };
        // Where the last member left, the empty generation is written, and only then is it true.
        self.out.reply_after(mark, token, GroupResponse::LeaveGroup(response));
    }
}

impl<T> ClassicGroup<T> {
    fn sync(&mut self, token: T, request: SyncGroupRequest, out: &mut Outbox<T>) {
        let error = match self.check_sync(&request) {
            Err(error) => error,
            Ok(()) if self.state() == GroupState::CompletingRebalance => {
                return self.park_sync(token, request, out);
            }
            Ok(()) if self.state() == GroupState::Stable => {
                self.note_sync(&request.member_id, out);
                let response = self.sync_response(&request.member_id);
                return out.reply(token, GroupResponse::SyncGroup(response));
            }
            Ok(()) => ErrorCode::REBALANCE_IN_PROGRESS,
        };
        out.reply(token, GroupResponse::SyncGroup(SyncGroupResponse::error(error)));
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        let differs = |theirs: &Option<Arc<str>>, ours: &Option<Arc<str>>| {
            theirs.is_some() && ours.is_some() && theirs != ours
        };
        if self.state() == GroupState::Empty {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    /// Waits for the leader's assignment; the leader's own request brings it, and it is written.
    fn park_sync(&mut self, token: T, request: SyncGroupRequest, out: &mut Outbox<T>) {
        let Some(member) = self.member_mut(&request.member_id) else { return };
        if let Some(before) = member.awaiting_sync.replace(token) {
            let response = SyncGroupResponse::error(ErrorCode::REBALANCE_IN_PROGRESS);
            out.reply(before, GroupResponse::SyncGroup(response));
        }
        self.note_sync(&request.member_id, out);
        if !self.is_leader(&request.member_id) || self.assignment_in_flight {
            return;
        }
        // Whom the leader forgot has an empty assignment; whom it invented has none.
        let named = request.assignments.into_iter().map(|given| (given.member_id, given.assignment));
        let assignments: BTreeMap<_, _> =
            named.filter(|(member_id, _)| self.member(member_id).is_some()).collect();
        let waiter = Waiter::Assignment {
            group_id: self.id.clone(),
            generation_id: self.generation_id,
            assignments: assignments.clone(),
        };
        self.assignment_in_flight = true;
        out.append(&self.record(Some(&assignments)), Effect::Group(self.id.clone()), Some(waiter));
    }

    fn heartbeat(&self, request: &HeartbeatRequest, out: &mut Outbox<T>) -> ErrorCode {
        if let Err(error) = self.validate_member(&request.member_id, request.group_instance_id.as_deref()) {
            return error;
        }
        if request.generation_id != self.generation_id {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        self.note_alive(&request.member_id, out);
        match self.state() {
            GroupState::PreparingRebalance => ErrorCode::REBALANCE_IN_PROGRESS,
            // A member may begin to send them once it has joined.
            GroupState::CompletingRebalance | GroupState::Stable => ErrorCode::NONE,
            GroupState::Empty | GroupState::Dead => ErrorCode::UNKNOWN_MEMBER_ID,
        }
    }

    /// Begins a member's session anew.
    pub(super) fn note_alive(&self, member_id: &str, out: &mut Outbox<T>) {
        if let Some(member) = self.member(member_id) {
            out.expect_member(&self.id, &member.member_id, member.session_timeout_ms);
        }
    }

    fn leave(&mut self, request: &LeaveGroupRequest, out: &mut Outbox<T>) -> LeaveGroupResponse {
        let count_before = self.members().len();
        let mut members = Vec::with_capacity(request.members.len());
        for member in &request.members {
            let error = self.leave_one(member, out).err().unwrap_or(ErrorCode::NONE);
            members.push(LeftMember { member: member.clone(), error });
        }
        match self.state() {
            // An id that had been handed out and was given up concerns nobody.
            GroupState::CompletingRebalance | GroupState::Stable if self.members().len() < count_before => {
                self.prepare_rebalance(out);
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(out),
            _ => {}
        }
        LeaveGroupResponse { error: ErrorCode::NONE, members }
    }

    fn leave_one(&mut self, member: &MemberIdentity, out: &mut Outbox<T>) -> Result<(), ErrorCode> {
        let instance = member.group_instance_id.as_deref();
        let member_id = if member.member_id.is_empty() {
            let known = instance.and_then(|instance| self.static_member_id(instance));
            known.cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?
        } else {
            if !self.pending_join.contains(&member.member_id) {
                self.validate_member(&member.member_id, instance)?;
            }
            member.member_id.clone()
        };
        self.remove_and_answer(&member_id, out);
        Ok(())
    }
}
