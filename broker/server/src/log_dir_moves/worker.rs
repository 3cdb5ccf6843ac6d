//! The thread that moves replicas.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taffrail_log::{FileStorage, Storage};
use taffrail_replication::disk::moving::{Move, MoveError, Placed, Progress, STEP_BYTES};
use taffrail_replication::disk::space;
use taffrail_replication::partition::Effects;
use tokio::sync::watch;

use super::AskedMove;
use crate::broker::Broker;
use crate::clock::now_ms;
use crate::cluster::{PartitionKey, Replica};
use crate::replicas::Replicas;
use crate::replication::quota::Quota;
use crate::waiter::carry_out;

/// What the scheduler is told of the thread: everybody else comes first.
const NICENESS: i32 = 19;
/// So many logs are copied side by side; each has its files open and a buffer of a step's size. The others wait.
const MOST_AT_ONCE: usize = 8;
/// How much may be left to be synced while the partition waits. Bytes.
const LAST_BYTES: u64 = 8 * STEP_BYTES as u64;

/// Works on what is asked for until `stop` changes. What is not moved by then stays where it is.
pub async fn run(broker: Arc<Broker>, replicas: Arc<Replicas>, mut stop: watch::Receiver<bool>) {
    let moves = Arc::clone(&broker.log_dir_moves);
    let (quota, running) = (Quota::default(), BTreeMap::new());
    let worker = Worker { broker, replicas, stop: stop.clone(), quota, running, last: None };
    let spawned = std::thread::Builder::new().name("mover".to_owned()).spawn(move || worker.work());
    let thread = match spawned {
        Ok(thread) => thread,
        Err(error) => {
            tracing::error!("the thread that moves replicas between directories cannot be started: {error}");
            return;
        }
    };
    // An error: the sender is gone, and so is the broker.
    let _ = stop.changed().await;
    moves.news.notify_all();
    // Fails only when the runtime is shutting down.
    let _ = tokio::task::spawn_blocking(move || drop(thread.join())).await;
}

/// A move that has begun.
struct Running {
    serial: u64,
    replica: Arc<Replica>,
    moving: Move<FileStorage>,
    from: String,
    began: Instant,
    copied: u64,
}

struct Worker {
    broker: Arc<Broker>,
    replicas: Arc<Replicas>,
    stop: watch::Receiver<bool>,
    quota: Quota,
    running: BTreeMap<PartitionKey, Running>,
    /// Whose step was the last one.
    last: Option<PartitionKey>,
}

/// Why a move ended before its end.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Move(#[from] MoveError),
    /// There is no replica to be moved any more, or another one.
    #[error("the replica is not here any more")]
    Gone,
    /// The target has too little room.
    #[error(
        "{free_bytes} bytes are free there, {left_bytes} are to be copied, and some are kept for what is not records \
         (log.dir.reserved.free.bytes)"
    )]
    NoRoom { free_bytes: u64, left_bytes: u64 },
    /// The target takes no writes.
    #[error("{0}")]
    Held(Arc<str>),
}

impl Worker {
    fn work(mut self) {
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!("the thread that moves replicas keeps its priority: {error}");
        }
        while !self.stopping() {
            let asked = self.broker.log_dir_moves.wait(self.blocked_for());
            let is_asked = |key: &PartitionKey, running: &Running| {
                asked.get(key).is_some_and(|asked| asked.serial == running.serial)
            };
            let called_off: Vec<_> =
                self.running.extract_if(.., |key, running| !is_asked(key, running)).collect();
            for (key, running) in called_off {
                let name = self.broker.cluster.name(key);
                tracing::info!("{name}: its move from {} was called off", running.from);
                discard(running.moving);
            }
            // A new one begins at once. Of the others the one behind the last, so that each has its turn.
            let may_begin = self.running.len() < MOST_AT_ONCE;
            let new = asked.keys().find(|key| may_begin && !self.running.contains_key(*key));
            let mut running = self.running.keys();
            let behind = running.find(|key| Some(**key) > self.last).or_else(|| self.running.keys().next());
            if let Some(key) = new.or(behind).copied()
                && (new.is_some() || self.blocked_for().is_none())
            {
                self.last = Some(key);
                self.advance(key, &asked[&key]);
            }
        }
    }

    fn rate(&self) -> i64 {
        self.broker.live.now().replica_alter_log_dirs_io_max_bytes_per_second
    }

    fn blocked_for(&self) -> Option<Duration> {
        self.quota.blocked_for(tokio::time::Instant::now(), self.rate())
    }

    fn stopping(&self) -> bool {
        self.stop.has_changed().unwrap_or(true)
    }

    /// Does a step of one move, and ends it where it has come to its end.
    fn advance(&mut self, key: PartitionKey, asked: &AskedMove) {
        match self.step(key, asked) {
            Ok(false) => {}
            Ok(true) => self.broker.log_dir_moves.ended(key, asked.serial),
            Err(end) => {
                self.broker.log_dir_moves.ended(key, asked.serial);
                if let Some(running) = self.running.remove(&key) {
                    discard(running.moving);
                }
                let (partition, target) = (&asked.partition, asked.target.display());
                match &end {
                    End::Gone | End::Move(MoveError::Gone(_)) => {
                        tracing::info!("{partition} does not move to {target}: {end}");
                    }
                    _ => {
                        tracing::error!("{partition} stays where it is and does not move to {target}: {end}")
                    }
                }
                let End::Move(error) = &end else { return };
                if let MoveError::InDoubt { dir, .. } = error {
                    self.replicas.fail(dir, &error.to_string());
                } else if let Some((path, io)) = error.io() {
                    self.replicas.note_disk_error(path, Some(io), error);
                }
            }
        }
    }

    /// Whether the replica has moved.
    fn step(&mut self, key: PartitionKey, asked: &AskedMove) -> Result<bool, End> {
        let replica = self.broker.cluster.replica(key).ok_or(End::Gone)?;
        if !self.running.contains_key(&key) {
            self.check_room(&asked.target, replica.lock().log().size())?;
            let running = self.begin(replica, asked)?;
            self.running.insert(key, running);
            return Ok(false);
        }
        let Some(running) = self.running.get_mut(&key) else { return Ok(false) };
        if !Arc::ptr_eq(&running.replica, &replica) {
            return Err(End::Gone);
        }
        let size = running.replica.lock().log().size();
        let left_bytes = size.saturating_sub(running.moving.size());
        self.check_room(&asked.target, left_bytes)?;
        if self.copy(key)? == Progress::CaughtUp && self.settle(key)? {
            return self.place(key, asked);
        }
        Ok(false)
    }

    fn begin(&self, replica: Arc<Replica>, asked: &AskedMove) -> Result<Running, End> {
        let AskedMove { serial, partition, target, .. } = asked;
        let (from, size) = {
            let replica = replica.lock();
            (replica.log().dir().to_owned(), replica.log().size())
        };
        let moving = self.replicas.begin_move(partition, &replica, target)?;
        let from = from.parent().unwrap_or(&from).display().to_string();
        tracing::info!("{partition} moves from {from} to {}: {size} bytes", target.display());
        Ok(Running { serial: *serial, replica, moving, from, began: Instant::now(), copied: 0 })
    }

    /// What is appended while the rest is copied has to find room as well; a directory that were full by this would refuse
    /// records for the logs that are there already.
    fn check_room(&self, target: &Path, left_bytes: u64) -> Result<(), End> {
        if let Some(reason) =
            self.broker.log_dirs.at(target).and_then(|dir| dir.status().condition.reason().cloned())
        {
            return Err(End::Held(reason));
        }
        let configured = u64::try_from(self.broker.live.now().log_dir_reserved_free_bytes).unwrap_or(0);
        match self.replicas.storage().space(target) {
            Ok(found) if !space::has_room_for(&found, configured, left_bytes) => {
                Err(End::NoRoom { free_bytes: found.free_bytes, left_bytes })
            }
            // A disk that does not tell is found out by writing.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// One step.
    fn copy(&mut self, key: PartitionKey) -> Result<Progress, End> {
        let Some(running) = self.running.get_mut(&key) else { return Err(End::Gone) };
        let progress = running.moving.step(&running.replica, now_ms())?;
        let copied = match progress {
            Progress::Copied(bytes) => bytes,
            Progress::CaughtUp => 0,
        };
        running.copied += copied;
        let (size, end) = (running.moving.size(), running.moving.end_offset());
        self.broker.log_dir_moves.progress(key, running.serial, size, end, copied);
        self.quota.record(tokio::time::Instant::now(), copied, self.rate());
        Ok(progress)
    }

    /// Syncs what was copied, and copies what came meanwhile. Whether little is left to be done while the partition waits.
    fn settle(&mut self, key: PartitionKey) -> Result<bool, End> {
        if let Some(running) = self.running.get_mut(&key) {
            running.moving.settle(now_ms())?;
        }
        let mut unsynced = 0;
        while unsynced < LAST_BYTES && !self.stopping() {
            match self.copy(key)? {
                Progress::Copied(bytes) => unsynced += bytes,
                Progress::CaughtUp => return Ok(true),
            }
        }
        Ok(false)
    }

    fn place(&mut self, key: PartitionKey, asked: &AskedMove) -> Result<bool, End> {
        let Some(running) = self.running.get_mut(&key) else { return Err(End::Gone) };
        let (broker, serial, replica) = (&self.broker, running.serial, Arc::clone(&running.replica));
        let is_current = || {
            let here = broker.cluster.replica(key);
            here.is_some_and(|here| Arc::ptr_eq(&here, &replica))
                && broker.log_dir_moves.is_asked(key, serial)
        };
        let held = broker.log_dirs.at(&asked.target).and_then(|dir| dir.status().condition.reason().cloned());
        let mut effects = Effects::new();
        let placed = self.replicas.take_place(&mut running.moving, &replica, is_current, held, &mut effects);
        carry_out(&mut effects);
        let Placed::Moved { former, trouble } = placed? else { return Ok(false) };
        self.broker.errands.sweeps.push(key);
        self.broker.errands.reports.push(key);
        let partition = &asked.partition;
        if let Some(error) = trouble {
            tracing::error!("{partition} has moved, and its former log stays until the next start: {error}");
            self.replicas.note_disk_error(error.path(), error.io(), &error);
        }
        if let Some(running) = self.running.remove(&key) {
            tracing::info!(
                "{partition} has moved from {} to {}: {} bytes were copied in {:.1} s",
                running.from,
                asked.target.display(),
                running.copied,
                running.began.elapsed().as_secs_f64()
            );
            drop(running);
        }
        if let Some(former) = former {
            self.replicas.remove(&former);
        }
        Ok(true)
    }
}

fn discard(moving: Move<FileStorage>) {
    if let Err(error) = moving.discard() {
        tracing::error!("what a move has copied cannot be removed: {error}; the next start tries again");
    }
}
