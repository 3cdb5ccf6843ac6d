//! A store that is behind its brokers (rule 25): it was restored from a backup, and what was decided since is lost.
//!
//! A broker says at the start of a session which leader epochs it has acted on. Where one is higher than that of the
//! record, the slice is read again, as another controller may have written it. If the record is still behind, nobody knows
//! who was in sync last: the record is lifted above what was told, without a leader, and with an ISR of all replicas in
//! incarnation 0, in which none of them ever lived. Each of them thereby has to be back, and counts as one that lost what
//! it had, so that the longest log of them all is found as rule 17 says; and whoever led goes on only until it is told.

use taffrail_control::session::HeldPartition;
use taffrail_protocol::Uuid;

use crate::controller::Controller;
use crate::message::{Event, SessionId};
use crate::model::{Member, ObjectKey, PartitionState};
use crate::partitions::PartitionIntent;
use crate::registration::ClusterIntent;

/// How much a partition epoch is lifted, as brokers do not tell theirs. More than a record changes between backups.
const LEAP: i32 = 1 << 20;

/// What is told beyond this was never reached by counting.
const HIGHEST_EPOCH: i32 = i32::MAX / 2;

/// The record lifted above a leader epoch that was told; `None` if it is not behind, or the epoch cannot be.
pub(crate) fn lifted(record: &PartitionState, told: i32) -> Option<PartitionState> {
    if told <= record.leader_epoch || HIGHEST_EPOCH < told.max(record.partition_epoch) {
        return None;
    }
    let nobody_knows = |id: &i32| Member { broker_id: *id, incarnation: 0 };
    let lifted = PartitionState {
        leader: None,
        leader_epoch: told + 1,
        partition_epoch: record.partition_epoch + LEAP,
        isr: record.replicas.iter().map(nobody_knows).collect(),
        elr: Vec::new(),
        ..record.clone()
    };
    assert_eq!(lifted.follows(record), Ok(()), "a decision breaks a rule: {record:?} became {lifted:?}");
    Some(lifted)
}

impl Controller {
    pub(crate) fn on_held(&mut self, session: SessionId, incarnation: u64, held: Vec<HeldPartition>) {
        if self.speaker(session, incarnation).is_none() {
            return;
        }
        let above = held.iter().map(|held| held.creation).max().unwrap_or(0);
        if self.cluster.committed().next_creation <= above {
            self.enqueue_cluster(ClusterIntent::LiftCreations { above });
        }
        for HeldPartition { topic_id, partition, leader_epoch, .. } in held {
            let record = self.entry(topic_id).and_then(|(_, entry)| self.record(entry, partition));
            if record.is_none_or(|record| leader_epoch <= record.leader_epoch) {
                continue;
            }
            let Some(slice) = self.home_of(topic_id, partition) else { continue };
            let Some(cell) = self.partitions.get_mut(&slice) else { continue };
            cell.reread();
            self.ready.insert(ObjectKey::Partitions(slice));
            self.enqueue_partitions(slice, PartitionIntent::Lift { topic_id, partition, told: leader_epoch });
        }
    }

    /// Says so, if the record had to be lifted. A sole replica may lead again at once.
    pub(crate) fn on_lifted(&mut self, topic_id: Uuid, partition: i32, told: i32) {
        if let Some(slice) = self.home_of(topic_id, partition) {
            self.enqueue_mend(slice);
        }
        let Some((name, entry)) = self.entry(topic_id) else { return };
        let was_lifted = |record: &&PartitionState| {
            record.leader_epoch == told + 1 && record.isr.iter().all(|member| member.incarnation == 0)
        };
        let Some(record) = self.record(entry, partition).filter(was_lifted) else { return };
        let (topic, leader_epoch) = (name.to_owned(), record.leader_epoch);
        self.event(Event::StoreBehind { topic, partition, leader_epoch });
    }
}
