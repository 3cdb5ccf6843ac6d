//! Random histories: two controllers over one store that loses and delays answers, restarts at any point, brokers that
//! come and go, lose logs, propose in-sync replicas and hold what the store has lost, elections ordered, topics made, grown
//! and deleted. The store's content and all that brokers are told is checked at each step; at the end a fresh controller
//! finishes what was left half done, and every partition has a leader.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use taffrail_control::session::{
    ConfigChange, ConfigOp, ConfigResource, ControllerRequest as Request, ControllerResponse as Response,
    ElectionKind, FromController, HeldPartition, IsrProposal, LogClaim, LogEnd, LogState, MorePartitions,
    NewTopic, Reassignment, Registration, ReplicaHealth, ToController, TopicRef,
};
use taffrail_control::slices::topic_slice;
use taffrail_controller::directory::Directory;
use taffrail_controller::message::{Input, Output, SessionId};
use taffrail_controller::model::{
    BrokerState, ClusterState, Member, Object, ObjectKey, PARTITIONS_PER_SLICE, PartitionState, TopicEntry,
};
use taffrail_controller::store::{
    MemoryStore, Store, StoreAction, StoreAnswer, StoreOutcome, StoreRequest, Version,
};
use taffrail_controller::{Controller, Policy, Surroundings, View, mend};
use taffrail_protocol::Uuid;

/// Two pairs of these collide.
const NAMES: [&str; 6] = ["a", "b.c", "b_c", "d", "e.f", "e_f"];
const BROKERS: i32 = 3;
/// Who is about to be taken away in the end.
const YIELDING: i32 = 2;

#[derive(Debug, Clone)]
enum Fate {
    Answered,
    AnswerLost,
    NeverArrived,
    /// The asker hears nothing, and the request arrives later.
    Late,
}

#[derive(Debug, Clone)]
enum Op {
    Deliver {
        at: usize,
        which: usize,
        fate: Fate,
    },
    DeliverAll {
        at: usize,
    },
    ArriveLate {
        which: usize,
    },
    Create {
        at: usize,
        name: usize,
        partitions: i32,
        factor: i16,
        config: u8,
    },
    Grow {
        at: usize,
        name: usize,
        by: i32,
    },
    Delete {
        at: usize,
        name: usize,
        by_id: bool,
    },
    ProducerIds {
        at: usize,
    },
    Register {
        at: usize,
        broker: i32,
        kept: bool,
        same_process: bool,
    },
    EndSession {
        at: usize,
        broker: i32,
    },
    Shutdown {
        at: usize,
        broker: i32,
    },
    Tick {
        at: usize,
        ms: u64,
    },
    Propose {
        at: usize,
        which: usize,
        members: u8,
        behind: i32,
    },
    Health {
        at: usize,
        broker: i32,
        which: usize,
        log: u8,
    },
    LogEnds {
        at: usize,
        which: usize,
        end: i64,
    },
    Elect {
        at: usize,
        name: usize,
        unclean: bool,
    },
    Held {
        at: usize,
        broker: i32,
        which: usize,
        ahead: i32,
    },
    /// The store tells a controller of all objects.
    TellAll {
        at: usize,
    },
    Restart {
        at: usize,
    },
    /// To the brokers of the bits that are set; with none, what is under way is cancelled.
    Reassign {
        at: usize,
        name: usize,
        brokers: u8,
    },
    /// All leaders propose all replicas whose broker is unfenced.
    ProposeAll {
        at: usize,
    },
    /// `min.insync.replicas`, of a topic or, without a name, of all brokers.
    Configure {
        at: usize,
        name: Option<usize>,
        min_isr: i32,
    },
    Unregister {
        at: usize,
        broker: i32,
    },
    /// The brokers of the bits that are set are about to be taken away.
    Yield {
        at: usize,
        brokers: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let fate = prop_oneof![
        8 => Just(Fate::Answered), 1 => Just(Fate::AnswerLost), 1 => Just(Fate::NeverArrived), 1 => Just(Fate::Late)
    ];
    // The second controller is the rarer one, so that the first gets somewhere.
    let at = || prop_oneof![4 => Just(0_usize), 1 => Just(1_usize)];
    let name = || 0..NAMES.len();
    let partitions = prop_oneof![6 => 1_i32..4, 1 => 498_i32..1_100];
    let broker = || 1..=BROKERS;
    prop_oneof![
        16 => (at(), 0_usize..8, fate).prop_map(|(at, which, fate)| Op::Deliver { at, which, fate }),
        8 => at().prop_map(|at| Op::DeliverAll { at }),
        2 => (0_usize..8).prop_map(|which| Op::ArriveLate { which }),
        6 => (at(), name(), partitions, 1_i16..4, 0_u8..6)
            .prop_map(|(at, name, partitions, factor, config)| Op::Create { at, name, partitions, factor, config }),
        2 => (at(), name(), 1_i32..4).prop_map(|(at, name, by)| Op::Grow { at, name, by }),
        3 => (at(), name(), any::<bool>()).prop_map(|(at, name, by_id)| Op::Delete { at, name, by_id }),
        1 => at().prop_map(|at| Op::ProducerIds { at }),
        4 => (at(), broker(), any::<bool>(), any::<bool>())
            .prop_map(|(at, broker, kept, same_process)| Op::Register { at, broker, kept, same_process }),
        1 => (at(), broker()).prop_map(|(at, broker)| Op::EndSession { at, broker }),
        1 => (at(), broker()).prop_map(|(at, broker)| Op::Shutdown { at, broker }),
        4 => (at(), 1_u64..6_000).prop_map(|(at, ms)| Op::Tick { at, ms }),
        8 => (at(), any::<usize>(), 0_u8..8, prop_oneof![8 => Just(0), 1 => 1..3])
            .prop_map(|(at, which, members, behind)| Op::Propose { at, which, members, behind }),
        3 => (at(), broker(), any::<usize>(), 0_u8..4)
            .prop_map(|(at, broker, which, log)| Op::Health { at, broker, which, log }),
        4 => (at(), any::<usize>(), -1_i64..9).prop_map(|(at, which, end)| Op::LogEnds { at, which, end }),
        1 => (at(), name(), any::<bool>()).prop_map(|(at, name, unclean)| Op::Elect { at, name, unclean }),
        1 => (at(), broker(), any::<usize>(), -1..3)
            .prop_map(|(at, broker, which, ahead)| Op::Held { at, broker, which, ahead }),
        2 => at().prop_map(|at| Op::TellAll { at }),
        1 => at().prop_map(|at| Op::Restart { at }),
        3 => (at(), name(), 0_u8..16).prop_map(|(at, name, brokers)| Op::Reassign { at, name, brokers }),
        4 => at().prop_map(|at| Op::ProposeAll { at }),
        2 => (at(), prop::option::of(name()), 1_i32..4)
            .prop_map(|(at, name, min_isr)| Op::Configure { at, name, min_isr }),
        1 => (at(), broker()).prop_map(|(at, broker)| Op::Unregister { at, broker }),
        2 => (at(), 0_u8..16).prop_map(|(at, brokers)| Op::Yield { at, brokers }),
    ]
}

/// All that was ever committed, and the checks on each commit.
#[derive(Default)]
struct History {
    /// Every record ever stored, by topic, partition and partition_epoch.
    records: BTreeMap<(Uuid, i32, i32), Vec<PartitionState>>,
    topics: BTreeMap<Uuid, (String, u64)>,
    creations: BTreeSet<u64>,
    last_creation_of: BTreeMap<String, u64>,
    producer_ids: BTreeSet<i64>,
    /// Who leads in each leader epoch of a partition.
    leaders: BTreeMap<(Uuid, i32, i32), Option<Member>>,
    /// The newest cluster state.
    cluster: ClusterState,
    /// Every life of a broker that was ever stored. What was decided on one may be stored when there is a newer one.
    lives: BTreeMap<(i32, u64), BrokerState>,
    /// Brokers that were proposed for an ISR, by the record that it was proposed on.
    proposed: BTreeSet<(Uuid, i32, i32, i32)>,
    /// Logs that were said to be missing.
    missing: BTreeSet<(Uuid, i32, Member)>,
    /// Topics whose configuration, or a person, allowed to lose records.
    may_lose: BTreeSet<Uuid>,
}

impl History {
    fn committed(&mut self, before: Option<Object>, after: &Object) {
        match (before, after) {
            (before, Object::Cluster(after)) => {
                if let Some(Object::Cluster(before)) = before {
                    cluster_follows(&before, after);
                }
                self.cluster = after.clone();
                let lives = after.brokers.iter();
                self.lives.extend(lives.map(|life| ((life.broker_id, life.incarnation), life.clone())));
            }
            (_, Object::Topics(after)) => {
                for (name, entry) in &after.topics {
                    self.entry(name, entry);
                    let folded = |name: &str| name.replace('.', "_");
                    let collides = |other: &&String| *other != name && folded(other) == folded(name);
                    assert_eq!(after.topics.keys().find(collides), None);
                }
            }
            (before, Object::Partitions(after)) => {
                let before = match before {
                    Some(Object::Partitions(before)) => before,
                    _ => Default::default(),
                };
                for topic in &after.topics {
                    for record in &topic.partitions {
                        record.is_sound().unwrap();
                        let was = before.topic(topic.topic_id).and_then(|t| t.partition(record.partition));
                        if let Some(was) = was.filter(|was| **was != **record) {
                            record.follows(was).unwrap();
                            self.elected(topic.topic_id, was, record);
                        }
                        let epoch = (topic.topic_id, record.partition, record.leader_epoch);
                        let leader = *self.leaders.entry(epoch).or_insert(record.leader);
                        assert_eq!(leader, record.leader, "rule 2: an epoch has one leader or none");
                        let key = (topic.topic_id, record.partition, record.partition_epoch);
                        let known = self.records.entry(key).or_default();
                        if !known.contains(record) {
                            known.push(record.as_ref().clone());
                        }
                    }
                }
            }
        }
    }

    /// Rules 4, 17, 22: who may lead after `was`.
    fn elected(&self, topic_id: Uuid, was: &PartitionState, record: &PartitionState) {
        let members = || was.isr.iter().chain(&was.elr);
        if record.unclean_epoch != was.unclean_epoch {
            let lost = |member: &Member| {
                let later = (member.broker_id, member.incarnation + 1)..=(member.broker_id, u64::MAX);
                let missing = self.missing.iter().any(|(topic, partition, of)| {
                    (*topic, *partition, of.broker_id) == (topic_id, was.partition, member.broker_id)
                        && member.incarnation <= of.incarnation
                });
                missing || self.lives.range(later).any(|(_, life)| !life.carries(member.incarnation))
            };
            let may_lose = self.may_lose.contains(&topic_id) || members().all(lost);
            // A record may have been lifted and led anew in one write.
            let lifted = was.partition_epoch + 1_000_000 < record.partition_epoch;
            assert!(may_lose || lifted, "an unclean election without need: {was:?} {record:?}");
            return;
        }
        let Some(leader) = record.leader.filter(|leader| Some(*leader) != was.leader) else { return };
        let was_member = members().any(|member| member.broker_id == leader.broker_id);
        let on = (topic_id, was.partition, was.partition_epoch, leader.broker_id);
        assert!(was_member || self.proposed.contains(&on), "a stranger leads: {was:?} {record:?}");
    }

    fn entry(&mut self, name: &str, entry: &TopicEntry) {
        let TopicEntry { topic_id, creation, .. } = *entry;
        if let Some(known) = self.topics.get(&topic_id) {
            assert_eq!(*known, (name.to_owned(), creation), "an id stands for one topic for ever");
            return;
        }
        assert!(self.creations.insert(creation), "a creation is given once");
        if entry.config.contains_key("unclean.leader.election.enable") {
            self.may_lose.insert(topic_id);
        }
        let last = self.last_creation_of.insert(name.to_owned(), creation).unwrap_or(0);
        assert!(last < creation, "rule 2: creation grows");
        self.topics.insert(topic_id, (name.to_owned(), creation));
        assert_eq!(entry.pieces.iter().map(|piece| piece.count).sum::<i32>(), entry.partition_count);
        assert!(entry.pieces.iter().all(|piece| piece.count <= PARTITIONS_PER_SLICE));
    }
}

/// Tells of the brokers of the bits that are set.
fn yielding(brokers: u8) -> Input {
    let yielding = (1..=BROKERS).filter(|id| brokers & (1 << id) != 0).collect();
    Input::Directory(Directory { yielding, ..Directory::default() })
}

fn cluster_follows(before: &ClusterState, after: &ClusterState) {
    assert_eq!(before.cluster_id, after.cluster_id);
    assert!(before.next_incarnation <= after.next_incarnation);
    assert!(before.next_creation <= after.next_creation);
    assert!(before.next_producer_id <= after.next_producer_id);
    for broker in &before.brokers {
        // Unless it was unregistered.
        let Some(now) = after.broker(broker.broker_id) else { continue };
        assert!(broker.incarnation <= now.incarnation, "rule 16");
        assert!(now.incarnation < after.next_incarnation);
    }
}

/// One controller, and what is on its way from it to the store.
struct Node {
    controller: Controller,
    asked: Vec<StoreRequest>,
    sessions: BTreeMap<i32, SessionId>,
    /// The partition_epoch last told in each session.
    told: BTreeMap<(SessionId, Uuid, i32), i32>,
    topics: BTreeMap<String, (Uuid, i32)>,
    /// Questions for log ends that are not answered.
    queries: Vec<Query>,
}

/// A broker's question, the session it came in, its id, and the partitions.
type Query = (i32, SessionId, u64, Vec<(Uuid, i32)>);

impl Node {
    fn new() -> Self {
        Self {
            controller: Controller::new(Policy::default()),
            asked: Vec::new(),
            sessions: BTreeMap::new(),
            told: BTreeMap::new(),
            topics: BTreeMap::new(),
            queries: Vec::new(),
        }
    }
}

struct World {
    store: MemoryStore,
    late: Vec<StoreRequest>,
    nodes: [Node; 2],
    history: History,
    /// Per broker: its process, and the incarnation its disks were last served under.
    processes: BTreeMap<i32, (u8, Option<u64>)>,
    now_ms: u64,
    drawn: u64,
    next_session: u64,
    next_request: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            store: MemoryStore::default(),
            late: Vec::new(),
            nodes: [Node::new(), Node::new()],
            history: History::default(),
            processes: BTreeMap::new(),
            now_ms: 1_000_000,
            drawn: 0,
            next_session: 0,
            next_request: 0,
        };
        for at in 0..2 {
            world.input(at, Input::Start);
            world.settle(at);
        }
        world
    }

    fn input(&mut self, at: usize, input: Input) {
        let drawn = &mut self.drawn;
        let mut random = || {
            *drawn += 1;
            u128::from(*drawn).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes()
        };
        let mut surroundings = Surroundings { now_ms: self.now_ms, random: &mut random };
        let mut registered = Vec::new();
        for output in self.nodes[at].controller.step(input, &mut surroundings) {
            match output {
                Output::Store(request) => self.nodes[at].asked.push(request),
                Output::Send { session, message } => {
                    if let FromController::Registered { incarnation, .. } = message {
                        registered.push((session, incarnation));
                    }
                    self.hear(at, session, message);
                }
                Output::Close { session } => self.nodes[at].sessions.retain(|_, open| *open != session),
                // Each step of time is a tick.
                Output::WakeIn { .. } => {}
                Output::Event(event) => assert!(!event.to_string().is_empty()),
            }
        }
        for (session, incarnation) in registered {
            // It holds nothing that the store does not know.
            let message = ToController::Held { incarnation, partitions: Vec::new() };
            self.input(at, Input::Said { session, message });
        }
    }

    /// What a broker is told must have been stored before.
    fn hear(&mut self, at: usize, session: SessionId, message: FromController) {
        let node = &mut self.nodes[at];
        match message {
            FromController::Update(update) => {
                if update.snapshot {
                    node.topics.clear();
                }
                for topic in &update.topics {
                    let stored = &self.history.topics[&topic.topic_id];
                    assert_eq!(*stored, (topic.name.to_string(), topic.creation), "published after done");
                    node.topics.insert(topic.name.to_string(), (topic.topic_id, topic.partition_count));
                    let there = (0..topic.partition_count)
                        .all(|partition| self.history.records.contains_key(&(topic.topic_id, partition, 0)));
                    assert!(there, "a topic is published when all of its records are stored");
                }
                for gone in &update.removed_topics {
                    node.topics.retain(|_, (id, _)| id != gone);
                    node.told.retain(|(_, id, _), _| id != gone);
                }
                for partition in &update.partitions {
                    let (id, state) = (partition.topic_id, partition);
                    let stored = &self.history.records[&(id, state.partition, state.partition_epoch)];
                    let told = |stored: &PartitionState| stored.published(id, state.creation) == *state;
                    assert!(stored.iter().any(told), "published after done");
                    assert_eq!(stored.len(), 1, "what is published is the only record of its epoch");
                    let told = node.told.insert((session, id, state.partition), state.partition_epoch);
                    assert!(told.is_none_or(|told| told < state.partition_epoch), "epochs told only grow");
                }
            }
            FromController::Registered { incarnation, .. } => {
                let broker = node.sessions.iter().find(|(_, open)| **open == session).map(|(id, _)| *id);
                if let Some(process) = broker.and_then(|id| self.processes.get_mut(&id)) {
                    process.1 = process.1.max(Some(incarnation));
                }
            }
            FromController::Response { response: Response::Topics(results), .. } => {
                for outcome in results.into_iter().flatten().filter(|outcome| outcome.partition_count > 0) {
                    assert!(self.history.topics.contains_key(&outcome.topic_id), "answered after done");
                }
            }
            FromController::QueryLogEnds { query_id, partitions } => {
                let broker = node.sessions.iter().find(|(_, open)| **open == session).map(|(id, _)| *id);
                node.queries.extend(broker.map(|broker| (broker, session, query_id, partitions)));
            }
            FromController::Response { response: Response::ProducerIds { first, count }, .. } => {
                for id in (first..first + i64::from(count)).step_by(100) {
                    assert!(self.history.producer_ids.insert(id), "a producer id is handed out once");
                }
            }
            _ => {}
        }
    }

    /// The request reaches the store.
    fn arrive(&mut self, request: StoreRequest) -> StoreOutcome {
        let put = match &request.action {
            StoreAction::Put { key, object, .. } => Some((self.store.get(*key), object.clone())),
            _ => None,
        };
        let outcome = self.store.execute(vec![request]).remove(0).outcome;
        if let (StoreOutcome::Done(_), Some((before, after))) = (&outcome, put) {
            self.history.committed(before.map(|stored| stored.object), &after);
        }
        outcome
    }

    fn deliver(&mut self, at: usize, which: usize, fate: &Fate) {
        if self.nodes[at].asked.is_empty() {
            return;
        }
        let which = which % self.nodes[at].asked.len();
        let request = self.nodes[at].asked.remove(which);
        let id = request.id;
        let outcome = match fate {
            Fate::Answered => self.arrive(request),
            Fate::AnswerLost => {
                self.arrive(request);
                StoreOutcome::Unknown
            }
            Fate::NeverArrived => StoreOutcome::Unknown,
            Fate::Late => {
                self.late.push(request);
                StoreOutcome::Unknown
            }
        };
        self.input(at, Input::Store(StoreAnswer { id, outcome }));
    }

    fn tell_all(&mut self, at: usize) {
        for key in self.store.keys().collect::<Vec<_>>() {
            let version = self.store.get(key).map_or(Version::ABSENT, |stored| stored.version);
            self.input(at, Input::Changed { key, version });
        }
    }

    fn settle(&mut self, at: usize) {
        for _ in 0..10_000 {
            if self.nodes[at].asked.is_empty() {
                return;
            }
            self.deliver(at, 0, &Fate::Answered);
        }
        panic!("the controller does not come to rest");
    }

    fn request(&mut self, at: usize, request: Request) {
        let Some(session) = self.nodes[at].sessions.values().next().copied() else { return };
        self.next_request += 1;
        self.input(
            at,
            Input::Said {
                session,
                message: ToController::Request { request_id: self.next_request, request },
            },
        );
    }

    fn register(&mut self, at: usize, broker: i32, kept: bool, same_process: bool) {
        let process = self.processes.entry(broker).or_default();
        if !same_process {
            process.0 = process.0.wrapping_add(1);
        }
        let claim = if kept && process.1.is_some() { LogClaim::Clean } else { LogClaim::Unclean };
        let registration = Registration {
            last_incarnation: process.1,
            ..Registration::new(broker, Uuid([process.0; 16]), claim)
        };
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.nodes[at].sessions.insert(broker, session);
        self.input(at, Input::Said { session, message: ToController::Register(registration) });
    }

    /// On the records as they are stored: what the leaders were told may be older, which is refused in the same way.
    fn propose_all(&mut self, at: usize) {
        let Some(Object::Cluster(cluster)) = self.store.get(ObjectKey::Cluster).map(|s| s.object) else {
            return;
        };
        let keys: Vec<ObjectKey> = self.store.keys().collect();
        for key in keys {
            let Some(Object::Partitions(slice)) = self.store.get(key).map(|stored| stored.object) else {
                continue;
            };
            let records = slice.topics.iter().flat_map(|topic| {
                topic.partitions.iter().take(2).map(|record| (topic.topic_id, record.clone()))
            });
            for (topic_id, record) in records.collect::<Vec<_>>() {
                let Some(leader) = record.leader else { continue };
                let Some(session) = self.nodes[at].sessions.get(&leader.broker_id).copied() else { continue };
                let brokers = record.replicas.iter().filter_map(|id| cluster.broker(*id));
                let proposal = IsrProposal {
                    topic_id,
                    partition: record.partition,
                    leader_epoch: record.leader_epoch,
                    partition_epoch: record.partition_epoch,
                    isr: brokers
                        .filter(|broker| !broker.fenced)
                        .map(|broker| broker.member().into())
                        .collect(),
                };
                for member in &proposal.isr {
                    let on = (topic_id, proposal.partition, proposal.partition_epoch, member.broker_id);
                    self.history.proposed.insert(on);
                }
                let (incarnation, proposals) = (leader.incarnation, vec![proposal]);
                self.input(
                    at,
                    Input::Said { session, message: ToController::ProposeIsr { incarnation, proposals } },
                );
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Deliver { at, which, ref fate } => self.deliver(at, which, fate),
            Op::DeliverAll { at } => self.settle(at),
            Op::ArriveLate { which } => {
                if !self.late.is_empty() {
                    let request = self.late.remove(which % self.late.len());
                    self.arrive(request);
                }
            }
            Op::Create { at, name, partitions, factor, config } => {
                let mut settings = vec![("min.insync.replicas", (config % 3 + 1).to_string())];
                if config == 0 {
                    settings.push(("unclean.leader.election.enable", "true".into()));
                }
                let topic = NewTopic {
                    name: NAMES[name].into(),
                    partitions: Some(partitions),
                    replication_factor: Some(factor),
                    config: settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                    ..NewTopic::default()
                };
                self.request(at, Request::CreateTopics { topics: vec![topic], validate_only: false });
            }
            Op::Grow { at, name, by } => {
                let known = self.nodes[at].topics.get(NAMES[name]).copied();
                let total_count = known.map_or(0, |(_, count)| count) + by;
                let topics =
                    vec![MorePartitions { name: NAMES[name].into(), total_count, assignments: vec![] }];
                self.request(at, Request::CreatePartitions { topics, validate_only: false });
            }
            Op::Delete { at, name, by_id } => {
                let topic = match self.nodes[at].topics.get(NAMES[name]).copied() {
                    Some((id, _)) if by_id => TopicRef::Id(id),
                    _ => TopicRef::Name(NAMES[name].into()),
                };
                self.request(at, Request::DeleteTopics { topics: vec![topic] });
            }
            Op::Propose { at, which, members, behind } => self.propose(at, which, members, behind),
            Op::Health { at, broker, which, log } => self.health(at, broker, which, log),
            Op::LogEnds { at, which, end } => self.answer_log_ends(at, which, end),
            Op::Elect { at, name, unclean } => {
                let kind = if unclean { ElectionKind::Unclean } else { ElectionKind::Preferred };
                if unclean {
                    self.history.may_lose.extend(self.topic_ids(name));
                }
                let partitions = Some((0..3).map(|partition| (NAMES[name].to_owned(), partition)).collect());
                self.request(at, Request::ElectLeaders { kind, partitions });
            }
            Op::Held { at, broker, which, ahead } => self.held(at, broker, which, ahead),
            Op::ProducerIds { at } => self.request(at, Request::AllocateProducerIds),
            Op::Register { at, broker, kept, same_process } => self.register(at, broker, kept, same_process),
            Op::EndSession { at, broker } => {
                if let Some(session) = self.nodes[at].sessions.remove(&broker) {
                    self.input(at, Input::SessionEnded { session });
                }
            }
            Op::Shutdown { at, broker } => {
                let incarnation = self.processes.get(&broker).and_then(|process| process.1).unwrap_or(0);
                if let Some(session) = self.nodes[at].sessions.get(&broker).copied() {
                    self.input(
                        at,
                        Input::Said { session, message: ToController::ControlledShutdown { incarnation } },
                    );
                }
            }
            Op::Tick { at, ms } => {
                for _ in 0..ms.div_ceil(500) {
                    self.now_ms += ms.min(500);
                    self.input(at, Input::Tick);
                }
            }
            Op::Reassign { at, name, brokers } => {
                let targets: Vec<i32> = (1..=BROKERS).filter(|id| brokers & (1 << id) != 0).collect();
                let replicas = (!targets.is_empty()).then_some(targets);
                let partitions = vec![Reassignment { topic: NAMES[name].into(), partition: 0, replicas }];
                let allow_replication_factor_change = true;
                self.request(at, Request::AlterReassignments { partitions, allow_replication_factor_change });
            }
            Op::ProposeAll { at } => self.propose_all(at),
            Op::Configure { at, name, min_isr } => {
                let topic = name.map(|name| ConfigResource::Topic(NAMES[name].into()));
                let resource = topic.unwrap_or(ConfigResource::Broker(None));
                let ops = vec![("min.insync.replicas".to_owned(), ConfigOp::Set(min_isr.to_string()))];
                let changes = vec![ConfigChange { resource, replace: false, ops }];
                self.request(at, Request::AlterConfigs { changes, validate_only: false });
            }
            Op::Unregister { at, broker } => {
                self.request(at, Request::UnregisterBroker { broker_id: broker });
            }
            Op::Yield { at, brokers } => self.input(at, yielding(brokers)),
            Op::TellAll { at } => self.tell_all(at),
            Op::Restart { at } => {
                let asked = std::mem::replace(&mut self.nodes[at], Node::new()).asked;
                self.late.extend(asked);
                self.input(at, Input::Start);
            }
        }
    }

    fn topic_ids(&self, name: usize) -> Vec<Uuid> {
        let known = self.history.topics.iter().filter(|(_, (known, _))| known == NAMES[name]);
        known.map(|(topic_id, _)| *topic_id).collect()
    }

    /// Some stored record.
    fn pick(&self, which: usize) -> Option<(Uuid, PartitionState)> {
        let slices = self.store.keys().filter_map(|key| match self.store.get(key)?.object {
            Object::Partitions(slice) => Some(slice),
            _ => None,
        });
        let topics: Vec<_> = slices.flat_map(|slice| slice.topics).collect();
        let topic = topics.get(which % topics.len().max(1))?;
        let record = topic.partitions.get(which % topic.partitions.len().max(1))?;
        Some((topic.topic_id, record.as_ref().clone()))
    }

    fn say(&mut self, at: usize, broker: i32, message: impl FnOnce(u64) -> ToController) {
        let Some(session) = self.nodes[at].sessions.get(&broker).copied() else { return };
        let incarnation = self.processes.get(&broker).and_then(|process| process.1).unwrap_or(0);
        self.input(at, Input::Said { session, message: message(incarnation) });
    }

    /// A leader proposes those of the replicas that `members` has a bit for, on the newest record or an older one.
    fn propose(&mut self, at: usize, which: usize, members: u8, behind: i32) {
        let Some((topic_id, record)) = self.pick(which) else { return };
        let Some(leader) = record.leader else { return };
        let named = |(bit, id): (usize, &i32)| {
            let chosen = members & 1 << bit != 0 || *id == leader.broker_id;
            let known = record.isr.iter().find(|member| member.broker_id == *id).copied();
            let registered = || self.history.cluster.broker(*id).map(|broker| broker.member());
            chosen.then(|| known.or_else(registered)).flatten()
        };
        let isr: Vec<Member> = record.replicas.iter().enumerate().filter_map(named).collect();
        for member in &isr {
            let epoch = record.partition_epoch - behind;
            self.history.proposed.insert((topic_id, record.partition, epoch, member.broker_id));
        }
        let proposal = IsrProposal {
            topic_id,
            partition: record.partition,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch - behind,
            isr: isr.into_iter().map(Into::into).collect(),
        };
        let proposals = vec![proposal];
        self.say(at, leader.broker_id, |incarnation| ToController::ProposeIsr { incarnation, proposals });
    }

    fn health(&mut self, at: usize, broker: i32, which: usize, log: u8) {
        let Some((topic_id, record)) = self.pick(which) else { return };
        let log = match log {
            0 => LogState::Missing,
            1 => LogState::Failed { reason: "no space".into() },
            _ => LogState::Online,
        };
        let partition = record.partition;
        if log == LogState::Missing {
            let incarnation = self.processes.get(&broker).and_then(|process| process.1).unwrap_or(0);
            self.history.missing.insert((topic_id, partition, Member { broker_id: broker, incarnation }));
        }
        let health = ReplicaHealth {
            topic_id,
            partition,
            leader_epoch: record.leader_epoch,
            log,
            log_end_offset: 0,
            followers: Vec::new(),
        };
        let full = which.is_multiple_of(5);
        let replicas = vec![health];
        self.say(at, broker, |incarnation| ToController::Health { incarnation, full, replicas });
    }

    /// One of the questions is answered; a negative end means that there is no log.
    fn answer_log_ends(&mut self, at: usize, which: usize, end: i64) {
        let count = self.nodes[at].queries.len();
        if count == 0 {
            return;
        }
        let (broker, session, query_id, partitions) = self.nodes[at].queries.swap_remove(which % count);
        if self.nodes[at].sessions.get(&broker) != Some(&session) {
            return;
        }
        let end_of = |(topic_id, partition): (Uuid, i32)| LogEnd {
            topic_id,
            partition,
            last_epoch: (end % 3) as i32,
            end_offset: end,
        };
        let ends = partitions.into_iter().filter(|_| end >= 0).map(end_of).collect();
        self.say(at, broker, |incarnation| ToController::LogEnds { incarnation, query_id, ends });
    }

    fn held(&mut self, at: usize, broker: i32, which: usize, ahead: i32) {
        let Some((topic_id, record)) = self.pick(which) else { return };
        let held = HeldPartition {
            topic_id,
            partition: record.partition,
            creation: self.history.topics[&topic_id].1,
            leader_epoch: record.leader_epoch + ahead,
            partition_epoch: record.partition_epoch + ahead,
            replicas: Vec::new(),
        };
        let partitions = vec![held];
        self.say(at, broker, |incarnation| ToController::Held { incarnation, partitions });
    }

    /// A fresh controller over a store without faults, and every broker back: nothing may be left half done, though what
    /// former controllers asked for arrives after the store was read.
    fn finish(&mut self) {
        self.nodes = [Node::new(), Node::new()];
        self.input(0, Input::Start);
        self.settle(0);
        for request in std::mem::take(&mut self.late) {
            self.arrive(request);
        }
        self.tell_all(0);
        self.settle(0);
        for broker in 1..=BROKERS {
            self.register(0, broker, true, false);
            self.settle(0);
        }
        for end in 0.. {
            if self.nodes[0].queries.is_empty() {
                break;
            }
            self.answer_log_ends(0, 0, end);
            self.settle(0);
        }
        self.input(0, yielding(1 << YIELDING));
        // Each takes leadership from it in two slices at least.
        for _ in 0..20 {
            self.input(0, Input::Tick);
            self.settle(0);
        }
        let Some(Object::Cluster(cluster)) = self.store.get(ObjectKey::Cluster).map(|s| s.object) else {
            panic!("brokers are registered");
        };
        let mut expected = BTreeSet::new();
        let mut min_insync_replicas: BTreeMap<Uuid, i32> = BTreeMap::new();
        for (name, entry) in self.entries() {
            assert_eq!(entry.deleting_since_ms, None, "{name}: deletion is finished");
            for piece in &entry.pieces {
                expected.extend(piece.partitions().map(|partition| (piece.slice, entry.topic_id, partition)));
            }
            assert_eq!(self.nodes[0].topics.get(&name), Some(&(entry.topic_id, entry.partition_count)));
            let own = entry.config.get("min.insync.replicas");
            let of_all = || cluster.broker_config(None)?.get("min.insync.replicas");
            let setting = own.or_else(of_all).map_or(1, |value| value.parse().unwrap());
            min_insync_replicas.insert(entry.topic_id, setting);
        }
        let mut found = BTreeSet::new();
        for key in self.store.keys().collect::<Vec<_>>() {
            let (ObjectKey::Partitions(slice), Some(stored)) = (key, self.store.get(key)) else { continue };
            let Object::Partitions(object) = stored.object else { panic!("{key} holds another kind") };
            for topic in &object.topics {
                found.extend(topic.partitions.iter().map(|record| (slice, topic.topic_id, record.partition)));
                let led = topic.partitions.iter().all(|record| record.leader.is_some());
                assert!(led, "all are back, and somebody has the longest log");
                let sound = topic.partitions.iter().all(|record| mend(record, &View::of(&cluster)).is_none());
                assert!(sound, "all records are mended");
                for record in &topic.partitions {
                    let yields = record.leader.is_some_and(|leader| leader.broker_id == YIELDING);
                    let others = record.isr.iter().filter(|m| m.broker_id != YIELDING);
                    let can = others.filter(|m| cluster.broker(m.broker_id).unwrap().member() == **m).count();
                    assert!(!yields || can == 0, "who yields leads only what nobody else can: {record:?}");
                    let most = i32::try_from(record.origin().len()).unwrap();
                    assert_eq!(record.min_isr, min_insync_replicas[&topic.topic_id].min(most), "rule 23");
                    let in_sync = |id: &i32| {
                        record
                            .isr
                            .iter()
                            .any(|m| m.broker_id == *id && cluster.broker(*id).unwrap().member() == *m)
                    };
                    let there = record.targets().iter().all(in_sync);
                    assert!(
                        !record.is_moving() || !there,
                        "rule 24: a move that can end has ended: {record:?}"
                    );
                }
            }
        }
        assert_eq!(found, expected, "each topic has all of its records, and there are no others");
    }

    fn entries(&self) -> Vec<(String, Arc<TopicEntry>)> {
        let mut all = Vec::new();
        for name in NAMES {
            if let Some(stored) = self.store.get(ObjectKey::Topics(topic_slice(name)))
                && let Object::Topics(slice) = stored.object
            {
                all.extend(slice.topics.get(name).map(|entry| (name.to_owned(), Arc::clone(entry))));
            }
        }
        all
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules_and_a_fresh_controller_finishes_it(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for broker in 1..=BROKERS {
            world.register(0, broker, false, true);
        }
        world.settle(0);
        ops.iter().for_each(|op| world.apply(op));
        world.finish();
    }
}

#[test]
fn a_create_whose_answer_was_lost_is_found_to_be_done() {
    let mut world = World::new();
    world.register(0, 1, false, true);
    world.settle(0);
    world.apply(&Op::Create { at: 0, name: 0, partitions: 2, factor: 1, config: 1 });
    // The topic's swap.
    world.deliver(0, 0, &Fate::AnswerLost);
    world.settle(0);
    assert_eq!(world.nodes[0].topics["a"].1, 2);
    assert_eq!(world.history.topics.len(), 1, "it was not made twice");
    world.finish();
}

#[test]
fn a_controller_that_did_not_see_a_deletion_does_not_bring_the_records_back() {
    let mut world = World::new();
    world.register(0, 1, false, true);
    world.settle(0);
    world.apply(&Op::Create { at: 0, name: 0, partitions: 2, factor: 1, config: 1 });
    world.settle(0);
    // The second controller reads the topic, then the first deletes it.
    world.apply(&Op::Restart { at: 1 });
    world.settle(1);
    world.register(1, 1, false, true);
    world.settle(1);
    world.register(1, 2, false, true);
    world.settle(1);
    assert!(world.nodes[1].topics.contains_key("a"));
    world.apply(&Op::Delete { at: 0, name: 0, by_id: false });
    world.settle(0);
    // The second one writes into the same partition slice, fails, and reads it without the records.
    world.apply(&Op::Create { at: 1, name: 3, partitions: 1, factor: 1, config: 1 });
    world.settle(1);
    assert!(world.nodes[1].sessions.is_empty(), "rule 32: somebody else writes");
    world.register(1, 2, false, true);
    world.settle(1);
    assert_eq!(world.nodes[1].topics.keys().collect::<Vec<_>>(), ["d"]);
    let Some(Object::Partitions(slice)) = world.store.get(ObjectKey::Partitions(0)).map(|s| s.object) else {
        panic!("the slice is there");
    };
    assert_eq!(slice.topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["d"]);
    world.finish();
}

#[test]
fn of_two_controllers_that_make_one_topic_at_once_one_makes_it() {
    let mut world = World::new();
    world.register(0, 1, false, true);
    world.settle(0);
    world.register(1, 1, false, true);
    world.settle(1);
    for at in 0..2 {
        world.apply(&Op::Create { at, name: 0, partitions: 2, factor: 1, config: 1 });
    }
    world.settle(1);
    world.settle(0);
    assert_eq!(world.history.topics.len(), 1);
    world.finish();
}

#[test]
fn a_topic_that_was_made_with_a_lost_answer_and_deleted_by_another_is_made_again_as_another() {
    let mut world = World::new();
    world.register(1, 1, false, true);
    world.settle(1);
    world.apply(&Op::Create { at: 1, name: 0, partitions: 1, factor: 1, config: 1 });
    world.deliver(1, 0, &Fate::AnswerLost);
    world.apply(&Op::Restart { at: 0 });
    world.settle(0);
    world.register(0, 1, false, true);
    world.settle(0);
    world.register(0, 2, false, true);
    world.settle(0);
    world.apply(&Op::Delete { at: 0, name: 0, by_id: false });
    world.settle(0);
    world.settle(1);
    assert_eq!(world.history.topics.len(), 2, "under another id");
    // Rule 32: its session was closed when the swap failed.
    world.register(1, 1, false, true);
    world.settle(1);
    assert!(world.nodes[1].topics.contains_key("a"));
    world.finish();
}

#[test]
fn a_replica_whose_log_is_missing_is_no_reason_to_let_the_others_go() {
    let mut world = World::new();
    for broker in 1..=BROKERS {
        world.register(0, broker, false, true);
    }
    world.settle(0);
    world.apply(&Op::Create { at: 0, name: 4, partitions: 2, factor: 2, config: 1 });
    world.settle(0);
    // The slice is being written while the move to broker 2 alone, and what became of its log, come in.
    world.apply(&Op::Create { at: 0, name: 0, partitions: 1, factor: 1, config: 0 });
    world.deliver(0, 0, &Fate::Answered);
    world.apply(&Op::Reassign { at: 0, name: 4, brokers: 4 });
    let at = (0..10).find(|which| world.pick(*which).is_some_and(|(_, record)| record.replicas.contains(&2)));
    world.apply(&Op::Health { at: 0, broker: 2, which: at.unwrap(), log: 0 });
    world.settle(0);
    world.finish();
}
