//! ListOffsets (key 2): offsets by time, and the ends of partitions (KIP-79, KIP-734, KIP-405, KIP-1005).

use std::collections::HashMap;

use taffrail_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use taffrail_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::broker::Broker;
use crate::call::Call;
use crate::cluster::Replica;
use crate::net::parked::Answer;
use crate::request::{Operation, RequestContext, Resource, authorize, throttle_time_ms};
use taffrail_replication::partition::Isolation;

/// Stands for an offset, a timestamp or a leader epoch that is not known.
const UNKNOWN: i32 = -1;
/// The answer tells leader epochs from this version on.
const LEADER_EPOCH_FROM: i16 = 4;
/// From this version on a new leader may say that it does not know yet (KIP-207).
const OFFSET_NOT_AVAILABLE_FROM: i16 = 5;
/// Replica ids from this one on are those of brokers.
const FIRST_BROKER_ID: i32 = 0;
/// The isolation level of a consumer that reads committed transactions only.
const READ_COMMITTED: i8 = 1;

/// What is searched for in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The end of what the client may read.
    Latest,
    /// The first record.
    Earliest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The last record in tiered storage, of which there is none.
    LatestTiered,
    /// The first record that is not earlier than this.
    At(i64),
}

impl Target {
    /// What a request's timestamp stands for; `None` if nothing in this version of the API.
    fn of(timestamp: i64, version: i16) -> Option<Self> {
        let (target, since) = match timestamp {
            0.. => (Self::At(timestamp), 1),
            -1 => (Self::Latest, 1),
            -2 => (Self::Earliest, 1),
            -3 => (Self::MaxTimestamp, 7),
            // The earliest on this broker's disk, which is where all records are.
            -4 => (Self::Earliest, 8),
            -5 => (Self::LatestTiered, 9),
            _ => return None,
        };
        (version >= since).then_some(target)
    }

    /// Whether it is something else once more is known to be committed.
    fn needs_end(self) -> bool {
        !matches!(self, Self::Earliest | Self::LatestTiered)
    }

    /// Whether looking for it may read from the disk.
    fn needs_disk(self) -> bool {
        matches!(self, Self::MaxTimestamp | Self::At(_))
    }
}

/// An offset with what is known about it; [`UNKNOWN`] where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    timestamp: i64,
    offset: i64,
    leader_epoch: i32,
}

const NOWHERE: Place = Place { timestamp: UNKNOWN as i64, offset: UNKNOWN as i64, leader_epoch: UNKNOWN };

/// Handles a request for offsets: at once if all of them are known without a look at the disk.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: ListOffsetsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let mut partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let version = call.version();
    if partitions.any(|asked| Target::of(asked.timestamp, version).is_some_and(Target::needs_disk)) {
        let (request, context) = (request.into_owned(), call.context.clone());
        return call.answer_blocking(move |broker| respond(broker, &context, &request).into_owned());
    }
    call.answer(&respond(&call.broker, &call.context, &request))
}

fn respond<'a>(
    broker: &Broker,
    context: &RequestContext,
    request: &'a ListOffsetsRequest<'_>,
) -> ListOffsetsResponse<'a> {
    let mut times_named: HashMap<(&str, i32), u32> = HashMap::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            *times_named.entry((&topic.name, asked.partition_index)).or_default() += 1;
        }
    }
    let isolation = match request.isolation_level {
        READ_COMMITTED => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let find = |name: &str, asked: &ListOffsetsPartition| {
        if request.replica_id >= FIRST_BROKER_ID {
            // Followers have no need to ask.
            return Err(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        }
        if times_named.get(&(name, asked.partition_index)).is_some_and(|times| *times > 1) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        find_in_topic(broker, context, name, asked, isolation)
    };
    let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: (&*topic.name).into(),
        partitions: topic
            .partitions
            .iter()
            .map(|asked| answer(broker, context.api_version, asked, find(&topic.name, asked)))
            .collect(),
    });
    ListOffsetsResponse { topics: topics.collect(), throttle_time_ms: throttle_time_ms(context) }
}

fn answer(
    broker: &Broker,
    version: i16,
    asked: &ListOffsetsPartition,
    found: Result<Place, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (place, error_code) = match found {
        Ok(place) => (place, ErrorCode::NONE),
        Err(code) => {
            broker.metrics.request_error(ApiKey::ListOffsets, code);
            (NOWHERE, code)
        }
    };
    ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code,
        timestamp: place.timestamp,
        offset: place.offset,
        leader_epoch: if version >= LEADER_EPOCH_FROM { place.leader_epoch } else { UNKNOWN },
    }
}

fn find_in_topic(
    broker: &Broker,
    context: &RequestContext,
    name: &str,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Place, ErrorCode> {
    if !authorize(context, Operation::Describe, Resource::Topic(name)) {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    let target = Target::of(asked.timestamp, context.api_version).ok_or(ErrorCode::UNSUPPORTED_VERSION)?;
    let topic = broker.cluster.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(asked.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let replica = partition.replica()?;
    find(replica, asked.current_leader_epoch, target, isolation).map_err(|error| match error {
        // A code that older clients do not know.
        Failure::Refused(ErrorCode::OFFSET_NOT_AVAILABLE)
            if context.api_version < OFFSET_NOT_AVAILABLE_FROM =>
        {
            ErrorCode::LEADER_NOT_AVAILABLE
        }
        Failure::Refused(code) => code,
        Failure::Log(error) => {
            tracing::error!("cannot look for an offset in {name}-{}: {error}", asked.partition_index);
            ErrorCode::KAFKA_STORAGE_ERROR
        }
    })
}

/// Why nothing was found out.
enum Failure {
    Refused(ErrorCode),
    Log(taffrail_log::ReadError),
}

fn find(
    replica: &Replica,
    current_leader_epoch: i32,
    target: Target,
    isolation: Isolation,
) -> Result<Place, Failure> {
    let mut replica = replica.lock();
    replica.check_leader(current_leader_epoch).map_err(Failure::Refused)?;
    if target.needs_end() {
        replica.check_offsets_known().map_err(Failure::Refused)?;
    }
    let readable_end = replica.readable_end(isolation);
    let leader_epoch = replica.record().leader_epoch;
    let log = replica.log_mut();
    let found = match target {
        Target::Latest => return Ok(Place { offset: readable_end, leader_epoch, ..NOWHERE }),
        Target::Earliest => {
            let offset = log.log_start_offset();
            let leader_epoch = log.epoch_for_offset(offset).unwrap_or(UNKNOWN);
            return Ok(Place { offset, leader_epoch, ..NOWHERE });
        }
        Target::LatestTiered => return Ok(NOWHERE),
        Target::MaxTimestamp => log.max_timestamp(),
        Target::At(timestamp) => log.offset_for_timestamp(timestamp),
    };
    // A record that the client may not read yet does not exist for it.
    let found = found.map_err(Failure::Log)?.filter(|found| found.offset < readable_end);
    Ok(found.map_or(NOWHERE, |found| Place {
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: log.epoch_for_offset(found.offset).unwrap_or(UNKNOWN),
    }))
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn each_special_timestamp_is_known_from_its_version_on() {
        for (timestamp, target, since) in [
            (-1, Target::Latest, 1),
            (-2, Target::Earliest, 1),
            (-3, Target::MaxTimestamp, 7),
            (-4, Target::Earliest, 8),
            (-5, Target::LatestTiered, 9),
        ] {
            assert_eq!(Target::of(timestamp, since), Some(target));
            assert_eq!(Target::of(timestamp, since - 1), None);
        }
        assert_eq!(Target::of(0, 1), Some(Target::At(0)));
        assert_eq!(Target::of(i64::MAX, 1), Some(Target::At(i64::MAX)));
        assert_eq!(Target::of(-6, 10), None);
        assert_eq!(Target::of(i64::MIN, 10), None);
    }

    #[test]
    fn only_searches_by_timestamp_go_to_the_disk() {
        let needs_disk = |timestamp| Target::of(timestamp, 10).map(Target::needs_disk);
        assert_eq!(needs_disk(-1), Some(false));
        assert_eq!(needs_disk(-2), Some(false));
        assert_eq!(needs_disk(-3), Some(true));
        assert_eq!(needs_disk(0), Some(true));
    }
}
