//! What ends: groups that are deleted, offsets that expire.

use std::collections::BTreeSet;
use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::classic::ClassicGroup;
use super::offsets::{CommittedOffset, OffsetKey};
use super::outbox::{Effect, Timer, Waiter};
use super::records::GroupRecord;
use super::response::DeletedGroup;
use super::shard::{Group, GroupShard};
use super::{DeleteGroupsRequest, DeleteGroupsResponse, GroupResponse, GroupState};

/// What one write removes.
struct Removals<T> {
    offsets: Vec<(Arc<str>, OffsetKey)>,
    groups: Vec<ClassicGroup<T>>,
    /// Of the tombstones, roughly.
    bytes: usize,
}

/// What a tombstone takes beside its names, in bytes.
const TOMBSTONE_OVERHEAD: usize = 32;

impl<T> Removals<T> {
    fn new() -> Self {
        Self { offsets: Vec::new(), groups: Vec::new(), bytes: 0 }
    }

    fn offset(&mut self, group_id: &Arc<str>, key: OffsetKey) {
        self.bytes += TOMBSTONE_OVERHEAD + group_id.len() + key.0.len();
        self.offsets.push((group_id.clone(), key));
    }

    fn group(&mut self, group: ClassicGroup<T>) {
        self.bytes += TOMBSTONE_OVERHEAD + group.id.len();
        self.groups.push(group);
    }

    fn is_empty(&self) -> bool {
        self.offsets.is_empty() && self.groups.is_empty()
    }
}

impl<T> GroupShard<T> {
    pub(super) fn delete_groups(&mut self, token: T, request: &DeleteGroupsRequest) {
        let mut removals = Removals::new();
        let mut results = Vec::with_capacity(request.group_ids.len());
        for group_id in &request.group_ids {
            let error = match self.groups.get(group_id) {
                None => ErrorCode::GROUP_ID_NOT_FOUND,
                Some(Group::Classic(group)) if group.state() != GroupState::Empty => {
                    ErrorCode::NON_EMPTY_GROUP
                }
                Some(Group::Classic(_)) => {
                    for key in self.offsets_in_log(group_id) {
                        removals.offset(group_id, key);
                    }
                    self.withdraw_group(group_id, &mut removals);
                    ErrorCode::NONE
                }
            };
            results.push(DeletedGroup { group_id: group_id.clone(), error });
        }
        let response = GroupResponse::DeleteGroups(DeleteGroupsResponse { groups: results });
        if removals.is_empty() {
            return self.out.reply(token, response);
        }
        self.append_removals(removals, Some(Waiter::Reply { token, response }));
    }

    /// Every `offsets.retention.check.interval.ms`: tombstones for what has expired.
    pub(super) fn expire_offsets(&mut self) {
        self.schedule_retention();
        // Until the last round is in the log for good there is no point in another.
        let writes = || self.out.writes();
        if writes().any(|write| matches!(write.effect, Effect::Removal { .. })) {
            return;
        }
        let busy: BTreeSet<Arc<str>> = writes()
            .filter_map(|write| match &write.effect {
                Effect::Group(group_id) | Effect::Offsets { group_id, .. } => Some(group_id.clone()),
                Effect::Removal { .. } | Effect::None => None,
            })
            .collect();
        let group_ids: Vec<_> = self.groups.keys().filter(|id| !busy.contains(*id)).cloned().collect();
        let mut removals = Removals::new();
        for group_id in group_ids {
            let (expired, is_over) = self.expired_offsets(&group_id);
            for key in expired {
                removals.offset(&group_id, key);
                removals = self.flush_removals(removals);
            }
            if is_over {
                self.withdraw_group(&group_id, &mut removals);
                removals = self.flush_removals(removals);
            }
        }
        if !removals.is_empty() {
            self.append_removals(removals, None);
        }
    }

    pub(super) fn schedule_retention(&mut self) {
        let interval_ms = self.out.config.offsets_retention_check_interval_ms.max(1);
        self.out.after(interval_ms, Timer::Retention);
    }

    /// The offsets of a group that have expired, and whether nothing keeps the group any more.
    fn expired_offsets(&self, group_id: &Arc<str>) -> (Vec<OffsetKey>, bool) {
        let Some(Group::Classic(group)) = self.groups.get(group_id) else { return (Vec::new(), false) };
        let is_idle = group.state() == GroupState::Empty && group.pending_join.is_empty();
        let Some(offsets) = self.offsets.of_group(group_id) else { return (Vec::new(), is_idle) };
        let mut expired = Vec::new();
        let mut all = true;
        for (topic, partitions) in offsets {
            let is_subscribed = group.is_subscribed_to(topic);
            for (partition, offset) in partitions {
                if !is_subscribed && self.is_expired(group, offset) {
                    expired.push((topic.clone(), *partition));
                } else {
                    all = false;
                }
            }
        }
        (expired, all && is_idle)
    }

    /// Kafka's rules (KIP-211): an offset of a group with consumers lives as long as they subscribe to its topic, and
    /// the retention after its last commit; of a group without members, the retention after the last one left; of a
    /// consumer without group management, the retention after the commit.
    fn is_expired(&self, group: &ClassicGroup<T>, offset: &CommittedOffset) -> bool {
        let since_ms = match group.state() {
            _ if group.protocol_type.is_none() => offset.commit_timestamp_ms,
            GroupState::Empty => group.state_timestamp_ms.unwrap_or(offset.commit_timestamp_ms),
            GroupState::Stable if group.uses_consumer_protocol() && group.knows_subscribed_topics() => {
                offset.commit_timestamp_ms
            }
            _ => return false,
        };
        let now_ms = self.out.now_ms;
        if offset.expire_timestamp_ms != -1 {
            return now_ms >= offset.expire_timestamp_ms;
        }
        now_ms.saturating_sub(since_ms) >= self.out.config.offsets_retention_ms
    }

    /// The partitions whose offsets the log holds, or will once all that is on its way is written.
    fn offsets_in_log(&self, group_id: &Arc<str>) -> BTreeSet<OffsetKey> {
        let committed = self.offsets.of_group(group_id).into_iter().flatten();
        let mut keys: BTreeSet<OffsetKey> = committed
            .flat_map(|(topic, partitions)| partitions.keys().map(|partition| (topic.clone(), *partition)))
            .collect();
        for write in self.out.writes() {
            match &write.effect {
                Effect::Offsets { group_id: id, offsets } if id == group_id => {
                    keys.extend(offsets.iter().map(|(key, _)| key.clone()));
                }
                _ => {}
            }
        }
        keys
    }

    /// Takes a group without members out of the coordinator, so that whoever joins from now on begins a new one behind
    /// the tombstones.
    fn withdraw_group(&mut self, group_id: &Arc<str>, removals: &mut Removals<T>) {
        if let Some(Group::Classic(mut group)) = self.groups.remove(group_id) {
            group.forget_pending(&mut self.out);
            removals.group(group);
        }
    }

    fn flush_removals(&mut self, removals: Removals<T>) -> Removals<T> {
        if removals.bytes < self.out.config.max_tombstone_batch_bytes {
            return removals;
        }
        self.append_removals(removals, None);
        Removals::new()
    }

    fn append_removals(&mut self, removals: Removals<T>, waiter: Option<Waiter<T>>) {
        let offsets = removals.offsets.iter();
        let offsets = offsets
            .map(|(group_id, (topic, partition))| GroupRecord::offset_tombstone(group_id, topic, *partition));
        let groups = removals.groups.iter().map(|group| GroupRecord::group_tombstone(&group.id));
        let batch = self.out.encode(offsets.chain(groups));
        let effect = Effect::Removal { offsets: removals.offsets, groups: removals.groups };
        self.out.append_encoded(batch, effect, waiter);
    }

    /// A removal is committed.
    pub(super) fn removed(&mut self, offsets: &[(Arc<str>, OffsetKey)], groups: Vec<ClassicGroup<T>>) {
        for (group_id, (topic, partition)) in offsets {
            self.offsets.remove(group_id, topic, *partition);
        }
        for group in groups {
            self.adopt_orphans(&group.id);
        }
    }

    /// A removal has failed: its groups are still there.
    pub(super) fn restore(&mut self, groups: Vec<ClassicGroup<T>>) {
        for mut group in groups {
            match self.groups.get_mut(&group.id) {
                // A new one of the same name is in use already and goes on in its place.
                Some(Group::Classic(live)) if live.is_in_use() => live.durable |= group.durable,
                // One that came back before it, of an earlier removal, may have been in the log already.
                Some(Group::Classic(idle)) => {
                    group.durable |= idle.durable;
                    *idle = group;
                }
                None => {
                    self.groups.insert(group.id.clone(), Group::Classic(group));
                }
            }
        }
    }

    /// Offsets without a group belong to one that has no members, or nobody would ever expire them.
    pub(super) fn adopt_orphans(&mut self, group_id: &Arc<str>) {
        if self.offsets.of_group(group_id).is_some() && !self.groups.contains_key(group_id) {
            let mut group = ClassicGroup::new(group_id.clone(), self.out.now_ms);
            group.durable = true;
            self.groups.insert(group_id.clone(), Group::Classic(group));
        }
    }
}
