//! Elections that somebody asks for (KIP-460), brokers that yield, and the balance of preferred leaders.

use std::collections::BTreeMap;

use taffrail_control::session::ElectionKind;
use taffrail_protocol::Uuid;

use crate::controller::Controller;
use crate::message::SessionId;
use crate::model::PartitionState;
use crate::partitions::{self, PartitionIntent};
use crate::requests::Form;

/// Leaders moved in one go though those they move from could go on, as Kafka's `MAX_ELECTIONS_PER_IMBALANCE`.
const MOVES_PER_CHECK: usize = 1_000;

impl Controller {
    pub(crate) fn elect_leaders(
        &mut self,
        session: SessionId,
        request_id: u64,
        kind: ElectionKind,
        partitions: Option<Vec<(String, i32)>>,
    ) {
        let partitions = partitions.unwrap_or_else(|| self.concerned_by(kind));
        let form = Form::Partitions(partitions.clone());
        let Some(ticket) = self.open_request(session, request_id, form, partitions.len()) else { return };
        for (slot, (topic, partition)) in partitions.into_iter().enumerate() {
            let ticket = ticket(slot);
            match (self.slice_of(&topic, partition), kind) {
                (Err(error), _) => self.requests.settle(ticket, Err(error)),
                (Ok((slice, topic_id)), ElectionKind::Preferred) => {
                    let intent = PartitionIntent::Prefer { topic_id, partition, ticket: Some(ticket) };
                    self.enqueue_partitions(slice, intent);
                }
                (Ok((_, topic_id)), ElectionKind::Unclean) => {
                    self.order_contest(topic_id, partition, ticket);
                }
            }
        }
    }

    /// The partitions that an election of all is about.
    fn concerned_by(&self, kind: ElectionKind) -> Vec<(String, i32)> {
        let concerns = |record: &PartitionState| match kind {
            ElectionKind::Preferred => {
                record.leader.map(|leader| leader.broker_id) != record.replicas.first().copied()
            }
            ElectionKind::Unclean => record.leader.is_none(),
        };
        let mut concerned = Vec::new();
        self.each_record(|name, _, record| {
            if concerns(record) {
                concerned.push((name.to_owned(), record.partition));
            }
        });
        concerned
    }

    /// Calls `with` for each committed record of a topic that is there to stay.
    fn each_record(&self, mut with: impl FnMut(&str, Uuid, &PartitionState)) {
        for (topic_id, name) in &self.names {
            let Some((_, entry)) = self.entry(*topic_id) else { continue };
            if entry.deleting_since_ms.is_some() {
                continue;
            }
            for piece in &entry.pieces {
                let topic = self.partitions.get(&piece.slice).and_then(|c| c.committed().topic(*topic_id));
                let Some(topic) = topic else { continue };
                let records = piece.partitions().filter_map(|partition| topic.partition(partition));
                records.for_each(|record| with(name, *topic_id, record));
            }
        }
    }

    /// Takes leadership from brokers that yield, where another replica in sync can lead; all that is to move in a slice in
    /// one write. What cannot move yet is looked at again when something has changed.
    pub(crate) fn relieve_leaders(&mut self) {
        if !std::mem::take(&mut self.leaders_stirred) || self.directory.yielding.is_empty() {
            return;
        }
        let (mut moves, mut slices) = (0, Vec::new());
        // A slice that is being written stirs when that is through, and then those are looked at that were left out.
        for (slice, cell) in self.partitions.iter().filter(|(_, cell)| cell.is_idle()) {
            if moves >= MOVES_PER_CHECK {
                break;
            }
            let here = partitions::count_to_relieve(cell.committed(), &self.outlook());
            moves += here;
            slices.extend((here > 0).then_some(*slice));
        }
        slices.into_iter().for_each(|slice| self.enqueue_partitions(slice, PartitionIntent::Relieve));
    }

    /// Gives leadership back to preferred replicas that are in sync, where a broker leads too few of the partitions that
    /// prefer it (`auto.leader.rebalance.enable`), once clients find it by its name.
    pub(crate) fn balance_leaders(&mut self) {
        let now_ms = self.clock.now_ms();
        let due_ms = self.balanced_ms + self.policy.leader_imbalance_check_ms;
        let due_ms = self.balance_again_ms.map_or(due_ms, |again_ms| again_ms.min(due_ms));
        if !self.policy.auto_leader_rebalance || now_ms < due_ms {
            return;
        }
        (self.balanced_ms, self.balance_again_ms) = (now_ms, None);
        // Per preferred broker: how many partitions prefer it, and those of them that others lead.
        let mut preferring = BTreeMap::<i32, (usize, Vec<(Uuid, i32)>)>::new();
        self.each_record(|_, topic_id, record| {
            let Some(preferred) = record.replicas.first() else { return };
            let (all, astray) = preferring.entry(*preferred).or_default();
            *all += 1;
            let led_by = record.leader.map(|leader| leader.broker_id);
            let view = self.outlook().on(topic_id, record.partition);
            let can = record.isr.iter().any(|m| m.broker_id == *preferred && view.may_take_over(*m));
            if led_by.is_some_and(|leader| leader != *preferred) && can {
                astray.push((topic_id, record.partition));
            }
        });
        let percentage = self.policy.leader_imbalance_percentage;
        let uneven = |(all, astray): &(usize, Vec<_>)| astray.len() * 100 > *all * percentage;
        let mut moves = Vec::new();
        for (broker_id, (_, astray)) in preferring.into_iter().filter(|(_, counts)| uneven(counts)) {
            let met_ms = self.liveness.met_ms(broker_id).unwrap_or(now_ms);
            let found_ms = met_ms + self.directory.name_ttl_ms;
            if now_ms < found_ms {
                self.balance_again_ms = self.balance_again_ms.into_iter().chain([found_ms]).min();
            } else {
                moves.extend(astray);
            }
        }
        for (topic_id, partition) in moves.into_iter().take(MOVES_PER_CHECK) {
            if let Some(slice) = self.home_of(topic_id, partition) {
                self.enqueue_partitions(slice, PartitionIntent::Prefer { topic_id, partition, ticket: None });
            }
        }
    }
}
