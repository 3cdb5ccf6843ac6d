//! The cluster, the time, and what is going to happen.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::ClusterUpdate;
use taffrail_controller::message::Input;
use taffrail_controller::model::ObjectKey;
use taffrail_controller::store::{StoreAnswer, StoreRequest, Version};

use crate::broker::Broker;
use crate::checks::committed::Batch;
use crate::checks::{Check, Checks, Tp, Violation};
use crate::clients::{Clients, Rpc};
use crate::controllers::Host;
use crate::faults::Fault;
use crate::mutation::Mutation;
use crate::net::{Net, Node};
use crate::queue::Queue;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::session::{Conn, ConnId, Direction};
use crate::store::SimStore;
use crate::trace::Trace;

/// When the simulation begins: milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// Something that is going to happen. `run` tells the life of a process that it is meant for.
#[derive(Debug)]
pub enum Event {
    /// A request reaches the store.
    StoreArrives { at: usize, run: u64, request: StoreRequest, answered: bool, twice: bool },
    /// An answer of the store reaches a controller.
    StoreAnswers { at: usize, run: u64, answer: StoreAnswer },
    /// A controller hears that an object was written.
    StoreTells { at: usize, key: ObjectKey, version: Version },
    /// A controller that missed something hears of all objects again.
    StoreTellsAll { at: usize },
    /// A controller's clock ticks.
    ControllerTicks { at: usize, run: u64 },
    /// A controller asked to be woken.
    ControllerWakes { at: usize, run: u64 },
    /// A message of a session may arrive.
    SessionMoves { conn: ConnId, direction: Direction },
    /// A broker's process begins.
    BrokerStarts { broker: i32 },
    /// A broker's clock ticks.
    BrokerTicks { broker: i32, run: u64 },
    /// A broker tries to reach a controller.
    BrokerConnects { broker: i32, run: u64 },
    /// A broker looks at what it may fetch from another.
    BrokerFetches { broker: i32, run: u64, leader: i32 },
    /// A broker syncs what wants to be synced.
    BrokerFlushes { broker: i32, run: u64 },
    /// A broker writes its checkpoints.
    BrokerCheckpoints { broker: i32, run: u64 },
    /// A broker writes down where its logs start.
    BrokerWritesStarts { broker: i32, run: u64 },
    /// A broker compacts some more of a log.
    BrokerCompacts { broker: i32, run: u64 },
    /// A message between brokers or of a client arrives.
    RpcArrives { from: Node, to: Node, rpc: Rpc },
    /// A client looks at what it has to do.
    ClientWakes { client: usize },
    /// Topics are deleted, made again, moved.
    AdminWakes,
    /// A fault strikes, or ends.
    FaultStrikes(Fault),
    /// The simulation looks at whether it is done.
    Looks,
}

/// The whole cluster.
pub struct World {
    /// What is played.
    pub scenario: Scenario,
    /// Which lie is told to the shipped types, to see that it is found out.
    pub mutation: Option<Mutation>,
    /// Milliseconds since the beginning.
    pub now_ms: u64,
    /// What is drawn.
    pub rng: Rng,
    /// What is drawn for what the store tells of itself.
    pub watch_rng: Rng,
    /// What is drawn for bits that flip.
    pub flip_rng: Rng,
    /// What is going to happen.
    pub queue: Queue<Event>,
    /// What happened.
    pub trace: Trace,
    /// The network.
    pub net: Net,
    /// The controllers' store.
    pub store: SimStore,
    /// The controllers.
    pub hosts: [Host; 2],
    /// Sessions of brokers.
    pub conns: BTreeMap<ConnId, Conn>,
    /// Numbers that are given once: sessions, processes, requests.
    pub next_number: u64,
    /// The brokers, by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// Snapshots that each broker was once sent, whole.
    pub old_snapshots: BTreeMap<i32, Vec<ClusterUpdate>>,
    /// The clients.
    pub clients: Clients,
    /// What must hold.
    pub checks: Checks,
    /// What batches were before a bit of them flipped, by partition and first offset.
    pub whole: BTreeMap<(Tp, i64), Batch>,
    /// Which of them are damaged, where.
    pub damaged: BTreeSet<(i32, Tp, i64)>,
    /// The first thing that did not.
    pub violation: Option<Violation>,
    /// Until when machines stand still.
    pub still_until: BTreeMap<Node, u64>,
    /// How far each machine's clock is off. Milliseconds.
    pub clock_off: BTreeMap<Node, i64>,
    /// Faults strike no more since then.
    pub calm_since_ms: Option<u64>,
    /// The store was restored from a backup, and its controller has not heard all brokers yet.
    pub being_restored: bool,
    /// The cluster has healed.
    pub done: bool,
    /// For people: what happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

impl World {
    /// The cluster before anything has happened.
    pub fn new(scenario: Scenario, mutation: Option<Mutation>, print: bool) -> Self {
        let mut rng = Rng::new(scenario.seed);
        let watch_rng = Rng::new(scenario.seed ^ 0x7761_7463_6865_7300);
        let flip_rng = Rng::new(scenario.seed ^ 0x666c_6970_7300);
        let net = Net::new(scenario.loss_permille, scenario.twice_permille, rng.between(2, 12));
        let store = SimStore::new(scenario.store_trouble_permille);
        let brokers = (1..=scenario.brokers).map(|id| (id, Broker::new())).collect();
        let mut world = Self {
            clients: Clients::new(&scenario, &mut rng),
            checks: Checks::of(scenario.compacts),
            brokers,
            scenario,
            mutation,
            now_ms: 0,
            rng,
            watch_rng,
            flip_rng,
            queue: Queue::default(),
            trace: Trace::new(print),
            net,
            store,
            hosts: [Host::default(), Host::default()],
            conns: BTreeMap::new(),
            next_number: 0,
            old_snapshots: BTreeMap::new(),
            whole: BTreeMap::new(),
            damaged: BTreeSet::new(),
            violation: None,
            still_until: BTreeMap::new(),
            clock_off: BTreeMap::new(),
            calm_since_ms: None,
            being_restored: false,
            done: false,
            counts: BTreeMap::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.start_controller(0);
        for id in 1..=self.scenario.brokers {
            self.at(id as u64, Event::BrokerStarts { broker: id });
        }
        for client in 0..self.clients.len() {
            self.at(1_000 + client as u64, Event::ClientWakes { client });
        }
        self.at(600, Event::AdminWakes);
        self.plan_faults();
        self.at(self.scenario.trouble_ms, Event::Looks);
    }

    /// Plays until the cluster has healed or an invariant does not hold.
    pub fn play(&mut self) {
        while !self.done && self.violation.is_none() {
            let Some((at_ms, event)) = self.queue.pop() else { return };
            self.now_ms = at_ms;
            match self.stands_still(&event) {
                Some(until_ms) => self.queue.push(until_ms, event),
                None => self.happen(event),
            }
        }
    }

    /// Until when the machine that an event is meant for does nothing.
    fn stands_still(&self, event: &Event) -> Option<u64> {
        let node = match event {
            Event::StoreAnswers { at, .. }
            | Event::StoreTells { at, .. }
            | Event::StoreTellsAll { at }
            | Event::ControllerTicks { at, .. }
            | Event::ControllerWakes { at, .. } => Node::Controller(*at),
            Event::BrokerTicks { broker, .. }
            | Event::BrokerConnects { broker, .. }
            | Event::BrokerFetches { broker, .. }
            | Event::BrokerFlushes { broker, .. }
            | Event::BrokerWritesStarts { broker, .. }
            | Event::BrokerCompacts { broker, .. }
            | Event::BrokerCheckpoints { broker, .. } => Node::Broker(*broker),
            Event::RpcArrives { to, .. } => *to,
            Event::SessionMoves { conn, direction } => {
                let conn = self.conns.get(conn)?;
                match direction {
                    Direction::Up => Node::Controller(conn.controller),
                    Direction::Down => Node::Broker(conn.broker),
                }
            }
            _ => return None,
        };
        self.still_until.get(&node).copied().filter(|until_ms| *until_ms > self.now_ms)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::StoreArrives { at, run, request, answered, twice } => {
                self.store_arrives(at, run, request, answered, twice);
            }
            Event::StoreAnswers { at, run, answer } => self.store_answers(at, run, answer),
            Event::StoreTells { at, key, version } => self.input(at, Input::Changed { key, version }),
            Event::StoreTellsAll { at } => self.store_tells_all(at),
            Event::ControllerTicks { at, run } => self.controller_ticks(at, run),
            Event::ControllerWakes { at, run } => self.controller_wakes(at, run),
            Event::SessionMoves { conn, direction } => self.session_moves(conn, direction),
            Event::BrokerStarts { broker } => self.broker_starts(broker),
            Event::BrokerTicks { broker, run } => self.broker_ticks(broker, run),
            Event::BrokerConnects { broker, run } => self.broker_connects(broker, run),
            Event::BrokerFetches { broker, run, leader } => self.broker_fetches(broker, run, leader),
            Event::BrokerFlushes { broker, run } => self.broker_flushes(broker, run),
            Event::BrokerWritesStarts { broker, run } => self.broker_writes_starts(broker, run),
            Event::BrokerCheckpoints { broker, run } => self.broker_checkpoints(broker, run),
            Event::BrokerCompacts { broker, run } => self.broker_compacts(broker, run),
            Event::RpcArrives { from, to, rpc } => self.rpc_arrives(from, to, rpc),
            Event::ClientWakes { client } => self.client_wakes(client),
            Event::AdminWakes => self.admin_wakes(),
            Event::FaultStrikes(fault) => self.strike(fault),
            Event::Looks => self.look(),
        }
    }

    /// Has something happen in so many milliseconds.
    pub fn at(&mut self, delay_ms: u64, event: Event) {
        self.queue.push(self.now_ms + delay_ms, event);
    }

    /// A number that nothing else has.
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// What a machine's clock shows: milliseconds since 1970.
    pub fn clock(&self, node: Node) -> i64 {
        let off = self.clock_off.get(&node).copied().unwrap_or(0);
        EPOCH_MS as i64 + self.now_ms as i64 + off
    }

    /// Remembers the first invariant that does not hold.
    pub fn check(&mut self, check: Check) {
        if let Err(violation) = check
            && self.violation.is_none()
        {
            self.note(&[99], || format!("VIOLATION of {}: {}", violation.invariant, violation.text));
            self.violation = Some(violation);
        }
    }

    /// Notes that something happened.
    pub fn note(&mut self, words: &[u64], line: impl FnOnce() -> String) {
        self.trace.note(self.now_ms, words, line);
    }

    /// Counts something, for people.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Sends a message that may be lost, late or doubled.
    pub fn send(&mut self, from: Node, to: Node, rpc: Rpc) {
        for delay_ms in self.net.arrivals(&mut self.rng) {
            self.at(delay_ms, Event::RpcArrives { from, to, rpc: rpc.clone() });
        }
    }
}
