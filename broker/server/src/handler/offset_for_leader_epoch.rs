//! OffsetForLeaderEpoch (key 23): where leader epochs end, so that a consumer finds out that what it read is not there any
//! more (KIP-101, KIP-320).

use taffrail_log::EpochEntry;
use taffrail_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use taffrail_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::broker::Broker;
use crate::call::Call;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};

/// Handles a request for the ends of epochs.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: OffsetForLeaderEpochRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: (&*topic.topic).into(),
        partitions: topic
            .partitions
            .iter()
            .map(|asked| answer(&call.broker, asked, find(&call.broker, &call.context, &topic.topic, asked)))
            .collect(),
    });
    let topics = topics.collect();
    call.answer(&OffsetForLeaderEpochResponse { topics, throttle_time_ms: throttle_time_ms(&call.context) })
}

fn answer(
    broker: &Broker,
    asked: &OffsetForLeaderPartition,
    found: Result<EpochEntry, ErrorCode>,
) -> EpochEndOffset {
    let partition = asked.partition;
    match found {
        Ok(end) => EpochEndOffset {
            error_code: ErrorCode::NONE,
            partition,
            leader_epoch: end.epoch,
            end_offset: end.start_offset,
        },
        Err(error_code) => {
            broker.metrics.request_error(ApiKey::OffsetForLeaderEpoch, error_code);
            EpochEndOffset { error_code, partition, ..EpochEndOffset::default() }
        }
    }
}

fn find(
    broker: &Broker,
    context: &RequestContext,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEntry, ErrorCode> {
    if !authorize(context, Operation::Describe, Resource::Topic(topic)) {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    let topic = broker.cluster.topic(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(asked.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let replica = partition.replica()?;
    replica.lock().end_offset_for_epoch(asked.leader_epoch, asked.current_leader_epoch)
}
