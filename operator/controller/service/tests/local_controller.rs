//! A controller over a file, spoken to as a broker speaks to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use taffrail_control::session::{
    BrokerEnd, CONTRACT_VERSION, ClusterUpdate, ControllerRequest, ControllerResponse, Endpoint,
    FromController, LogClaim, Member, MorePartitions, NewTopic, PartitionRecord, Registration, ToController,
    TopicOutcome, TopicRef,
};
use taffrail_controller::store::{AskStore, MemoryStore, Store, StoreAnswer, StoreNews, StoreRequest};
use taffrail_controller_service::{ClusterDefaults, LocalController};
use taffrail_protocol::{ErrorCode, Uuid};
use tokio::sync::mpsc;

/// A broker's view, as far as these tests look.
struct Broker {
    end: BrokerEnd,
    cluster_id: String,
    incarnation: u64,
    topics: BTreeMap<String, (Uuid, i32)>,
    partitions: BTreeMap<(Uuid, i32), PartitionRecord>,
    next_request: u64,
    granted: bool,
}

fn registration(broker_id: i32, last_incarnation: Option<u64>) -> Registration {
    let process_id = Uuid([last_incarnation.unwrap_or(0) as u8 + 1; 16]);
    let claim = if last_incarnation.is_some() { LogClaim::SameBoot } else { LogClaim::Unclean };
    Registration {
        last_incarnation,
        endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 }],
        log_dirs: vec![Uuid([9; 16])],
        ..Registration::new(broker_id, process_id, claim)
    }
}

impl Broker {
    async fn register(controller: &LocalController, registration: Registration) -> Result<Self, String> {
        let mut end = controller.handle().connect();
        end.sender.send(ToController::Register(registration)).await.unwrap();
        let (cluster_id, incarnation) = match end.receiver.recv().await {
            Some(FromController::Registered { cluster_id, incarnation, .. }) => (cluster_id, incarnation),
            Some(FromController::Refused { reason }) => {
                assert_eq!(end.receiver.recv().await, None, "a refused session ends");
                return Err(reason);
            }
            other => panic!("{other:?}"),
        };
        let (topics, partitions) = (BTreeMap::new(), BTreeMap::new());
        let mut broker =
            Self { end, cluster_id, incarnation, topics, partitions, next_request: 0, granted: false };
        let Some(FromController::Update(snapshot)) = broker.end.receiver.recv().await else {
            panic!("no snapshot")
        };
        assert!(snapshot.snapshot);
        broker.apply(&snapshot);
        Ok(broker)
    }

    fn apply(&mut self, update: &ClusterUpdate) {
        for topic in &update.topics {
            self.topics.insert(topic.name.to_string(), (topic.topic_id, topic.partition_count));
        }
        for gone in &update.removed_topics {
            self.topics.retain(|_, (id, _)| id != gone);
            self.partitions.retain(|(id, _), _| id != gone);
        }
        for record in &update.partitions {
            self.partitions.insert((record.topic_id, record.partition), record.clone());
        }
    }

    /// The next response or grant; updates before it are applied.
    async fn next(&mut self) -> Option<ControllerResponse> {
        loop {
            match self.end.receiver.recv().await? {
                FromController::Update(update) => self.apply(&update),
                FromController::Response { request_id, response } => {
                    assert_eq!(request_id, self.next_request);
                    return Some(response);
                }
                FromController::ShutdownGranted => self.granted = true,
                other => panic!("{other:?}"),
            }
            if self.granted {
                return None;
            }
        }
    }

    async fn ask(&mut self, request: ControllerRequest) -> ControllerResponse {
        self.next_request += 1;
        let message = ToController::Request { request_id: self.next_request, request };
        self.end.sender.send(message).await.unwrap();
        self.next().await.unwrap()
    }

    async fn topics(&mut self, request: ControllerRequest) -> Vec<Result<TopicOutcome, ErrorCode>> {
        match self.ask(request).await {
            ControllerResponse::Topics(results) => {
                results.into_iter().map(|result| result.map_err(|error| error.code)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    async fn create(&mut self, name: &str, partitions: i32) -> Result<TopicOutcome, ErrorCode> {
        let topics = vec![new_topic(name, partitions)];
        self.topics(ControllerRequest::CreateTopics { topics, validate_only: false }).await.remove(0)
    }
}

fn new_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.into(),
        partitions: Some(partitions),
        replication_factor: None,
        assignments: Vec::new(),
        config: BTreeMap::new(),
    }
}

/// What a watcher is told next, requests' answers left out.
async fn told(watcher: &mut BrokerEnd) -> Option<Arc<ClusterUpdate>> {
    match watcher.receiver.recv().await? {
        FromController::Update(update) => Some(update),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watcher_sees_what_brokers_make_by_defaults_that_change_until_the_controller_stops() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let mut broker = Broker::register(&controller, registration(1, None)).await.unwrap();
    let mut watcher = controller.handle().watch();
    assert_eq!(told(&mut watcher).await.unwrap().brokers.len(), 1);
    controller.handle().configure(ClusterDefaults { num_partitions: 3, ..ClusterDefaults::default() }).await;
    let topics = vec![NewTopic { name: "t".into(), ..NewTopic::default() }];
    broker.topics(ControllerRequest::CreateTopics { topics, validate_only: false }).await;
    assert_eq!(told(&mut watcher).await.unwrap().partitions.len(), 3);
    controller.shutdown().await;
    assert_eq!(told(&mut watcher).await, None);
}

fn open(directory: &Path) -> LocalController {
    LocalController::open(directory, ClusterDefaults::default()).unwrap()
}

#[tokio::test]
async fn a_topic_lives_through_restarts_and_its_leader_comes_back_in_a_new_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let mut broker = Broker::register(&controller, registration(1, None)).await.unwrap();
    let (cluster_id, first) = (broker.cluster_id.clone(), broker.incarnation);
    let made = broker.create("orders", 3).await.unwrap();
    assert_eq!((made.partition_count, made.replication_factor), (3, 1));
    assert_eq!(broker.topics["orders"], (made.topic_id, 3), "the update comes before the answer");
    let record = &broker.partitions[&(made.topic_id, 2)];
    assert_eq!((record.leader_epoch, record.partition_epoch), (0, 0));
    assert_eq!(record.leader, Some(Member { broker_id: 1, incarnation: first }));
    controller.shutdown().await;
    assert_eq!(broker.next().await, None, "the session ends with the controller");

    let controller = open(directory.path());
    let again = Registration { cluster_id: Some(cluster_id.clone()), ..registration(1, Some(first)) };
    let mut broker = Broker::register(&controller, again).await.unwrap();
    assert_eq!(broker.cluster_id, cluster_id);
    assert!(broker.incarnation > first);
    assert_eq!(broker.topics["orders"], (made.topic_id, 3));
    // The next answer comes after the update that moved leadership to the new incarnation.
    broker.create("more", 1).await.unwrap();
    let record = &broker.partitions[&(made.topic_id, 2)];
    assert_eq!((record.leader_epoch, record.partition_epoch), (1, 1));
    assert_eq!(record.leader, Some(Member { broker_id: 1, incarnation: broker.incarnation }));
    assert_eq!(record.isr, [record.leader.unwrap()]);
    controller.shutdown().await;
}

#[tokio::test]
async fn each_refusal_has_kafkas_code() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let mut broker = Broker::register(&controller, registration(1, None)).await.unwrap();
    broker.create("a.b", 1).await.unwrap();
    let config = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let with = |name: &str, change: &dyn Fn(&mut NewTopic)| {
        let mut topic = new_topic(name, 1);
        change(&mut topic);
        topic
    };
    let topics = vec![
        new_topic("a.b", 1),
        new_topic("a_b", 1),
        new_topic("bad name", 1),
        new_topic("none", 0),
        with("wide", &|t| t.replication_factor = Some(2)),
        with("hand", &|t| (t.partitions, t.assignments) = (None, vec![vec![7]])),
        with("both", &|t| t.assignments = vec![vec![1]]),
        with("key", &|t| t.config = config("retention.msec", "1")),
        with("value", &|t| t.config = config("retention.ms", "soon")),
        new_topic("twice", 1),
        new_topic("twice", 1),
        with("fine", &|t| t.config = config("segment.bytes", " 1048576 ")),
    ];
    let answers = broker.topics(ControllerRequest::CreateTopics { topics, validate_only: true }).await;
    let codes: Vec<i16> = answers.iter().map(|a| a.as_ref().map_or_else(|code| code.0, |_| 0)).collect();
    assert_eq!(codes, [36, 17, 17, 37, 38, 39, 42, 40, 40, 42, 42, 0]);
    assert_eq!(answers[11].as_ref().unwrap().config["segment.bytes"], "1048576");
    assert_eq!(broker.topics.len(), 1, "validate_only changes nothing");

    let more =
        |name: &str, total_count| MorePartitions { name: name.into(), total_count, assignments: vec![] };
    let by_hand = MorePartitions { assignments: vec![vec![1], vec![1]], ..more("a.b", 2) };
    broker.create("c", 1).await.unwrap();
    let topics = vec![more("a.b", 1), more("x", 2), MorePartitions { name: "c".into(), ..by_hand }];
    let answers = broker.topics(ControllerRequest::CreatePartitions { topics, validate_only: false }).await;
    let codes: Vec<i16> = answers.iter().map(|a| a.as_ref().map_or_else(|code| code.0, |_| 0)).collect();
    assert_eq!(codes, [37, 3, 39]);

    let unknown = Uuid([5; 16]);
    let topics = vec![
        TopicRef::Name("x".into()),
        TopicRef::Id(unknown),
        TopicRef::Name("a.b".into()),
        TopicRef::Name("c".into()),
    ];
    let answers = broker.topics(ControllerRequest::DeleteTopics { topics }).await;
    let codes: Vec<i16> = answers.iter().map(|a| a.as_ref().map_or_else(|code| code.0, |_| 0)).collect();
    assert_eq!(codes, [3, 100, 0, 0]);
    assert!(broker.topics.is_empty() && broker.partitions.is_empty());
    controller.shutdown().await;
}

#[tokio::test]
async fn topics_grow_and_go_and_come_again_under_another_id() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let mut broker = Broker::register(&controller, registration(1, None)).await.unwrap();
    let first = broker.create("t", 1).await.unwrap();
    let topics = vec![MorePartitions { name: "t".into(), total_count: 700, assignments: Vec::new() }];
    let grown = broker.topics(ControllerRequest::CreatePartitions { topics, validate_only: false }).await;
    assert_eq!(grown[0].as_ref().unwrap().partition_count, 700);
    assert_eq!((broker.topics["t"].1, broker.partitions.len()), (700, 700));
    let topics = vec![TopicRef::Id(first.topic_id)];
    let gone = broker.topics(ControllerRequest::DeleteTopics { topics }).await;
    assert_eq!(gone[0].as_ref().unwrap().name.as_deref(), Some("t"));
    assert!(broker.partitions.is_empty());
    let second = broker.create("t", 1).await.unwrap();
    assert_ne!(second.topic_id, first.topic_id);
    controller.shutdown().await;
}

#[tokio::test]
async fn producer_ids_are_never_handed_out_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut firsts = Vec::new();
    for last in [None, Some(1)] {
        let controller = open(directory.path());
        let mut broker = Broker::register(&controller, registration(1, last)).await.unwrap();
        for _ in 0..2 {
            match broker.ask(ControllerRequest::AllocateProducerIds).await {
                ControllerResponse::ProducerIds { first, count: 1000 } => firsts.push(first),
                other => panic!("{other:?}"),
            }
        }
        controller.shutdown().await;
    }
    assert_eq!(firsts, [0, 1000, 2000, 3000]);
}

#[tokio::test]
async fn disks_of_another_cluster_and_other_contracts_are_refused_and_the_store_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let refused = LocalController::open(directory.path(), ClusterDefaults::default()).unwrap_err();
    assert!(refused.to_string().starts_with("another process uses the controller's store"), "{refused}");
    let stranger = Registration { cluster_id: Some("another".into()), ..registration(1, None) };
    let reason = Broker::register(&controller, stranger).await.err().unwrap();
    assert!(reason.contains("another"), "{reason}");
    let future = Registration { contract_version: CONTRACT_VERSION + 2, ..registration(1, None) };
    let reason = Broker::register(&controller, future).await.err().unwrap();
    assert!(reason.contains("contract"), "{reason}");
    controller.shutdown().await;
}

#[tokio::test]
async fn the_last_broker_may_stop_at_once_and_another_after_its_leaders_have_moved() {
    let directory = tempfile::tempdir().unwrap();
    let controller = open(directory.path());
    let mut one = Broker::register(&controller, registration(1, None)).await.unwrap();
    let mut two = Broker::register(&controller, registration(2, None)).await.unwrap();
    let topics = vec![NewTopic { replication_factor: Some(2), ..new_topic("t", 4) }];
    let made = one.topics(ControllerRequest::CreateTopics { topics, validate_only: false }).await;
    assert!(made[0].is_ok());
    let shutdown = ToController::ControlledShutdown { incarnation: one.incarnation };
    one.end.sender.send(shutdown).await.unwrap();
    assert_eq!(one.next().await, None);
    assert!(one.granted);
    let leaders = one.partitions.values().map(|record| record.leader.unwrap().broker_id);
    assert_eq!(leaders.collect::<Vec<_>>(), [2; 4], "the grant comes after the update");
    let shutdown = ToController::ControlledShutdown { incarnation: two.incarnation };
    two.end.sender.send(shutdown).await.unwrap();
    assert_eq!(two.next().await, None);
    assert!(two.granted && two.partitions.values().all(|record| record.leader.is_some()));
    controller.shutdown().await;
}

/// A store that is far away: it answers later, and while its line is cut not at all.
struct FarStore {
    memory: MemoryStore,
    news: mpsc::Sender<StoreNews>,
    line: Arc<Mutex<Line>>,
}

#[derive(Default)]
struct Line {
    is_cut: bool,
    held: Vec<StoreAnswer>,
}

impl AskStore for FarStore {
    fn ask(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer> {
        let answers = self.memory.execute(batch);
        let mut line = self.line.lock().unwrap();
        if line.is_cut {
            line.held.extend(answers);
        } else {
            answers.into_iter().for_each(|answer| self.news.try_send(StoreNews::Answered(answer)).unwrap());
        }
        Vec::new()
    }
}

#[tokio::test]
async fn a_controller_hears_everybody_while_its_store_is_silent() {
    let (news, receiver) = mpsc::channel(64);
    let line = Arc::new(Mutex::new(Line { is_cut: true, held: Vec::new() }));
    let store = FarStore { memory: MemoryStore::default(), news: news.clone(), line: Arc::clone(&line) };
    let restore = || {
        let mut line = line.lock().unwrap();
        line.is_cut = false;
        line.held.drain(..).for_each(|answer| news.try_send(StoreNews::Answered(answer)).unwrap());
    };
    let cut = || line.lock().unwrap().is_cut = true;

    let controller = LocalController::start(store, receiver, ClusterDefaults::default()).unwrap();
    let handle = controller.handle();
    let first = tokio::spawn(async move { handle.summary().await });
    let mut early = controller.handle().connect();
    early.sender.send(ToController::Register(registration(1, None))).await.unwrap();
    assert_eq!(early.receiver.recv().await, Some(FromController::Redirect { active: None }));
    assert_eq!(early.receiver.recv().await, None, "who comes before the store is read comes again");
    assert!(!first.is_finished(), "nothing is known of the cluster yet");
    restore();
    assert_eq!(first.await.unwrap().unwrap().topics, 0);

    let mut broker = Broker::register(&controller, registration(1, None)).await.unwrap();
    broker.create("one", 1).await.unwrap();
    cut();
    broker.next_request += 1;
    let two = ControllerRequest::CreateTopics { topics: vec![new_topic("two", 1)], validate_only: false };
    let message = ToController::Request { request_id: broker.next_request, request: two };
    broker.end.sender.send(message).await.unwrap();
    let summary = controller.handle().summary().await.unwrap();
    assert_eq!(
        (summary.sessions, summary.topics),
        (1, 1),
        "it is answered, and nothing is published before it is stored"
    );
    restore();
    assert!(matches!(broker.next().await, Some(ControllerResponse::Topics(made)) if made[0].is_ok()));

    cut();
    broker.next_request += 1;
    let message = ToController::Request {
        request_id: broker.next_request,
        request: ControllerRequest::AllocateProducerIds,
    };
    broker.end.sender.send(message).await.unwrap();
    while line.lock().unwrap().held.is_empty() {
        controller.handle().summary().await.unwrap();
    }
    let stopping = tokio::spawn(controller.shutdown());
    assert_eq!(broker.next().await, None, "the session ends at once");
    assert!(!stopping.is_finished(), "what was asked of the store is waited for");
    restore();
    stopping.await.unwrap();
}
