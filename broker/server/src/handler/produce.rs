//! Produce (key 0): batches into logs.
//!
//! One copy from socket to page cache: the batches are checked where the connection read them, get their offset and
//! epoch in place, and are written from there.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taffrail_control::topic_config::TopicConfig;
use taffrail_protocol::messages::produce::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use taffrail_protocol::messages::{ProduceRequest, ProduceResponse};
use taffrail_protocol::record_batch::{
    BatchError, BatchHeader, BatchMut, BatchView, Compression, NO_TIMESTAMP, ProduceLimits, TimestampType,
    validate_produced,
};
use taffrail_protocol::{DecodeError, ErrorCode, Uuid};

use crate::call::Call;
use crate::clock;
use crate::cluster::{Cluster, Topic};
use crate::handler::leader_hints::LeaderHints;
use crate::net::outbox::Response;
use crate::net::parked::{Answer, Parked};
use crate::request::{Operation, Resource, authorize};
use crate::waiter::{PartitionWaiter, ProduceWait, carry_out};
use taffrail_replication::partition::{Effects, RequiredAcks};

/// Versions from this one on name topics by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// Versions below this one carry message formats that Kafka 4 does not accept.
const OLDEST_VERSION: i16 = 3;

/// The most that a batch may decompress to where it has to be looked into.
const DECOMPRESSED_LIMIT_BYTES: usize = 128 * 1024 * 1024;

/// One batch of a request, found in the frame.
struct Item {
    /// Which of the request's topics it is for.
    topic: usize,
    partition: i32,
    /// Where the batch stands in the frame; `None` when the request carries none.
    records: Option<Range<usize>>,
}

/// A topic as the request names it, and what it stands for.
struct AskedTopic {
    name: Arc<str>,
    id: Uuid,
    found: Result<Arc<Topic>, ErrorCode>,
}

/// The outcome for one batch.
struct Outcome {
    topic: usize,
    partition: i32,
    error: ErrorCode,
    message: Option<String>,
    base_offset: i64,
    log_append_time_ms: i64,
    log_start_offset: i64,
    /// Appended, but not committed yet.
    waiting: bool,
}

impl Outcome {
    fn failed(item: &Item, error: ErrorCode, message: Option<String>) -> Self {
        Self {
            topic: item.topic,
            partition: item.partition,
            error,
            message,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            waiting: false,
        }
    }
}

/// Handles a produce request whose body is `frame[body..]`.
pub fn handle(call: Call, frame: &mut [u8], body: usize) -> Answer {
    if call.version() < OLDEST_VERSION {
        return Answer::Close(format!(
            "Produce version {} carries a message format that is no longer accepted: use a client of Kafka 0.11 or later",
            call.version()
        ));
    }
    let asked = match decode(&call, frame, body) {
        Ok(asked) => asked,
        Err(error) => return call.unreadable(&error),
    };
    let acks = match asked.acks {
        0 | 1 => RequiredAcks::Leader,
        -1 => RequiredAcks::All,
        _ => return refuse_all(&call, &asked, ErrorCode::INVALID_REQUIRED_ACKS),
    };
    let mut effects = Effects::new();
    let mut outcomes = Vec::with_capacity(asked.items.len());
    let mut wait: Option<Arc<ProduceWait>> = None;
    for (index, item) in asked.items.iter().enumerate() {
        let mut park = || {
            let wait = wait.get_or_insert_with(|| ProduceWait::new(call.waiter.clone()));
            PartitionWaiter::Produce { wait: Arc::clone(wait), batch: index }
        };
        outcomes.push(append(&call, &asked, item, frame, acks, &mut park, &mut effects));
        carry_out(&mut effects);
    }
    if asked.acks == 0 {
        return without_answer(&call, &outcomes);
    }
    let reply = Reply { call, topics: asked.topics, outcomes };
    match wait {
        None => Answer::Now(reply.encode()),
        Some(wait) => {
            let deadline = Instant::now() + asked.timeout;
            Answer::Later(Box::new(ParkedProduce { reply: Some(reply), wait, deadline }))
        }
    }
}

struct Asked {
    acks: i16,
    timeout: Duration,
    topics: Vec<AskedTopic>,
    items: Vec<Item>,
}

fn decode(call: &Call, frame: &[u8], body: usize) -> Result<Asked, DecodeError> {
    let request: ProduceRequest<'_> = call.decode(&frame[body..])?;
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut items = Vec::with_capacity(request.topic_data.len());
    for (index, topic) in request.topic_data.iter().enumerate() {
        topics.push(find(call, &topic.name, topic.topic_id));
        items.extend(topic.partition_data.iter().map(|partition| Item {
            topic: index,
            partition: partition.index,
            records: partition.records.as_deref().map(|records| position_in(frame, records)),
        }));
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    Ok(Asked { acks: request.acks, timeout, topics, items })
}

/// Where `part`, which was decoded from `frame` by borrowing, stands in it.
fn position_in(frame: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - frame.as_ptr().addr();
    start..start + part.len()
}

fn find(call: &Call, name: &str, id: Uuid) -> AskedTopic {
    let cluster: &Cluster = &call.broker.cluster;
    let (topic, missing) = if call.version() >= TOPIC_IDS_FROM {
        (cluster.topic_by_id(id), ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        (cluster.topic(name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    };
    let Some(topic) = topic else { return AskedTopic { name: name.into(), id, found: Err(missing) } };
    let allowed = authorize(&call.context, Operation::Write, Resource::Topic(&topic.name));
    AskedTopic {
        name: Arc::clone(&topic.name),
        id,
        found: if allowed { Ok(topic) } else { Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED) },
    }
}

fn append(
    call: &Call,
    asked: &Asked,
    item: &Item,
    frame: &mut [u8],
    acks: RequiredAcks,
    park: &mut dyn FnMut() -> PartitionWaiter,
    effects: &mut Effects<PartitionWaiter>,
) -> Outcome {
    let topic = match &asked.topics[item.topic].found {
        Ok(topic) => topic,
        Err(code) => return Outcome::failed(item, *code, None),
    };
    // What the coordinators keep there nobody else may write.
    if topic.is_internal() {
        return Outcome::failed(item, ErrorCode::INVALID_TOPIC_EXCEPTION, None);
    }
    let Some(partition) = topic.partition(item.partition) else {
        return Outcome::failed(item, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None);
    };
    let replica = match partition.replica() {
        Ok(replica) => replica,
        Err(code) => return Outcome::failed(item, code, None),
    };
    let Some(range) = item.records.clone() else {
        return Outcome::failed(
            item,
            ErrorCode::INVALID_RECORD,
            Some("the request carries no batch".to_owned()),
        );
    };
    let batch = &mut frame[range];
    let now_ms = clock::now_ms();
    let header = match check(&topic.config, batch, now_ms) {
        Ok(header) => header,
        Err((code, message)) => return Outcome::failed(item, code, Some(message)),
    };
    let mut locked = replica.lock();
    let produced = match locked.produce(now_ms, batch, &header, acks, effects) {
        Ok(produced) => produced,
        Err(error) => {
            return Outcome::failed(item, error.code(), Some(error.to_string()));
        }
    };
    // With acks=0 nobody waits for an answer.
    let waiting = !produced.acknowledged && asked.acks != 0;
    if waiting {
        locked.await_acks(produced.info.last_offset, acks, park());
    }
    drop(locked);
    if produced.info.rolled {
        call.broker.sync_queue.push(replica);
    }
    Outcome {
        topic: item.topic,
        partition: item.partition,
        error: ErrorCode::NONE,
        message: None,
        base_offset: produced.info.base_offset,
        log_append_time_ms: produced.info.log_append_time_ms,
        log_start_offset: produced.info.log_start_offset,
        waiting,
    }
}

/// Checks a batch before the partition is locked. Records are walked where they can be without decompressing them, so
/// that no count or length lies; a compressed batch is walked only for the timestamp that an old client left out, and for
/// the keys that a compacted topic needs.
fn check(config: &TopicConfig, batch: &mut [u8], now_ms: i64) -> Result<BatchHeader, (ErrorCode, String)> {
    let told = |error: BatchError| (error.error_code(), error.to_string());
    let max_message_bytes = usize::try_from(config.max_message_bytes).unwrap_or(0);
    let mut header = validate_produced(batch, &ProduceLimits { max_message_bytes }).map_err(told)?;
    let lacks_timestamp = header.max_timestamp == NO_TIMESTAMP;
    let needs_keys = config.cleanup_policy.compact && !header.is_control();
    if lacks_timestamp || needs_keys || header.compression() == Ok(Compression::None) {
        let summary = BatchView::new(batch)
            .and_then(|view| view.records(DECOMPRESSED_LIMIT_BYTES))
            .and_then(|records| records.check())
            .map_err(told)?;
        if let Some(index) = summary.first_without_key.filter(|_| needs_keys) {
            let refusal =
                format!("record {index} of the batch has no key, and the topic keeps the latest of each key");
            return Err((ErrorCode::INVALID_RECORD, refusal));
        }
        if lacks_timestamp && summary.max_timestamp != NO_TIMESTAMP {
            let mut batch = BatchMut::new(batch).map_err(told)?;
            batch.set_max_timestamp_and_type(TimestampType::CreateTime, summary.max_timestamp);
            header = *batch.header();
        }
    }
    check_timestamps(config, &header, now_ms)?;
    Ok(header)
}

/// Refuses timestamps too far from the broker's clock (`message.timestamp.before.max.ms`, `.after.max.ms`).
fn check_timestamps(
    config: &TopicConfig,
    header: &BatchHeader,
    now_ms: i64,
) -> Result<(), (ErrorCode, String)> {
    if config.message_timestamp_type == taffrail_control::topic_config::TimestampType::LogAppendTime
        || header.max_timestamp == NO_TIMESTAMP
    {
        return Ok(());
    }
    let (before, after) = (config.message_timestamp_before_max_ms, config.message_timestamp_after_max_ms);
    let refusal = if header.max_timestamp.saturating_sub(now_ms) > after {
        format!("timestamp {} is more than {after} ms ahead of the broker's clock", header.max_timestamp)
    } else if now_ms.saturating_sub(header.base_timestamp) > before {
        format!("timestamp {} is more than {before} ms behind the broker's clock", header.base_timestamp)
    } else {
        return Ok(());
    };
    Err((ErrorCode::INVALID_TIMESTAMP, refusal))
}

fn refuse_all(call: &Call, asked: &Asked, code: ErrorCode) -> Answer {
    let outcomes = asked.items.iter().map(|item| Outcome::failed(item, code, None)).collect();
    Answer::Now(encode(call, &asked.topics, outcomes))
}

/// With `acks=0` the only way to tell of an error is to end the connection, which makes the client refresh its metadata.
fn without_answer(call: &Call, outcomes: &[Outcome]) -> Answer {
    call.done_without_answer();
    match outcomes.iter().find(|outcome| outcome.error != ErrorCode::NONE) {
        None => Answer::Nothing,
        Some(outcome) => {
            call.note_error(outcome.error);
            Answer::Close(format!("a batch produced with acks=0 was refused: {}", outcome.error))
        }
    }
}

struct Reply {
    call: Call,
    topics: Vec<AskedTopic>,
    outcomes: Vec<Outcome>,
}

impl Reply {
    fn encode(self) -> Response {
        encode(&self.call, &self.topics, self.outcomes)
    }
}

fn encode(call: &Call, topics: &[AskedTopic], outcomes: Vec<Outcome>) -> Response {
    let mut responses: Vec<_> = topics
        .iter()
        .map(|topic| TopicProduceResponse {
            name: (&*topic.name).into(),
            topic_id: topic.id,
            ..TopicProduceResponse::default()
        })
        .collect();
    let mut hints = LeaderHints::new(call);
    for outcome in outcomes {
        call.note_error(outcome.error);
        let topic = topics[outcome.topic].found.as_ref().ok();
        let leader = hints.hint(outcome.error, topic.map(|topic| (topic.id, outcome.partition)));
        responses[outcome.topic].partition_responses.push(PartitionProduceResponse {
            index: outcome.partition,
            error_code: outcome.error,
            base_offset: outcome.base_offset,
            log_append_time_ms: outcome.log_append_time_ms,
            log_start_offset: outcome.log_start_offset,
            error_message: outcome.message.map(Into::into),
            current_leader: leader.map_or_else(LeaderIdAndEpoch::default, |(leader_id, leader_epoch)| {
                LeaderIdAndEpoch { leader_id, leader_epoch }
            }),
            ..PartitionProduceResponse::default()
        });
    }
    let node_endpoints = hints.endpoints(|node| NodeEndpoint {
        node_id: node.id,
        host: node.host.to_owned().into(),
        port: node.port,
        rack: node.rack.map(|rack| rack.to_owned().into()),
    });
    call.encode(&ProduceResponse { responses, node_endpoints, ..ProduceResponse::default() })
}

/// A produce request that waits for its batches to be committed.
struct ParkedProduce {
    reply: Option<Reply>,
    wait: Arc<ProduceWait>,
    deadline: Instant,
}

impl Parked for ParkedProduce {
    fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }

    fn poll(&mut self, now: Instant) -> Option<Response> {
        let reply = self.reply.as_mut()?;
        for (batch, outcome) in self.wait.take() {
            reply.outcomes[batch].waiting = false;
            if let Err(code) = outcome {
                reply.outcomes[batch].error = code;
            }
        }
        let waiting = reply.outcomes.iter_mut().filter(|outcome| outcome.waiting);
        if now < self.deadline {
            if waiting.count() > 0 {
                return None;
            }
        } else {
            // Appended all the same: the client may only not count on it (KIP-98 makes its retry a duplicate).
            waiting.for_each(|outcome| outcome.error = ErrorCode::REQUEST_TIMED_OUT);
        }
        self.reply.take().map(Reply::encode)
    }
}
