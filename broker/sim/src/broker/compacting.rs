//! Logs are compacted some segments at a time, while everything else goes on.

use taffrail_log::cleaner::{Cleaner, CleanerLimits, Cleaning, Pace, Stopped};
use taffrail_log::{MemoryStorage, Replaced, Replacement, TopicPartition};
use taffrail_replication::partition::Effects;

use super::{Replica, batches_in, made_whole};
use crate::checks::committed::Batch;
use crate::checks::{Tp, superseded};
use crate::mutation::Mutation;
use crate::net::Node;
use crate::world::{Event, World};

/// Room for every key.
const LIMITS: CleanerLimits = CleanerLimits { map_bytes: 4_096, load_factor: 0.9, io_bytes: 1_024 };

/// A compaction under way.
pub struct Compacting {
    tp: Tp,
    /// The replica's life; one that comes after it has another log.
    life: u64,
    cleaning: Cleaning<MemoryStorage>,
    /// What was written, and is not in its place yet.
    written: Option<Replacement<MemoryStorage>>,
}

/// Time is what the events are given.
struct AtOnce;

impl Pace for AtOnce {
    fn spend(&mut self, _bytes: u64) -> Result<(), Stopped> {
        Ok(())
    }
}

fn cleaner() -> Cleaner {
    Cleaner::new(LIMITS, 1)
}

/// All that a replica has.
fn all_of(replica: &mut Replica) -> Vec<Batch> {
    let log = replica.partition.log();
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    batches_in(&mut replica.partition, start, end)
}

impl World {
    /// Begins to compact some log of a broker, if it compacts none.
    pub fn begin_to_compact(&mut self, id: i32, run: u64) {
        let (now_ms, after_ms) = (self.clock(Node::Broker(id)), self.rng.between(1, 200));
        let (mutation, choice) = (self.mutation, self.rng.next());
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let count = serving.replicas.len().max(1) as u64;
        let chosen = serving.replicas.iter_mut().nth((choice % count) as usize);
        let Some((tp, replica)) = chosen.filter(|_| serving.compacting.is_none()) else { return };
        let partition = &mut replica.partition;
        let plan = if mutation == Some(Mutation::CompactUncommitted) {
            let end = partition.log().log_end_offset();
            let cleanable = partition.log_mut().cleanable(end, now_ms).ok().flatten();
            cleanable.and_then(|cleanable| partition.log_mut().begin_cleaning(cleanable, now_ms))
        } else {
            // A log that fails tells so by an effect.
            let cleanable = partition.cleanable(now_ms, &mut effects).ok().flatten();
            let due = cleanable.filter(|cleanable| cleanable.is_due(0.0));
            due.and_then(|cleanable| partition.begin_cleaning(cleanable, now_ms))
        };
        // What a disk does not give is asked for again.
        let cleaning = plan.and_then(|plan| cleaner().begin(plan, &mut AtOnce).ok());
        let begun =
            cleaning.map(|cleaning| Compacting { tp: *tp, life: replica.life, cleaning, written: None });
        serving.compacting = begun;
        if serving.compacting.is_some() {
            self.at(after_ms, Event::BrokerCompacts { broker: id, run });
        }
        self.carry_out(id, effects);
    }

    /// Writes some segments anew, or puts them in their place.
    pub fn broker_compacts(&mut self, id: i32, run: u64) {
        if !self.brokers[&id].runs(run) {
            return;
        }
        let serving = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut());
        let Some(mut compacting) = serving.and_then(|serving| serving.compacting.take()) else { return };
        let goes_on = match compacting.written.take() {
            Some(written) => self.put_in_place(id, &compacting, written),
            // What a disk does not give ends the compaction.
            None => match cleaner().clean_next::<MemoryStorage>(&mut compacting.cleaning, &mut AtOnce) {
                Ok(Some(written)) => {
                    compacting.written = Some(written);
                    true
                }
                Ok(None) => {
                    self.end_compaction(id, &compacting);
                    false
                }
                Err(_) => false,
            },
        };
        let after_ms = self.rng.between(1, 200);
        let serving = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut());
        if let Some(serving) = serving.filter(|_| goes_on) {
            serving.compacting = Some(compacting);
            self.at(after_ms, Event::BrokerCompacts { broker: id, run });
        }
    }

    fn replica_of(&mut self, id: i32, compacting: &Compacting) -> Option<&mut Replica> {
        let serving = self.brokers.get_mut(&id)?.serving_mut()?;
        serving.replicas.get_mut(&compacting.tp).filter(|replica| replica.life == compacting.life)
    }

    fn put_in_place(
        &mut self,
        id: i32,
        compacting: &Compacting,
        written: Replacement<MemoryStorage>,
    ) -> bool {
        let (tp, mut effects) = (compacting.tp, Effects::new());
        let Some(replica) = self.replica_of(id, compacting) else { return false };
        let before = all_of(replica);
        let in_place = match replica.partition.replace_segments(written, &mut effects) {
            Ok(Replaced::InPlace) => {
                let after = all_of(replica);
                let who = format!("broker {id}");
                // What has flipped since is there all the same, for who mends it.
                let [before, after] = [before, after].map(|all| made_whole(&self.whole, tp, all));
                let checked = superseded::lets_go(&self.checks.committed, &who, tp, &before, &after);
                self.check(checked);
                self.note(&[85, id as u64, before.len() as u64, after.len() as u64], || {
                    let name = crate::checks::name(tp);
                    format!(
                        "broker {id} compacts {name}: {} of {} batches are left",
                        after.len(),
                        before.len()
                    )
                });
                true
            }
            Ok(Replaced::Unwanted(unwanted)) => {
                unwanted.discard();
                self.count("compactions given up");
                false
            }
            // That tells an effect.
            Err(_) => false,
        };
        self.carry_out(id, effects);
        self.observe(id, tp);
        in_place
    }

    /// All is in its place, which is written down.
    fn end_compaction(&mut self, id: i32, compacting: &Compacting) {
        let (now_ms, at_once) = (self.clock(Node::Broker(id)), self.rng.percent(50));
        let Some(replica) = self.replica_of(id, compacting) else { return };
        if compacting.cleaning.sync().is_err() {
            return;
        }
        let end = compacting.cleaning.end_offset();
        replica.partition.note_cleaned(end);
        let (path, topic) = (replica.partition.log().dir().to_owned(), replica.name.clone());
        // A sweep that fails is made again with the next.
        let _ = replica.partition.begin_sweep(now_ms, at_once).map(|sweep| sweep.run());
        if let Some(serving) = self.brokers.get(&id).and_then(|broker| broker.serving()) {
            let partition = TopicPartition::new(topic.as_str(), compacting.tp.1);
            // Else a restart compacts from an earlier offset.
            let _ = serving.logs.write_cleaned(&partition, &path, end);
        }
        self.count("compactions");
    }
}
