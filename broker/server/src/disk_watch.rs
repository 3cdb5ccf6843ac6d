//! Watching the log directories: one that is nearly full takes nothing more until it has room again, one that has failed is
//! taken out of service.
//!
//! What follows from how much is free is decided by [`SpaceWatch`]; here the disks are asked, and the replicas, the controller
//! and people told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taffrail_log::{DiskSpace, FileStorage, Poisoned, Storage, Sweep, names};
use taffrail_replication::disk::logs::Condition;
use taffrail_replication::disk::space::{self, SpaceWatch};
use taffrail_replication::partition::Effects;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::clock;
use crate::cluster::{PartitionKey, Replica};
use crate::log_dirs::ServedLogDir;
use crate::replicas::Replicas;
use crate::updates::Updates;
use crate::waiter::carry_out;

/// The longest time between two looks.
const SLOWEST_LOOK: Duration = Duration::from_secs(1);
/// A log that was being opened when its directory changed may have missed that: for so many looks more it is told again.
const TOLD_AGAIN: u32 = 2;

/// Watches until `stop` changes.
pub async fn run(
    broker: Arc<Broker>,
    replicas: Arc<Replicas>,
    updates: Arc<Updates>,
    mut stop: watch::Receiver<bool>,
) {
    let mut watched: Vec<Watched> = broker.log_dirs.iter().map(|_| Watched::default()).collect();
    loop {
        let (broker_here, replicas, updates) =
            (Arc::clone(&broker), Arc::clone(&replicas), Arc::clone(&updates));
        let looked = tokio::task::spawn_blocking(move || {
            let mut next = SLOWEST_LOOK;
            let mut opened_anew = false;
            for (dir, watched) in broker_here.log_dirs.iter().zip(&mut watched) {
                next = next.min(watched.look(&broker_here, &replicas, dir));
                opened_anew |= watched.act(&broker_here, &replicas, dir);
            }
            if opened_anew {
                updates.try_again();
            }
            (watched, next)
        });
        let Ok((looked, next)) = looked.await else {
            // The runtime is stopping, or it panicked and told so.
            return;
        };
        watched = looked;
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = broker.log_dirs.look_wanted() => {}
            _ = stop.changed() => return,
        }
    }
}

/// One directory, from look to look.
struct Watched {
    space: SpaceWatch,
    /// What the replicas were told.
    applied: Condition,
    /// How many times they are still to be told.
    told_again: u32,
}

impl Default for Watched {
    fn default() -> Self {
        Self { space: SpaceWatch::default(), applied: Condition::Online, told_again: 0 }
    }
}

impl Watched {
    /// Asks the disk; how long it may be left alone.
    fn look(&mut self, broker: &Broker, replicas: &Replicas, dir: &ServedLogDir) -> Duration {
        if dir.has_failed() {
            return SLOWEST_LOOK;
        }
        let now_ms = clock::now_ms();
        let reserve = u64::try_from(broker.live.now().log_dir_reserved_free_bytes).unwrap_or(0);
        if dir.status().refused {
            self.space.refused(now_ms);
        }
        match ask(replicas.storage(), &dir.path) {
            Ok(found) => {
                let full = self.space.look(now_ms, &found, reserve);
                let condition = if full { full_condition(dir, &found, reserve) } else { Condition::Online };
                dir.update(|status| {
                    // One sentence for as long as it is full.
                    if !(full && matches!(status.condition, Condition::Full(_))) {
                        status.condition = condition;
                    }
                    (status.space, status.refused) = (Some(found), false);
                });
                self.space.next_look(&found, reserve)
            }
            Err(reason) => {
                dir.update(|status| {
                    (status.condition, status.space) = (Condition::Failed(reason.into()), None);
                });
                SLOWEST_LOOK
            }
        }
    }

    /// Acts on how the directory is now. Whether a log in it takes writes again that was not able to.
    fn act(&mut self, broker: &Broker, replicas: &Replicas, dir: &ServedLogDir) -> bool {
        let condition = dir.status().condition;
        let changed = condition != self.applied;
        if changed {
            replicas.set_condition(dir, condition.clone());
            tell(dir, &self.applied, &condition);
            self.applied = condition.clone();
            self.told_again = TOLD_AGAIN + 1;
        }
        let heals = condition == Condition::Online && self.told_again > 0;
        if condition == Condition::Online && self.told_again == 0 {
            return false;
        }
        self.told_again = self.told_again.saturating_sub(1);
        for (key, replica) in replicas_in(broker, &dir.path) {
            let mut effects = Effects::new();
            let mut news = replica.lock().hold_writes(condition.reason().cloned(), &mut effects);
            if heals && replica.lock().log().poisoned().is_some_and(Poisoned::lost_nothing) {
                news |= heal(broker, key, &replica, &mut effects);
            }
            carry_out(&mut effects);
            if matches!(condition, Condition::Full(_)) {
                sweep(broker, key, &replica);
            }
            if news {
                broker.errands.reports.push(key);
            }
        }
        changed && condition == Condition::Online
    }
}

/// How full a directory's disk is; a sentence where it is of no use.
fn ask(storage: &FileStorage, dir: &Path) -> Result<DiskSpace, String> {
    let lock = storage.len_of(&dir.join(names::LOCK));
    let path = dir.display();
    match (storage.space(dir), lock) {
        (Err(error), _) | (_, Err(error)) => Err(format!("{path} cannot be looked at: {error}")),
        (Ok(_), Ok(None)) => {
            Err(format!("{path} was removed or replaced while this broker served it: its file .lock is gone"))
        }
        (Ok(found), Ok(Some(_))) if found.read_only => {
            Err(format!("{path} is mounted read-only by now, as after an error of the disk"))
        }
        (Ok(found), Ok(Some(_))) => Ok(found),
    }
}

fn full_condition(dir: &ServedLogDir, found: &DiskSpace, configured: u64) -> Condition {
    let reserve = space::reserve(configured, found.total_bytes);
    let sentence = format!(
        "{} is full: {} of {} bytes are free, and {reserve} are kept for what is not records \
         (log.dir.reserved.free.bytes)",
        dir.path.display(),
        found.free_bytes,
        found.total_bytes
    );
    Condition::Full(sentence.into())
}

/// One line for people.
fn tell(dir: &ServedLogDir, before: &Condition, now: &Condition) {
    match now {
        Condition::Full(reason) => tracing::error!(
            "{reason}. Its logs take nothing more; reading and deleting go on. Writing begins again by itself when there \
             is room: grow the volume, delete topics, or let retention delete more"
        ),
        Condition::Failed(reason) => tracing::error!(
            "{reason}. The log directory is out of service: its logs take no writes, and others lead in their place \
             where they can. Mend it and start the broker again"
        ),
        Condition::Online if *before != Condition::Online => {
            tracing::info!("{} has room again: its logs take writes", dir.path.display());
        }
        Condition::Online => {}
    }
}

/// Deleted segments are not kept any longer: the room is needed.
fn sweep(broker: &Broker, key: PartitionKey, replica: &Replica) {
    let sweep = replica.lock().log().begin_sweep(clock::now_ms(), true);
    if let Some(Err(error)) = sweep.map(Sweep::run) {
        tracing::error!("{}: deleted segments cannot be removed: {error}", broker.cluster.name(key));
    }
}

/// Opens a log anew whose disk had no room for a write. Whether it takes writes again.
fn heal(
    broker: &Broker,
    key: PartitionKey,
    replica: &Replica,
    effects: &mut Effects<crate::waiter::PartitionWaiter>,
) -> bool {
    let name = broker.cluster.name(key);
    match replica.lock().heal(clock::now_ms(), effects) {
        Ok(report) => {
            let cut = report.map_or(0, |report| report.truncated_bytes);
            tracing::info!(
                "{name}: the log was opened anew and takes writes again; {cut} bytes of a write were cut off"
            );
            true
        }
        Err(error) => {
            tracing::error!("{name}: the log takes no writes still: {error}");
            false
        }
    }
}

fn replicas_in(broker: &Broker, dir: &Path) -> Vec<(PartitionKey, Arc<Replica>)> {
    let mut found = Vec::new();
    broker.cluster.for_each_topic(|topic| {
        for partition in &topic.partitions {
            if let Some(replica) = &partition.replica {
                found.push(((topic.id, partition.record.partition), Arc::clone(replica)));
            }
        }
    });
    found.retain(|(_, replica)| replica.lock().log().dir().parent() == Some(dir));
    found
}
