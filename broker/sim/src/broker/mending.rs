//! Bits flip on a disk. Whoever reads them finds out some time, and the log is mended with what its leader has, a request at a
//! time, while everything else goes on.

use std::collections::VecDeque;

use taffrail_log::repair::Repair;
use taffrail_log::{MemoryStorage, Replaced, StorageFile, TopicPartition};
use taffrail_replication::partition::{Effects, Isolation, RepairState, RepairTask};

use super::{Replica, batches_in, bytes_of};
use crate::checks::Tp;
use crate::net::Node;
use crate::world::World;

/// The most that is fetched at a time.
const MAX_BYTES: u32 = 700;
/// So many steps of a repair are made at a time, at most: logs have many small segments.
const STEPS: u64 = 20;
/// Bytes of a batch before its records.
const HEADER_BYTES: u64 = 61;

/// A repair under way.
pub struct Mending {
    tp: Tp,
    /// The replica's life; one that comes after it has another log.
    life: u64,
    task: RepairTask,
    repair: Repair<MemoryStorage>,
    /// Where the segment begins.
    base_offset: i64,
    /// Segments after it.
    rest: VecDeque<i64>,
}

impl World {
    /// A bit of a committed batch flips.
    pub fn flip_bit(&mut self, id: i32) {
        let (of_replica, of_batch, of_bit) =
            (self.flip_rng.next(), self.flip_rng.next(), self.flip_rng.next());
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let count = serving.replicas.len().max(1) as u64;
        let Some((tp, replica)) = serving.replicas.iter_mut().nth((of_replica % count) as usize) else {
            return;
        };
        let (tp, partition) = (*tp, &mut replica.partition);
        let (start, end) = (partition.log().log_start_offset(), partition.high_watermark());
        let batches = batches_in(partition, start, end);
        let Some(batch) = batches.get((of_batch % batches.len().max(1) as u64) as usize) else { return };
        if batch.is_corrupt() || batch.records.is_empty() {
            return;
        }
        let Ok(Some(range)) = partition.read_to_end(batch.base_offset, 1) else { return };
        let at = range.position + HEADER_BYTES + of_bit % (u64::from(range.first_batch_len) - HEADER_BYTES);
        let mut byte = [0];
        let flipped = range.file.read_at(&mut byte, at).and_then(|_| {
            byte[0] ^= 1 << (of_bit % 8);
            range.file.write_all_at(&byte, at)
        });
        if flipped.is_ok() {
            self.count("bits flipped");
            let offset = batch.base_offset;
            self.whole.insert((tp, offset), batch.clone());
            self.damaged.insert((id, tp, offset));
            self.note(&[86, id as u64, offset as u64], || {
                format!("a bit flips at broker {id}, in the batch at {offset} of {}", crate::checks::name(tp))
            });
        }
    }

    /// Somebody may read what is damaged.
    pub fn meet_damage(&mut self, id: i32) {
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let own: Vec<_> = self.damaged.iter().filter(|(broker, ..)| *broker == id).copied().collect();
        for (broker, tp, offset) in own {
            // It may be taken up again.
            let Some(replica) = serving.replicas.get_mut(&tp) else { continue };
            let log = replica.partition.log_mut();
            let is_there = (log.log_start_offset()..log.log_end_offset()).contains(&offset);
            if !is_there || matches!(log.check_batch(offset), Ok(None)) {
                self.damaged.remove(&(broker, tp, offset));
            } else if self.flip_rng.percent(5) {
                replica.partition.found_corrupt(offset, &mut effects);
            }
        }
        self.carry_out(id, effects);
    }

    /// Goes on with a repair, or begins one.
    pub fn mend(&mut self, id: i32) {
        for _ in 0..self.flip_rng.between(1, STEPS) {
            self.mend_on(id);
        }
    }

    fn mend_on(&mut self, id: i32) {
        let serving = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut());
        let Some(serving) = serving else { return };
        match serving.mending.take() {
            None => self.begin_to_mend(id),
            Some(mending) => {
                let goes_on = self.go_on_mending(id, mending);
                let serving = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut());
                if let Some(serving) = serving {
                    serving.mending = goes_on;
                }
            }
        }
    }

    fn begin_to_mend(&mut self, id: i32) {
        let now_ms = self.clock(Node::Broker(id));
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let is_corrupt = |replica: &Replica| replica.partition.corrupt_batch().is_some();
        let corrupt = serving.replicas.iter_mut().find(|(_, replica)| is_corrupt(replica));
        let Some((tp, replica)) = corrupt else { return };
        let (tp, life) = (*tp, replica.life);
        let state = replica.partition.repair_state(now_ms, &mut effects);
        let begun = match state {
            RepairState::Due(task) => {
                let mut rest: VecDeque<i64> = task.segments.clone().into();
                rest.pop_front()
                    .and_then(|first| self.begin_segment(id, tp, first))
                    .map(|(base_offset, repair)| Mending { tp, life, task, repair, base_offset, rest })
            }
            RepairState::Sound | RepairState::NotNow => None,
        };
        if let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) {
            serving.mending = begun;
        }
        self.carry_out(id, effects);
    }

    fn begin_segment(&mut self, id: i32, tp: Tp, base_offset: i64) -> Option<(i64, Repair<MemoryStorage>)> {
        self.flush(id, true);
        let now_ms = self.clock(Node::Broker(id));
        let serving = self.brokers.get_mut(&id)?.serving_mut()?;
        let replica = serving.replicas.get_mut(&tp)?;
        let repair = replica.partition.begin_repair(base_offset, now_ms).ok().flatten()?;
        let partition = TopicPartition::new(replica.name.as_str(), tp.1);
        let path = replica.partition.log().dir().to_owned();
        // Before anything of the leader's is in place, what is compacted is taken back.
        serving.logs.write_cleaned(&partition, &path, 0).ok()?;
        Some((base_offset, repair))
    }

    fn go_on_mending(&mut self, id: i32, mut mending: Mending) -> Option<Mending> {
        if let Some(offset) = mending.repair.next_offset() {
            let fetched = self.fetch_to_mend(id, &mending, offset);
            if fetched.is_some_and(|bytes| mending.repair.append(&bytes).is_ok())
                && mending.repair.next_offset() != Some(offset)
            {
                return Some(mending);
            }
            mending.repair.discard();
            return None;
        }
        let Mending { tp, life, task, repair, base_offset, mut rest } = mending;
        let offsets = base_offset..repair.end_offset();
        // What a disk does not give is tried again.
        let replacement = repair.finish().ok()?;
        let mut effects = Effects::new();
        let serving = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut())?;
        let replica = serving.replicas.get_mut(&tp).filter(|replica| replica.life == life)?;
        let in_place = match replica.partition.finish_repair(replacement, offsets, &mut effects) {
            Ok(Replaced::InPlace) => {
                // All of it is compared again.
                replica.seen = 0;
                true
            }
            Ok(Replaced::Unwanted(unwanted)) => {
                unwanted.discard();
                false
            }
            // That tells an effect.
            Err(_) => false,
        };
        self.carry_out(id, effects);
        self.observe(id, tp);
        if !in_place {
            return None;
        }
        self.note(&[87, id as u64, base_offset as u64], || {
            format!("broker {id} mends {} from {base_offset} on", crate::checks::name(tp))
        });
        let Some(next) = rest.pop_front() else {
            self.count("logs mended");
            return None;
        };
        let (base_offset, repair) = self.begin_segment(id, tp, next)?;
        Some(Mending { tp, life, task, repair, base_offset, rest })
    }

    /// What the leader has from `offset` on, if it can be reached.
    fn fetch_to_mend(&mut self, id: i32, mending: &Mending, offset: i64) -> Option<Vec<u8>> {
        let leader = mending.task.leader;
        let (me, it) = (Node::Broker(id), Node::Broker(leader.broker_id));
        if !(self.net.reaches(me, it) && self.net.reaches(it, me)) {
            return None;
        }
        let serving = self.brokers.get_mut(&leader.broker_id)?.serving_mut()?;
        let replica = serving.replicas.get_mut(&mending.tp).filter(|_| serving.me == leader)?;
        replica.partition.check_leader(mending.task.leader_epoch).ok()?;
        let range = replica.partition.read(offset, MAX_BYTES, true, Isolation::ReadUncommitted).ok()??;
        Some(bytes_of(&range))
    }
}
