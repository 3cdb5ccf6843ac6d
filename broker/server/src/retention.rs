//! Deleting old records from the logs of this broker (`kafka.log.LogManager.cleanupLogs`).
//!
//! A log's start moves first: retention moves it here, clients and leaders do elsewhere. Then one write notes the new starts
//! of all logs that have one, and only after that segments leave their logs, and in the end the disk. All of it blocks, and
//! none of it holds more than one partition, or that for more than a step.

mod clock;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use taffrail_log::{CheckpointError, Retained, TopicPartition};
use taffrail_replication::disk::logs::LogStart;
use taffrail_replication::partition::Effects;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::broker::Broker;
use crate::clock::{now_ms, since_boot_ms};
use crate::cluster::{PartitionKey, Replica};
use crate::replicas::Replicas;
use crate::waiter::carry_out;

use self::clock::{Doubt, RetentionClock};

/// When logs are looked at first, unless they are looked at more often.
const FIRST_ROUND: Duration = Duration::from_secs(30);
/// The pause before something is tried again that the disk refused.
const PAUSE: Duration = Duration::from_secs(1);

/// What the task knows between its steps.
struct Retention {
    broker: Arc<Broker>,
    replicas: Arc<Replicas>,
    clock: RetentionClock,
    /// Replicas with files of deleted segments, and when those may go. Milliseconds since 1970.
    sweeps: BTreeMap<PartitionKey, i64>,
    stop: watch::Receiver<bool>,
}

/// Works until `stop` changes.
pub async fn run(broker: Arc<Broker>, replicas: Arc<Replicas>, mut stop: watch::Receiver<bool>) {
    let every = u64::try_from(broker.config.log_retention_check_interval_ms).unwrap_or(u64::MAX).max(1);
    // Further ahead a clock cannot be set.
    let every = Duration::from_millis(every).min(Duration::from_secs(365 * 24 * 60 * 60));
    let mut round = interval_at(tokio::time::Instant::now() + every.min(FIRST_ROUND), every);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let errands = Arc::clone(&broker.errands);
    let clock = RetentionClock::new(now_ms(), since_boot_ms());
    let mut retention = Retention { broker, replicas, clock, sweeps: BTreeMap::new(), stop: stop.clone() };
    loop {
        let sweep_in = retention.next_sweep_in();
        let step: Box<dyn FnOnce(&mut Retention) + Send> = tokio::select! {
            keys = errands.log_starts.take() => Box::new(move |retention| retention.settle(keys)),
            keys = errands.retention.take() => {
                Box::new(move |retention| retention.retain(keys.into_iter().collect()))
            }
            keys = errands.sweeps.take() => Box::new(move |retention| {
                for key in keys {
                    if let Some(replica) = retention.broker.cluster.replica(key) {
                        retention.sweep_one(key, &replica);
                    }
                }
            }),
            _ = round.tick() => Box::new(|retention| retention.retain(retention.all())),
            () = tokio::time::sleep(sweep_in.unwrap_or_default()), if sweep_in.is_some() => {
                Box::new(Retention::sweep)
            }
            _ = stop.changed() => return,
        };
        let stepped = tokio::task::spawn_blocking(move || {
            step(&mut retention);
            retention
        });
        // Fails only when the runtime is shutting down.
        let Ok(stepped) = stepped.await else { return };
        retention = stepped;
    }
}

impl Retention {
    fn all(&self) -> Vec<PartitionKey> {
        let mut keys = Vec::new();
        self.broker.cluster.for_each_topic(|topic| {
            let here = topic.partitions.iter().filter(|partition| partition.replica.is_some());
            keys.extend(here.map(|partition| (topic.id, partition.record.partition)));
        });
        keys
    }

    fn stopping(&self) -> bool {
        self.stop.has_changed().unwrap_or(true)
    }

    /// Moves the starts of logs up to where retention says.
    fn retain(&mut self, keys: Vec<PartitionKey>) {
        let now_ms = self.clock_ms();
        for key in keys {
            if self.stopping() {
                return;
            }
            let Some(replica) = self.broker.cluster.replica(key) else { continue };
            let mut effects = Effects::new();
            let mut locked = replica.lock();
            let retained = locked.retain(now_ms, &mut effects);
            let (ms, bytes) = (locked.log().config().retention_ms, locked.log().config().retention_bytes);
            drop(locked);
            carry_out(&mut effects);
            // That a log failed is an effect, which has it told.
            if let Ok(Some(retained)) = retained {
                tell(&self.broker.cluster.name(key), &retained, ms, bytes);
            }
        }
    }

    /// The time that records are old by.
    fn clock_ms(&mut self) -> i64 {
        let reading = self.clock.read(now_ms(), since_boot_ms());
        match reading.news {
            Some(Doubt::Begins { ahead_ms }) => tracing::warn!(
                "the clock of this machine went ahead by {} s: it may be wrong, so retention.ms goes on by the time before, \
                 and by the new one when it has stood for an hour",
                ahead_ms / 1000
            ),
            Some(Doubt::Ends { ahead_ms: 0 }) => {
                tracing::info!("the clock of this machine has come back; retention.ms goes by it again");
            }
            Some(Doubt::Ends { ahead_ms }) => tracing::warn!(
                "the clock of this machine has been ahead by {} s for an hour; retention.ms goes by it again",
                ahead_ms / 1000
            ),
            None => {}
        }
        reading.now_ms
    }

    /// Writes down where these logs start by now, and takes the segments out of them that lie before.
    fn settle(&mut self, keys: BTreeSet<PartitionKey>) {
        let written = self.write_starts(&keys);
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                tracing::error!(
                    "{error}; segments before the new starts stay for now, trying again in a while"
                );
                std::thread::sleep(PAUSE);
                self.broker.errands.log_starts.extend(keys);
                return;
            }
        };
        for (key, replica, start) in written {
            let mut effects = Effects::new();
            let mut locked = replica.lock();
            locked.start_written(start, &mut effects);
            let deleted = locked.delete_old_segments(&mut effects);
            drop(locked);
            carry_out(&mut effects);
            if deleted.is_ok_and(|deleted| deleted > 0) {
                self.sweep_one(key, &replica);
            }
        }
    }

    fn write_starts(
        &self,
        keys: &BTreeSet<PartitionKey>,
    ) -> Result<Vec<(PartitionKey, Arc<Replica>, i64)>, CheckpointError> {
        let mut written = Vec::new();
        self.replicas.write_starts(|| {
            let starts = keys.iter().filter_map(|key @ (topic_id, number)| {
                let topic = self.broker.cluster.topic_by_id(*topic_id)?;
                let replica = Arc::clone(topic.partition(*number)?.replica.as_ref()?);
                let (path, offset) = {
                    let replica = replica.lock();
                    (replica.log().dir().to_owned(), replica.log().log_start_offset())
                };
                // What cannot be written down is not deleted.
                let dir = self.broker.log_dirs.of(&path)?;
                if dir.has_failed() {
                    return None;
                }
                written.push((*key, replica, offset));
                Some(LogStart { partition: TopicPartition::new(&*topic.name, *number), path, offset })
            });
            starts.collect()
        })?;
        Ok(written)
    }

    fn next_sweep_in(&self) -> Option<Duration> {
        let due_ms = *self.sweeps.values().min()?;
        Some(Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms())).unwrap_or(0)))
    }

    /// Removes the files of deleted segments that have stayed for long enough.
    fn sweep(&mut self) {
        let now_ms = now_ms();
        let due: Vec<_> = self.sweeps.extract_if(.., |_, due_ms| *due_ms <= now_ms).collect();
        for (key, due_ms) in due {
            if self.stopping() {
                return;
            }
            self.sweeps.insert(key, due_ms);
            match self.broker.cluster.replica(key) {
                Some(replica) => self.sweep_one(key, &replica),
                // Its directory goes as a whole.
                None => drop(self.sweeps.remove(&key)),
            }
        }
    }

    /// Does what is due on the deleted segments of a replica, and notes when there is more.
    fn sweep_one(&mut self, key: PartitionKey, replica: &Replica) {
        let (sweep, delay_ms) = {
            let locked = replica.lock();
            (locked.begin_sweep(now_ms(), false), locked.log().config().file_delete_delay_ms)
        };
        let Some(sweep) = sweep else {
            self.sweeps.remove(&key);
            return;
        };
        let again_ms = match sweep.run() {
            Ok(()) => delay_ms,
            Err(error) => {
                let name = self.broker.cluster.name(key);
                tracing::error!(
                    "{name}: files of deleted segments stay for now: {error}; trying again in a while"
                );
                delay_ms.max(1000)
            }
        };
        self.sweeps.insert(key, now_ms().saturating_add(again_ms));
    }
}

/// One line for what was deleted of a log, and why.
fn tell(partition: &str, retained: &Retained, retention_ms: i64, retention_bytes: i64) {
    let Retained { from, to, due } = retained;
    let by_size = format!("{} to keep to retention.bytes={retention_bytes}", due.by_size);
    let by_time = format!("{} as retention.ms={retention_ms} has passed", due.by_time);
    let why = match (due.by_size, due.by_time) {
        (_, 0) => by_size,
        (0, _) => by_time,
        _ => format!("{by_size}, {by_time}"),
    };
    tracing::info!(
        "{partition}: {} segments of {} bytes are deleted ({why}): the log begins at offset {to}, it began at {from}",
        due.segments(),
        due.bytes
    );
}
