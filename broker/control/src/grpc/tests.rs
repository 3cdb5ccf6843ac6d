use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;
use taffrail_protocol::{ErrorCode, Uuid};

use super::pieces::{Assembler, Pieces};
use super::{LONGEST_MESSAGE_BYTES, LONGEST_REQUEST_BYTES, PIECE_BYTES, proto};
use crate::session::*;

/// What arrives when `message` is sent, and in how many pieces.
fn sent<M: Pieces + Clone>(message: M) -> (M, usize) {
    let Ok(pieces) = message.cut() else { panic!("it is too long") };
    let mut pieces: VecDeque<_> = pieces.collect();
    let count = pieces.len();
    let mut assembler = Assembler::<M>::new(usize::MAX);
    while let Some(piece) = pieces.pop_front() {
        let bytes = piece.encode_to_vec();
        assert!(bytes.len() < LONGEST_MESSAGE_BYTES);
        let read = M::Wire::decode(bytes.as_slice()).unwrap();
        match assembler.add(read).unwrap() {
            Some(whole) => {
                assert!(pieces.is_empty(), "the message was whole too early");
                return (whole, count);
            }
            None => assert!(!pieces.is_empty(), "pieces are missing"),
        }
    }
    unreachable!("there is at least one piece")
}

fn id(byte: u8) -> Uuid {
    Uuid([byte; 16])
}

fn member() -> Member {
    Member { broker_id: 3, incarnation: 9 }
}

fn endpoint() -> Endpoint {
    Endpoint { listener: "PLAINTEXT".into(), host: "kafka".into(), port: 9092 }
}

fn config() -> BTreeMap<String, String> {
    BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())])
}

fn error() -> ApiError {
    ApiError { code: ErrorCode(-1), message: "no".into() }
}

fn registration() -> Registration {
    Registration {
        contract_version: 1,
        cluster_id: Some("c".into()),
        broker_id: 3,
        process_id: id(1),
        claim: LogClaim::SameBoot,
        last_incarnation: Some(u64::MAX),
        endpoints: vec![endpoint()],
        rack: Some(String::new()),
        log_dirs: vec![id(2)],
        features: vec!["f".into()],
        peer_address: Some("[::1]:9".parse().unwrap()),
        peer_token: id(4),
        resumes: Some(7),
        slices: vec![SliceDigest { slice: 0, digest: u64::MAX }, SliceDigest { slice: 127, digest: 0 }],
    }
}

fn requests() -> Vec<ControllerRequest> {
    let topic = NewTopic {
        name: "t".into(),
        partitions: Some(-1),
        replication_factor: Some(-1),
        assignments: vec![vec![1, 2], vec![]],
        config: config(),
    };
    let more = MorePartitions { name: "t".into(), total_count: 4, assignments: vec![vec![1]] };
    let change = |resource| ConfigChange {
        resource,
        replace: true,
        ops: vec![
            ("a".into(), ConfigOp::Set("1".into())),
            ("b".into(), ConfigOp::Delete),
            ("c".into(), ConfigOp::Append("2".into())),
            ("d".into(), ConfigOp::Subtract("3".into())),
        ],
    };
    let changes = vec![
        change(ConfigResource::Topic("t".into())),
        change(ConfigResource::Broker(Some(0))),
        change(ConfigResource::Broker(None)),
    ];
    let moved = |replicas| Reassignment { topic: "t".into(), partition: 1, replicas };
    vec![
        ControllerRequest::CreateTopics { topics: vec![topic, NewTopic::default()], validate_only: true },
        ControllerRequest::DeleteTopics { topics: vec![TopicRef::Name("t".into()), TopicRef::Id(id(5))] },
        ControllerRequest::CreatePartitions { topics: vec![more], validate_only: false },
        ControllerRequest::AllocateProducerIds,
        ControllerRequest::AlterConfigs { changes, validate_only: true },
        ControllerRequest::ElectLeaders { kind: ElectionKind::Unclean, partitions: None },
        ControllerRequest::ElectLeaders { kind: ElectionKind::Preferred, partitions: Some(vec![]) },
        ControllerRequest::ElectLeaders {
            kind: ElectionKind::Preferred,
            partitions: Some(vec![("t".into(), 1)]),
        },
        ControllerRequest::AlterReassignments {
            partitions: vec![moved(None), moved(Some(vec![])), moved(Some(vec![1, 2]))],
            allow_replication_factor_change: true,
        },
        ControllerRequest::UnregisterBroker { broker_id: 3 },
    ]
}

fn size(size_bytes: u64) -> PartitionSize {
    PartitionSize { topic_id: id(1), partition: 2, size_bytes }
}

fn held() -> HeldPartition {
    HeldPartition {
        topic_id: id(1),
        partition: 2,
        creation: 3,
        leader_epoch: 4,
        partition_epoch: 5,
        replicas: vec![6, 7],
    }
}

#[test]
fn every_message_to_the_controller_arrives_as_it_was_sent() {
    let incarnation = 9;
    let held = held();
    let proposal = IsrProposal {
        topic_id: id(1),
        partition: 2,
        leader_epoch: 3,
        partition_epoch: 4,
        isr: vec![member()],
    };
    let health = |log| ReplicaHealth {
        topic_id: id(1),
        partition: 2,
        leader_epoch: 3,
        log,
        log_end_offset: 4,
        followers: vec![FollowerLag { broker_id: 1, records: 2, ms: 3 }],
    };
    let log_dir = |state| LogDirHealth { path: "/data".into(), state, reason: "full".into() };
    let log_dirs = [LogDirState::Full, LogDirState::Failed].map(log_dir).to_vec();
    let states = [LogState::Online, LogState::Missing, LogState::Failed { reason: "full".into() }];
    let end = LogEnd { topic_id: id(1), partition: 2, last_epoch: -1, end_offset: 0 };
    let mut messages = vec![
        ToController::Register(registration()),
        ToController::Register(Registration {
            cluster_id: None,
            claim: LogClaim::Clean,
            last_incarnation: None,
            rack: None,
            peer_address: None,
            resumes: None,
            slices: Vec::new(),
            ..registration()
        }),
        ToController::Heartbeat { incarnation, applied_version: 5 },
        ToController::Held { incarnation, partitions: vec![] },
        ToController::Held { incarnation, partitions: vec![held] },
        ToController::ProposeIsr { incarnation, proposals: vec![proposal] },
        ToController::Health { incarnation, full: true, replicas: states.map(health).to_vec() },
        ToController::LogEnds { incarnation, query_id: 1, ends: vec![end] },
        ToController::PartitionSizes { incarnation, partitions: vec![size(u64::MAX)] },
        ToController::LogDirs { incarnation, dirs: vec![] },
        ToController::LogDirs { incarnation, dirs: log_dirs },
        ToController::ControlledShutdown { incarnation },
    ];
    let requests = requests().into_iter().zip(1..);
    messages.extend(requests.map(|(request, request_id)| ToController::Request { request_id, request }));
    for message in messages {
        assert_eq!(sent(message.clone()), (message, 1));
    }
}

#[test]
fn every_message_from_the_controller_arrives_as_it_was_sent() {
    let outcome = TopicOutcome {
        name: Some("t".into()),
        topic_id: id(1),
        partition_count: 2,
        replication_factor: 3,
        config: config(),
    };
    let done = |result| PartitionOutcome { topic: "t".into(), partition: 1, result };
    let responses = vec![
        ControllerResponse::Topics(vec![Ok(outcome), Err(error())]),
        ControllerResponse::ProducerIds { first: 1, count: 2 },
        ControllerResponse::Partitions(vec![done(Ok(())), done(Err(error()))]),
        ControllerResponse::Configs(vec![Ok(()), Err(error())]),
        ControllerResponse::Done,
        ControllerResponse::Failed(error()),
    ];
    let reasons =
        [IsrRefusal::UnknownPartition, IsrRefusal::StaleEpoch, IsrRefusal::NotLeader, IsrRefusal::Ineligible];
    let refused =
        reasons.map(|reason| RefusedIsr { topic_id: id(1), partition: 2, partition_epoch: 3, reason });
    let mut messages = vec![
        FromController::Registered {
            cluster_id: "c".into(),
            incarnation: 1,
            rack: Some("r".into()),
            endpoints: vec![endpoint()],
            features: vec!["f".into()],
        },
        FromController::Redirect { active: Some("http://a:1".into()) },
        FromController::Redirect { active: None },
        FromController::Refused { reason: "why".into() },
        FromController::Update(Arc::new(ClusterUpdate::default())),
        FromController::Update(Arc::new(update(1))),
        FromController::IsrRefused { refused: refused.to_vec() },
        FromController::QueryLogEnds { query_id: 1, partitions: vec![(id(1), 2)] },
        FromController::ShutdownGranted,
    ];
    let responses = responses.into_iter().zip(1..);
    messages
        .extend(responses.map(|(response, request_id)| FromController::Response { request_id, response }));
    for message in messages {
        assert_eq!(sent(message.clone()), (message, 1));
    }
}

fn partition(number: i32) -> PartitionRecord {
    PartitionRecord {
        topic_id: id(1),
        partition: number,
        creation: 3,
        replicas: vec![1, 2, 3],
        leader: (number % 2 == 0).then(member),
        leader_epoch: 4,
        partition_epoch: 5,
        isr: vec![member(), member()],
        elr: vec![member()],
        min_isr: 2,
        adding: vec![3],
        removing: vec![1],
        unclean_epoch: (number % 3 == 0).then_some(0),
    }
}

fn update(partitions: i32) -> ClusterUpdate {
    let broker = |broker_id, with: bool| BrokerRecord {
        broker_id,
        incarnation: 5,
        endpoints: vec![endpoint()],
        rack: with.then(|| "r".into()),
        fenced: with,
        peer_address: with.then(|| "10.0.0.1:9093".parse().unwrap()),
        peer_token: with.then(|| id(7)),
    };
    let topic = |n: i32| TopicRecord {
        name: format!("topic-{n}").into(),
        topic_id: id(1),
        creation: 2,
        config: config(),
        partition_count: 3,
    };
    ClusterUpdate {
        version: 8,
        snapshot: true,
        unchanged_slices: vec![0, 127],
        brokers: vec![broker(1, true), broker(2, false)],
        removed_brokers: vec![3, -1],
        topics: (0..partitions).map(topic).collect(),
        removed_topics: vec![id(9)],
        partitions: (0..partitions).map(partition).collect(),
        broker_configs: vec![
            BrokerConfigRecord { broker_id: None, config: config() },
            BrokerConfigRecord { broker_id: Some(0), config: BTreeMap::new() },
        ],
        wishes: Vec::new(),
    }
}

#[test]
fn a_long_snapshot_is_cut_into_pieces_that_fit_and_put_together_again() {
    let snapshot = FromController::Update(Arc::new(update(40_000)));
    for piece in snapshot.clone().cut().ok().unwrap() {
        assert!(piece.encoded_len() < PIECE_BYTES + 64 * 1024, "{}", piece.encoded_len());
    }
    let (arrived, pieces) = sent(snapshot.clone());
    assert!(pieces > 3, "{pieces}");
    assert!(arrived == snapshot);
    let removed_topics = vec![id(7); 100_000];
    let removal =
        FromController::Update(Arc::new(ClusterUpdate { removed_topics, ..ClusterUpdate::default() }));
    let (arrived, pieces) = sent(removal.clone());
    assert!(pieces > 1 && arrived == removal, "{pieces}");
    let held = held();
    let report = ToController::Held { incarnation: 1, partitions: vec![held; 100_000] };
    let (arrived, pieces) = sent(report.clone());
    assert!(pieces > 2 && arrived == report, "{pieces}");
    let report = ToController::PartitionSizes { incarnation: 1, partitions: vec![size(1 << 40); 100_000] };
    let (arrived, pieces) = sent(report.clone());
    assert!(pieces > 2 && arrived == report, "{pieces}");
}

#[test]
fn a_broker_names_no_more_slices_than_there_are() {
    let slices = (0..100_000).map(|slice| SliceDigest { slice, digest: 1 }).collect();
    let (arrived, _) = sent(ToController::Register(Registration { slices, ..registration() }));
    let ToController::Register(arrived) = arrived else { panic!("{arrived:?}") };
    assert_eq!(arrived.slices.len(), 128);
}

#[test]
fn pieces_of_different_messages_are_not_mixed_and_not_without_end() {
    let piece = |version, more| {
        let update = proto::ClusterUpdate { version, ..Default::default() };
        let message = Some(proto::from_controller::Message::Update(update));
        proto::FromController { message, more }
    };
    let mut assembler = Assembler::<FromController>::new(1000);
    assert_eq!(assembler.add(piece(1, true)), Ok(None));
    assert_eq!(assembler.add(piece(2, false)).unwrap_err().field, "more");
    let mut assembler = Assembler::<FromController>::new(1000);
    let error = (0..1000).find_map(|_| assembler.add(piece(1, true)).err()).unwrap();
    assert!(error.problem.contains("more than 1000 bytes"), "{error}");
}

#[test]
fn a_request_that_is_too_long_is_answered_on_this_side_and_an_answer_is_replaced() {
    let topic = NewTopic { name: "x".repeat(1 << 20), ..NewTopic::default() };
    let topics = vec![topic; LONGEST_REQUEST_BYTES >> 20];
    let request = ControllerRequest::CreateTopics { topics, validate_only: false };
    let Err(FromController::Response { request_id: 4, response: ControllerResponse::Failed(error) }) =
        ToController::Request { request_id: 4, request }.cut()
    else {
        panic!("it is too long")
    };
    assert_eq!(error.code, ErrorCode::INVALID_REQUEST);
    let long = ApiError { message: "x".repeat(1 << 20), ..error };
    let response = ControllerResponse::Configs(vec![Err(long); LONGEST_REQUEST_BYTES >> 20]);
    let (arrived, _) = sent(FromController::Response { request_id: 5, response });
    let FromController::Response { request_id: 5, response: ControllerResponse::Failed(error) } = arrived
    else {
        panic!("{arrived:?}")
    };
    assert_eq!(error.code, ErrorCode::UNKNOWN_SERVER_ERROR);
}

/// Which field a message to the controller is refused for.
fn refused(message: proto::to_controller::Message) -> &'static str {
    ToController::read(proto::ToController { message: Some(message), more: false }).unwrap_err().field
}

#[test]
fn what_is_not_known_is_refused_by_the_name_of_its_field() {
    use proto::to_controller::Message as M;
    assert_eq!(ToController::read(proto::ToController::default()).unwrap_err().field, "message");
    assert_eq!(FromController::read(proto::FromController::default()).unwrap_err().field, "message");
    let good = super::to::registration(registration());
    let with = |change: &dyn Fn(&mut proto::Registration)| {
        let mut changed = good.clone();
        change(&mut changed);
        refused(M::Register(changed))
    };
    assert_eq!(with(&|r| r.claim = 0), "claim");
    assert_eq!(with(&|r| r.claim = 77), "claim");
    assert_eq!(with(&|r| r.process_id = vec![1; 15]), "process_id");
    assert_eq!(with(&|r| r.peer_address = Some("broker-1:9092".into())), "peer_address");
    assert_eq!(with(&|r| r.endpoints[0].port = 65_536), "port");
    assert_eq!(with(&|r| r.endpoints[0].port = 0), "port");
    assert_eq!(refused(M::Request(proto::ControllerRequest::default())), "request");
    let held = proto::Held { incarnation: 1, partitions: vec![proto::HeldPartition::default()] };
    assert_eq!(refused(M::Held(held)), "topic_id");
    let sizes = proto::PartitionSizes { incarnation: 1, partitions: vec![proto::PartitionSize::default()] };
    assert_eq!(refused(M::PartitionSizes(sizes)), "topic_id");
}

#[test]
fn a_controller_of_the_next_release_is_understood_and_none_further_ahead() {
    let registered = |ahead| {
        let contract_version = CONTRACT_VERSION + ahead;
        let registered = proto::Registered { contract_version, incarnation: 4, ..Default::default() };
        let message = Some(proto::from_controller::Message::Registered(registered));
        FromController::read(proto::FromController { message, more: false })
    };
    for ahead in [0, 1] {
        let read = registered(ahead).unwrap().0;
        assert!(matches!(read, FromController::Registered { incarnation: 4, .. }), "{read:?}");
    }
    assert_eq!(registered(2).unwrap_err().field, "contract_version");
}

#[test]
fn fields_of_a_later_release_are_passed_over() {
    let message = ToController::Heartbeat { incarnation: 1, applied_version: 2 };
    let mut bytes = message.clone().cut().ok().and_then(|mut pieces| pieces.next()).unwrap().encode_to_vec();
    // Field 100, a string.
    bytes.extend([0xa2, 0x06, 3, b'n', b'e', b'w']);
    let read = proto::ToController::decode(bytes.as_slice()).unwrap();
    assert_eq!(ToController::read(read), Ok((message, false)));
}

proptest! {
    #[test]
    fn whatever_bytes_come_reading_them_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = proto::ToController::decode(bytes.as_slice()) {
            let _ = ToController::read(message);
        }
        if let Ok(message) = proto::FromController::decode(bytes.as_slice()) {
            let _ = FromController::read(message);
        }
    }
}
