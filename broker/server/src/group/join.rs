//! JoinGroup.

use std::collections::BTreeSet;
use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::classic::ClassicGroup;
use super::member::Member;
use super::outbox::{Effect, Outbox, Replacement, Timer, Waiter};
use super::rebalance::answer_removed;
use super::shard::{Group, GroupShard};
use super::{ClientContext, GroupConfig, GroupState, JoinGroupRequest, JoinGroupResponse};

/// Longest string that the group's record can hold, less a member id's own characters.
const MAX_STRING: usize = i16::MAX as usize - 64;

/// A JoinGroup on its way through the coordinator.
struct Joining<'a, T> {
    token: T,
    request: &'a JoinGroupRequest,
    context: &'a ClientContext,
}

/// An answer that can be given at once.
type Answer<T> = (T, JoinGroupResponse);

impl<T> GroupShard<T> {
    pub(super) fn join(&mut self, token: T, context: &ClientContext, mut request: JoinGroupRequest) {
        if let Err(error) = check(&request, context, &self.out.config) {
            return self.out.reply_join(token, JoinGroupResponse::error(request.member_id, error));
        }
        if request.rebalance_timeout_ms < 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        // Kafka keeps them in a set, where the first of a name wins.
        let mut names = BTreeSet::new();
        request.protocols.retain(|protocol| names.insert(protocol.name.clone()));

        let group_id = request.group_id.clone();
        let is_new_group = !self.groups.contains_key(&group_id);
        if is_new_group && !request.member_id.is_empty() {
            let response = JoinGroupResponse::error(request.member_id, ErrorCode::UNKNOWN_MEMBER_ID);
            return self.out.reply_join(token, response);
        }
        let new_id = request.member_id.is_empty().then(|| {
            let prefix = request.group_instance_id.as_deref().unwrap_or(&context.client_id);
            Arc::from(format!("{prefix}-{}", hyphenated((self.ids)())))
        });
        let Group::Classic(group) = self
            .groups
            .entry(group_id.clone())
            .or_insert_with(|| Group::Classic(ClassicGroup::new(group_id.clone(), self.out.now_ms)));
        let joining = Joining { token, request: &request, context };
        let answer = group.join(joining, new_id, &mut self.out);
        if is_new_group {
            self.keep_new_group(group_id, answer);
        } else if let Some((token, response)) = answer {
            self.out.reply_join(token, response);
        }
    }

    /// Notes in the log a group that a joining member brought into being, unless it was refused.
    fn keep_new_group(&mut self, group_id: Arc<str>, answer: Option<Answer<T>>) {
        if let Some((token, response)) = answer {
            if response.error != ErrorCode::MEMBER_ID_REQUIRED {
                self.groups.remove(&group_id);
                return self.out.reply_join(token, response);
            }
            return self.append_new_group(group_id, Some((token, response)));
        }
        self.append_new_group(group_id, None);
    }

    fn append_new_group(&mut self, group_id: Arc<str>, reply: Option<Answer<T>>) {
        let Some(Group::Classic(group)) = self.groups.get(&group_id) else { return };
        let waiter = Waiter::NewGroup { group_id: group_id.clone(), reply };
        self.out.append(&group.empty_record(), Effect::Group(group_id), Some(waiter));
    }

    /// The record of a new group failed: nobody may be told of it, so whoever waits in it begins again.
    pub(super) fn drop_new_group(&mut self, group_id: &Arc<str>, error: ErrorCode) {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else { return };
        if group.durable || group.generation_id != 0 {
            return;
        }
        for member_id in group.member_ids() {
            self.out.forget_member(group_id, &member_id);
            if let Some(removed) = group.remove(&member_id) {
                answer_removed(removed, Arc::from(""), error, &mut self.out);
            }
        }
        group.forget_pending(&mut self.out);
        self.out.timers.cancel(&Timer::Join(group_id.clone()));
        self.groups.remove(group_id);
    }

    /// A static member's new id is committed, or (`error`) is not. `is_lost` says that it never will be.
    pub(super) fn static_member_written(
        &mut self,
        replacement: Replacement,
        error: Option<ErrorCode>,
        is_lost: bool,
    ) {
        let Some(Group::Classic(group)) = self.groups.get_mut(&replacement.group_id) else { return };
        // Should a rebalance have begun meanwhile, it answers the member.
        if group.state() != GroupState::Stable || group.generation_id != replacement.generation_id {
            return;
        }
        let token = group.take_join(&replacement.new_member_id);
        let mut response = group.join_response(&replacement.new_member_id);
        let Some(error) = error else {
            if replacement.supports_skipping_assignment {
                response.skip_assignment = group.is_leader(&replacement.new_member_id);
            } else {
                // Without the flag a leader would assign anew; one that is told of another leader does not.
                response.members.clear();
                response.leader = replacement.old_leader.unwrap_or_else(|| Arc::from(""));
            }
            if let Some(token) = token {
                self.out.reply_join(token, response);
            }
            return;
        };
        if is_lost {
            group.undo_replacement(&replacement, &mut self.out);
        }
        if let Some(token) = token {
            let response = JoinGroupResponse {
                error,
                member_id: Arc::from(""),
                members: Vec::new(),
                leader: replacement.old_leader.unwrap_or_else(|| Arc::from("")),
                ..response
            };
            self.out.reply_join(token, response);
        }
    }
}

impl<T> ClassicGroup<T> {
    fn join(
        &mut self,
        joining: Joining<'_, T>,
        new_id: Option<Arc<str>>,
        out: &mut Outbox<T>,
    ) -> Option<Answer<T>> {
        let request = joining.request;
        if !self.accepts(&request.member_id, out.config.max_size) {
            self.remove_and_answer(&request.member_id, out);
            let response = JoinGroupResponse::error(Arc::from(""), ErrorCode::GROUP_MAX_SIZE_REACHED);
            return Some((joining.token, response));
        }
        if !self.supports_protocols(&request.protocol_type, &request.protocols) {
            let error = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
            return Some((joining.token, JoinGroupResponse::error(request.member_id.clone(), error)));
        }
        match new_id {
            Some(new_id) => self.join_new_member(joining, new_id, out),
            None => self.join_existing_member(joining, out),
        }
    }

    fn join_new_member(
        &mut self,
        joining: Joining<'_, T>,
        new_id: Arc<str>,
        out: &mut Outbox<T>,
    ) -> Option<Answer<T>> {
        let request = joining.request;
        if let Some(instance) = &request.group_instance_id {
            match self.static_member_id(instance).cloned() {
                Some(old_id) => self.join_static_member_again(joining, &old_id, new_id, out),
                None => self.add_member(joining, new_id, out),
            }
            return None;
        }
        if request.require_known_member_id {
            out.expect_member(&self.id, &new_id, request.session_timeout_ms);
            self.pending_join.insert(new_id.clone());
            return Some((joining.token, JoinGroupResponse::error(new_id, ErrorCode::MEMBER_ID_REQUIRED)));
        }
        self.add_member(joining, new_id, out);
        None
    }

    fn join_existing_member(&mut self, joining: Joining<'_, T>, out: &mut Outbox<T>) -> Option<Answer<T>> {
        let request = joining.request;
        let member_id = &request.member_id;
        if self.pending_join.contains(member_id) && request.group_instance_id.is_none() {
            self.add_member(joining, member_id.clone(), out);
            return None;
        }
        if let Err(error) = self.validate_member(member_id, request.group_instance_id.as_deref()) {
            return Some((joining.token, JoinGroupResponse::error(member_id.clone(), error)));
        }
        let is_unchanged = self.member(member_id).is_some_and(|member| member.protocols == request.protocols);
        let rejoins = match self.state() {
            GroupState::PreparingRebalance => true,
            // It may have missed the answer to its first JoinGroup.
            GroupState::CompletingRebalance => !is_unchanged,
            // The leader rejoins to have partitions assigned anew, as when topics have changed.
            GroupState::Stable => self.is_leader(member_id) || !is_unchanged,
            GroupState::Empty | GroupState::Dead => {
                let error = ErrorCode::UNKNOWN_MEMBER_ID;
                return Some((joining.token, JoinGroupResponse::error(member_id.clone(), error)));
            }
        };
        if !rejoins {
            return Some((joining.token, self.join_response(member_id)));
        }
        self.update_from(member_id, request);
        self.park(member_id, joining.token, out);
        self.rebalance_or_complete_join(out);
        None
    }

    fn add_member(&mut self, joining: Joining<'_, T>, member_id: Arc<str>, out: &mut Outbox<T>) {
        if self.state() == GroupState::PreparingRebalance && self.previous_state() == GroupState::Empty {
            self.new_member_added = true;
        }
        if self.members().len() == 0 {
            self.protocol_type = Some(joining.request.protocol_type.clone());
        }
        let member = Member::joining(member_id.clone(), joining.request, joining.context);
        self.add(member, Some(joining.token));
        // It sends no heartbeats before it has a generation, and a client that went away while parked is not noticed.
        out.expect_member(&self.id, &member_id, out.config.new_member_join_timeout_ms);
        self.rebalance_or_complete_join(out);
    }

    /// A static member comes back without its id, as after a restart: it takes its old place under a new id.
    fn join_static_member_again(
        &mut self,
        joining: Joining<'_, T>,
        old_id: &Arc<str>,
        new_id: Arc<str>,
        out: &mut Outbox<T>,
    ) {
        let request = joining.request;
        let old_leader = self.leader.clone();
        out.forget_member(&self.id, old_id);
        if let Some(removed) = self.replace_static_member(old_id, &new_id) {
            answer_removed(removed, old_id.clone(), ErrorCode::FENCED_INSTANCE_ID, out);
        }
        let Some(member) = self.member(&new_id) else { return };
        let replacement = Replacement {
            group_id: self.id.clone(),
            generation_id: self.generation_id,
            old_member_id: old_id.clone(),
            new_member_id: new_id.clone(),
            old_protocols: member.protocols.clone(),
            old_rebalance_timeout_ms: member.rebalance_timeout_ms,
            old_session_timeout_ms: member.session_timeout_ms,
            old_leader,
            supports_skipping_assignment: request.supports_skipping_assignment,
        };
        self.update_from(&new_id, request);
        out.expect_member(&self.id, &new_id, request.session_timeout_ms);
        self.park(&new_id, joining.token, out);
        match self.state() {
            GroupState::Stable if self.protocol_name == self.select_protocol() => {
                let effect = Effect::Group(self.id.clone());
                let waiter = Waiter::StaticMember(Box::new(replacement));
                out.append(&self.record(None), effect, Some(waiter));
            }
            // The leader may be assigning to the old id at this moment, so the new one needs a generation of its own.
            GroupState::CompletingRebalance | GroupState::Stable => self.prepare_rebalance(out),
            _ => self.maybe_complete_join(out),
        }
    }

    fn undo_replacement(&mut self, replacement: &Replacement, out: &mut Outbox<T>) {
        out.forget_member(&self.id, &replacement.new_member_id);
        self.update_member(
            &replacement.new_member_id,
            replacement.old_protocols.clone(),
            replacement.old_rebalance_timeout_ms,
            replacement.old_session_timeout_ms,
        );
        if let Some(removed) =
            self.replace_static_member(&replacement.new_member_id, &replacement.old_member_id)
        {
            answer_removed(removed, replacement.new_member_id.clone(), ErrorCode::FENCED_INSTANCE_ID, out);
        }
        out.expect_member(&self.id, &replacement.old_member_id, replacement.old_session_timeout_ms);
    }

    fn update_from(&mut self, member_id: &str, request: &JoinGroupRequest) {
        self.update_member(
            member_id,
            request.protocols.clone(),
            request.rebalance_timeout_ms,
            request.session_timeout_ms,
        );
    }

    /// Parks a JoinGroup; one that the same member had parked before is answered, as its client has given it up.
    fn park(&mut self, member_id: &Arc<str>, token: T, out: &mut Outbox<T>) {
        if let Some(before) = self.park_join(member_id, token) {
            let error = ErrorCode::REBALANCE_IN_PROGRESS;
            out.reply_join(before, JoinGroupResponse::error(member_id.clone(), error));
        }
    }
}

fn check(request: &JoinGroupRequest, context: &ClientContext, config: &GroupConfig) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() || request.group_id.len() > MAX_STRING {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let range = config.min_session_timeout_ms..=config.max_session_timeout_ms;
    if !range.contains(&request.session_timeout_ms) {
        return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
    }
    let mut strings = request.protocols.iter().map(|protocol| protocol.name.len()).chain([
        request.protocol_type.len(),
        request.group_instance_id.as_ref().map_or(0, |instance| instance.len()),
        context.client_id.len(),
        context.client_host.len(),
    ]);
    if strings.any(|length| length > MAX_STRING) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    Ok(())
}

/// A random UUID in Java's form.
fn hyphenated(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
