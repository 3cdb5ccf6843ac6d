//! What goes wrong, and when, within what a user is promised.

use taffrail_log::storage::{Effect, Fault as DiskFault, Operation};

use crate::net::Node;
use crate::scenario::Promise;
use crate::world::{Event, World};

/// How often is looked whether faults may strike again after the store was restored.
const RESTORE_LOOK_MS: u64 = 250;

/// A fault, or the end of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A broker's process is killed.
    Kill(i32),
    /// A broker is stopped in good order.
    Stop(i32),
    /// A broker begins again, if it does not run.
    Start(i32),
    /// A machine loses power.
    CutPower(i32),
    /// All machines do.
    CutAllPower,
    /// A machine is replaced.
    Wipe(i32),
    /// A machine stands still for so many milliseconds.
    Pause(Node, u64),
    /// Nothing gets through one way.
    Block(Node, Node),
    /// It does again.
    Unblock(Node, Node),
    /// A session breaks.
    BreakSession(i32),
    /// A machine's clock jumps by so many milliseconds.
    JumpClock(Node, i64),
    /// A disk is full.
    FillDisk(i32),
    /// There is room again, and the broker is started anew.
    EmptyDisk(i32),
    /// A write or a sync fails after so many that succeed; a write leaves part of it.
    FailDisk(i32, Operation, u64),
    /// A bit of a committed batch flips on a broker's disk.
    FlipBit(i32),
    /// The active controller dies.
    KillController(usize),
    /// A controller believes that it is the active one.
    StartController(usize),
    /// The active controller loses the lease to the other one.
    MoveController,
    /// The store is backed up.
    BackUp,
    /// The backup takes the store's place, with all controllers started anew.
    Restore,
}

impl World {
    /// Draws what goes wrong.
    pub fn plan_faults(&mut self) {
        let trouble_ms = self.scenario.trouble_ms;
        for _ in 0..self.scenario.faults {
            let at_ms = self.rng.between(2_500, trouble_ms.saturating_sub(500));
            self.plan_fault(at_ms);
        }
        self.plan_flips();
        if self.scenario.promise == Promise::Restored {
            let at_ms = self.rng.between(2_000, trouble_ms / 2);
            self.queue.push(at_ms, Event::FaultStrikes(Fault::BackUp));
            let at_ms = self.rng.between(at_ms + 100, trouble_ms - 500);
            self.queue.push(at_ms, Event::FaultStrikes(Fault::Restore));
        }
    }

    /// Of the one broker whose disk may do anything, bits may flip.
    fn plan_flips(&mut self) {
        if self.scenario.promise != Promise::OneDisk || !self.flip_rng.percent(60) {
            return;
        }
        for _ in 0..self.flip_rng.between(1, 6) {
            let at_ms = self.flip_rng.between(3_000, self.scenario.trouble_ms - 500);
            self.queue.push(at_ms, Event::FaultStrikes(Fault::FlipBit(self.scenario.victim)));
        }
    }

    fn plan_fault(&mut self, at_ms: u64) {
        let broker = self.rng.between(1, self.scenario.brokers as u64) as i32;
        let lasts_ms = match self.rng.below(4) {
            0 => self.rng.between(20, 300),
            1 => self.rng.between(4_000, 9_000),
            _ => self.rng.between(300, 4_000),
        };
        let controller = self.rng.below(2) as usize;
        let end_ms = at_ms + lasts_ms;
        let mut plan = |at_ms: u64, fault: Fault| self.queue.push(at_ms, Event::FaultStrikes(fault));
        match self.rng.below(100) {
            0..18 => {
                plan(at_ms, Fault::Kill(broker));
                plan(end_ms, Fault::Start(broker));
            }
            18..26 => {
                plan(at_ms, Fault::Stop(broker));
                plan(end_ms + 3_000, Fault::Start(broker));
            }
            26..34 => {
                let node =
                    if self.rng.percent(25) { Node::Controller(controller) } else { Node::Broker(broker) };
                plan(at_ms, Fault::Pause(node, lasts_ms));
            }
            34..52 => self.plan_partition(at_ms, end_ms, broker),
            52..58 => plan(at_ms, Fault::BreakSession(broker)),
            58..63 => {
                let node =
                    if self.rng.percent(50) { Node::Controller(controller) } else { Node::Broker(broker) };
                let by_ms = self.rng.between(0, 60_000) as i64 - 30_000;
                plan(at_ms, Fault::JumpClock(node, by_ms));
            }
            63..69 => {
                plan(at_ms, Fault::KillController(controller));
                plan(end_ms, Fault::StartController(controller));
            }
            69..75 => plan(at_ms, Fault::MoveController),
            75..80 => {
                plan(at_ms, Fault::StartController(controller));
                plan(end_ms, Fault::MoveController);
            }
            80..85 => {
                // All at once, back in any order.
                for id in 1..=self.scenario.brokers {
                    plan(at_ms + self.rng.below(50), Fault::Kill(id));
                    plan(at_ms + self.rng.between(50, 6_000), Fault::Start(id));
                }
            }
            _ => self.plan_disk_fault(at_ms, end_ms, broker),
        }
    }

    fn plan_partition(&mut self, at_ms: u64, end_ms: u64, broker: i32) {
        let me = Node::Broker(broker);
        let others: Vec<Node> =
            (1..=self.scenario.brokers).filter(|id| *id != broker).map(Node::Broker).collect();
        let controllers = [Node::Controller(0), Node::Controller(1)];
        let far: Vec<Node> = match self.rng.below(5) {
            0 => others,
            1 => controllers.to_vec(),
            2 => self.rng.pick(&others).into_iter().collect(),
            3 => vec![Node::Clients],
            _ => others.into_iter().chain(controllers).collect(),
        };
        let ways = self.rng.below(3);
        for node in far {
            for (from, to, cut) in [(me, node, ways != 1), (node, me, ways != 2)] {
                if cut {
                    self.queue.push(at_ms, Event::FaultStrikes(Fault::Block(from, to)));
                    self.queue.push(end_ms, Event::FaultStrikes(Fault::Unblock(from, to)));
                }
            }
        }
    }

    /// What disks do is bounded by the promise.
    fn plan_disk_fault(&mut self, at_ms: u64, end_ms: u64, broker: i32) {
        let (victim, flushed) = match self.scenario.promise {
            Promise::ProcessCrashes | Promise::Restored => {
                self.queue.push(at_ms, Event::FaultStrikes(Fault::Kill(broker)));
                self.queue.push(end_ms, Event::FaultStrikes(Fault::Start(broker)));
                return;
            }
            Promise::OneDisk => (self.scenario.victim, false),
            Promise::Flushed => (broker, true),
        };
        let after = self.rng.below(20);
        let operation = if self.rng.percent(50) { Operation::Write } else { Operation::Sync };
        let faults = match self.rng.below(6) {
            0 | 1 => vec![(at_ms, Fault::CutPower(victim)), (end_ms, Fault::Start(victim))],
            2 if flushed => {
                let mut all = vec![(at_ms, Fault::CutAllPower)];
                for id in 1..=self.scenario.brokers {
                    all.push((at_ms + self.rng.between(50, 6_000), Fault::Start(id)));
                }
                all
            }
            2 | 3 if !flushed => vec![(at_ms, Fault::Wipe(victim)), (end_ms, Fault::Start(victim))],
            4 => vec![(at_ms, Fault::FillDisk(victim)), (end_ms, Fault::EmptyDisk(victim))],
            _ => {
                vec![(at_ms, Fault::FailDisk(victim, operation, after)), (end_ms, Fault::EmptyDisk(victim))]
            }
        };
        for (at_ms, fault) in faults {
            self.queue.push(at_ms, Event::FaultStrikes(fault));
        }
    }

    /// A fault strikes, or ends.
    pub fn strike(&mut self, fault: Fault) {
        if self.calm_since_ms.is_some() {
            return;
        }
        if self.is_being_restored() {
            self.at(RESTORE_LOOK_MS, Event::FaultStrikes(fault));
            return;
        }
        self.note(&[80, crate::trace::digest(&fault)], || format!("FAULT {fault:?}"));
        self.count("faults");
        match fault {
            Fault::Kill(id) => self.kill(id),
            Fault::Stop(id) => self.ask_to_stop(id),
            Fault::Start(id) => self.broker_starts(id),
            Fault::CutPower(id) => self.cut_power(id),
            Fault::CutAllPower => (1..=self.scenario.brokers).for_each(|id| self.cut_power(id)),
            Fault::Wipe(id) => self.wipe(id),
            Fault::Pause(node, lasts_ms) => {
                self.still_until.insert(node, self.now_ms + lasts_ms);
            }
            Fault::Block(from, to) => self.net.block(from, to),
            Fault::Unblock(from, to) => self.net.unblock(from, to),
            Fault::BreakSession(id) => {
                let process = self.brokers.get(&id).and_then(|broker| broker.process.as_ref());
                if let Some(conn) = process.and_then(|process| process.conn) {
                    self.break_conn(conn);
                }
            }
            Fault::JumpClock(node, by_ms) => *self.clock_off.entry(node).or_default() += by_ms,
            Fault::FillDisk(id) => self.brokers[&id].storage.set_capacity(Some(0)),
            Fault::EmptyDisk(id) => {
                self.brokers[&id].storage.set_capacity(None);
                self.brokers[&id].storage.clear_faults();
                if self.now_ms.is_multiple_of(2) || !self.broker_heals(id) {
                    self.kill(id);
                    self.broker_starts(id);
                }
            }
            Fault::FailDisk(id, operation, after) => {
                let effect = match operation {
                    Operation::Write => Effect::TornWrite(self.rng.below(60) as usize),
                    _ => Effect::IoError,
                };
                let name_ends_with = String::new();
                self.brokers[&id].storage.inject(DiskFault { operation, after, name_ends_with, effect });
            }
            Fault::FlipBit(id) => self.flip_bit(id),
            Fault::KillController(at) => self.stop_controller(at),
            Fault::StartController(at) => self.start_idle_controller(at),
            Fault::MoveController => self.move_controller(),
            Fault::BackUp => self.store.back_up(),
            Fault::Restore => self.restore(),
        }
    }

    /// What is promised of a restored store ([`Promise::Restored`]) holds if everybody is there who may know more than it:
    /// all brokers live and reach the controller, and do so until it has heard them.
    fn restore(&mut self) {
        self.stop_controller(0);
        self.stop_controller(1);
        if self.store.restore() {
            self.being_restored = true;
            self.net.heal();
            let still = std::mem::take(&mut self.still_until);
            for id in 1..=self.scenario.brokers {
                let serving = self.brokers[&id].serving();
                let stops = serving.is_some_and(|serving| serving.stopping_until_ms.is_some());
                // What it was about to do when it stood still is put off already.
                if stops || still.contains_key(&Node::Broker(id)) {
                    self.kill(id);
                }
                self.broker_starts(id);
            }
        }
        self.start_controller(0);
    }

    /// Whether the controller of a restored store has not heard all brokers yet.
    fn is_being_restored(&mut self) -> bool {
        let takes_over =
            self.hosts[0].controller.as_ref().is_some_and(|c| !c.is_ready() || c.awaits_brokers());
        self.being_restored &= takes_over;
        self.being_restored
    }

    /// Whoever gets the lease begins anew, whatever it believed before.
    fn move_controller(&mut self) {
        let at = usize::from(self.hosts[0].controller.is_some());
        self.stop_controller(0);
        self.stop_controller(1);
        self.start_controller(at);
    }

    fn start_idle_controller(&mut self, at: usize) {
        if self.hosts[at].controller.is_none() {
            self.start_controller(at);
        }
    }

    /// Faults strike no more: everything that was broken is mended, and whoever does not run is started.
    pub fn calm_down(&mut self) {
        self.note(&[81], || "all faults end".to_owned());
        self.calm_since_ms = Some(self.now_ms);
        self.net.heal();
        self.store.trouble_permille = 0;
        self.still_until.clear();
        self.move_controller();
        for id in 1..=self.scenario.brokers {
            self.brokers[&id].storage.set_capacity(None);
            self.brokers[&id].storage.clear_faults();
            let failed = self.brokers[&id].serving().is_some_and(|serving| {
                serving.replicas.values().any(|replica| replica.partition.log().poisoned().is_some())
            });
            if failed {
                // As a person would.
                self.kill(id);
            }
            if let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut())
                && serving.stopping_until_ms.is_some()
            {
                self.kill(id);
            }
            self.broker_starts(id);
        }
    }
}
