//! The two hosts that a controller may run on, over one store.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_control::session::{ClusterUpdate, FromController, SliceDigest, ToController};
use taffrail_control::slices;
use taffrail_controller::message::{Event as Told, Input, Output, SessionId};
use taffrail_controller::model::ObjectKey;
use taffrail_controller::store::{StoreAnswer, StoreOutcome, StoreRequest, Version};
use taffrail_controller::{Controller, Policy, Surroundings};

use crate::broker::{Process, Stage};
use crate::net::Node;
use crate::session::ConnId;
use crate::store::Fate;
use crate::trace::digest;
use crate::world::{Event, World};

/// How often a controller's clock ticks.
const TICK_MS: u64 = 500;
/// Of a hundred sessions, so many begin with an old snapshot.
const REPLAYS_PERCENT: u64 = 10;
/// How many old ones are kept for each broker.
const KEPT_SNAPSHOTS: usize = 4;
/// What a store that answers late may take at most.
const LATE_MS: u64 = 3_000;

/// One host.
#[derive(Default)]
pub struct Host {
    /// Which life of a controller this is.
    pub run: u64,
    /// The controller, if it believes that it is the active one.
    pub controller: Option<Controller>,
    /// The connections of its sessions.
    pub sessions: BTreeMap<SessionId, ConnId>,
}

impl World {
    /// A controller becomes active on a host.
    pub fn start_controller(&mut self, at: usize) {
        let run = self.number();
        let policy = Policy {
            session_timeout_ms: 4_000,
            session_grace_ms: 300,
            min_insync_replicas: self.scenario.min_isr,
            default_replication_factor: self.scenario.replication_factor,
            isr_coalesce_ms: self.scenario.isr_coalesce_ms,
            ..Policy::default()
        };
        self.hosts[at] = Host { run, controller: Some(Controller::new(policy)), sessions: BTreeMap::new() };
        self.note(&[1, at as u64, run], || format!("controller {at} becomes active"));
        self.at(self.rng.clone().between(1, TICK_MS), Event::ControllerTicks { at, run });
        self.input(at, Input::Start);
    }

    /// A controller stops being active: it crashed, or lost the lease and closed its sessions (rule 32).
    pub fn stop_controller(&mut self, at: usize) {
        if self.hosts[at].controller.take().is_none() {
            return;
        }
        self.note(&[2, at as u64], || format!("controller {at} stops"));
        for conn in std::mem::take(&mut self.hosts[at].sessions).into_values() {
            self.close_from_controller(conn);
        }
    }

    /// Whether brokers can register there.
    pub fn takes_sessions(&self, at: usize) -> bool {
        self.hosts[at].controller.as_ref().is_some_and(Controller::is_ready)
    }

    /// Gives a controller an input, and carries out what it says.
    pub fn input(&mut self, at: usize, input: Input) {
        let now_ms = u64::try_from(self.clock(Node::Controller(at))).unwrap_or(0);
        let Some(controller) = self.hosts[at].controller.as_mut() else { return };
        let rng = &mut self.rng;
        let mut random = || rng.bytes();
        let outputs = controller.step(input, &mut Surroundings { now_ms, random: &mut random });
        for output in outputs {
            match output {
                Output::Store(request) => self.ask_store(at, request),
                Output::Send { session, message } => self.tell_broker(at, session, message),
                Output::Close { session } => {
                    if let Some(conn) = self.hosts[at].sessions.remove(&session) {
                        self.close_from_controller(conn);
                    }
                }
                Output::WakeIn { after_ms } => {
                    let run = self.hosts[at].run;
                    self.at(after_ms, Event::ControllerWakes { at, run });
                }
                Output::Event(told) => self.hear_event(at, &told),
            }
        }
    }

    fn hear_event(&mut self, at: usize, told: &Told) {
        if matches!(told, Told::UncleanElection { .. }) {
            self.count("unclean elections");
        }
        self.note(&[3, at as u64, digest(told)], || format!("controller {at}: {told}"));
    }

    fn tell_broker(&mut self, at: usize, session: SessionId, message: FromController) {
        let Some(conn) = self.hosts[at].sessions.get(&session).copied() else { return };
        match message {
            FromController::Update(update) if update.snapshot => self.send_snapshot(conn, update),
            message => self.send_down(conn, message, 0),
        }
    }

    fn send_snapshot(&mut self, conn: ConnId, mut update: Arc<ClusterUpdate>) {
        let whole = match self.process_of(conn).map(|process| &process.stage) {
            Some(Stage::Serving(serving)) => serving.whole(&update),
            // It has just started, and holds nothing; or it is gone.
            _ => ClusterUpdate::clone(&update),
        };
        let late_ms = self.replay_snapshot(conn, &whole);
        if late_ms > 0 {
            // It comes in a session of its own, as it were: the broker holds something else by then.
            update = Arc::new(whole);
        }
        if let Some(mutation) = self.mutation {
            mutation.bend_snapshot(Arc::make_mut(&mut update), self.registered_slices(conn));
        }
        let (left_out, topics) = (update.unchanged_slices.len(), update.topics.len());
        self.note(&[8, conn, left_out as u64, topics as u64], || {
            format!("a snapshot of {topics} topics leaves out {left_out} slices")
        });
        if left_out > 0 {
            self.count("snapshots that leave out slices");
        }
        self.send_down(conn, FromController::Update(update), late_ms);
    }

    /// What the broker at the other end has registered with.
    fn registered_slices(&self, conn: ConnId) -> &[SliceDigest] {
        self.process_of(conn).map_or(&[], |process| &process.registration.slices)
    }

    fn process_of(&self, conn: ConnId) -> Option<&Process> {
        let process = self.brokers.get(&self.conns.get(&conn)?.broker)?.process.as_ref()?;
        (process.conn == Some(conn)).then_some(process)
    }

    /// Now and then a session begins with a snapshot from long ago, as an outdated controller sends it (rules 2, 31): as an
    /// answer to what the broker registered with. The newest comes so many milliseconds later.
    fn replay_snapshot(&mut self, conn: ConnId, whole: &ClusterUpdate) -> u64 {
        let replays = self.rng.percent(REPLAYS_PERCENT) && self.calm_since_ms.is_none();
        let at = self.rng.below(KEPT_SNAPSHOTS as u64) as usize;
        let late_ms = self.rng.between(10, 1_500);
        let Some(broker) = self.conns.get(&conn).map(|conn| conn.broker) else { return 0 };
        let kept = self.old_snapshots.entry(broker).or_default();
        let old = kept.get(at).filter(|_| replays).cloned();
        if kept.len() < KEPT_SNAPSHOTS {
            kept.push(whole.clone());
        } else {
            kept[at] = whole.clone();
        }
        let Some(mut old) = old else { return 0 };
        slices::leave_out_unchanged(&mut old, self.registered_slices(conn));
        self.note(&[7, broker as u64], || format!("broker {broker} is sent an old snapshot first"));
        self.count("old snapshots");
        self.send_down(conn, FromController::Update(Arc::new(old)), 0);
        late_ms
    }

    /// A session's message reaches its controller.
    pub fn controller_hears(&mut self, at: usize, session: SessionId, message: ToController) {
        self.note(&[4, at as u64, digest(&message)], || format!("controller {at} hears {message:?}"));
        self.input(at, Input::Said { session, message });
    }

    fn ask_store(&mut self, at: usize, request: StoreRequest) {
        let (run, id) = (self.hosts[at].run, request.id);
        let fate = self.store.fate(&mut self.rng);
        let there_ms = self.rng.between(1, 15);
        if fate != Fate::Answered {
            self.note(&[5, at as u64, id.0], || format!("store request {id:?} of controller {at}: {fate:?}"));
        }
        let unknown = StoreAnswer { id, outcome: StoreOutcome::Unknown };
        match fate {
            Fate::Answered | Fate::AnsweredTwice => {
                let twice = fate == Fate::AnsweredTwice;
                self.at(there_ms, Event::StoreArrives { at, run, request, answered: true, twice });
            }
            Fate::AnswerLost => {
                self.at(there_ms, Event::StoreArrives { at, run, request, answered: false, twice: false });
                let patience_ms = self.rng.between(100, 1_000);
                self.at(patience_ms, Event::StoreAnswers { at, run, answer: unknown });
            }
            Fate::NeverArrived => {
                let patience_ms = self.rng.between(100, 1_000);
                self.at(patience_ms, Event::StoreAnswers { at, run, answer: unknown });
            }
            Fate::Late => {
                let patience_ms = self.rng.between(100, 1_000);
                self.at(patience_ms, Event::StoreAnswers { at, run, answer: unknown });
                let late_ms = self.rng.between(50, LATE_MS);
                self.at(late_ms, Event::StoreArrives { at, run, request, answered: false, twice: false });
            }
        }
    }

    /// A request reaches the store.
    pub fn store_arrives(&mut self, at: usize, run: u64, request: StoreRequest, answered: bool, twice: bool) {
        let (answer, swapped) = self.store.execute(request);
        if let Some(swapped) = swapped {
            let checked = self.checks.epochs.swapped(swapped.before.as_ref(), &swapped.after);
            self.check(checked);
            self.checks.committed.swapped(&swapped.after);
            self.note(&[6, at as u64, digest(&swapped.after)], || {
                format!("stored for controller {at}: {:?}", swapped.after)
            });
            (0..self.hosts.len())
                .for_each(|watcher| self.tell_watcher(watcher, swapped.key, swapped.version));
        }
        if answered {
            for _ in 0..=u64::from(twice) {
                let back_ms = self.rng.between(1, 15);
                self.at(back_ms, Event::StoreAnswers { at, run, answer: answer.clone() });
            }
        }
    }

    /// Has the store tell a host of a write: at once, late, twice, or only with all else that is stored.
    fn tell_watcher(&mut self, at: usize, key: ObjectKey, version: Version) {
        let tells = Event::StoreTells { at, key, version };
        let (soon_ms, late_ms) = (self.watch_rng.between(1, 30), self.watch_rng.between(30, LATE_MS));
        match self.watch_rng.below(10) {
            0 => self.at(late_ms, Event::StoreTellsAll { at }),
            1 => self.at(late_ms, tells),
            2 => {
                self.at(late_ms, Event::StoreTells { at, key, version });
                self.at(soon_ms, tells);
            }
            _ => self.at(soon_ms, tells),
        }
    }

    /// A controller's watch begins anew.
    pub fn store_tells_all(&mut self, at: usize) {
        for (key, version) in self.store.versions() {
            self.input(at, Input::Changed { key, version });
        }
    }

    /// An answer reaches a controller.
    pub fn store_answers(&mut self, at: usize, run: u64, answer: StoreAnswer) {
        if self.hosts[at].run == run {
            self.input(at, Input::Store(answer));
        }
    }

    /// A controller asked to be woken.
    pub fn controller_wakes(&mut self, at: usize, run: u64) {
        if self.hosts[at].run == run {
            self.input(at, Input::Tick);
        }
    }

    /// A controller's clock ticks.
    pub fn controller_ticks(&mut self, at: usize, run: u64) {
        if self.hosts[at].run == run && self.hosts[at].controller.is_some() {
            self.input(at, Input::Tick);
            self.at(TICK_MS, Event::ControllerTicks { at, run });
        }
    }
}
