//! A classic group: who is there, and what they have in common.
//! (`org.apache.kafka.coordinator.group.classic.ClassicGroup`.)

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::member::Member;
use super::records::{GroupMetadataKey, GroupMetadataValue, GroupRecord};
use super::{GroupState, JoinGroupResponse, JoinedMember, Protocol, subscription};

/// What a parked member is answered with when it is taken out.
pub(super) struct Removed<T> {
    pub(super) awaiting_join: Option<T>,
    pub(super) awaiting_sync: Option<T>,
}

/// A classic group.
#[derive(Debug)]
pub(super) struct ClassicGroup<T> {
    pub(super) id: Arc<str>,
    state: GroupState,
    previous_state: GroupState,
    /// Since when it is in its state; unknown for groups that Kafka wrote before 2.1.
    pub(super) state_timestamp_ms: Option<i64>,
    pub(super) generation_id: i32,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol_name: Option<Arc<str>>,
    pub(super) leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member<T>>,
    /// Member ids by instance id.
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were handed out (KIP-394) and have not joined yet.
    pub(super) pending_join: BTreeSet<Arc<str>>,
    /// Members that have not sent SyncGroup in this generation.
    pub(super) pending_sync: BTreeSet<Arc<str>>,
    /// How many members have a parked JoinGroup.
    awaiting_join: usize,
    /// How many members have each protocol.
    supported_protocols: BTreeMap<Arc<str>, usize>,
    /// What the members subscribe to, where the coordinator can read that.
    subscribed_topics: Option<BTreeSet<Box<str>>>,
    /// In the first rebalance: the delay that runs now and what may follow it, in ms.
    pub(super) initial_wait: Option<(i64, i64)>,
    /// In the first rebalance: whether a member joined while the delay ran.
    pub(super) new_member_added: bool,
    /// Whether this generation's assignment is on its way to the log.
    pub(super) assignment_in_flight: bool,
    /// Whether a record of it is committed; a group that is not is shown to nobody.
    pub(super) durable: bool,
}

impl<T> ClassicGroup<T> {
    pub(super) fn new(id: Arc<str>, now_ms: i64) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            previous_state: GroupState::Dead,
            state_timestamp_ms: Some(now_ms),
            generation_id: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            supported_protocols: BTreeMap::new(),
            subscribed_topics: None,
            initial_wait: None,
            new_member_added: false,
            assignment_in_flight: false,
            durable: false,
        }
    }

    /// The group that a record describes.
    pub(super) fn loaded(id: Arc<str>, value: GroupMetadataValue<'_>, now_ms: i64) -> Self {
        let mut group = Self::new(id, now_ms);
        group.state = if value.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        group.state_timestamp_ms =
            if value.current_state_timestamp == -1 { None } else { Some(value.current_state_timestamp) };
        group.generation_id = value.generation;
        group.protocol_type =
            if value.protocol_type.is_empty() { None } else { Some(Arc::from(&*value.protocol_type)) };
        group.protocol_name = value.protocol.as_deref().map(Arc::from);
        let protocol = value.protocol.as_deref().unwrap_or_default();
        for member in value.members {
            group.add(Member::loaded(member, protocol), None);
        }
        group.leader = value.leader.as_deref().map(Arc::from);
        group.subscribed_topics = group.compute_subscribed_topics();
        group.durable = true;
        group
    }

    /// The record that keeps the group as it is, with `assignments` instead of what the members have. It holds the
    /// members only where the group has a protocol.
    pub(super) fn record<'a>(
        &'a self,
        assignments: Option<&'a BTreeMap<Arc<str>, Arc<[u8]>>>,
    ) -> GroupRecord<'a> {
        let assignment = |member: &'a Member<T>| match assignments {
            Some(assignments) => assignments.get(&member.member_id).map(|bytes| &**bytes).unwrap_or_default(),
            None => &member.assignment,
        };
        let protocol = self.protocol_name.as_deref();
        let members = self.members.values().map(|member| member.record(protocol, assignment(member)));
        let members = if self.protocol_name.is_some() { members.collect() } else { Vec::new() };
        let value = GroupMetadataValue {
            protocol_type: Cow::Borrowed(self.protocol_type.as_deref().unwrap_or_default()),
            generation: self.generation_id,
            protocol: self.protocol_name.as_deref().map(Cow::Borrowed),
            leader: self.leader.as_deref().map(Cow::Borrowed),
            current_state_timestamp: self.state_timestamp_ms.unwrap_or(-1),
            members,
        };
        GroupRecord::Group(GroupMetadataKey { group: Cow::Borrowed(&*self.id) }, Some(value))
    }

    /// The record that notes a group which has just been made.
    pub(super) fn empty_record(&self) -> GroupRecord<'_> {
        let value = GroupMetadataValue {
            current_state_timestamp: self.state_timestamp_ms.unwrap_or(-1),
            ..GroupMetadataValue::default()
        };
        GroupRecord::Group(GroupMetadataKey { group: Cow::Borrowed(&*self.id) }, Some(value))
    }

    pub(super) fn state(&self) -> GroupState {
        self.state
    }

    /// Whether anybody is, was or will be a member.
    pub(super) fn is_in_use(&self) -> bool {
        self.state != GroupState::Empty || self.generation_id != 0 || !self.pending_join.is_empty()
    }

    pub(super) fn previous_state(&self) -> GroupState {
        self.previous_state
    }

    /// Moves to `state`; the legal ways are in [`GroupState`]'s table.
    pub(super) fn transition_to(&mut self, state: GroupState, now_ms: i64) {
        debug_assert!(
            matches!(
                (self.state, state),
                (GroupState::PreparingRebalance, GroupState::Empty | GroupState::CompletingRebalance)
                    | (GroupState::CompletingRebalance, GroupState::Stable)
                    | (
                        GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable,
                        GroupState::PreparingRebalance
                    )
            ),
            "group {} cannot go from {:?} to {state:?}",
            self.id,
            self.state
        );
        self.previous_state = self.state;
        self.state = state;
        self.state_timestamp_ms = Some(now_ms);
        self.assignment_in_flight = false;
    }

    pub(super) fn members(&self) -> impl ExactSizeIterator<Item = &Member<T>> {
        self.members.values()
    }

    pub(super) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member<T>> {
        self.members.values_mut()
    }

    pub(super) fn member(&self, member_id: &str) -> Option<&Member<T>> {
        self.members.get(member_id)
    }

    pub(super) fn member_mut(&mut self, member_id: &str) -> Option<&mut Member<T>> {
        self.members.get_mut(member_id)
    }

    pub(super) fn member_ids(&self) -> Vec<Arc<str>> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn static_member_id(&self, group_instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(group_instance_id)
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// The longest rebalance timeout of any member, in ms.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        i64::from(longest.unwrap_or(0).max(0))
    }

    /// Whether a joining member, known or not, finds room (`group.max.size`). While a rebalance is prepared those
    /// count that have joined, so that a group above its size loses whoever comes last.
    pub(super) fn accepts(&self, member_id: &str, max_size: i32) -> bool {
        let max_size = usize::try_from(max_size).unwrap_or(0);
        let member = self.members.get(member_id);
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                member.is_some_and(Member::is_awaiting_join) || self.awaiting_join < max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < max_size
            }
        }
    }

    /// Whether a member of `protocol_type` with `protocols` fits the others: all have one protocol in common.
    pub(super) fn supports_protocols(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| {
                self.supported_protocols.get(&protocol.name).copied().unwrap_or(0) == self.members.len()
            })
    }

    /// The protocol that all have and most prefer; a tie goes to the name that sorts first.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let common = |name: &Arc<str>| self.supported_protocols.get(name) == Some(&self.members.len());
        let mut votes = BTreeMap::<&Arc<str>, usize>::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(|protocol| common(&protocol.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    /// Adds a member; the first one leads, and its protocol type is the group's (set by the caller).
    pub(super) fn add(&mut self, member: Member<T>, awaiting_join: Option<T>) {
        let member_id = member.member_id.clone();
        if let Some(instance) = &member.group_instance_id {
            self.static_members.insert(instance.clone(), member_id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member_id.clone());
        }
        self.pending_join.remove(&member_id);
        self.count_protocols(&member.protocols, true);
        self.members.insert(member_id.clone(), member);
        if let Some(token) = awaiting_join {
            self.park_join(&member_id, token);
        }
    }

    /// Takes a member or a pending id out; where it led, another member leads.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Removed<T>> {
        let awaiting_join = self.take_join(member_id);
        let removed = self.members.remove(member_id);
        if let Some(member) = &removed {
            self.count_protocols(&member.protocols, false);
            if let Some(instance) = &member.group_instance_id {
                self.static_members.remove(instance);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        removed.map(|member| Removed { awaiting_join, awaiting_sync: member.awaiting_sync })
    }

    /// Gives a static member a new id and everything the old one had, but for its parked requests.
    pub(super) fn replace_static_member(&mut self, old_id: &str, new_id: &Arc<str>) -> Option<Removed<T>> {
        let awaiting_join = self.take_join(old_id);
        let mut member = self.members.remove(old_id)?;
        let awaiting_sync = member.awaiting_sync.take();
        member.member_id = new_id.clone();
        member.is_new = false;
        if let Some(instance) = &member.group_instance_id {
            self.static_members.insert(instance.clone(), new_id.clone());
        }
        self.members.insert(new_id.clone(), member);
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        Some(Removed { awaiting_join, awaiting_sync })
    }

    /// Replaces what a member said about itself when it joined.
    pub(super) fn update_member(
        &mut self,
        member_id: &str,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
    ) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        let old = std::mem::replace(&mut member.protocols, protocols.clone());
        self.count_protocols(&old, false);
        self.count_protocols(&protocols, true);
    }

    /// Parks a member's JoinGroup and gives back the one that was parked before.
    pub(super) fn park_join(&mut self, member_id: &str, token: T) -> Option<T> {
        let member = self.members.get_mut(member_id)?;
        let before = member.awaiting_join.replace(token);
        if before.is_none() {
            self.awaiting_join += 1;
        }
        before
    }

    /// Takes a member's parked JoinGroup.
    pub(super) fn take_join(&mut self, member_id: &str) -> Option<T> {
        let token = self.members.get_mut(member_id)?.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(token)
    }

    /// Makes sure that the leader is one that has rejoined. False where nobody has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.member(leader).is_some_and(Member::is_awaiting_join) {
            return true;
        }
        match self.members.values().find(|member| member.is_awaiting_join()) {
            Some(member) => {
                self.leader = Some(member.member_id.clone());
                true
            }
            None => false,
        }
    }

    /// Begins the next generation with the members there are.
    pub(super) fn init_next_generation(&mut self, now_ms: i64) {
        self.generation_id = self.generation_id.checked_add(1).unwrap_or(1);
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        let state = if self.members.is_empty() { GroupState::Empty } else { GroupState::CompletingRebalance };
        self.transition_to(state, now_ms);
        self.pending_sync.clear();
    }

    /// What a member is told of the generation; the leader hears of all members.
    pub(super) fn join_response(&self, member_id: &Arc<str>) -> JoinGroupResponse {
        let members = if self.is_leader(member_id) { self.joined_members() } else { Vec::new() };
        JoinGroupResponse {
            error: ErrorCode::NONE,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_else(|| Arc::from("")),
            skip_assignment: false,
            member_id: member_id.clone(),
            members,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let members = self.members.values().map(|member| JoinedMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: member.metadata(self.protocol_name.as_deref()),
        });
        members.collect()
    }

    /// Checks that a request comes from a member and not from one that a static member has replaced.
    pub(super) fn validate_member(&self, member_id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(existing) if **existing != *member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(subscription::PROTOCOL_TYPE)
    }

    /// Whether the members' subscriptions can be read.
    pub(super) fn knows_subscribed_topics(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    /// Whether a member subscribes to `topic`; where the subscriptions cannot be read, consumers may.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<Box<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(Some(self.protocol_name.as_deref()?));
            topics.extend(subscription::topics(&metadata)?);
        }
        Some(topics)
    }

    fn count_protocols(&mut self, protocols: &[Protocol], add: bool) {
        for protocol in protocols {
            let count = self.supported_protocols.entry(protocol.name.clone()).or_default();
            *count = if add { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.supported_protocols.remove(&protocol.name);
            }
        }
    }
}
