//! What it costs the controller to lose a broker: `cargo run --release -p taffrail-controller --example broker_loss --
//! [partitions] [brokers] [partitions per topic]`. The store is in memory, so what is printed is the controller's own time.

#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use taffrail_control::session::{
    ControllerRequest, FromController, IsrProposal, LogClaim, NewTopic, Registration, ToController,
};
use taffrail_controller::message::{Input, Output, SessionId};
use taffrail_controller::model::{Object, ObjectKey};
use taffrail_controller::store::{MemoryStore, Store, StoreAction, StoreRequest};
use taffrail_controller::{Controller, Policy, Surroundings};
use taffrail_protocol::Uuid;

struct Bench {
    controller: Controller,
    store: MemoryStore,
    asked: Vec<StoreRequest>,
    now_ms: u64,
    drawn: u128,
    /// Time spent in the controller.
    spent: Duration,
    writes: usize,
    bytes: usize,
    /// Partition records told, over all sessions.
    told: usize,
}

impl Bench {
    fn input(&mut self, input: Input) {
        let drawn = &mut self.drawn;
        let mut random = || {
            *drawn += 1;
            (*drawn).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes()
        };
        let mut surroundings = Surroundings { now_ms: self.now_ms, random: &mut random };
        let began = Instant::now();
        let outputs = self.controller.step(input, &mut surroundings);
        self.spent += began.elapsed();
        for output in outputs {
            match output {
                Output::Store(request) => self.asked.push(request),
                Output::Send { message: FromController::Update(update), .. } => {
                    self.told += update.partitions.len()
                }
                _ => {}
            }
        }
    }

    fn settle(&mut self) {
        while !self.asked.is_empty() {
            let batch = std::mem::take(&mut self.asked);
            for request in &batch {
                if let StoreAction::Put { object, .. } = &request.action {
                    self.writes += 1;
                    self.bytes += object.encode().map_or(0, |json| json.len());
                }
            }
            for answer in self.store.execute(batch) {
                self.input(Input::Store(answer));
            }
        }
    }

    fn say(&mut self, broker: i32, message: ToController) {
        self.input(Input::Said { session: SessionId(broker as u64), message });
        self.settle();
    }

    fn report(&mut self, what: &str) {
        let (spent, writes, kib, told) = (self.spent, self.writes, self.bytes / 1024, self.told);
        println!(
            "{what:<28} {spent:>10.1?} in the controller, {writes:>4} writes, {kib:>6} KiB, {told:>6} records told"
        );
        (self.spent, self.writes, self.bytes, self.told) = (Duration::ZERO, 0, 0, 0);
    }
}

fn registration(broker_id: i32) -> Registration {
    Registration::new(broker_id, Uuid([broker_id as u8; 16]), LogClaim::Unclean)
}

/// Resident memory in KiB, as Linux tells it.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<i32>().ok());
    let (partitions, brokers) = (args.next().unwrap_or(10_000), args.next().unwrap_or(3));
    let per_topic = args.next().unwrap_or(100);
    let policy = Policy { default_replication_factor: 3, min_insync_replicas: 2, ..Policy::default() };
    let mut bench = Bench {
        controller: Controller::new(policy),
        store: MemoryStore::default(),
        asked: Vec::new(),
        now_ms: 1,
        drawn: 0,
        spent: Duration::ZERO,
        writes: 0,
        bytes: 0,
        told: 0,
    };
    bench.input(Input::Start);
    bench.settle();
    for broker in 1..=brokers {
        bench.say(broker, ToController::Register(registration(broker)));
    }
    let topics = (0..partitions / per_topic).map(|i| NewTopic {
        name: format!("topic-{i}"),
        partitions: Some(per_topic),
        config: BTreeMap::new(),
        ..NewTopic::default()
    });
    let request = ControllerRequest::CreateTopics { topics: topics.collect(), validate_only: false };
    bench.say(1, ToController::Request { request_id: 1, request });
    bench.report(&format!("made {partitions} partitions"));
    println!("resident with the store: {} KiB", resident_kib());

    bench.input(Input::SessionEnded { session: SessionId(1) });
    bench.now_ms += policy.session_grace_ms;
    bench.input(Input::Tick);
    bench.settle();
    bench.report("broker 1 died");

    bench.say(1, ToController::Register(registration(1)));
    bench.report("broker 1 is back");
    for leader in 2..=brokers {
        let proposals = proposals(&bench.store, leader);
        bench.say(leader, ToController::ProposeIsr { incarnation: leader as u64, proposals });
    }
    bench.report("it is in sync again");
    bench.say(2, ToController::ControlledShutdown { incarnation: 2 });
    bench.report("broker 2 was shut down");
    println!("resident with the store: {} KiB", resident_kib());
}

/// What the broker would propose once every replica has caught up.
fn proposals(store: &MemoryStore, leader: i32) -> Vec<IsrProposal> {
    let mut proposals = Vec::new();
    let slices = store.keys().filter(|key| matches!(key, ObjectKey::Partitions(_)));
    for stored in slices.filter_map(|key| store.get(key)) {
        let Object::Partitions(slice) = stored.object else { continue };
        for topic in &slice.topics {
            let led = topic.partitions.iter().filter(|r| r.leader.is_some_and(|l| l.broker_id == leader));
            proposals.extend(led.map(|record| {
                IsrProposal {
                    topic_id: topic.topic_id,
                    partition: record.partition,
                    leader_epoch: record.leader_epoch,
                    partition_epoch: record.partition_epoch,
                    isr: record
                        .replicas
                        .iter()
                        .map(|id| taffrail_control::session::Member {
                            broker_id: *id,
                            incarnation: *id as u64,
                        })
                        .collect(),
                }
            }));
        }
    }
    proposals
}
