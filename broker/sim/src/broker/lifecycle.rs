//! Starting, registering, stopping and crashing.

use std::path::{Path, PathBuf};

use taffrail_control::session::{FromController, LogClaim, Member, Registration, ToController};
use taffrail_log::{DirState, LogConfig, LogDir, MemoryStorage, MetaProperties, Storage, inspect};
use taffrail_protocol::Uuid;
use taffrail_replication::disk::claim::{Claim, DirFate, claim};
use taffrail_replication::disk::epochs;
use taffrail_replication::disk::logs::{RecoveredLogs, ReplicaLogs, recovery_config, short_logs};
use taffrail_replication::disk::note::{Boot, DiskNote};

use super::{Process, Recovered, Serving, Stage};
use crate::mutation::Mutation;
use crate::net::Node;
use crate::session::ConnId;
use crate::world::{Event, World};

/// Where each broker's logs are.
pub(super) const DIR: &str = "/data";
/// How often a broker looks around.
const TICK_MS: u64 = 100;
/// For how long a session may be silent one way before the broker gives it up.
const KEEPALIVE_MS: u64 = 2_500;
/// How long a broker that stops waits for its leadership to be taken over.
const HANDOVER_MS: u64 = 3_000;

impl World {
    /// The settings of all logs.
    pub fn log_config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.scenario.segment_bytes,
            index_interval_bytes: 256,
            flush_messages: self.scenario.flush_messages,
            retention_ms: self.scenario.retention_ms,
            retention_bytes: self.scenario.retention_bytes,
            file_delete_delay_ms: 1_000,
            compact: self.scenario.compacts,
            ..LogConfig::default()
        }
    }

    /// A process begins: it looks at its disk, and tries to register.
    pub fn broker_starts(&mut self, id: i32) {
        let run = self.number();
        let (mut process_id, directory_id) = (self.rng.uuid(), self.rng.uuid());
        if self.mutation == Some(Mutation::IgnoreIncarnation) {
            process_id = Uuid([id as u8; 16]);
        }
        if self.brokers[&id].process.is_some() {
            return;
        }
        let storage = self.brokers[&id].storage.clone();
        if self.mutation == Some(Mutation::ForgetEpochs) {
            // Fails only on a disk without the file.
            let _ = storage.remove_file(&Path::new(DIR).join(epochs::NAME));
        }
        let recovered = match self.recover(id, &storage) {
            Ok(recovered) => recovered,
            Err(error) => {
                self.note(&[10, id as u64], || format!("broker {id} does not start: {error}"));
                self.at(1_000, Event::BrokerStarts { broker: id });
                return;
            }
        };
        let mut stated = recovered.claim;
        if self.mutation == Some(Mutation::ClaimEverything) && stated.last_incarnation.is_some() {
            stated.claim = LogClaim::SameBoot;
        }
        self.note(&[11, id as u64, run], || format!("broker {id} starts: {stated:?}"));
        let properties = recovered.dir.as_ref().map(|dir| dir.properties());
        let registration = Registration {
            cluster_id: properties.map(|properties| properties.cluster_id.clone()),
            last_incarnation: stated.last_incarnation,
            log_dirs: vec![properties.map_or(directory_id, |properties| properties.directory_id)],
            peer_address: Some(([127, 0, 0, 1], 9_000 + id as u16).into()),
            peer_token: process_id,
            ..Registration::new(id, process_id, stated.claim)
        };
        let process = Process {
            run,
            registration,
            conn: None,
            registered: false,
            next_controller: self.rng.below(2) as usize,
            stage: Stage::Recovered(Box::new(recovered)),
        };
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.process = Some(process);
        }
        self.at(1, Event::BrokerConnects { broker: id, run });
        self.at(TICK_MS, Event::BrokerTicks { broker: id, run });
        self.at(1_500, Event::BrokerCheckpoints { broker: id, run });
    }

    fn boot(&self, id: i32) -> Boot {
        Boot { boot_id: format!("boot {}", self.brokers[&id].boot), device: 1 }
    }

    fn recover(&self, id: i32, storage: &MemoryStorage) -> Result<Recovered, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let path = PathBuf::from(DIR);
        let DirState::Ours(properties) = inspect(storage, &path).map_err(|error| text(&error))? else {
            let claim = Claim { claim: LogClaim::Unclean, last_incarnation: None };
            return Ok(Recovered { dir: None, logs: RecoveredLogs::new(), claim });
        };
        let dir = LogDir::open(storage.clone(), path, properties).map_err(|error| text(&error))?;
        let fate = DirFate::of(storage, &dir, self.boot(id), Vec::new()).map_err(|error| text(&error))?;
        let mut logs = RecoveredLogs::new();
        if fate.claim() != LogClaim::Unclean {
            let config = recovery_config(self.log_config());
            for partition in dir.partitions() {
                let opened = dir.open_log(partition, config.clone(), self.clock(Node::Broker(id)));
                if let Ok(opened) = opened {
                    logs.insert(partition.clone(), opened);
                }
            }
        }
        let claim = claim(&[Some(DirFate { short: short_logs(&dir, &logs), ..fate })]);
        Ok(Recovered { dir: Some(dir), logs, claim })
    }

    /// A process without a session tries to get one.
    pub fn broker_connects(&mut self, id: i32, run: u64) {
        let Some(process) = self.brokers.get_mut(&id).and_then(|broker| broker.process.as_mut()) else {
            return;
        };
        if process.run != run || process.conn.is_some() {
            return;
        }
        let at = process.next_controller;
        process.next_controller = 1 - at;
        let (me, controller) = (Node::Broker(id), Node::Controller(at));
        let there = self.net.reaches(me, controller) && self.net.reaches(controller, me);
        if !there || !self.takes_sessions(at) {
            let again_ms = self.rng.between(20, 200);
            self.at(again_ms, Event::BrokerConnects { broker: id, run });
            return;
        }
        let conn = self.open_conn(id, run, at);
        let Some(process) = self.brokers.get_mut(&id).and_then(|broker| broker.process.as_mut()) else {
            return;
        };
        process.conn = Some(conn);
        process.registered = false;
        if let Stage::Serving(serving) = &process.stage {
            process.registration.slices = serving.slices();
        }
        let registration = process.registration.clone();
        let slices = registration.slices.len();
        self.note(&[12, id as u64, at as u64, slices as u64], || {
            format!("broker {id} connects to controller {at} and holds something of {slices} slices")
        });
        self.send_up(conn, ToController::Register(registration));
    }

    /// The session is over; another one is sought.
    pub fn broker_lost_session(&mut self, id: i32, run: u64, conn: ConnId) {
        let Some(process) = self.brokers.get_mut(&id).and_then(|broker| broker.process.as_mut()) else {
            return;
        };
        if process.run != run || process.conn != Some(conn) {
            return;
        }
        process.conn = None;
        process.registered = false;
        self.close_from_broker(conn);
        self.note(&[13, id as u64], || format!("broker {id} lost its session"));
        let again_ms = self.rng.between(20, 300);
        self.at(again_ms, Event::BrokerConnects { broker: id, run });
    }

    /// A message of the controller arrives.
    pub fn broker_hears(&mut self, id: i32, run: u64, conn: ConnId, message: FromController) {
        let process = self.brokers.get(&id).and_then(|broker| broker.process.as_ref());
        if !process.is_some_and(|process| process.run == run && process.conn == Some(conn)) {
            return;
        }
        self.note(&[14, id as u64, crate::trace::digest(&message)], || {
            format!("broker {id} hears {message:?}")
        });
        match message {
            FromController::Registered { cluster_id, incarnation, .. } => {
                self.broker_registered(id, &cluster_id, incarnation);
            }
            FromController::Update(update) => self.broker_applies(id, &update),
            FromController::IsrRefused { refused } => self.broker_refused(id, &refused),
            FromController::QueryLogEnds { query_id, partitions } => {
                self.broker_tells_ends(id, query_id, &partitions);
            }
            FromController::ShutdownGranted => self.broker_stops(id),
            FromController::Refused { reason } => {
                self.note(&[15, id as u64], || format!("broker {id} is refused and exits: {reason}"));
                self.kill(id);
                self.at(500, Event::BrokerStarts { broker: id });
            }
            FromController::Redirect { .. } => self.broker_lost_session(id, run, conn),
            FromController::Response { .. } => {}
        }
    }

    fn broker_registered(&mut self, id: i32, cluster_id: &str, incarnation: u64) {
        let me = Member { broker_id: id, incarnation };
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        let Some(process) = broker.process.as_mut() else { return };
        process.registered = true;
        if let Stage::Serving(serving) = &mut process.stage {
            if serving.me == me {
                serving.renewing = true;
                serving.told.clear();
            } else {
                self.note(&[16, id as u64], || {
                    format!("broker {id} was given another incarnation and exits")
                });
                self.kill(id);
                self.at(200, Event::BrokerStarts { broker: id });
                return;
            }
        } else if let Err(error) = self.begin_to_serve(id, me, cluster_id) {
            self.note(&[17, id as u64], || format!("broker {id} cannot serve: {error}"));
            self.kill(id);
            self.at(1_000, Event::BrokerStarts { broker: id });
            return;
        }
        let Some(serving) = self.brokers.get(&id).and_then(|broker| broker.serving()) else { return };
        let partitions = serving.logs.held();
        self.tell(id, ToController::Held { incarnation, partitions });
    }

    fn begin_to_serve(&mut self, id: i32, me: Member, cluster_id: &str) -> Result<(), String> {
        let boot = self.boot(id);
        let now_ms = self.clock(Node::Broker(id));
        let Some(broker) = self.brokers.get_mut(&id) else { return Ok(()) };
        let storage = broker.storage.clone();
        let Some(process) = broker.process.as_mut() else { return Ok(()) };
        let directory_id = process.registration.log_dirs[0];
        let empty = Recovered {
            dir: None,
            logs: RecoveredLogs::new(),
            claim: Claim { claim: LogClaim::Unclean, last_incarnation: None },
        };
        let Stage::Recovered(recovered) =
            std::mem::replace(&mut process.stage, Stage::Recovered(Box::new(empty)))
        else {
            return Ok(());
        };
        let Recovered { dir, logs, claim } = *recovered;
        let dir = match dir {
            Some(dir) => dir,
            None => {
                let cluster_id = cluster_id.to_owned();
                let properties = MetaProperties { cluster_id, node_id: id, directory_id };
                LogDir::open(storage.clone(), PathBuf::from(DIR), properties)
                    .map_err(|error| error.to_string())?
            }
        };
        process.registration.cluster_id = Some(dir.properties().cluster_id.clone());
        process.registration.resumes = Some(me.incarnation);
        let note = DiskNote { boot, incarnation: me.incarnation };
        note.write(&storage, Path::new(DIR)).map_err(|error| error.to_string())?;
        for leftover in dir.leftovers() {
            // What cannot be removed now is removed at the next start.
            let _ = taffrail_log::remove_dir(&storage, leftover);
        }
        let logs = ReplicaLogs::new(storage, vec![(dir, logs)], Vec::new(), me, claim.claim, now_ms);
        let (logs, _) = logs.map_err(|error| error.to_string())?;
        process.stage = Stage::Serving(Box::new(Serving {
            me,
            logs,
            ledger: Default::default(),
            brokers: Default::default(),
            topics: Default::default(),
            records: Default::default(),
            replicas: Default::default(),
            unwell: Default::default(),
            told: Default::default(),
            fetchers: Default::default(),
            waiting: Default::default(),
            applied_version: 0,
            renewing: true,
            stopping_until_ms: None,
            flushing: false,
            starts_moved: Default::default(),
            compacting: None,
            mending: None,
        }));
        Ok(())
    }

    /// Says something in the session, if there is one.
    pub fn tell(&mut self, id: i32, message: ToController) {
        let process = self.brokers.get(&id).and_then(|broker| broker.process.as_ref());
        let conn = process.filter(|process| process.registered).and_then(|process| process.conn);
        if let Some(conn) = conn {
            self.send_up(conn, message);
        }
    }

    /// A broker's clock ticks.
    pub fn broker_ticks(&mut self, id: i32, run: u64) {
        if !self.brokers[&id].runs(run) {
            return;
        }
        self.at(TICK_MS, Event::BrokerTicks { broker: id, run });
        self.watch_session(id, run);
        let now_ms = self.now_ms;
        let Some(serving) = self.brokers.get(&id).and_then(|broker| broker.serving()) else { return };
        if serving.stopping_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            self.broker_stops(id);
            return;
        }
        let (incarnation, applied_version) = (serving.me.incarnation, serving.applied_version);
        if self.rng.percent(30) {
            self.tell(id, ToController::Heartbeat { incarnation, applied_version });
        }
        self.tick_partitions(id);
        if self.scenario.deletes && self.rng.percent(10) {
            self.retain(id);
        }
        if self.scenario.compacts && self.rng.percent(20) {
            self.begin_to_compact(id, run);
        }
        self.meet_damage(id);
        self.mend(id);
        self.report_health(id, false);
        self.wake_fetchers(id, run);
    }

    fn watch_session(&mut self, id: i32, run: u64) {
        let process = self.brokers.get(&id).and_then(|broker| broker.process.as_ref());
        let Some(conn_id) = process.and_then(|process| process.conn) else { return };
        let now_ms = self.now_ms;
        let Some(conn) = self.conns.get_mut(&conn_id) else { return };
        let (me, controller) = (Node::Broker(id), Node::Controller(conn.controller));
        if self.net.reaches(me, controller) && self.net.reaches(controller, me) {
            conn.stalled_since_ms = None;
        } else if now_ms - *conn.stalled_since_ms.get_or_insert(now_ms) > KEEPALIVE_MS {
            self.broker_lost_session(id, run, conn_id);
        }
    }

    /// Asks for a clean stop.
    pub fn ask_to_stop(&mut self, id: i32) {
        let until_ms = self.now_ms + HANDOVER_MS;
        match self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) {
            Some(serving) => {
                serving.stopping_until_ms = Some(until_ms);
                let incarnation = serving.me.incarnation;
                self.note(&[18, id as u64], || format!("broker {id} is asked to stop"));
                self.tell(id, ToController::ControlledShutdown { incarnation });
            }
            None => self.kill(id),
        }
    }

    fn broker_stops(&mut self, id: i32) {
        let now_ms = self.clock(Node::Broker(id));
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        if serving.stopping_until_ms.is_none() {
            return;
        }
        let mut closed = true;
        let mut effects = Vec::new();
        for replica in serving.replicas.values_mut() {
            replica.partition.resign(&mut effects);
            closed &= replica.partition.log_mut().begin_close().is_ok();
        }
        closed &= serving.logs.dirs().all(|dir| dir.sync_all().is_ok());
        for replica in serving.replicas.values_mut() {
            closed &= replica.partition.log_mut().finish_close(now_ms).is_ok();
        }
        closed &= serving.checkpoint().is_ok();
        if closed {
            let epoch = i64::try_from(serving.me.incarnation).unwrap_or(-1);
            closed &= serving.logs.dirs().all(|dir| dir.mark_clean(epoch).is_ok());
        }
        self.note(&[19, id as u64, u64::from(closed)], || format!("broker {id} stopped, clean: {closed}"));
        self.kill(id);
    }

    /// The process is gone at once; its machine goes on.
    pub fn kill(&mut self, id: i32) {
        let process = self.brokers.get_mut(&id).and_then(|broker| broker.process.take());
        let Some(process) = process else { return };
        self.note(&[20, id as u64], || format!("the process of broker {id} ends"));
        if let Some(conn) = process.conn {
            self.close_from_broker(conn);
        }
    }

    /// The machine loses power. What was not synced may be lost.
    pub fn cut_power(&mut self, id: i32) {
        let seed = self.rng.next();
        let number = self.number();
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        // The controller is told nothing: the machine cannot.
        broker.process = None;
        broker.storage.crash(seed);
        broker.boot = number;
        broker.disk = number;
        self.note(&[21, id as u64, seed], || format!("broker {id} loses power"));
    }

    /// The machine is replaced by one with an empty disk.
    pub fn wipe(&mut self, id: i32) {
        self.kill(id);
        let number = self.number();
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        broker.storage = MemoryStorage::new();
        broker.boot = number;
        broker.disk = number;
        self.damaged.retain(|(broker, ..)| *broker != id);
        self.note(&[22, id as u64], || format!("broker {id} loses its disk"));
    }
}
