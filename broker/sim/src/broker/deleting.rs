//! Old records are deleted: by retention on every replica, where clients ask for it on leaders, and on followers as their
//! leaders did.

use taffrail_log::TopicPartition;
use taffrail_replication::disk::logs::LogStart;
use taffrail_replication::partition::Effects;

use crate::checks::Tp;
use crate::mutation::Mutation;
use crate::net::Node;
use crate::world::{Event, World};

impl World {
    /// A client asks for what is before `offset` to be deleted.
    pub fn broker_is_asked_to_delete(&mut self, id: i32, tp: Tp, offset: i64) {
        let mutation = self.mutation;
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let Some(replica) = serving.replicas.get_mut(&tp) else { return };
        let partition = &mut replica.partition;
        if mutation == Some(Mutation::DeleteUncommitted) && partition.led_epoch().is_some() {
            let end = partition.log().log_end_offset();
            // A log that takes no writes is none to break.
            let _ = partition.log_mut().set_log_start_offset(end);
            self.observe(id, tp);
            return;
        }
        let before = partition.log().log_start_offset();
        // One that fails may have moved the start of a log that takes no writes any more.
        let _ = partition.delete_records(Some(offset), &mut effects);
        let after = partition.log().log_start_offset();
        if before < after {
            self.count("deletions");
            self.decided_to_delete(id, tp, after);
        }
        self.carry_out(id, effects);
        self.observe(id, tp);
    }

    fn decided_to_delete(&mut self, id: i32, tp: Tp, start: i64) {
        let (who, checks) = (format!("broker {id}"), &mut self.checks);
        let checked = checks.log_starts.decides(&checks.committed, &who, tp, start);
        self.check(checked);
        self.note(&[80, id as u64, start as u64], || {
            format!("broker {id} deletes what is before {start} of {}", crate::checks::name(tp))
        });
    }

    /// Retention looks at all replicas of a broker.
    pub fn retain(&mut self, id: i32) {
        let now_ms = self.clock(Node::Broker(id));
        let mut effects = Effects::new();
        let mut decided = Vec::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        for (tp, replica) in &mut serving.replicas {
            let before = replica.partition.log().log_start_offset();
            // A log that fails tells so by an effect, and may begin elsewhere all the same.
            let _ = replica.partition.retain(now_ms, &mut effects);
            let after = replica.partition.log().log_start_offset();
            if before < after {
                decided.push((*tp, after));
            }
        }
        for (tp, start) in decided {
            self.count("segments given up");
            self.decided_to_delete(id, tp, start);
            self.observe(id, tp);
        }
        self.carry_out(id, effects);
    }

    /// A log's start moved, which is to be written down.
    pub fn start_moved(&mut self, id: i32, run: u64, tp: Tp) {
        let delay_ms = self.rng.between(1, 40);
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        if serving.starts_moved.is_empty() {
            self.at(delay_ms, Event::BrokerWritesStarts { broker: id, run });
        }
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        serving.starts_moved.insert(tp);
    }

    /// Writes down where logs start, and takes out the segments before.
    pub fn broker_writes_starts(&mut self, id: i32, run: u64) {
        if !self.brokers[&id].runs(run) {
            return;
        }
        let (now_ms, at_once) = (self.clock(Node::Broker(id)), self.rng.percent(50));
        let again_ms = self.rng.between(100, 500);
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let replicas = &serving.replicas;
        let mut starts = Vec::new();
        let written = serving.logs.write_starts(|| {
            let moved = serving.starts_moved.iter().filter_map(|tp| Some((*tp, replicas.get(tp)?)));
            let named = moved.map(|(tp, replica)| {
                let log = replica.partition.log();
                let (path, offset) = (log.dir().to_owned(), log.log_start_offset());
                starts.push((tp, offset));
                LogStart { partition: TopicPartition::new(replica.name.as_str(), tp.1), path, offset }
            });
            named.collect()
        });
        if written.is_err() {
            self.at(again_ms, Event::BrokerWritesStarts { broker: id, run });
            return;
        }
        serving.starts_moved.clear();
        for (tp, start) in starts {
            let Some(replica) = serving.replicas.get_mut(&tp) else { continue };
            replica.partition.start_written(start, &mut effects);
            // A log that fails tells so by an effect; a sweep that fails is tried again.
            let _ = replica.partition.delete_old_segments(&mut effects);
            let _ = replica.partition.begin_sweep(now_ms, at_once).map(|sweep| sweep.run());
        }
        self.carry_out(id, effects);
    }
}
