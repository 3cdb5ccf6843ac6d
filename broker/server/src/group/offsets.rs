//! Committed offsets: OffsetCommit, OffsetFetch, and what they keep. (`OffsetMetadataManager`.)

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_protocol::ErrorCode;

use super::classic::ClassicGroup;
use super::outbox::{Effect, Waiter};
use super::records::{GroupRecord, OffsetCommitKey, OffsetCommitValue};
use super::response::{CommittedTopic, FetchedGroup, FetchedPartition, FetchedTopic};
use super::shard::{Group, GroupShard};
use super::{
    FetchGroup, GroupResponse, GroupState, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};

/// A topic partition whose offset a group commits.
pub(super) type OffsetKey = (Arc<str>, i32);

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommittedOffset {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Arc<str>,
    pub(super) commit_timestamp_ms: i64,
    /// When it expires by its own account, or -1.
    pub(super) expire_timestamp_ms: i64,
}

/// A group's offsets by topic and partition.
pub(super) type GroupOffsets = BTreeMap<Arc<str>, BTreeMap<i32, CommittedOffset>>;

/// All offsets of the shard: only what is committed.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_group: BTreeMap<Arc<str>, GroupOffsets>,
}

impl Offsets {
    pub(super) fn put(
        &mut self,
        group_id: &Arc<str>,
        (topic, partition): OffsetKey,
        offset: CommittedOffset,
    ) {
        let group = self.by_group.entry(group_id.clone()).or_default();
        group.entry(topic).or_default().insert(partition, offset);
    }

    pub(super) fn remove(&mut self, group_id: &str, topic: &str, partition: i32) {
        let Some(group) = self.by_group.get_mut(group_id) else { return };
        let Some(partitions) = group.get_mut(topic) else { return };
        partitions.remove(&partition);
        if partitions.is_empty() {
            group.remove(topic);
        }
        if group.is_empty() {
            self.by_group.remove(group_id);
        }
    }

    pub(super) fn of_group(&self, group_id: &str) -> Option<&GroupOffsets> {
        self.by_group.get(group_id)
    }

    pub(super) fn group_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_group.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.by_group.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }

    pub(super) fn clear(&mut self) {
        self.by_group.clear();
    }
}

impl CommittedOffset {
    pub(super) fn loaded(value: &OffsetCommitValue<'_>) -> Self {
        Self {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: Arc::from(&*value.metadata),
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: value.expire_timestamp,
        }
    }

    fn record<'a>(&'a self, group_id: &'a str, topic: &'a str, partition: i32) -> GroupRecord<'a> {
        let key = OffsetCommitKey { group: Cow::Borrowed(group_id), topic: Cow::Borrowed(topic), partition };
        let value = OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: Cow::Borrowed(&*self.metadata),
            commit_timestamp: self.commit_timestamp_ms,
            expire_timestamp: self.expire_timestamp_ms,
            ..OffsetCommitValue::default()
        };
        GroupRecord::Offset(key, Some(value))
    }
}

impl<T> GroupShard<T> {
    pub(super) fn offset_commit(&mut self, token: T, request: &OffsetCommitRequest) {
        if let Err(error) = self.check_commit(request) {
            let response = request.error_response(error);
            return self.out.reply(token, GroupResponse::OffsetCommit(response));
        }
        let (response, offsets) = self.accept_offsets(request);
        let response = GroupResponse::OffsetCommit(response);
        if offsets.is_empty() {
            return self.out.reply(token, response);
        }
        let records = offsets
            .iter()
            .map(|((topic, partition), offset)| offset.record(&request.group_id, topic, *partition));
        let batch = self.out.encode(records);
        let group_id = request.group_id.clone();
        if let Some(Group::Classic(group)) = self.groups.get(&group_id) {
            // In the classic protocol a commit counts as a heartbeat.
            if matches!(group.state(), GroupState::Stable | GroupState::PreparingRebalance) {
                group.note_alive(&request.member_id, &mut self.out);
            }
        } else {
            // A consumer without group management: its group is empty and has no protocol.
            let group = ClassicGroup::new(group_id.clone(), self.out.now_ms);
            self.groups.insert(group_id.clone(), Group::Classic(group));
        }
        let waiter = Waiter::Reply { token, response };
        self.out.append_encoded(batch, Effect::Offsets { group_id, offsets }, Some(waiter));
    }

    fn check_commit(&self, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        if let Some(Group::Classic(group)) = self.groups.get(&request.group_id) {
            return group.check_commit(request);
        }
        match request.generation_id {
            ..0 => Ok(()),
            _ if request.reports_missing_group => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            _ => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }

    fn accept_offsets(
        &self,
        request: &OffsetCommitRequest,
    ) -> (OffsetCommitResponse, Vec<(OffsetKey, CommittedOffset)>) {
        let now_ms = self.out.now_ms;
        let limit = usize::try_from(self.out.config.offset_metadata_max_bytes).unwrap_or(0);
        let expire_timestamp_ms = request.retention_time_ms.map_or(-1, |ms| now_ms.saturating_add(ms));
        let mut offsets = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let metadata = partition.metadata.as_deref().unwrap_or_default();
                if metadata.len() > limit && metadata.encode_utf16().count() > limit {
                    partitions.push((partition.partition, ErrorCode::OFFSET_METADATA_TOO_LARGE));
                    continue;
                }
                let offset = CommittedOffset {
                    offset: partition.offset,
                    leader_epoch: partition.leader_epoch,
                    metadata: partition.metadata.clone().unwrap_or_else(|| Arc::from("")),
                    commit_timestamp_ms: now_ms,
                    expire_timestamp_ms,
                };
                offsets.push(((topic.topic.clone(), partition.partition), offset));
                partitions.push((partition.partition, ErrorCode::NONE));
            }
            topics.push(CommittedTopic { topic: topic.topic.clone(), partitions });
        }
        (OffsetCommitResponse { topics }, offsets)
    }

    pub(super) fn offset_fetch(&mut self, token: T, request: OffsetFetchRequest) {
        if request.require_stable && self.out.writes().next().is_some() {
            let topics = request.groups.iter().flat_map(|group| group.topics.iter().flatten());
            let bytes = 256 + topics.map(|topic| 64 + 4 * topic.partitions.len()).sum::<usize>();
            return self.out.append_nothing(bytes, Waiter::StableRead { token, request });
        }
        let response = self.fetch_offsets(&request);
        self.out.reply(token, GroupResponse::OffsetFetch(response));
    }

    /// The offsets that are committed. A group that does not exist has none, which is no error.
    pub(super) fn fetch_offsets(&self, request: &OffsetFetchRequest) -> OffsetFetchResponse {
        let groups = request.groups.iter().map(|group| {
            let offsets = self.offsets.of_group(&group.group_id);
            FetchedGroup {
                group_id: group.group_id.clone(),
                error: ErrorCode::NONE,
                topics: fetch_group(group, offsets),
            }
        });
        OffsetFetchResponse { groups: groups.collect() }
    }
}

impl<T> ClassicGroup<T> {
    fn check_commit(&self, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        let is_empty = self.state() == GroupState::Empty;
        if request.generation_id < 0 && is_empty {
            // An administrator, or a consumer without group management.
            return Ok(());
        }
        let instance = request.group_instance_id.as_deref();
        if request.generation_id >= 0 || !request.member_id.is_empty() || instance.is_some() {
            self.validate_member(&request.member_id, instance)?;
            if request.generation_id != self.generation_id {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if !is_empty {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        // The member has joined this generation but not seen its assignment: what it commits is of the last one.
        if self.state() == GroupState::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }
}

fn fetch_group(group: &FetchGroup, offsets: Option<&GroupOffsets>) -> Vec<FetchedTopic> {
    let Some(topics) = &group.topics else {
        let all = offsets.into_iter().flatten().map(|(topic, partitions)| FetchedTopic {
            topic: topic.clone(),
            partitions: partitions
                .iter()
                .map(|(partition, offset)| fetched(*partition, Some(offset)))
                .collect(),
        });
        return all.collect();
    };
    let topics = topics.iter().map(|topic| {
        let known = offsets.and_then(|offsets| offsets.get(&topic.topic));
        let partitions = topic.partitions.iter();
        let partitions =
            partitions.map(|partition| fetched(*partition, known.and_then(|known| known.get(partition))));
        FetchedTopic { topic: topic.topic.clone(), partitions: partitions.collect() }
    });
    topics.collect()
}

fn fetched(partition: i32, offset: Option<&CommittedOffset>) -> FetchedPartition {
    match offset {
        Some(offset) => FetchedPartition {
            partition,
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata.clone(),
        },
        None => FetchedPartition { partition, offset: -1, leader_epoch: -1, metadata: Arc::from("") },
    }
}
