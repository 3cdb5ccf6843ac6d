//! Producers and consumers, and the messages that are not the controller's.

use taffrail_control::session::{Member, PartitionRecord};
use taffrail_protocol::ErrorCode;
use taffrail_protocol::record_batch::{BatchBuilder, Compression};
use taffrail_replication::replica_fetch::FetchPosition;

use crate::broker::batches_of;
use crate::broker::fetching::Answer;
use crate::checks::producers::value_of;
use crate::checks::superseded::key_of;
use crate::checks::{Tp, Violation};
use crate::net::Node;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::world::{Event, World};

/// A request or answer between brokers, or of a client.
#[derive(Debug, Clone)]
pub enum Rpc {
    /// A follower asks.
    Fetch { number: u64, replica: Member, asked: Vec<(Tp, FetchPosition)> },
    /// A leader answers.
    Fetched { number: u64, answers: Vec<(Tp, Answer)> },
    /// A producer asks; with `all` for acks=all.
    Produce { client: usize, number: u64, tp: Tp, batch: Vec<u8>, all: bool },
    /// A broker answers.
    Produced { client: usize, number: u64, outcome: Result<(), ErrorCode> },
    /// A client asks for the records before an offset to be deleted.
    Delete { tp: Tp, offset: i64 },
    /// A consumer asks.
    Consume { client: usize, number: u64, tp: Tp, offset: i64, leader_epoch: i32 },
    /// A broker answers.
    Consumed { client: usize, number: u64, outcome: Result<Vec<u8>, ErrorCode> },
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Produces with acks=all, each record once.
    Idempotent,
    /// Produces with acks=all, each record at least once.
    Plain,
    /// Produces with acks=1: nothing is promised to it.
    Careless,
    /// Consumes.
    Consumer,
}

/// One client of one partition.
#[derive(Debug)]
pub struct Client {
    /// What it does.
    pub kind: Kind,
    topic: &'static str,
    partition: i32,
    /// The topic's id, once it is known.
    pub tp: Option<Tp>,
    leader_epoch: i32,
    /// The producer's number, drawn anew for each life of the topic.
    pub producer: u64,
    next: u64,
    pending: Option<Pending>,
    /// The request of a consumer that was not answered yet, and until when it may take.
    asked: Option<(u64, u64)>,
    /// Where a consumer goes on.
    pub offset: i64,
    /// Batches acknowledged since faults stopped.
    pub calm_batches: u64,
}

/// A batch that was not acknowledged yet. There is one at a time: the messages here overtake one another, which those of
/// one connection do not, and of a producer it does not know a broker takes any sequence number.
#[derive(Debug)]
struct Pending {
    first: u64,
    records: u64,
    /// The last request for it, if it was sent, and until when an answer may take.
    sent: Option<(u64, u64)>,
    not_before_ms: u64,
}

/// All clients.
#[derive(Debug)]
pub struct Clients {
    all: Vec<Client>,
    /// Which producers there were: their numbers, and what was promised to them.
    pub producers: std::collections::BTreeMap<u64, Kind>,
}

/// How long clients wait for an answer.
const PATIENCE_MS: u64 = 1_500;
impl Clients {
    /// Draws them.
    pub fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        let mut all = Vec::new();
        for topic in &scenario.topics {
            for partition in 0..scenario.partitions {
                let mut kinds =
                    vec![Kind::Consumer, if rng.percent(60) { Kind::Idempotent } else { Kind::Plain }];
                if rng.percent(40) {
                    kinds.push(Kind::Plain);
                }
                if rng.percent(40) {
                    kinds.push(Kind::Careless);
                }
                all.extend(kinds.into_iter().map(|kind| Client {
                    kind,
                    topic,
                    partition,
                    tp: None,
                    leader_epoch: -1,
                    producer: 0,
                    next: 0,
                    pending: None,
                    asked: None,
                    offset: 0,
                    calm_batches: 0,
                }));
            }
        }
        Self { all, producers: Default::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.all.iter()
    }
}

impl Client {
    /// For people.
    pub fn name(&self) -> String {
        format!("{:?} of {}-{}", self.kind, self.topic, self.partition)
    }

    /// Whether it has sent a batch that it was not told of.
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }
}

impl World {
    /// A message arrives.
    pub fn rpc_arrives(&mut self, from: Node, to: Node, rpc: Rpc) {
        if !self.net.reaches(from, to) {
            return;
        }
        match (to, rpc) {
            (Node::Broker(id), Rpc::Fetch { number, replica, asked }) => {
                self.broker_is_fetched(id, from, number, replica, &asked);
            }
            (Node::Broker(id), Rpc::Fetched { number, answers }) => {
                if let Node::Broker(leader) = from {
                    self.broker_has_fetched(id, leader, number, &answers);
                }
            }
            (Node::Broker(id), Rpc::Produce { client, number, tp, batch, all }) => {
                self.broker_is_produced(id, client, number, tp, &batch, all);
            }
            (Node::Broker(id), Rpc::Delete { tp, offset }) => self.broker_is_asked_to_delete(id, tp, offset),
            (Node::Broker(id), Rpc::Consume { client, number, tp, offset, leader_epoch }) => {
                self.broker_is_consumed(id, client, number, tp, offset, leader_epoch);
            }
            (Node::Clients, Rpc::Produced { client, number, outcome }) => {
                self.client_hears_of_batch(client, number, outcome);
            }
            (Node::Clients, Rpc::Consumed { client, number, outcome }) => {
                self.client_hears_of_records(client, number, outcome);
            }
            _ => {}
        }
    }

    /// A client looks at what it has to do.
    pub fn client_wakes(&mut self, client: usize) {
        let again_ms = self.rng.between(5, 60);
        self.at(again_ms, Event::ClientWakes { client });
        let Some(record) = self.look_up(client) else { return };
        match self.clients.all[client].kind {
            Kind::Consumer => self.consume(client, &record),
            _ => self.produce(client, &record),
        }
    }

    /// Asks some broker for the partition. A client that meets another topic of that name begins anew.
    fn look_up(&mut self, client: usize) -> Option<PartitionRecord> {
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        let id = self.rng.pick(&ids)?;
        let fresh = self.number();
        let (to, from) = (Node::Broker(id), Node::Clients);
        if !self.net.reaches(from, to) || !self.net.reaches(to, from) {
            return None;
        }
        let serving = self.brokers.get(&id)?.serving()?;
        let state = &mut self.clients.all[client];
        let topics = serving.topics.values().filter(|topic| *topic.name == *state.topic);
        let topic = topics.max_by_key(|topic| topic.creation)?;
        let tp = (topic.topic_id, state.partition);
        let record = serving.records.get(&tp)?.clone();
        if state.tp != Some(tp) {
            state.tp = Some(tp);
            state.producer = fresh;
            (state.next, state.offset, state.leader_epoch) = (0, 0, -1);
            state.pending = None;
            state.asked = None;
            if state.kind != Kind::Consumer {
                self.clients.producers.insert(fresh, state.kind);
            }
        }
        state.leader_epoch = state.leader_epoch.max(record.leader_epoch);
        Some(record)
    }

    fn produce(&mut self, client: usize, record: &PartitionRecord) {
        let (now_ms, working) = (self.now_ms, self.calm_since_ms.is_none());
        let number = self.number();
        let records = self.rng.between(1, 3);
        let patience_ms = self.rng.between(PATIENCE_MS / 3, PATIENCE_MS);
        let (clock_ms, compacts) = (self.clock(Node::Clients), self.scenario.compacts);
        let state = &mut self.clients.all[client];
        if state.pending.is_none() && (working || state.calm_batches == 0) {
            state.pending = Some(Pending { first: state.next, records, sent: None, not_before_ms: 0 });
            state.next += records;
        }
        let Some(leader) = record.leader else { return };
        let due = |pending: &&mut Pending| {
            pending.not_before_ms <= now_ms && pending.sent.is_none_or(|(_, until_ms)| until_ms <= now_ms)
        };
        let (producer, kind) = (state.producer, state.kind);
        let Some(pending) = state.pending.as_mut().filter(due) else { return };
        pending.sent = Some((number, now_ms + patience_ms));
        let mut builder = BatchBuilder::new(Compression::None);
        if kind == Kind::Idempotent {
            builder.producer(producer as i64, 0, pending.first as i32);
        }
        for at in pending.first..pending.first + pending.records {
            let value = value_of(producer, at);
            let key = compacts.then(|| key_of(value).to_be_bytes());
            builder.append(clock_ms, key.as_ref().map(|key| &key[..]), Some(&value.to_be_bytes()), &[]);
        }
        let (Ok(batch), Some(tp)) = (builder.build(), state.tp) else { return };
        let all = kind != Kind::Careless;
        let to = Node::Broker(leader.broker_id);
        self.send(Node::Clients, to, Rpc::Produce { client, number, tp, batch, all });
    }

    fn client_hears_of_batch(&mut self, client: usize, number: u64, outcome: Result<(), ErrorCode>) {
        let (now_ms, calm) = (self.now_ms, self.calm_since_ms.is_some());
        let pause_ms = self.rng.between(10, 150);
        let state = &mut self.clients.all[client];
        let asked = |pending: &&mut Pending| pending.sent.is_some_and(|(sent, _)| sent == number);
        let Some(pending) = state.pending.as_mut().filter(asked) else { return };
        match outcome {
            Ok(()) => {
                state.pending = None;
                state.calm_batches += u64::from(calm);
                self.count("batches acknowledged");
            }
            // What the careless send is not sent again.
            Err(_) if state.kind == Kind::Careless => state.pending = None,
            Err(_) => {
                pending.sent = None;
                pending.not_before_ms = now_ms + pause_ms;
            }
        }
    }

    fn consume(&mut self, client: usize, record: &PartitionRecord) {
        let (now_ms, number) = (self.now_ms, self.number());
        let leader = record.leader.map(|leader| leader.broker_id);
        let from_leader = self.rng.percent(60);
        let anyone = self.rng.pick(&record.replicas);
        let state = &mut self.clients.all[client];
        if state.asked.is_some_and(|(_, until_ms)| until_ms > now_ms) {
            return;
        }
        let (Some(id), Some(tp)) = (if from_leader { leader } else { anyone }, state.tp) else { return };
        state.asked = Some((number, now_ms + PATIENCE_MS));
        let (offset, leader_epoch) = (state.offset, state.leader_epoch);
        if self.scenario.deletes && self.rng.percent(2) {
            // What it has read is of no use any more; a client that errs asks for more.
            let offset = offset + 3 - self.rng.below(10) as i64;
            self.send(Node::Clients, Node::Broker(id), Rpc::Delete { tp, offset });
        }
        let rpc = Rpc::Consume { client, number, tp, offset, leader_epoch };
        self.send(Node::Clients, Node::Broker(id), rpc);
    }

    fn client_hears_of_records(&mut self, client: usize, number: u64, outcome: Result<Vec<u8>, ErrorCode>) {
        let state = &mut self.clients.all[client];
        if state.asked.is_none_or(|(asked, _)| asked != number) {
            return;
        }
        state.asked = None;
        match outcome {
            Ok(bytes) => {
                // What does not match its checksum is asked for again.
                for batch in batches_of(&bytes).into_iter().take_while(|batch| !batch.is_corrupt()) {
                    state.offset = state.offset.max(batch.next_offset);
                }
                self.count("reads");
            }
            // What it did not read in time is gone: it goes on where the log begins.
            Err(ErrorCode::OFFSET_OUT_OF_RANGE)
                if state.tp.is_some_and(|tp| state.offset <= self.checks.log_starts.decided(tp)) =>
            {
                let start = state.tp.map(|tp| self.checks.log_starts.decided(tp));
                state.offset = start.unwrap_or(state.offset);
            }
            // A topic that was deleted may be brought back to life by an outdated controller.
            Err(ErrorCode::OFFSET_OUT_OF_RANGE) if state.tp.is_some_and(|tp| self.store.has_topic(tp.0)) => {
                let text = format!("{} was told that offset {} does not exist", state.name(), state.offset);
                self.check(Err(Violation::new("acknowledged", text)));
            }
            Err(_) => {}
        }
    }
}
