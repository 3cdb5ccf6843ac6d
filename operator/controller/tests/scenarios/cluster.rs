//! A controller over a store in memory, and brokers that say what a test has them say.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_control::session::{
    ApiError, ClusterUpdate, ControllerRequest, ControllerResponse, ElectionKind, FromController,
    HeldPartition, IsrProposal, IsrRefusal, LogClaim, LogEnd, LogState, Member as Named, NewTopic,
    PartitionRecord, Registration, ReplicaHealth, SliceDigest, ToController,
};
use taffrail_controller::message::{Event, Input, Output, SessionId};
use taffrail_controller::model::{ClusterState, Member, Object, ObjectKey, PartitionState};
use taffrail_controller::store::{MemoryStore, Store, StoreAction, StoreRequest};
use taffrail_controller::{Controller, Policy, Surroundings};
use taffrail_protocol::Uuid;

/// A broker's process and its session.
#[derive(Debug, Default)]
pub struct Broker {
    process: u8,
    pub incarnation: u64,
    pub session: Option<SessionId>,
    /// What it names as held when it registers.
    pub slices: Vec<SliceDigest>,
    /// What it was told and has not looked at.
    pub inbox: Vec<FromController>,
}

/// See the module.
pub struct Cluster {
    pub controller: Controller,
    pub store: MemoryStore,
    /// What the controller asks of the store, until it is delivered.
    pub asked: Vec<StoreRequest>,
    pub brokers: BTreeMap<i32, Broker>,
    pub events: Vec<Event>,
    /// When the controller wants a tick.
    pub wake_ms: Option<u64>,
    /// Swaps carried out so far.
    pub writes: usize,
    pub now_ms: u64,
    drawn: u64,
    next_session: u64,
    next_request: u64,
}

impl Cluster {
    /// Brokers 1..=n, registered in that order.
    pub fn start(n: i32, policy: Policy) -> Self {
        let mut cluster = Self {
            controller: Controller::new(policy),
            store: MemoryStore::default(),
            asked: Vec::new(),
            brokers: BTreeMap::new(),
            events: Vec::new(),
            wake_ms: None,
            writes: 0,
            now_ms: 1_000_000,
            drawn: 0,
            next_session: 0,
            next_request: 0,
        };
        cluster.input(Input::Start);
        cluster.settle();
        for id in 1..=n {
            cluster.start_broker(id, LogClaim::Unclean);
        }
        cluster
    }

    /// One input, whose questions to the store stay undelivered.
    pub fn input(&mut self, input: Input) {
        let drawn = &mut self.drawn;
        let mut random = || {
            *drawn += 1;
            u128::from(*drawn).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes()
        };
        let mut surroundings = Surroundings { now_ms: self.now_ms, random: &mut random };
        for output in self.controller.step(input, &mut surroundings) {
            match output {
                Output::Store(request) => self.asked.push(request),
                Output::Send { session, message } => {
                    let mut brokers = self.brokers.values_mut();
                    let Some(broker) = brokers.find(|broker| broker.session == Some(session)) else {
                        continue;
                    };
                    if let FromController::Registered { incarnation, .. } = message {
                        broker.incarnation = incarnation;
                    }
                    broker.inbox.push(message);
                }
                Output::Close { session } => {
                    let ended = self.brokers.values_mut().find(|broker| broker.session == Some(session));
                    ended.into_iter().for_each(|broker| broker.session = None);
                }
                Output::WakeIn { after_ms } => {
                    let at_ms = self.now_ms + after_ms;
                    self.wake_ms = Some(self.wake_ms.map_or(at_ms, |wake_ms| wake_ms.min(at_ms)));
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// Carries out what the store is asked, until nothing is.
    pub fn settle(&mut self) {
        while !self.asked.is_empty() {
            let batch = std::mem::take(&mut self.asked);
            self.writes +=
                batch.iter().filter(|request| matches!(request.action, StoreAction::Put { .. })).count();
            for answer in self.store.execute(batch) {
                self.input(Input::Store(answer));
            }
        }
    }

    /// The controller's process is replaced by another. Sessions break without its noticing.
    pub fn restart_controller(&mut self, policy: Policy) {
        self.controller = Controller::new(policy);
        self.asked.clear();
        self.wake_ms = None;
        self.brokers.values_mut().for_each(|broker| broker.session = None);
        self.input(Input::Start);
        self.settle();
    }

    /// A new process of the broker registers.
    pub fn start_broker(&mut self, id: i32, claim: LogClaim) {
        let broker = self.brokers.entry(id).or_default();
        broker.process += 1;
        broker.slices.clear();
        self.connect(id, claim);
    }

    /// The broker's process opens a session, and holds nothing that the controller does not know.
    pub fn connect(&mut self, id: i32, claim: LogClaim) {
        self.connect_with(id, claim, Vec::new());
    }

    /// The broker's process opens a session, and says what it holds.
    pub fn connect_with(&mut self, id: i32, claim: LogClaim, held: Vec<HeldPartition>) {
        self.register(id, claim);
        self.settle();
        let broker = &self.brokers[&id];
        if broker.session.is_some() {
            let incarnation = broker.incarnation;
            self.say(id, ToController::Held { incarnation, partitions: held });
            self.settle();
        }
    }

    /// The broker's process opens a session and registers; the store answers nothing meanwhile.
    pub fn register(&mut self, id: i32, claim: LogClaim) {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        (broker.session, broker.inbox) = (Some(session), Vec::new());
        let registration = Registration {
            last_incarnation: (broker.incarnation > 0).then_some(broker.incarnation),
            peer_token: Uuid([broker.process + 100; 16]),
            slices: broker.slices.clone(),
            ..Registration::new(id, Uuid([broker.process; 16]), claim)
        };
        self.input(Input::Said { session, message: ToController::Register(registration) });
    }

    /// Somebody watches, who goes by `id` here and is no broker.
    pub fn watch(&mut self, id: i32) {
        let session = self.visit(id);
        self.input(Input::Watch { session });
        self.settle();
    }

    /// The same, for somebody who sees the cluster elsewhere.
    pub fn attend(&mut self, id: i32) {
        let session = self.visit(id);
        self.input(Input::Attend { session });
        self.settle();
    }

    fn visit(&mut self, id: i32) -> SessionId {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.brokers.insert(id, Broker { session: Some(session), ..Broker::default() });
        session
    }

    pub fn say(&mut self, id: i32, message: ToController) {
        let Some(session) = self.brokers[&id].session else { panic!("broker {id} is in no session") };
        self.input(Input::Said { session, message });
    }

    /// The broker's process dies, and its connection with it.
    pub fn break_session(&mut self, id: i32) {
        let session = self.brokers.get_mut(&id).and_then(|broker| broker.session.take());
        self.input(Input::SessionEnded { session: session.unwrap() });
    }

    /// Time passes in steps of `step_ms`, with heartbeats of `alive` at each.
    pub fn pass(&mut self, ms: u64, step_ms: u64, alive: &[i32]) {
        for _ in 0..ms / step_ms {
            self.now_ms += step_ms;
            for id in alive {
                self.heartbeat(*id);
            }
            self.input(Input::Tick);
            self.settle();
        }
    }

    pub fn heartbeat(&mut self, id: i32) {
        let incarnation = self.brokers[&id].incarnation;
        self.say(id, ToController::Heartbeat { incarnation, applied_version: 0 });
    }

    /// The broker dies and is fenced.
    pub fn kill(&mut self, id: i32, alive: &[i32]) {
        self.break_session(id);
        self.pass(100, 100, alive);
        assert!(self.stored().broker(id).unwrap().fenced, "broker {id} is fenced");
    }

    pub fn create(&mut self, name: &str, replicas: &[&[i32]], config: &[(&str, &str)]) -> Uuid {
        let topic = NewTopic {
            name: name.into(),
            assignments: replicas.iter().map(|replicas| replicas.to_vec()).collect(),
            config: config.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            ..NewTopic::default()
        };
        match self.request(ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false }) {
            Some(ControllerResponse::Topics(topics)) => topics[0].as_ref().unwrap().topic_id,
            other => panic!("{other:?}"),
        }
    }

    /// Asks by the first broker that is in session.
    pub fn request(&mut self, request: ControllerRequest) -> Option<ControllerResponse> {
        self.next_request += 1;
        let request_id = self.next_request;
        let id = *self.brokers.iter().find(|(_, broker)| broker.session.is_some()).unwrap().0;
        self.say(id, ToController::Request { request_id, request });
        self.settle();
        self.response(id)
    }

    /// The response that the broker was sent last.
    pub fn response(&self, id: i32) -> Option<ControllerResponse> {
        self.brokers[&id].inbox.iter().rev().find_map(|message| match message {
            FromController::Response { request_id, response } if *request_id == self.next_request => {
                Some(response.clone())
            }
            _ => None,
        })
    }

    pub fn elect(&mut self, kind: ElectionKind, partitions: &[(&str, i32)]) -> Option<Vec<Result<(), i16>>> {
        let partitions =
            partitions.iter().map(|(name, partition)| ((*name).to_owned(), *partition)).collect();
        let response = self.request(ControllerRequest::ElectLeaders { kind, partitions: Some(partitions) });
        response.map(|response| elected(&response))
    }

    pub fn member(&self, id: i32) -> Member {
        Member { broker_id: id, incarnation: self.brokers[&id].incarnation }
    }

    pub fn members(&self, ids: &[i32]) -> Vec<Member> {
        ids.iter().map(|id| self.member(*id)).collect()
    }

    pub fn stored(&self) -> ClusterState {
        match self.store.get(ObjectKey::Cluster).map(|stored| stored.object) {
            Some(Object::Cluster(cluster)) => cluster,
            other => panic!("{other:?}"),
        }
    }

    pub fn record(&self, topic_id: Uuid, partition: i32) -> PartitionState {
        for key in self.store.keys() {
            if let Some(Object::Partitions(slice)) = self.store.get(key).map(|stored| stored.object)
                && let Some(record) = slice.topic(topic_id).and_then(|topic| topic.partition(partition))
            {
                return record.clone();
            }
        }
        panic!("there is no such record");
    }

    /// Leader and its epoch, ISR and ELR, by broker.
    pub fn state(&self, topic_id: Uuid, partition: i32) -> (Option<i32>, i32, Vec<i32>, Vec<i32>) {
        let record = self.record(topic_id, partition);
        let ids = |members: &[Member]| members.iter().map(|member| member.broker_id).collect();
        (
            record.leader.map(|leader| leader.broker_id),
            record.leader_epoch,
            ids(&record.isr),
            ids(&record.elr),
        )
    }

    /// What `id` would propose on the present record.
    pub fn proposal(&self, topic_id: Uuid, partition: i32, isr: &[Member]) -> IsrProposal {
        let record = self.record(topic_id, partition);
        IsrProposal {
            topic_id,
            partition,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            isr: isr.iter().map(|member| Named::from(*member)).collect(),
        }
    }

    /// `id` proposes; the reasons of the refusals it is told.
    pub fn propose(&mut self, id: i32, proposals: Vec<IsrProposal>) -> Vec<IsrRefusal> {
        let incarnation = self.brokers[&id].incarnation;
        self.brokers.get_mut(&id).unwrap().inbox.clear();
        self.say(id, ToController::ProposeIsr { incarnation, proposals });
        self.settle();
        self.refusals(id)
    }

    pub fn refusals(&self, id: i32) -> Vec<IsrRefusal> {
        let refused = self.brokers[&id].inbox.iter().filter_map(|message| match message {
            FromController::IsrRefused { refused } => Some(refused),
            _ => None,
        });
        refused.flatten().map(|refused| refused.reason).collect()
    }

    /// `id` says how its log of a partition is.
    pub fn report(&mut self, id: i32, topic_id: Uuid, partition: i32, log: LogState) {
        let incarnation = self.brokers[&id].incarnation;
        let health = ReplicaHealth {
            topic_id,
            partition,
            leader_epoch: 0,
            log,
            log_end_offset: 0,
            followers: Vec::new(),
        };
        self.say(id, ToController::Health { incarnation, full: false, replicas: vec![health] });
        self.settle();
    }

    /// Takes the questions for log ends that the broker was asked.
    pub fn queries(&mut self, id: i32) -> Vec<(u64, Vec<(Uuid, i32)>)> {
        let inbox = std::mem::take(&mut self.brokers.get_mut(&id).unwrap().inbox);
        let asked = inbox.into_iter().filter_map(|message| match message {
            FromController::QueryLogEnds { query_id, partitions } => Some((query_id, partitions)),
            _ => None,
        });
        asked.collect()
    }

    /// The broker answers all such questions: its log ends there, or there is none.
    pub fn answer_log_ends(&mut self, id: i32, end: Option<(i32, i64)>) -> usize {
        let queries = self.queries(id);
        let incarnation = self.brokers[&id].incarnation;
        for (query_id, partitions) in &queries {
            let end_of = |(topic_id, partition): &(Uuid, i32)| {
                let (topic_id, partition) = (*topic_id, *partition);
                end.map(|(last_epoch, end_offset)| LogEnd { topic_id, partition, last_epoch, end_offset })
            };
            let ends = partitions.iter().filter_map(end_of).collect();
            self.say(id, ToController::LogEnds { incarnation, query_id: *query_id, ends });
            self.settle();
        }
        queries.len()
    }

    /// The snapshot that the broker's session began with.
    pub fn snapshot(&self, id: i32) -> Arc<ClusterUpdate> {
        let snapshot = self.brokers[&id].inbox.iter().find_map(|message| match message {
            FromController::Update(update) if update.snapshot => Some(Arc::clone(update)),
            _ => None,
        });
        snapshot.expect("a session begins with a snapshot")
    }

    /// The newest record that the broker was told.
    pub fn told(&self, id: i32, topic_id: Uuid, partition: i32) -> Option<PartitionRecord> {
        let updates = self.brokers[&id].inbox.iter().rev().filter_map(|message| match message {
            FromController::Update(update) => Some(update),
            _ => None,
        });
        let mut records = updates.flat_map(|update| update.partitions.clone());
        records.find(|record| (record.topic_id, record.partition) == (topic_id, partition))
    }
}

/// The codes of an answer to an election.
pub fn elected(response: &ControllerResponse) -> Vec<Result<(), i16>> {
    let ControllerResponse::Partitions(outcomes) = response else { panic!("{response:?}") };
    let code = |error: ApiError| error.code.0;
    outcomes.iter().map(|outcome| outcome.result.clone().map_err(code)).collect()
}
