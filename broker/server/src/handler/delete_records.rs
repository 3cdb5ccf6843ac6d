//! DeleteRecords (key 21): the oldest records of partitions, up to an offset (KIP-107).
//!
//! The leader's log starts at that offset at once. The answer waits until that is written down on every replica that lives,
//! so that no crash and no election brings the records back (`kafka.server.DelayedDeleteRecords`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use taffrail_protocol::messages::delete_records::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use taffrail_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use taffrail_protocol::{ApiKey, ErrorCode};
use taffrail_replication::partition::Effects;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::call::Call;
use crate::cluster::Replica;
use crate::log_dirs::ServedLogDir;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};
use crate::waiter::{ParkedPlace, PartitionWaiter, carry_out};

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// Stands for a low watermark that is not known.
const UNKNOWN: i64 = -1;

/// Up to where records are to be deleted, by topic and partition.
type Asked = BTreeMap<(String, i32), i64>;

/// What becomes of one partition.
enum Deletion {
    /// The log starts there, and not all replicas that live have written it down yet.
    Begun { replica: Arc<Replica>, offset: i64, low_watermark: i64, _place: ParkedPlace },
    /// It is so on all replicas that live.
    Done { low_watermark: i64 },
    /// Nothing was deleted, or it is not known any more what becomes of it.
    Failed(ErrorCode),
}

/// Handles a request to delete records.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DeleteRecordsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let asked = asked(&request);
    let deadline = Instant::from_std(call.started)
        + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let context = call.context.clone();
    call.answer_while_connected(move |broker| async move {
        let wait = Arc::new(Notify::new());
        let throttle_time_ms = throttle_time_ms(&context);
        let begin = {
            let (broker, wait) = (Arc::clone(&broker), Arc::clone(&wait));
            move || begin_all(&broker, &context, asked, &wait)
        };
        let mut deletions = match tokio::task::spawn_blocking(begin).await {
            Ok(deletions) => deletions,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => std::future::pending().await,
            },
        };
        finish(&broker, &mut deletions, &wait, deadline).await;
        DeleteRecordsResponse { throttle_time_ms, topics: by_topic(&broker, deletions) }
    })
}

/// Of a partition that is named several times the last one counts, as in Apache Kafka.
fn asked(request: &DeleteRecordsRequest<'_>) -> Asked {
    let partitions = request.topics.iter().flat_map(|topic| {
        let name = &*topic.name;
        topic.partitions.iter().map(move |asked| ((name.to_owned(), asked.partition_index), asked.offset))
    });
    partitions.collect()
}

/// Moves the logs' starts. Blocks on the disk.
fn begin_all(
    broker: &Broker,
    context: &RequestContext,
    asked: Asked,
    wait: &Arc<Notify>,
) -> Vec<((String, i32), Deletion)> {
    let begun = asked.into_iter().map(|((topic, partition), offset)| {
        let deletion = begin(broker, context, &topic, partition, offset, wait);
        ((topic, partition), deletion.unwrap_or_else(Deletion::Failed))
    });
    begun.collect()
}

fn begin(
    broker: &Broker,
    context: &RequestContext,
    topic: &str,
    partition: i32,
    offset: i64,
    wait: &Arc<Notify>,
) -> Result<Deletion, ErrorCode> {
    if !authorize(context, Operation::Delete, Resource::Topic(topic)) {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    let topic = broker.cluster.topic(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let found = topic.partition(partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    // What the coordinators keep there nobody else may delete.
    if topic.is_internal() {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let replica = found.replica.as_ref().ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    if !topic.config.cleanup_policy.delete {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let mut effects = Effects::new();
    let mut locked = replica.lock();
    // Where the log starts could not be written down there.
    if broker.log_dirs.of(locked.log().dir()).is_some_and(ServedLogDir::has_failed) {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    let before = locked.log().log_start_offset();
    let deleted = locked.delete_records((offset != HIGH_WATERMARK).then_some(offset), &mut effects);
    // From under this lock on nothing that happens is missed.
    let id = locked.await_deletion(PartitionWaiter::Deletion(Arc::clone(wait)));
    let after = locked.log().log_start_offset();
    drop(locked);
    let place = ParkedPlace::new(Arc::clone(replica), id);
    carry_out(&mut effects);
    let offset = deleted.map_err(|error| error.code())?;
    if before < after {
        tracing::info!(
            "{}-{partition}: records before offset {after} are deleted, as client {:?} at {} asked for; the log began at \
             {before}",
            topic.name,
            context.client_id,
            context.address
        );
    }
    Ok(Deletion::Begun { replica: Arc::clone(replica), offset, low_watermark: UNKNOWN, _place: place })
}

/// Waits until none of the deletions is under way any more, or until `deadline`.
async fn finish(
    broker: &Broker,
    deletions: &mut [((String, i32), Deletion)],
    wait: &Notify,
    deadline: Instant,
) {
    loop {
        // A replica that is not waited for any more, as its broker was fenced or it was moved, ends the waiting too.
        let updated = broker.cluster.updated();
        let living: BTreeSet<i32> = broker.cluster.living();
        for (_, deletion) in &mut *deletions {
            deletion.look(&living);
        }
        if !deletions.iter().any(|(_, deletion)| matches!(deletion, Deletion::Begun { .. })) {
            return;
        }
        tokio::select! {
            () = wait.notified() => {}
            () = updated => {}
            () = tokio::time::sleep_until(deadline) => return,
        }
    }
}

impl Deletion {
    fn look(&mut self, living: &BTreeSet<i32>) {
        let Self::Begun { replica, offset, low_watermark, .. } = self else { return };
        let reached = replica.lock().low_watermark(|id| living.contains(&id));
        match reached {
            Ok(reached) if reached >= *offset => *self = Self::Done { low_watermark: reached },
            Ok(reached) => *low_watermark = reached,
            Err(code) => *self = Self::Failed(code),
        }
    }

    fn result(&self) -> (i64, ErrorCode) {
        match self {
            Self::Begun { low_watermark, .. } => (*low_watermark, ErrorCode::REQUEST_TIMED_OUT),
            Self::Done { low_watermark } => (*low_watermark, ErrorCode::NONE),
            Self::Failed(code) => (UNKNOWN, *code),
        }
    }
}

fn by_topic(
    broker: &Broker,
    deletions: Vec<((String, i32), Deletion)>,
) -> Vec<DeleteRecordsTopicResult<'static>> {
    let mut topics: Vec<DeleteRecordsTopicResult<'static>> = Vec::new();
    for ((topic, partition_index), deletion) in deletions {
        let (low_watermark, error_code) = deletion.result();
        if error_code != ErrorCode::NONE {
            broker.metrics.request_error(ApiKey::DeleteRecords, error_code);
        }
        if topics.last().is_none_or(|last| *last.name != *topic) {
            topics.push(DeleteRecordsTopicResult { name: topic.into(), partitions: Vec::new() });
        }
        let Some(last) = topics.last_mut() else { continue };
        last.partitions.push(DeleteRecordsPartitionResult { partition_index, low_watermark, error_code });
    }
    topics
}
