//! OffsetFetch (key 9): how far groups have read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use taffrail_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use crate::call::Call;
use crate::group::{
    self, FetchGroup, FetchTopic, FetchedGroup, FetchedPartition, GroupRequest, GroupResponse,
};
use crate::group_call::{owned, text};
use crate::net::parked::Answer;
use crate::request::Operation;

/// From this version on several groups can be asked for at once (KIP-709).
const SEVERAL_GROUPS_FROM: i16 = 8;
/// Below this version an error can only be told on each partition.
const GROUP_ERROR_FROM: i16 = 2;

/// Handles a request for committed offsets.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: OffsetFetchRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let groups = asked_groups(&call, &request);
    let require_stable = request.require_stable;
    let asked = groups.clone();
    let parts =
        groups.into_iter().filter(|group| call.authorize_group(Operation::Describe, &group.group_id).is_ok());
    let parts = parts.map(|group| {
        let partition = call.group_partition(&group.group_id);
        (
            partition,
            GroupRequest::OffsetFetch(group::OffsetFetchRequest { groups: vec![group], require_stable }),
        )
    });
    let parts = parts.collect();
    call.ask_groups(parts, move |call, responses| {
        let mut fetched = Vec::with_capacity(responses.len());
        for response in responses {
            let GroupResponse::OffsetFetch(response) = response else { return None };
            fetched.extend(response.groups);
        }
        Some(answer(call, &asked, fetched))
    })
}

fn asked_groups(call: &Call, request: &OffsetFetchRequest<'_>) -> Vec<FetchGroup> {
    let topic =
        |name: &str, partitions: &[i32]| FetchTopic { topic: owned(name), partitions: partitions.to_vec() };
    if call.version() < SEVERAL_GROUPS_FROM {
        let topics = request
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|asked| topic(&asked.name, &asked.partition_indexes)).collect());
        return vec![FetchGroup { group_id: owned(&request.group_id), topics }];
    }
    // A group named again and again would make an answer of any size.
    let mut seen = HashSet::with_capacity(request.groups.len());
    let once = request.groups.iter().filter(|group| seen.insert(&*group.group_id));
    let groups = once.map(|group| FetchGroup {
        group_id: owned(&group.group_id),
        topics: group
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|asked| topic(&asked.name, &asked.partition_indexes)).collect()),
    });
    groups.collect()
}

/// The answers in the order of the request. A group that nobody was asked for is one that the client may not see.
fn answer(call: &Call, asked: &[FetchGroup], fetched: Vec<FetchedGroup>) -> OffsetFetchResponse<'static> {
    let fetched = fetched.into_iter().map(|group| (Arc::clone(&group.group_id), group));
    let mut fetched: HashMap<Arc<str>, FetchedGroup> = fetched.collect();
    let mut groups = Vec::with_capacity(asked.len());
    for asked in asked {
        let group = fetched.remove(&asked.group_id).unwrap_or_else(|| FetchedGroup {
            group_id: Arc::clone(&asked.group_id),
            error: ErrorCode::GROUP_AUTHORIZATION_FAILED,
            topics: Vec::new(),
        });
        call.note_error(group.error);
        groups.push(group);
    }
    if call.version() >= SEVERAL_GROUPS_FROM {
        let groups = groups.iter().map(several).collect();
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    match (groups.first(), asked.first()) {
        (Some(group), Some(asked)) => single(call, group, asked),
        _ => OffsetFetchResponse::default(),
    }
}

fn several(group: &FetchedGroup) -> OffsetFetchResponseGroup<'static> {
    let partition = |partition: &FetchedPartition| OffsetFetchResponsePartitions {
        partition_index: partition.partition,
        committed_offset: partition.offset,
        committed_leader_epoch: partition.leader_epoch,
        metadata: Some(text(&partition.metadata)),
        error_code: ErrorCode::NONE,
    };
    let topics = group.topics.iter().map(|topic| OffsetFetchResponseTopics {
        name: text(&topic.topic),
        partitions: topic.partitions.iter().map(partition).collect(),
    });
    OffsetFetchResponseGroup {
        group_id: text(&group.group_id),
        topics: topics.collect(),
        error_code: group.error,
    }
}

fn single(call: &Call, group: &FetchedGroup, asked: &FetchGroup) -> OffsetFetchResponse<'static> {
    let failed = group.error != ErrorCode::NONE;
    let topics = if failed && call.version() < GROUP_ERROR_FROM {
        let topics = asked.topics.iter().flatten();
        topics.map(|topic| failed_topic(topic, group.error)).collect()
    } else {
        group.topics.iter().map(single_topic).collect()
    };
    OffsetFetchResponse { topics, error_code: group.error, ..OffsetFetchResponse::default() }
}

fn single_topic(topic: &group::FetchedTopic) -> OffsetFetchResponseTopic<'static> {
    let partitions = topic.partitions.iter().map(|partition| OffsetFetchResponsePartition {
        partition_index: partition.partition,
        committed_offset: partition.offset,
        committed_leader_epoch: partition.leader_epoch,
        metadata: Some(text(&partition.metadata)),
        error_code: ErrorCode::NONE,
    });
    OffsetFetchResponseTopic { name: text(&topic.topic), partitions: partitions.collect() }
}

fn failed_topic(topic: &FetchTopic, error_code: ErrorCode) -> OffsetFetchResponseTopic<'static> {
    let partitions = topic.partitions.iter().map(|partition_index| OffsetFetchResponsePartition {
        partition_index: *partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some("".into()),
        error_code,
    });
    OffsetFetchResponseTopic { name: text(&topic.topic), partitions: partitions.collect() }
}
