//! Whether the cluster has healed, and what must hold when it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_controller::model::{Object, PartitionState};

use crate::broker::Replica;
use crate::checks::{Tp, name, producers, progress};
use crate::clients::Kind;
use crate::world::{Event, World};

/// How often the simulation looks.
const PERIOD_MS: u64 = 250;

impl World {
    /// Ends the faults when it is time, and the run when the cluster has healed.
    pub fn look(&mut self) {
        let Some(calm_since_ms) = self.calm_since_ms else {
            self.calm_down();
            self.at(PERIOD_MS, Event::Looks);
            return;
        };
        let left = self.left_to_do();
        let checked = progress::healed_in_time(self.now_ms - calm_since_ms, &left);
        self.check(checked);
        if left.is_empty() {
            self.check_the_end();
            self.note(&[90], || "the cluster has healed".to_owned());
            self.done = true;
        }
        self.at(PERIOD_MS, Event::Looks);
    }

    fn records(&self) -> BTreeMap<Tp, Arc<PartitionState>> {
        let mut records = BTreeMap::new();
        for object in self.store.objects() {
            if let Object::Partitions(slice) = object {
                for topic in slice.topics {
                    let of = |record: Arc<PartitionState>| ((topic.topic_id, record.partition), record);
                    records.extend(topic.partitions.into_iter().map(of));
                }
            }
        }
        records
    }

    fn replica(&self, id: i32, tp: Tp) -> Option<&Replica> {
        self.brokers.get(&id)?.serving()?.replicas.get(&tp)
    }

    fn left_to_do(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (id, broker) in &self.brokers {
            let registered = broker.process.as_ref().is_some_and(|process| process.registered);
            if broker.serving().is_none() || !registered {
                left.push(format!("broker {id} has no session"));
            }
        }
        let records = self.records();
        let expected = self.scenario.topics.len() * self.scenario.partitions as usize;
        if records.len() != expected {
            left.push(format!("there are {} partitions and not {expected}", records.len()));
        }
        for (tp, record) in &records {
            left.extend(self.left_of(*tp, record).map(|what| format!("{}: {what}", name(*tp))));
        }
        let damaged = self.damaged.iter().filter(|(id, tp, _)| self.replica(*id, *tp).is_some());
        left.extend(
            damaged.map(|(id, tp, offset)| format!("broker {id} has {} damaged at {offset}", name(*tp))),
        );
        for client in self.clients.iter() {
            let caught_up = client.tp.is_some_and(|tp| {
                records.contains_key(&tp)
                    && client.offset >= self.checks.committed.end(tp).min(self.least_end(tp))
            });
            let done = match client.kind {
                Kind::Consumer => caught_up,
                Kind::Careless => true,
                Kind::Idempotent | Kind::Plain => client.calm_batches > 0 && !client.is_waiting(),
            };
            if !done {
                left.push(format!("a client is not done: {} ({client:?})", client.name()));
            }
        }
        left
    }

    fn least_end(&self, tp: Tp) -> i64 {
        let brokers = self.brokers.values().filter_map(|broker| broker.serving());
        let replicas = brokers.filter_map(|serving| serving.replicas.get(&tp));
        replicas.map(|replica| replica.partition.high_watermark()).max().unwrap_or(0)
    }

    fn left_of(&self, tp: Tp, record: &PartitionState) -> Option<String> {
        let Some(leader) = record.leader else { return Some(format!("no leader: {record:?}")) };
        if record.isr.len() != record.replicas.len() || !record.adding.is_empty() {
            return Some(format!("not all are in sync: {record:?}"));
        }
        let led = self.replica(leader.broker_id, tp).filter(|led| led.partition.led_epoch().is_some());
        let Some(led) = led else { return Some(format!("its leader does not lead: {record:?}")) };
        let end = led.partition.log().log_end_offset();
        for id in &record.replicas {
            let Some(replica) = self.replica(*id, tp) else { return Some(format!("no replica on {id}")) };
            let partition = &replica.partition;
            if partition.log().log_end_offset() != end || partition.high_watermark() != end {
                return Some(format!(
                    "the replica on {id} ends at {} with high watermark {}, and the leader's at {end}",
                    partition.log().log_end_offset(),
                    partition.high_watermark()
                ));
            }
        }
        None
    }

    fn check_the_end(&mut self) {
        for (tp, record) in self.records() {
            for id in &record.replicas {
                self.observe(*id, tp);
                let who = format!("broker {id}");
                let serving = self.brokers.get_mut(id).and_then(|broker| broker.serving_mut());
                let Some(replica) = serving.and_then(|serving| serving.replicas.get_mut(&tp)) else {
                    continue;
                };
                let log = replica.partition.log();
                let (start, end) = (log.log_start_offset(), log.log_end_offset());
                let all = crate::broker::batches_in(&mut replica.partition, start, end);
                let deleted = self.checks.log_starts.decided(tp);
                let checked = self.checks.committed.has_all(&who, tp, deleted, &all);
                self.check(checked);
            }
        }
        for tp in self.checks.committed.partitions().collect::<Vec<_>>() {
            let kinds = &self.clients.producers;
            let deleted = self.checks.log_starts.decided(tp);
            let checked = producers::in_order(&self.checks.committed, tp, deleted, |producer| {
                match kinds.get(&producer) {
                    Some(Kind::Idempotent) => Some(true),
                    Some(Kind::Plain) => Some(false),
                    _ => None,
                }
            });
            self.check(checked);
        }
        let checked = self.checks.acknowledged.still_there(&self.checks.committed);
        self.check(checked);
    }
}
