//! Each API in each version it is advertised in: a request without content, and one that succeeds.

use std::any::Any;
use std::borrow::Cow;

use taffrail_protocol::messages::create_partitions::CreatePartitionsTopic;
use taffrail_protocol::messages::create_topics::CreatableTopic;
use taffrail_protocol::messages::delete_topics::DeleteTopicState;
use taffrail_protocol::messages::describe_configs::DescribeConfigsResource;
use taffrail_protocol::messages::describe_topic_partitions::TopicRequest;
use taffrail_protocol::messages::join_group::JoinGroupRequestProtocol;
use taffrail_protocol::messages::leave_group::MemberIdentity;
use taffrail_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use taffrail_protocol::messages::metadata::MetadataRequestTopic;
use taffrail_protocol::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use taffrail_protocol::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use taffrail_protocol::messages::sync_group::SyncGroupRequestAssignment;
use taffrail_protocol::messages::*;
use taffrail_protocol::{ApiKey, ErrorCode, Uuid};

use crate::fetch::{fetch_at, records};
use crate::harness::{Broker, Connection, TIMESTAMP, batch, nearest};
use crate::produce::{not_transactional, produce_to};

/// Makes the request one that is answered at all.
fn answered(request: &mut dyn Any) {
    if let Some(produce) = request.downcast_mut::<ProduceRequest<'static>>() {
        produce.acks = 1;
    }
}

/// The codes of the APIs that the broker says it serves, each in all versions that are known of it.
fn served(connection: &mut Connection) -> Vec<i16> {
    let software = Cow::Borrowed("wire");
    let request =
        ApiVersionsRequest { client_software_name: software.clone(), client_software_version: software };
    let versions: ApiVersionsResponse<'_> = connection.ask(&request, 4);
    for range in &versions.api_keys {
        let known = ApiKey::from_code(range.api_key).and_then(ApiKey::spoken).unwrap().advertised;
        assert_eq!((range.min_version, range.max_version), (known.min, known.max), "{}", range.api_key);
    }
    versions.api_keys.iter().map(|range| range.api_key).collect()
}

macro_rules! send_without_content {
    ($($key:ident: $request:ident, $response:ident;)*) => {
        // Some of the responses borrow and some do not.
        #[allow(elided_lifetimes_in_paths)]
        #[test]
        fn a_request_without_content_is_answered_in_every_version() {
            let broker = Broker::start();
            let mut connection = broker.connect();
            let served = served(&mut connection);
            $(
                let min = nearest(ApiKey::$key, i16::MIN);
                let versions = min..=nearest(ApiKey::$key, i16::MAX);
                for version in versions.filter(|_| served.contains(&ApiKey::$key.code())) {
                    let mut request = $request::default();
                    answered(&mut request);
                    let _: $response = connection.ask(&request, version);
                }
            )*
            let spoken = ApiKey::SPOKEN.iter().map(|spoken| spoken.key);
            let unserved: Vec<ApiKey> = spoken.filter(|api| !served.contains(&api.code())).collect();
            // Brokers sign in to one another by these, and to no client are they of use.
            assert_eq!(unserved, [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate]);
        }
    };
}

taffrail_protocol::for_each_api!(send_without_content);

/// As [`Connection::ask`] in the version of the API nearest to `version`.
macro_rules! ask {
    ($connection:expr, $key:ident, $version:expr, $request:expr) => {{
        let request = $request;
        let version = nearest(ApiKey::$key, $version);
        (version, $connection.ask(&request, version))
    }};
}

#[test]
fn records_go_in_and_out_in_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("records", 1, &[]);
    let size = batch(&["a", "b"]).len();
    for version in 0..=18 {
        let offset = i64::from(version) * 2;
        let (produce_version, produced): (_, ProduceResponse<'_>) =
            ask!(connection, Produce, version, produce_to("records", id, -1, vec![(0, batch(&["a", "b"]))]));
        let topic = &produced.responses[0];
        let by_id = produce_version >= 13;
        assert_eq!((&*topic.name, topic.topic_id), if by_id { ("", id) } else { ("records", Uuid::ZERO) });
        let partition = &topic.partition_responses[0];
        assert_eq!((partition.index, partition.error_code), (0, ErrorCode::NONE));
        assert_eq!((partition.base_offset, partition.log_append_time_ms), (offset, -1));
        assert_eq!(partition.log_start_offset, if produce_version >= 5 { 0 } else { -1 });

        let (fetch_version, fetched): (_, FetchResponse<'_>) =
            ask!(connection, Fetch, version, fetch_at("records", id, &[(0, offset)]));
        let topic = &fetched.responses[0];
        let by_id = fetch_version >= 13;
        assert_eq!((&*topic.topic, topic.topic_id), if by_id { ("", id) } else { ("records", Uuid::ZERO) });
        let partition = &topic.partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (ErrorCode::NONE, offset + 2));
        assert_eq!(partition.last_stable_offset, offset + 2);
        assert_eq!(records(partition).len(), size);
        assert_eq!(records(partition)[..8], offset.to_be_bytes());

        for (timestamp, found) in [(-1, offset + 2), (-2, 0), (TIMESTAMP + 1, 1), (i64::MAX, -1)] {
            let (list_version, listed): (_, ListOffsetsResponse<'_>) =
                ask!(connection, ListOffsets, version, offset_of("records", timestamp));
            let partition = &listed.topics[0].partitions[0];
            assert_eq!((partition.error_code, partition.offset), (ErrorCode::NONE, found));
            let known = list_version >= 4 && found >= 0;
            assert_eq!(partition.leader_epoch, if known { 0 } else { -1 }, "{list_version}: {timestamp}");
        }

        let (_, given): (_, InitProducerIdResponse) =
            ask!(connection, InitProducerId, version, not_transactional());
        assert_eq!((given.error_code, given.producer_epoch), (ErrorCode::NONE, 0));
        assert!(given.producer_id >= 0);
    }
}

pub fn offset_of(topic: &'static str, timestamp: i64) -> ListOffsetsRequest<'static> {
    let partition = ListOffsetsPartition { partition_index: 0, current_leader_epoch: -1, timestamp };
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic.into(), partitions: vec![partition] }],
        ..Default::default()
    }
}

#[test]
fn topics_come_and_go_in_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    for version in 0..=13 {
        let topic = CreatableTopic {
            name: "topic".into(),
            num_partitions: 2,
            replication_factor: 1,
            ..Default::default()
        };
        let (create_version, created): (_, CreateTopicsResponse<'_>) = ask!(
            connection,
            CreateTopics,
            version,
            CreateTopicsRequest { topics: vec![topic], ..Default::default() }
        );
        let created = &created.topics[0];
        assert_eq!((&*created.name, created.error_code), ("topic", ErrorCode::NONE), "{created:?}");
        assert_eq!(created.num_partitions, if create_version >= 5 { 2 } else { -1 });
        assert_eq!(created.configs.as_ref().is_some_and(|configs| !configs.is_empty()), create_version >= 5);

        let more = CreatePartitionsTopic { name: "topic".into(), count: 3, assignments: None };
        let (_, grown): (_, CreatePartitionsResponse<'_>) = ask!(
            connection,
            CreatePartitions,
            version,
            CreatePartitionsRequest { topics: vec![more], timeout_ms: 10_000, validate_only: false }
        );
        assert_eq!(grown.results[0].error_code, ErrorCode::NONE);

        let id = check_metadata(&mut connection, version);
        check_configs(&mut connection, version);
        let page = DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: "topic".into() }],
            ..Default::default()
        };
        let (_, page): (_, DescribeTopicPartitionsResponse<'_>) =
            ask!(connection, DescribeTopicPartitions, version, page);
        assert_eq!((page.topics[0].topic_id, page.topics[0].partitions.len()), (id, 3));

        let request = DeleteTopicsRequest {
            topics: if nearest(ApiKey::DeleteTopics, version) >= 6 {
                vec![DeleteTopicState { name: None, topic_id: id }]
            } else {
                Vec::new()
            },
            topic_names: vec!["topic".into()],
            timeout_ms: 10_000,
        };
        let (_, deleted): (_, DeleteTopicsResponse<'_>) = ask!(connection, DeleteTopics, version, request);
        let deleted = &deleted.responses[0];
        assert_eq!((deleted.name.as_deref(), deleted.error_code), (Some("topic"), ErrorCode::NONE));
        assert_eq!(connection.topic("topic"), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    }
}

fn check_metadata(connection: &mut Connection, version: i16) -> Uuid {
    let (id, _) = connection.topic("topic").unwrap();
    let named = MetadataRequestTopic { topic_id: Uuid::ZERO, name: Some("topic".into()) };
    let request = MetadataRequest { topics: Some(vec![named]), ..Default::default() };
    let (version, metadata): (_, MetadataResponse<'_>) = ask!(connection, Metadata, version, request);
    assert_eq!((metadata.brokers.len(), metadata.brokers[0].node_id), (1, 0));
    assert_eq!(metadata.controller_id, if version >= 1 { 0 } else { -1 });
    assert_eq!(metadata.cluster_id.is_some(), version >= 2);
    let topic = &metadata.topics[0];
    assert_eq!((topic.error_code, topic.name.as_deref()), (ErrorCode::NONE, Some("topic")));
    assert_eq!(topic.topic_id, if version >= 10 { id } else { Uuid::ZERO });
    assert_eq!(topic.partitions.len(), 3);
    let partition = &topic.partitions[2];
    assert_eq!((partition.error_code, partition.leader_id), (ErrorCode::NONE, 0));
    assert_eq!((&*partition.replica_nodes, &*partition.isr_nodes), (&[0][..], &[0][..]));

    let request = DescribeClusterRequest::default();
    let (_, cluster): (_, DescribeClusterResponse<'_>) = ask!(connection, DescribeCluster, version, request);
    assert_eq!((cluster.error_code, cluster.brokers.len()), (ErrorCode::NONE, 1));
    let (asked, versions): (_, ApiVersionsResponse<'_>) = ask!(
        connection,
        ApiVersions,
        version,
        ApiVersionsRequest { client_software_name: "wire".into(), client_software_version: "1".into() }
    );
    assert_eq!(
        (versions.error_code, versions.api_keys.len()),
        (ErrorCode::NONE, served(connection).len()),
        "{asked}"
    );
    id
}

fn check_configs(connection: &mut Connection, version: i16) {
    let resource = |resource_type, name: &'static str| DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource(2, "topic"), resource(4, "0")],
        include_synonyms: true,
        include_documentation: nearest(ApiKey::DescribeConfigs, version) >= 3,
    };
    let (version, described): (_, DescribeConfigsResponse<'_>) =
        ask!(connection, DescribeConfigs, version, request);
    for result in &described.results {
        assert_eq!(result.error_code, ErrorCode::NONE, "{:?}", result.error_message);
        assert!(result.configs.len() > 20);
        let documentation = result.configs[0].documentation.as_deref().unwrap_or_default();
        assert_eq!(!documentation.is_empty(), version >= 3);
    }
}

#[test]
fn a_group_lives_and_dies_in_every_version() {
    const NAMES: [&str; 10] = ["g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8", "g9"];
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("topic", 1, &[]);
    for (version, group) in (0..).zip(NAMES) {
        find_coordinator(&mut connection, version, group);
        let (member, generation) = join(&mut connection, version, group);
        let member = || member.clone().into();
        let assignment = SyncGroupRequestAssignment { member_id: member(), assignment: b"mine"[..].into() };
        let (_, synced): (_, SyncGroupResponse<'_>) = ask!(
            connection,
            SyncGroup,
            version,
            SyncGroupRequest {
                group_id: group.into(),
                generation_id: generation,
                member_id: member(),
                protocol_type: Some("consumer".into()),
                protocol_name: Some("range".into()),
                assignments: vec![assignment],
                ..Default::default()
            }
        );
        assert_eq!((synced.error_code, &*synced.assignment), (ErrorCode::NONE, &b"mine"[..]));
        let (_, beat): (_, HeartbeatResponse) = ask!(
            connection,
            Heartbeat,
            version,
            HeartbeatRequest {
                group_id: group.into(),
                generation_id: generation,
                member_id: member(),
                group_instance_id: None
            }
        );
        assert_eq!(beat.error_code, ErrorCode::NONE);
        commit_and_fetch(&mut connection, version, group, &member(), generation);
        describe_and_list(&mut connection, version, group);
        leave_and_delete(&mut connection, version, group, &member());
    }
}

fn find_coordinator(connection: &mut Connection, version: i16, group: &'static str) {
    let version = nearest(ApiKey::FindCoordinator, version);
    let request = FindCoordinatorRequest {
        key: if version < 4 { group.into() } else { "".into() },
        key_type: 0,
        coordinator_keys: if version < 4 { Vec::new() } else { vec![group.into()] },
    };
    let found: FindCoordinatorResponse<'_> = connection.ask(&request, version);
    let (error, node) = match found.coordinators.first() {
        Some(coordinator) => (coordinator.error_code, coordinator.node_id),
        None => (found.error_code, found.node_id),
    };
    assert_eq!((error, node), (ErrorCode::NONE, 0), "{found:?}");
}

/// Joins and returns the member's id and the generation.
fn join(connection: &mut Connection, version: i16, group: &'static str) -> (String, i32) {
    let mut request = JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: b"me"[..].into() }],
        ..Default::default()
    };
    // The coordinator may be found before it has loaded what it knows.
    let (version, mut joined) = loop {
        let (version, joined): (_, JoinGroupResponse<'_>) =
            ask!(connection, JoinGroup, version, request.clone());
        if joined.error_code != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
            break (version, joined);
        }
    };
    if version >= 4 {
        assert_eq!(joined.error_code, ErrorCode::MEMBER_ID_REQUIRED);
        request.member_id = joined.member_id.clone();
        joined = connection.ask(&request, version);
    }
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::NONE, 1), "{joined:?}");
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1));
    (joined.member_id.into_owned(), joined.generation_id)
}

fn commit_and_fetch(
    connection: &mut Connection,
    version: i16,
    group: &'static str,
    member: &str,
    generation: i32,
) {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: 7,
        committed_leader_epoch: -1,
        committed_metadata: Some("note".into()),
    };
    let topic = OffsetCommitRequestTopic { name: "topic".into(), partitions: vec![partition] };
    let (_, committed): (_, OffsetCommitResponse<'_>) = ask!(
        connection,
        OffsetCommit,
        version,
        OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: generation,
            member_id: member.into(),
            topics: vec![topic],
            ..Default::default()
        }
    );
    assert_eq!(committed.topics[0].partitions[0].error_code, ErrorCode::NONE);

    let fetch_version = nearest(ApiKey::OffsetFetch, version);
    let request = if fetch_version < 8 {
        let topic = OffsetFetchRequestTopic { name: "topic".into(), partition_indexes: vec![0, 1] };
        OffsetFetchRequest { group_id: group.into(), topics: Some(vec![topic]), ..Default::default() }
    } else {
        let topic = OffsetFetchRequestTopics { name: "topic".into(), partition_indexes: vec![0, 1] };
        let asked = OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        OffsetFetchRequest { groups: vec![asked.clone(), asked], ..Default::default() }
    };
    let fetched: OffsetFetchResponse<'_> = connection.ask(&request, fetch_version);
    assert!(fetched.groups.len() <= 1, "a group named twice is answered once");
    let offsets: Vec<_> = match fetched.groups.first() {
        None => {
            let partitions = fetched.topics[0].partitions.iter();
            partitions.map(|found| (found.committed_offset, found.metadata.as_deref())).collect()
        }
        Some(group) => {
            let partitions = group.topics[0].partitions.iter();
            partitions.map(|found| (found.committed_offset, found.metadata.as_deref())).collect()
        }
    };
    assert_eq!(offsets, [(7, Some("note")), (-1, Some(""))]);
}

fn describe_and_list(connection: &mut Connection, version: i16, group: &'static str) {
    let (_, described): (_, DescribeGroupsResponse<'_>) = ask!(
        connection,
        DescribeGroups,
        version,
        DescribeGroupsRequest {
            groups: vec![group.into(), "nobody".into(), group.into()],
            include_authorized_operations: false
        }
    );
    assert_eq!(described.groups.len(), 2, "a group named twice is described once");
    let state = |at: usize| (described.groups[at].error_code, &*described.groups[at].group_state);
    assert_eq!(state(0), (ErrorCode::NONE, "Stable"));
    let member = &described.groups[0].members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("wire", "/127.0.0.1"));
    assert_eq!((&*member.member_metadata, &*member.member_assignment), (&b"me"[..], &b"mine"[..]));
    let missing = if version >= 6 { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::NONE };
    assert_eq!(state(1), (missing, "Dead"));

    let (version, listed): (_, ListGroupsResponse<'_>) =
        ask!(connection, ListGroups, version, ListGroupsRequest::default());
    let listed = listed.groups.iter().find(|listed| listed.group_id == group).unwrap();
    assert_eq!(&*listed.group_state, if version >= 4 { "Stable" } else { "" });
    assert_eq!(&*listed.group_type, if version >= 5 { "classic" } else { "" });
}

fn leave_and_delete(connection: &mut Connection, version: i16, group: &'static str, member: &str) {
    let one = nearest(ApiKey::LeaveGroup, version) < 3;
    let leaving = MemberIdentity { member_id: member.into(), ..Default::default() };
    let (_, left): (_, LeaveGroupResponse<'_>) = ask!(
        connection,
        LeaveGroup,
        version,
        LeaveGroupRequest {
            group_id: group.into(),
            member_id: if one { member.into() } else { "".into() },
            members: if one { Vec::new() } else { vec![leaving] },
        }
    );
    assert_eq!(left.error_code, ErrorCode::NONE);
    assert!(left.members.iter().all(|member| member.error_code == ErrorCode::NONE));
    let (_, deleted): (_, DeleteGroupsResponse<'_>) =
        ask!(connection, DeleteGroups, version, DeleteGroupsRequest { groups_names: vec![group.into()] });
    assert_eq!(deleted.results[0].error_code, ErrorCode::NONE);
}
