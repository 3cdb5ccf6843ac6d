//! What changes the cluster while it runs: configuration, reassignments, brokers forgotten.

use taffrail_protocol::messages::alter_configs::{
    AlterConfigsResource as ReplacedResource, AlterableConfig as ReplacedConfig,
};
use taffrail_protocol::messages::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use taffrail_protocol::messages::describe_configs::DescribeConfigsResource;
use taffrail_protocol::messages::describe_quorum::{DescribedPartition, DescribedTopic};
use taffrail_protocol::messages::elect_leaders::TopicPartitions;
use taffrail_protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use taffrail_protocol::messages::*;
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::harness::{Broker, Connection, batch, nearest};
use crate::produce::produced;

pub const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

/// All versions of an API.
fn versions(api: ApiKey) -> std::ops::RangeInclusive<i16> {
    nearest(api, i16::MIN)..=nearest(api, i16::MAX)
}

/// What is done with a key: its name, the operation, the value.
type Op = (&'static str, i8, Option<&'static str>);

fn changes(resource: (i8, &'static str), ops: &[Op]) -> AlterConfigsResource<'static> {
    let config = |(name, config_operation, value): &Op| AlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(Into::into),
    };
    AlterConfigsResource {
        resource_type: resource.0,
        resource_name: resource.1.into(),
        configs: ops.iter().map(config).collect(),
    }
}

/// Changes one resource's configuration.
pub fn change(connection: &mut Connection, resource: (i8, &'static str), ops: &[Op]) -> ErrorCode {
    let resources = vec![changes(resource, ops)];
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let changed: IncrementalAlterConfigsResponse<'_> = connection.ask(&request, 1);
    let outcome = &changed.responses[0];
    assert_eq!((outcome.resource_type, &*outcome.resource_name), resource);
    assert_eq!(outcome.error_message.is_some(), outcome.error_code != ErrorCode::NONE);
    outcome.error_code
}

/// A key's value and source; `None` if it is not told.
fn described(
    connection: &mut Connection,
    resource: (i8, &'static str),
    key: &str,
) -> Option<(Option<String>, i8)> {
    let resource = DescribeConfigsResource {
        resource_type: resource.0,
        resource_name: resource.1.into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let described: DescribeConfigsResponse<'_> = connection.ask(&request, 4);
    let result = &described.results[0];
    assert_eq!(result.error_code, ErrorCode::NONE);
    let config = result.configs.iter().find(|config| config.name == key)?;
    Some((config.value.as_ref().map(|value| value.to_string()), config.config_source))
}

fn value(text: &str, source: i8) -> Option<(Option<String>, i8)> {
    Some((Some(text.to_owned()), source))
}

#[test]
fn a_topics_configuration_is_changed_key_by_key_in_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("topic", 1, &[("segment.ms", "5000"), ("flush.messages", "7")]);
    for version in versions(ApiKey::IncrementalAlterConfigs) {
        let text = ["8000", "9000"][usize::try_from(version).unwrap()];
        let ops = [("segment.ms", SET, Some(text)), ("flush.messages", DELETE, None)];
        let resources = vec![changes((TOPIC, "topic"), &ops)];
        for validate_only in [true, false] {
            let request = IncrementalAlterConfigsRequest { resources: resources.clone(), validate_only };
            let changed: IncrementalAlterConfigsResponse<'_> = connection.ask(&request, version);
            assert_eq!(changed.responses[0].error_code, ErrorCode::NONE, "{changed:?}");
            let now = described(&mut connection, (TOPIC, "topic"), "segment.ms");
            assert_eq!(now == value(text, 1), !validate_only, "{version}: {now:?}");
        }
    }
    assert_eq!(
        described(&mut connection, (TOPIC, "topic"), "flush.messages"),
        value("9223372036854775807", 5),
        "back to the default"
    );
    let throttled = "leader.replication.throttled.replicas";
    for pairs in ["0:0", "0:1,1:1"] {
        assert_eq!(
            change(&mut connection, (TOPIC, "topic"), &[(throttled, APPEND, Some(pairs))]),
            ErrorCode::NONE
        );
    }
    assert_eq!(described(&mut connection, (TOPIC, "topic"), throttled), value("0:0,0:1,1:1", 1));
}

#[test]
fn what_cannot_be_set_is_refused_each_for_itself() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("topic", 1, &[]);
    let refusals: [((i8, &'static str), Op, ErrorCode); 12] = [
        ((TOPIC, "topic"), ("segment.mss", SET, Some("1")), ErrorCode::INVALID_CONFIG),
        ((TOPIC, "topic"), ("segment.ms", SET, Some("soon")), ErrorCode::INVALID_CONFIG),
        ((TOPIC, "topic"), ("segment.ms", APPEND, Some("1")), ErrorCode::INVALID_CONFIG),
        ((TOPIC, "topic"), ("segment.ms", SET, None), ErrorCode::INVALID_REQUEST),
        ((TOPIC, "topic"), ("segment.ms", 9, Some("1")), ErrorCode::INVALID_REQUEST),
        ((TOPIC, "other"), ("segment.ms", SET, Some("1")), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ((TOPIC, "no/topic"), ("segment.ms", SET, Some("1")), ErrorCode::INVALID_TOPIC_EXCEPTION),
        ((BROKER, "0"), ("num.io.threads", SET, Some("3")), ErrorCode::INVALID_REQUEST),
        ((BROKER, "0"), ("min.insync.replicas", SET, Some("2")), ErrorCode::INVALID_REQUEST),
        ((BROKER, "nobody"), ("max.connections", SET, Some("2")), ErrorCode::INVALID_REQUEST),
        ((BROKER, "7"), ("max.connections", SET, Some("2")), ErrorCode::BROKER_ID_NOT_REGISTERED),
        ((32, "group"), ("consumer.session.timeout.ms", SET, Some("2")), ErrorCode::INVALID_REQUEST),
    ];
    let resources = |which: &[usize]| {
        which.iter().map(|at| changes(refusals[*at].0, &[refusals[*at].1])).collect::<Vec<_>>()
    };
    for (at, (_, op, code)) in refusals.iter().enumerate() {
        let request = IncrementalAlterConfigsRequest { resources: resources(&[at]), validate_only: false };
        let changed: IncrementalAlterConfigsResponse<'_> = connection.ask(&request, 1);
        assert_eq!(changed.responses[0].error_code, *code, "{op:?}: {changed:?}");
        let sentence = changed.responses[0].error_message.as_deref().unwrap_or_default();
        assert!(sentence.len() > 10, "{op:?}: {sentence:?}");
    }
    // One resource twice, and beside it one that is taken.
    let mut twice = resources(&[0, 1]);
    twice.push(changes((BROKER, ""), &[("max.connections", SET, Some("1000"))]));
    let request = IncrementalAlterConfigsRequest { resources: twice, validate_only: false };
    let changed: IncrementalAlterConfigsResponse<'_> = connection.ask(&request, 1);
    let codes: Vec<_> = changed.responses.iter().map(|outcome| outcome.error_code).collect();
    assert_eq!(codes, [ErrorCode::INVALID_REQUEST, ErrorCode::INVALID_REQUEST, ErrorCode::NONE]);
}

#[test]
fn a_topics_configuration_is_replaced_as_a_whole_in_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("topic", 1, &[("segment.ms", "5000")]);
    for version in versions(ApiKey::AlterConfigs) {
        for (key, text) in [("segment.bytes", "4000"), ("flush.ms", "4000")] {
            let configs = vec![ReplacedConfig { name: key.into(), value: Some(text.into()) }];
            let resource = ReplacedResource { resource_type: TOPIC, resource_name: "topic".into(), configs };
            let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
            let changed: AlterConfigsResponse<'_> = connection.ask(&request, version);
            assert_eq!(changed.responses[0].error_code, ErrorCode::NONE, "{changed:?}");
            assert_eq!(described(&mut connection, (TOPIC, "topic"), key), value(text, 1));
            assert_eq!(described(&mut connection, (TOPIC, "topic"), "segment.ms"), value("604800000", 5));
        }
    }
}

#[test]
fn what_is_set_on_brokers_acts_at_once_and_after_a_restart() {
    const KEY: &str = "message.max.bytes";
    let mut broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("topic", 1, &[]);
    assert_eq!(described(&mut connection, (BROKER, ""), KEY), None, "nothing is set for all");
    let large = batch(&[&"x".repeat(500)]);
    assert!(produced(&mut connection, "topic", id, 0, large.clone()).is_ok());

    assert_eq!(change(&mut connection, (BROKER, ""), &[(KEY, SET, Some("300"))]), ErrorCode::NONE);
    let refused = produced(&mut connection, "topic", id, 0, large.clone());
    assert_eq!(refused, Err(ErrorCode::MESSAGE_TOO_LARGE));
    assert_eq!(described(&mut connection, (BROKER, ""), KEY), value("300", 3));
    assert_eq!(described(&mut connection, (BROKER, "0"), KEY), value("300", 3));
    assert_eq!(described(&mut connection, (TOPIC, "topic"), "max.message.bytes"), value("300", 3));

    assert_eq!(change(&mut connection, (BROKER, "0"), &[(KEY, SET, Some("2000"))]), ErrorCode::NONE);
    assert!(produced(&mut connection, "topic", id, 0, large.clone()).is_ok(), "its own setting wins");
    assert_eq!(described(&mut connection, (BROKER, "0"), KEY), value("2000", 2));

    assert_eq!(change(&mut connection, (BROKER, "0"), &[(KEY, DELETE, None)]), ErrorCode::NONE);
    broker.stop();
    broker.start_again();
    let mut connection = broker.connect();
    assert_eq!(described(&mut connection, (BROKER, "0"), KEY), value("300", 3));
    let refused = produced(&mut connection, "topic", id, 0, large);
    assert_eq!(refused, Err(ErrorCode::MESSAGE_TOO_LARGE));
}

#[test]
fn moves_are_asked_for_listed_and_refused_in_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("topic", 2, &[]);
    for version in versions(ApiKey::AlterPartitionReassignments) {
        let partition = |partition_index, replicas| ReassignablePartition { partition_index, replicas };
        let wanted = vec![
            partition(0, Some(vec![0])),
            partition(1, None),
            partition(1, Some(vec![0])),
            partition(2, Some(vec![0])),
        ];
        let topics = vec![
            ReassignableTopic { name: "topic".into(), partitions: wanted },
            ReassignableTopic { name: "other".into(), partitions: vec![partition(0, Some(vec![0]))] },
        ];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let moved: AlterPartitionReassignmentsResponse<'_> = connection.ask(&request, version);
        assert_eq!(moved.error_code, ErrorCode::NONE);
        let codes = |at: usize| -> Vec<(i32, ErrorCode)> {
            let partitions = moved.responses[at].partitions.iter();
            partitions.map(|partition| (partition.partition_index, partition.error_code)).collect()
        };
        assert_eq!((&*moved.responses[0].name, &*moved.responses[1].name), ("topic", "other"));
        let of_topic = [
            (0, ErrorCode::NONE),
            (1, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS),
            (1, ErrorCode::INVALID_REQUEST),
            (2, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ];
        assert_eq!(codes(0), of_topic);
        assert_eq!(codes(1), [(0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]);

        let stranger = vec![partition(0, Some(vec![0, 5])), partition(1, Some(vec![]))];
        let topics = vec![ReassignableTopic { name: "topic".into(), partitions: stranger }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let refused: AlterPartitionReassignmentsResponse<'_> = connection.ask(&request, version);
        for partition in &refused.responses[0].partitions {
            assert_eq!(partition.error_code, ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{partition:?}");
        }
    }
    let listed: ListPartitionReassignmentsResponse<'_> =
        connection.ask(&ListPartitionReassignmentsRequest::default(), 0);
    assert_eq!((listed.error_code, listed.topics.len()), (ErrorCode::NONE, 0));
}

#[test]
fn elections_that_are_not_needed_are_answered_as_such_in_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("topic", 1, &[]);
    for version in versions(ApiKey::ElectLeaders) {
        let elect = |election_type, partitions: Option<Vec<i32>>| ElectLeadersRequest {
            election_type,
            topic_partitions: partitions
                .map(|partitions| vec![TopicPartitions { topic: "topic".into(), partitions }]),
            timeout_ms: 10_000,
        };
        let held: ElectLeadersResponse<'_> = connection.ask(&elect(0, Some(vec![0, 1])), version);
        let codes: Vec<_> = held.replica_election_results[0]
            .partition_result
            .iter()
            .map(|partition| (partition.partition_id, partition.error_code))
            .collect();
        let expected = [(0, ErrorCode::ELECTION_NOT_NEEDED), (1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)];
        assert_eq!((held.error_code, &codes[..]), (ErrorCode::NONE, &expected[..]));
        let all: ElectLeadersResponse<'_> = connection.ask(&elect(0, None), version);
        assert_eq!((all.error_code, all.replica_election_results.len()), (ErrorCode::NONE, 0));
        if version > 0 {
            let unknown: ElectLeadersResponse<'_> = connection.ask(&elect(7, Some(vec![0])), version);
            assert_eq!(unknown.error_code, ErrorCode::INVALID_REQUEST);
        }
    }
}

#[test]
fn a_broker_that_is_alive_or_was_never_there_is_not_forgotten() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    for (broker_id, code) in [(0, ErrorCode::INVALID_REQUEST), (7, ErrorCode::BROKER_ID_NOT_REGISTERED)] {
        let refused: UnregisterBrokerResponse<'_> = connection.ask(&UnregisterBrokerRequest { broker_id }, 0);
        assert_eq!(refused.error_code, code, "{refused:?}");
        assert!(refused.error_message.is_some());
    }
}

#[test]
fn the_controller_is_described_as_a_quorum_of_one_in_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    for version in versions(ApiKey::DescribeQuorum) {
        let topic = |name: &'static str| DescribedTopic {
            topic_name: name.into(),
            partitions: vec![DescribedPartition { partition_index: 0 }],
        };
        let request = DescribeQuorumRequest { topics: vec![topic("__cluster_metadata"), topic("topic")] };
        let told: DescribeQuorumResponse<'_> = connection.ask(&request, version);
        let quorum = &told.topics[0].partitions[0];
        assert_eq!(
            (told.error_code, quorum.error_code, quorum.leader_id),
            (ErrorCode::NONE, ErrorCode::NONE, 0)
        );
        let voters: Vec<i32> = quorum.current_voters.iter().map(|voter| voter.replica_id).collect();
        assert_eq!((voters, quorum.observers.len()), (vec![0], 0));
        assert_eq!(told.nodes.len(), usize::from(version >= 2));
        assert_eq!(told.topics[1].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
}
