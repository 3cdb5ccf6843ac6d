//! Fetches of consumers: what is committed, from the leader or from a follower (KIP-392).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taffrail_protocol::codec::RecordSet;
use taffrail_protocol::messages::fetch::{
    FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use taffrail_protocol::messages::{FetchRequest, FetchResponse};
use taffrail_protocol::{ErrorCode, Uuid};

use super::refuse;
use crate::call::Call;
use crate::clock;
use crate::cluster::{PartitionKey, Replica, Topic, TopicPartition};
use crate::cluster_view::{ClusterView, NO_BROKER, ids};
use crate::fetch_session::{FetchContext, FetchPartition, FetchTopic, Told};
use crate::handler::leader_hints::LeaderHints;
use crate::net::outbox::{FileRange, Response};
use crate::net::parked::{Answer, Parked};
use crate::request::{Operation, Resource, authorize};
use crate::waiter::{FetchWait, ParkedPlace, PartitionWaiter};
use taffrail_log::FileStorage;
use taffrail_replication::partition::{Isolation, Partition};

/// Versions from this one on name topics by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// Versions from this one on may be answered by followers, or with the name of one (KIP-392).
const FOLLOWERS_FROM: i16 = 11;

/// What a fetch wants, apart from its partitions.
#[derive(Debug, Clone)]
struct Terms {
    /// Whether a follower may answer.
    from_followers: bool,
    /// The rack to look for a replica in, where such ones are looked for.
    rack: Option<Box<str>>,
    max_wait: Duration,
    min_bytes: u64,
    max_bytes: u32,
    isolation: Isolation,
}

/// What was found for one partition.
struct Found {
    asked: FetchPartition,
    topic: Option<Arc<Topic>>,
    error: ErrorCode,
    high_watermark: i64,
    last_stable_offset: i64,
    log_start_offset: i64,
    /// The end of what was readable; a different one later means that there is more.
    readable_end: i64,
    /// The replica that the consumer had better read from.
    preferred: Option<i32>,
    records: Option<FileRange>,
}

impl Found {
    fn failed(asked: FetchPartition, topic: Option<Arc<Topic>>, error: ErrorCode) -> Self {
        Self {
            asked,
            topic,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            readable_end: -1,
            preferred: None,
            records: None,
        }
    }

    fn bytes(&self) -> u64 {
        self.records.as_ref().map_or(0, |range| u64::from(range.len))
    }

    fn key(&self) -> Option<PartitionKey> {
        Some((self.topic.as_ref()?.id, self.asked.partition))
    }

    fn replica(&self) -> Option<&Arc<Replica>> {
        self.topic.as_ref()?.partition(self.asked.partition)?.replica.as_ref()
    }
}

/// Handles the fetch of a consumer.
pub fn handle(call: Call, request: &FetchRequest<'_>) -> Answer {
    let max_bytes = u32::try_from(request.max_bytes.min(call.broker.config.fetch_max_bytes)).unwrap_or(0);
    let from_followers = call.version() >= FOLLOWERS_FROM;
    let selects = from_followers && call.broker.config.replica_selector_by_rack;
    let terms = Terms {
        from_followers,
        rack: Some(&*request.rack_id).filter(|rack| selects && !rack.is_empty()).map(Into::into),
        max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        // Waiting for more than may be sent would always last until the end.
        min_bytes: u64::try_from(request.min_bytes).unwrap_or(0).min(max_bytes.into()),
        max_bytes,
        isolation: if request.isolation_level == 1 {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        },
    };
    let by_id = call.version() >= TOPIC_IDS_FROM;
    let context = call.broker.fetch_sessions.lock().begin(
        clock::now_ms(),
        (request.session_id, request.session_epoch),
        by_id,
        asked(request, by_id),
        &forgotten(request, by_id),
    );
    let context = match context {
        Ok(context) => context,
        Err(code) => return refuse(&call, code),
    };
    let found = read_all(&call, &context, &terms);
    let bytes: u64 = found.iter().map(Found::bytes).sum();
    let urgent = found.iter().any(|found| found.error != ErrorCode::NONE || found.preferred.is_some());
    if terms.max_wait.is_zero() || found.is_empty() || urgent || bytes >= terms.min_bytes {
        return Answer::Now(respond(&call, &context, found));
    }
    park(call, context, terms, found, bytes)
}

fn topic_key(by_id: bool, name: &str, id: Uuid) -> FetchTopic {
    if by_id { FetchTopic::Id(id) } else { FetchTopic::Name(name.into()) }
}

fn asked(request: &FetchRequest<'_>, by_id: bool) -> Vec<FetchPartition> {
    let mut asked = Vec::new();
    for topic in &request.topics {
        let key = topic_key(by_id, &topic.topic, topic.topic_id);
        asked.extend(topic.partitions.iter().map(|partition| FetchPartition {
            topic: key.clone(),
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: partition.current_leader_epoch,
        }));
    }
    asked
}

fn forgotten(request: &FetchRequest<'_>, by_id: bool) -> Vec<(FetchTopic, i32)> {
    let topics = request.forgotten_topics_data.iter();
    topics
        .flat_map(|topic| {
            let key = topic_key(by_id, &topic.topic, topic.topic_id);
            topic.partitions.iter().map(move |partition| (key.clone(), *partition))
        })
        .collect()
}

/// Reads every partition of the request, within its bounds. The first batch goes out even where it is larger than they
/// are, or a consumer would never get past it (KIP-74).
fn read_all(call: &Call, context: &FetchContext, terms: &Terms) -> Vec<Found> {
    let mut left = terms.max_bytes;
    let mut nothing_yet = true;
    let rack = terms.rack.as_deref().map(|rack| Rack::new(call, rack));
    let partitions = context.partitions().into_iter();
    partitions
        .map(|asked| {
            let limit = u32::try_from(asked.max_bytes).unwrap_or(0).min(left);
            let found = read_one(call, asked, limit, nothing_yet, terms, rack.as_ref());
            if let Some(range) = &found.records {
                nothing_yet = false;
                left = left.saturating_sub(range.len);
            }
            found
        })
        .collect()
}

fn read_one(
    call: &Call,
    asked: FetchPartition,
    max_bytes: u32,
    at_least_one_batch: bool,
    terms: &Terms,
    rack: Option<&Rack<'_>>,
) -> Found {
    let cluster = &call.broker.cluster;
    let (topic, missing) = match &asked.topic {
        FetchTopic::Name(name) => (cluster.topic(name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        FetchTopic::Id(id) => (cluster.topic_by_id(*id), ErrorCode::UNKNOWN_TOPIC_ID),
    };
    let Some(topic) = topic else { return Found::failed(asked, None, missing) };
    if !authorize(&call.context, Operation::Read, Resource::Topic(&topic.name)) {
        return Found::failed(asked, Some(topic), ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    let Some(partition) = topic.partition(asked.partition) else {
        return Found::failed(asked, Some(topic), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    };
    let replica = match partition.replica() {
        Ok(replica) => Arc::clone(replica),
        Err(code) => return Found::failed(asked, Some(topic), code),
    };
    let preferred = rack.and_then(|rack| rack.preferred_replica(partition));
    let mut partition = replica.lock();
    if let Err(code) = check_role(&partition, asked.current_leader_epoch, terms) {
        drop(partition);
        return Found::failed(asked, Some(topic), code);
    }
    let read = match preferred {
        Some(_) => Ok(None),
        None => partition.read(asked.fetch_offset, max_bytes, at_least_one_batch, terms.isolation),
    };
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            drop(partition);
            return Found::failed(asked, Some(topic), error.code());
        }
    };
    Found {
        error: ErrorCode::NONE,
        high_watermark: partition.high_watermark(),
        last_stable_offset: partition.readable_end(Isolation::ReadCommitted),
        log_start_offset: partition.log().log_start_offset(),
        readable_end: partition.readable_end(terms.isolation),
        preferred,
        records: read.map(|range| FileRange { file: range.file, position: range.position, len: range.len }),
        asked,
        topic: Some(topic),
    }
}

/// Whether this broker may answer.
fn check_role(
    partition: &Partition<FileStorage, PartitionWaiter>,
    leader_epoch: i32,
    terms: &Terms,
) -> Result<(), ErrorCode> {
    if terms.from_followers {
        partition.check_reader(leader_epoch)
    } else {
        partition.check_leader(leader_epoch)
    }
}

/// A consumer's rack, and the brokers as they are while its request is answered.
struct Rack<'a> {
    name: &'a str,
    me: i32,
    view: ClusterView<'a>,
}

impl<'a> Rack<'a> {
    fn new(call: &'a Call, name: &'a str) -> Self {
        let view = ClusterView::new(&call.broker.cluster, &call.context.listener);
        Self { name, me: call.broker.id, view }
    }

    /// The replica in the rack that the consumer had better read from; `None` when it is this one, or there is none. Only
    /// a leader sends consumers elsewhere, and only to followers that are in sync and alive
    /// (`org.apache.kafka.common.replica.RackAwareReplicaSelector`).
    fn preferred_replica(&self, partition: &TopicPartition) -> Option<i32> {
        let record = &partition.record;
        if record.leader?.broker_id != self.me || self.holds(self.me) {
            return None;
        }
        let candidates: Vec<i32> = ids(&record.isr).into_iter().filter(|id| self.holds(*id)).collect();
        // Where there are several, partitions are spread over them.
        let pick = usize::try_from(record.partition).unwrap_or(0).checked_rem(candidates.len())?;
        Some(candidates[pick])
    }

    fn holds(&self, id: i32) -> bool {
        self.view.live_node(id).is_some_and(|node| node.rack == Some(self.name))
    }
}

/// Parks the request on all of its partitions. A partition that moved on since it was read makes it due at once.
fn park(call: Call, context: FetchContext, terms: Terms, found: Vec<Found>, bytes: u64) -> Answer {
    let missing = i64::try_from(terms.min_bytes - bytes).unwrap_or(i64::MAX);
    let wait = FetchWait::new(call.waiter.clone(), missing);
    let mut places = Vec::with_capacity(found.len());
    for found in &found {
        let Some(replica) = found.replica() else { continue };
        let mut partition = replica.lock();
        let id = partition.await_data(PartitionWaiter::Fetch(Arc::clone(&wait)));
        let moved = partition.readable_end(terms.isolation) != found.readable_end
            || check_role(&partition, found.asked.current_leader_epoch, &terms).is_err();
        drop(partition);
        places.push(ParkedPlace::new(Arc::clone(replica), id));
        if moved {
            wait.look_again();
        }
    }
    let deadline = Instant::now() + terms.max_wait;
    Answer::Later(Box::new(ParkedFetch { call: Some(call), context, terms, wait, _places: places, deadline }))
}

/// A fetch that waits for data.
struct ParkedFetch {
    call: Option<Call>,
    context: FetchContext,
    terms: Terms,
    wait: Arc<FetchWait>,
    /// Where it waits, as long as it does.
    _places: Vec<ParkedPlace>,
    deadline: Instant,
}

impl Parked for ParkedFetch {
    fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }

    fn poll(&mut self, now: Instant) -> Option<Response> {
        if !self.wait.is_due() && now < self.deadline {
            return None;
        }
        let call = self.call.take()?;
        let found = read_all(&call, &self.context, &self.terms);
        Some(respond(&call, &self.context, found))
    }
}

fn respond(call: &Call, context: &FetchContext, found: Vec<Found>) -> Response {
    let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
    let mut ranges = Vec::new();
    let mut last_topic: Option<FetchTopic> = None;
    let mut hints = LeaderHints::new(call);
    let aborted = |found: &Found| (found.last_stable_offset >= 0).then(Vec::new);
    for mut found in found {
        let told = Told {
            error: found.error,
            high_watermark: found.high_watermark,
            log_start_offset: found.log_start_offset,
        };
        call.note_error(found.error);
        if matches!(found.error, ErrorCode::CORRUPT_MESSAGE | ErrorCode::KAFKA_STORAGE_ERROR) {
            // The controller hears of it, if it does not know.
            call.broker.errands.reports.extend(found.key());
        }
        let records = found.records.take();
        let goes_out = records.is_some() || found.preferred.is_some();
        if !context.tell(&found.asked.topic, found.asked.partition, told, goes_out) {
            continue;
        }
        if last_topic.as_ref() != Some(&found.asked.topic) {
            responses.push(topic_response(&found.asked.topic));
            last_topic = Some(found.asked.topic.clone());
        }
        let records = match records {
            // An empty set and not null: older clients stumble over null.
            None => RecordSet::Bytes(Cow::Borrowed(&[])),
            Some(range) => {
                let splice = RecordSet::Splice { len: range.len, id: ranges.len() as u32 };
                ranges.push(range);
                splice
            }
        };
        let leader = hints.hint(found.error, found.key());
        let Some(response) = responses.last_mut() else { continue };
        response.partitions.push(PartitionData {
            partition_index: found.asked.partition,
            error_code: found.error,
            high_watermark: found.high_watermark,
            last_stable_offset: found.last_stable_offset,
            log_start_offset: found.log_start_offset,
            aborted_transactions: aborted(&found),
            current_leader: leader.map_or_else(LeaderIdAndEpoch::default, |(leader_id, leader_epoch)| {
                LeaderIdAndEpoch { leader_id, leader_epoch }
            }),
            preferred_read_replica: found.preferred.unwrap_or(NO_BROKER),
            records,
            ..PartitionData::default()
        });
    }
    let node_endpoints = hints.endpoints(|node| NodeEndpoint {
        node_id: node.id,
        host: Cow::Owned(node.host.to_owned()),
        port: node.port,
        rack: node.rack.map(|rack| Cow::Owned(rack.to_owned())),
    });
    let session_id = context.session_id();
    call.encode_with_ranges(
        &FetchResponse { session_id, responses, node_endpoints, ..FetchResponse::default() },
        ranges,
    )
}

fn topic_response(topic: &FetchTopic) -> FetchableTopicResponse<'static> {
    match topic {
        FetchTopic::Name(name) => FetchableTopicResponse {
            topic: Cow::Owned(name.to_string()),
            ..FetchableTopicResponse::default()
        },
        FetchTopic::Id(id) => FetchableTopicResponse { topic_id: *id, ..FetchableTopicResponse::default() },
    }
}
