//! Compacting logs in the background (`org.apache.kafka.storage.internals.log.LogCleaner`, `LogCleanerManager`).
//!
//! Each cleaner is a thread of its own, of the lowest priority, with its share of the memory. It takes the dirtiest log of
//! those that are due, compacts it, and looks again; when none is due it waits for `log.cleaner.backoff.ms`. Reading and
//! writing is held to `log.cleaner.io.max.bytes.per.second` for all of them together. A partition is locked for the
//! renames only.

mod pace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use taffrail_log::cleaner::plan::Cleanable;
use taffrail_log::cleaner::{CleanError, CleanStats, Cleaner, CleanerLimits};
use taffrail_log::{FileStorage, Poisoned, Replaced, TopicPartition};
use taffrail_replication::partition::Effects;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::clock::now_ms;
use crate::cluster::{PartitionKey, Replica};
use crate::config::BrokerConfig;
use crate::random;
use crate::replicas::Replicas;
use crate::waiter::carry_out;

use self::pace::{Budget, Throttle};

/// What the scheduler is told of a cleaner: everybody else comes first.
const NICENESS: i32 = 19;

/// What the cleaners share.
struct Shared {
    broker: Arc<Broker>,
    replicas: Arc<Replicas>,
    /// Logs that a cleaner has taken.
    busy: Mutex<BTreeSet<PartitionKey>>,
    /// Logs that cannot be compacted, and up to where they were compacted when that was found.
    uncleanable: Mutex<BTreeMap<PartitionKey, i64>>,
    budget: Budget,
    stop: watch::Receiver<bool>,
    idle: Mutex<()>,
    /// Wakes cleaners that wait.
    wake: Condvar,
}

/// A log that is due.
struct Due {
    key: PartitionKey,
    partition: TopicPartition,
    replica: Arc<Replica>,
    cleanable: Cleanable,
}

/// Why a log was not compacted.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Clean(#[from] CleanError),
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    #[error("making it durable failed: {0}")]
    Sync(std::io::Error),
    /// The log changed under it: it was cut or is being repaired, or its topic is not compacted any more.
    #[error("the log has changed meanwhile")]
    Changed,
}

/// Keeps the cleaners going until `stop` changes, as many as are configured.
pub async fn run(broker: Arc<Broker>, replicas: Arc<Replicas>, mut stop: watch::Receiver<bool>) {
    let shared = Arc::new(Shared {
        broker,
        replicas,
        busy: Mutex::default(),
        uncleanable: Mutex::default(),
        budget: Budget::default(),
        stop: stop.clone(),
        idle: Mutex::new(()),
        wake: Condvar::new(),
    });
    let mut cleaners: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let config = shared.broker.live.now();
        cleaners.retain(|cleaner| !cleaner.is_finished());
        // One that is too many ends by itself.
        for number in cleaners.len()..wanted(&config) {
            let shared = Arc::clone(&shared);
            let spawned = std::thread::Builder::new()
                .name(format!("cleaner-{number}"))
                .spawn(move || work(&shared, number));
            match spawned {
                Ok(cleaner) => cleaners.push(cleaner),
                Err(error) => {
                    tracing::error!("a cleaner cannot be started: {error}; trying again in a while")
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff(&config)) => {}
            _ = stop.changed() => break,
        }
    }
    let ended = tokio::task::spawn_blocking(move || {
        // Taken and given back, so that nobody is between its look at `stop` and its wait.
        drop(shared.idle.lock());
        shared.wake.notify_all();
        cleaners.into_iter().for_each(|cleaner| drop(cleaner.join()));
    });
    // Fails only when the runtime is shutting down.
    let _ = ended.await;
}

fn wanted(config: &BrokerConfig) -> usize {
    if config.log_cleaner_enable { usize::try_from(config.log_cleaner_threads).unwrap_or(0) } else { 0 }
}

fn backoff(config: &BrokerConfig) -> Duration {
    const LEAST: Duration = Duration::from_millis(10);
    Duration::from_millis(u64::try_from(config.log_cleaner_backoff_ms).unwrap_or(0)).max(LEAST)
}

fn limits(config: &BrokerConfig) -> CleanerLimits {
    let share = |bytes: i64| usize::try_from(bytes).unwrap_or(0) / wanted(config).max(1);
    CleanerLimits {
        map_bytes: share(config.log_cleaner_dedupe_buffer_size),
        load_factor: config.log_cleaner_io_buffer_load_factor,
        io_bytes: share(config.log_cleaner_io_buffer_size.into()) / 2,
    }
}

/// One cleaner's life.
fn work(shared: &Shared, number: usize) {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("cleaner {number} keeps its priority: {error}");
    }
    let seed = || u64::from_le_bytes(random::uuid().0[..8].try_into().unwrap_or_default());
    let mut cleaner: Option<Cleaner> = None;
    loop {
        let config = shared.broker.live.now();
        if shared.stopping() || number >= wanted(&config) {
            return;
        }
        match shared.take_dirtiest() {
            Some(due) => {
                let limits = limits(&config);
                let cleaner = match &mut cleaner {
                    Some(cleaner) if cleaner.limits() == limits => cleaner,
                    stale => stale.insert(Cleaner::new(limits, seed())),
                };
                shared.clean(cleaner, &due);
                shared.busy.lock().remove(&due.key);
            }
            None => {
                // The buffers are not kept while there is nothing to do.
                cleaner = None;
                let mut idle = shared.idle.lock();
                if !shared.stopping() {
                    shared.wake.wait_for(&mut idle, backoff(&config));
                }
            }
        }
    }
}

/// Whether a batch that could not be read is corrupt. Then it is told to people and the controller, and repaired.
fn found_corrupt(replica: &Replica, offset: i64) -> bool {
    let mut effects = Effects::new();
    let is_corrupt = replica.lock().found_corrupt(offset, &mut effects);
    carry_out(&mut effects);
    is_corrupt
}

impl Shared {
    fn stopping(&self) -> bool {
        self.stop.has_changed().unwrap_or(true)
    }

    /// Takes the log of those that are due that has the largest share of new records.
    fn take_dirtiest(&self) -> Option<Due> {
        let mut candidates = Vec::new();
        self.broker.cluster.for_each_topic(|topic| {
            if !topic.config.cleanup_policy.compact {
                return;
            }
            for (number, partition) in (0..).zip(&topic.partitions) {
                if let Some(replica) = &partition.replica {
                    let name = TopicPartition::new(&*topic.name, number);
                    candidates.push(((topic.id, number), name, Arc::clone(replica)));
                }
            }
        });
        let mut busy = self.busy.lock();
        let due = candidates.into_iter().filter(|(key, ..)| !busy.contains(key));
        let due = due.filter_map(|(key, partition, replica)| {
            let cleanable = self.cleanable(key, &replica)?;
            Some(Due { key, partition, replica, cleanable })
        });
        let ratio = |due: &Due| due.cleanable.dirty_ratio();
        let dirtiest = due.max_by(|a, b| ratio(a).total_cmp(&ratio(b)))?;
        busy.insert(dirtiest.key);
        Some(dirtiest)
    }

    /// What is to be compacted of a log now; `None` where nothing is, or nothing can be.
    fn cleanable(&self, key: PartitionKey, replica: &Replica) -> Option<Cleanable> {
        let mut effects = Effects::new();
        let mut locked = replica.lock();
        // Its failure was told when it came about. A corrupt batch is mended first.
        if locked.log().poisoned().is_some() || locked.corrupt_batch().is_some() {
            return None;
        }
        let cleanable = locked.cleanable(now_ms(), &mut effects);
        let (cleaned_to, ratio) =
            (locked.log().cleaned_to(), locked.log().config().min_cleanable_dirty_ratio);
        drop(locked);
        carry_out(&mut effects);
        // A log that was cut, or began anew, may have lost what was wrong with it.
        if self.uncleanable.lock().get(&key).is_some_and(|found_at| *found_at == cleaned_to) {
            return None;
        }
        cleanable.ok().flatten().filter(|cleanable| cleanable.is_due(ratio))
    }

    fn clean(&self, cleaner: &mut Cleaner, due: &Due) {
        let Due { key, partition, replica, cleanable } = due;
        let begun = std::time::Instant::now();
        let path = replica.lock().log().dir().to_owned();
        let ran = self.run(cleaner, replica, *cleanable);
        // A log that was moved or renamed cannot be what it was when its compaction began.
        let is_there = replica.lock().log().dir() == path;
        match ran {
            Err(Failure::Clean(CleanError::Io { .. }) | Failure::Sync(_)) if !is_there => {
                tracing::debug!("{partition}: compaction was given up");
            }
            Ok((end, stats)) => {
                self.broker.metrics.cleaner.cleaned(&stats);
                self.broker.errands.sweeps.push(*key);
                if let Err(error) = self.replicas.write_cleaned(partition, &path, end) {
                    tracing::error!(
                        "{error}; after a restart {partition} is compacted from an earlier offset"
                    );
                }
                tracing::info!(
                    "{partition}: compacted up to offset {end} in {} ms: {} of {} records in {} of {} bytes are left (the \
                     memory for keys was {} % full)",
                    begun.elapsed().as_millis(),
                    stats.records_after,
                    stats.records_before,
                    stats.bytes_after,
                    stats.bytes_before,
                    stats.map_percent
                );
            }
            Err(Failure::Clean(CleanError::Stopped) | Failure::Changed) => {
                tracing::debug!("{partition}: compaction was given up");
            }
            // That a log failed is an effect, which has it told.
            Err(Failure::Poisoned(_)) => {}
            Err(Failure::Clean(CleanError::Corrupt { offset, .. })) if found_corrupt(replica, offset) => {}
            Err(Failure::Clean(error @ (CleanError::Corrupt { .. } | CleanError::Batch { .. }))) => {
                let mut uncleanable = self.uncleanable.lock();
                uncleanable.insert(*key, replica.lock().log().cleaned_to());
                self.broker.metrics.cleaner.set_uncleanable(uncleanable.len());
                tracing::error!(
                    "{partition} cannot be compacted and grows from now on: {error}; have this replica fetched anew from \
                     another broker"
                );
            }
            Err(error @ (Failure::Clean(CleanError::Io { .. }) | Failure::Sync(_))) => {
                tracing::warn!("{partition} is not compacted for now: {error}; trying again in a while");
                self.pause();
            }
        }
    }

    fn pause(&self) {
        let mut idle = self.idle.lock();
        if !self.stopping() {
            self.wake.wait_for(&mut idle, backoff(&self.broker.live.now()));
        }
    }

    fn run(
        &self,
        cleaner: &mut Cleaner,
        replica: &Replica,
        cleanable: Cleanable,
    ) -> Result<(i64, CleanStats), Failure> {
        let mut pace = Throttle { budget: &self.budget, live: &self.broker.live, stop: &self.stop };
        let plan = replica.lock().begin_cleaning(cleanable, now_ms()).ok_or(Failure::Changed)?;
        let mut cleaning = cleaner.begin(plan, &mut pace)?;
        while let Some(replacement) = cleaner.clean_next::<FileStorage>(&mut cleaning, &mut pace)? {
            let mut effects = Effects::new();
            let replaced = replica.lock().replace_segments(replacement, &mut effects);
            carry_out(&mut effects);
            if let Replaced::Unwanted(unwanted) = replaced? {
                unwanted.discard();
                return Err(Failure::Changed);
            }
        }
        cleaning.sync().map_err(Failure::Sync)?;
        let end = cleaning.end_offset();
        let mut replica = replica.lock();
        if replica.log().dir() != cleaning.dir() {
            return Err(Failure::Changed);
        }
        replica.note_cleaned(end);
        Ok((end, *cleaning.stats()))
    }
}
