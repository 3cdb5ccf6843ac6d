//! What a broker does when the controller tells it of a change.

use std::collections::BTreeSet;
use std::path::Path;

use taffrail_control::session::{
    ClusterUpdate, LogState, PartitionRecord, RefusedIsr, ReplicaHealth, SliceDigest, ToController,
};
use taffrail_control::slices::topic_slice;
use taffrail_log::{CheckpointError, TopicPartition, is_out_of_space};
use taffrail_protocol::Uuid;
use taffrail_replication::brokers;
use taffrail_replication::disk::logs::{Checkpointed, Positions};
use taffrail_replication::disk::opening::Opening;
use taffrail_replication::partition::{Effects, Partition};
use taffrail_replication::topics::{self, Gone};

use super::lifecycle::DIR;
use super::{Replica, Serving, Token};
use crate::checks::Tp;
use crate::net::Node;
use crate::world::{Event, World};

impl Serving {
    /// What is held of the topics.
    pub fn slices(&self) -> Vec<SliceDigest> {
        self.ledger.digests(self.topics.values(), self.records.values())
    }

    /// The snapshot, with the slices that are left out of it as they are held.
    pub fn whole(&self, snapshot: &ClusterUpdate) -> ClusterUpdate {
        let mut whole = snapshot.clone();
        let unchanged = std::mem::take(&mut whole.unchanged_slices);
        for topic in self.topics.values().filter(|topic| unchanged.contains(&topic_slice(&topic.name))) {
            let records = self.records.range((topic.topic_id, 0)..=(topic.topic_id, i32::MAX));
            whole.partitions.extend(records.map(|(_, record)| record.clone()));
            whole.topics.push(topic.clone());
        }
        whole
    }

    /// Writes down how far each log is durable and committed.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        self.logs.checkpoint(|| {
            let positions = |(tp, replica): (&Tp, &Replica)| {
                let log = replica.partition.log();
                let positions = Positions {
                    recovery_point: log.recovery_point(),
                    log_start_offset: log.log_start_offset(),
                    high_watermark: replica.partition.high_watermark(),
                };
                let partition = TopicPartition::new(replica.name.as_str(), tp.1);
                Checkpointed { partition, path: log.dir().to_owned(), positions }
            };
            self.replicas.iter().map(positions).collect()
        })
    }
}

impl World {
    /// Applies one update.
    pub fn broker_applies(&mut self, id: i32, update: &ClusterUpdate) {
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        serving.applied_version = update.version;
        if serving.renewing && update.snapshot {
            serving.replicas.values_mut().for_each(|replica| replica.partition.session_renewed());
        }
        brokers::apply(&mut serving.brokers, update);
        let newer = |told: &PartitionRecord| {
            topics::newer(serving.records.get(&(told.topic_id, told.partition))?, told)
        };
        let partitions: Vec<_> =
            update.partitions.iter().filter(|_| update.snapshot).filter_map(newer).collect();
        let incarnation = serving.me.incarnation;
        let reading = serving.ledger.read(update);
        self.retire_topics(id, &reading.gone);
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let mutation = self.mutation;
        let mut records = Vec::new();
        for change in reading.topics {
            if let Some(record) = change.record {
                serving.topics.insert(change.topic_id, record.clone());
            }
            for record in change.partitions {
                let mut record = record.into_owned();
                if let Some(mutation) = mutation {
                    mutation.bend_record(&mut record, serving.me);
                }
                records.push(record);
            }
        }
        self.act_on(id, &records);
        if !partitions.is_empty() {
            self.tell(id, ToController::Held { incarnation, partitions });
        }
        self.after_update(id, update.snapshot);
    }

    fn retire_topics(&mut self, id: i32, gone: &[(Uuid, Gone)]) {
        let now_ms = self.clock(Node::Broker(id));
        let unique = self.rng.uuid();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let mut effects = Effects::new();
        let mut forgotten = Vec::new();
        for (topic_id, how) in gone.iter().copied() {
            serving.topics.remove(&topic_id);
            serving.records.retain(|tp, _| tp.0 != topic_id);
            serving.unwell.retain(|tp, _| tp.0 != topic_id);
            for (tp, mut replica) in serving.replicas.extract_if(.., |tp, _| tp.0 == topic_id) {
                replica.partition.resign(&mut effects);
                if how == Gone::Missing {
                    let partition = TopicPartition::new(replica.name.as_str(), tp.1);
                    // What stays in the way is moved aside when the name is needed.
                    let _ = serving.logs.set_aside(&partition, unique, now_ms);
                } else if let Ok(path) = replica.partition.log_mut().rename_for_deletion(unique) {
                    let _ = taffrail_log::remove_dir(serving.logs.storage(), &path);
                }
            }
            if how == Gone::Deleted {
                serving.logs.forget(topic_id);
                forgotten.push(topic_id);
            }
        }
        if !gone.is_empty() {
            // A checkpoint that cannot be written now is written in a while.
            let _ = serving.checkpoint();
        }
        forgotten.into_iter().for_each(|topic_id| self.checks.epochs.forget(id, topic_id));
        self.carry_out(id, effects);
    }

    /// Opens what is missing, notes the epochs, and takes the roles.
    fn act_on(&mut self, id: i32, records: &[PartitionRecord]) {
        let now_ms = self.clock(Node::Broker(id));
        let config = self.log_config();
        let lag_ms = self.scenario.lag_time_max_ms;
        let uniques: Vec<(Uuid, u64)> = records.iter().map(|_| (self.rng.uuid(), self.number())).collect();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let mut notes = Vec::new();
        for (record, (unique, life)) in records.iter().zip(uniques) {
            let tp = (record.topic_id, record.partition);
            let Some(name) = serving.topics.get(&tp.0).map(|topic| topic.name.to_string()) else { continue };
            serving.records.insert(tp, record.clone());
            if !record.replicas.contains(&id) || serving.replicas.contains_key(&tp) {
                serving.unwell.remove(&tp);
                continue;
            }
            let opened = serving.logs.open(&name, record, config.clone(), None, unique, now_ms);
            if !opened.as_ref().is_ok_and(|opened| opened.log.is_some()) {
                serving.ledger.not_acted_on(tp.0, tp.1);
            }
            let state = match opened {
                Ok(opened) => {
                    if opened.verdict != Opening::Open {
                        notes.push(format!("{}: {:?}", crate::checks::name(tp), opened.verdict));
                    }
                    match opened.log {
                        Some(opened) => {
                            let (me, reporter) = (serving.me, Token::Reporter(tp));
                            let (log, mark) = (opened.log, opened.high_watermark);
                            let mut partition = Partition::new(log, record.clone(), mark, me, reporter);
                            partition.set_lag_time_max_ms(lag_ms);
                            if let Some(leader_epoch) = opened.led_in {
                                partition.has_led_in(leader_epoch);
                            }
                            serving.replicas.insert(tp, Replica { partition, name, seen: 0, life });
                            None
                        }
                        None if opened.verdict == Opening::Ignore => None,
                        None => Some(LogState::Missing),
                    }
                }
                Err(error) => Some(LogState::Failed { reason: error.to_string() }),
            };
            match state {
                Some(state) => serving.unwell.insert(tp, state),
                None => serving.unwell.remove(&tp),
            };
        }
        // Made durable before they are counted on; where that fails the disk has failed, and the log says so soon.
        serving.logs.dirs().for_each(|dir| drop(dir.sync()));
        for note in notes {
            self.note(&[30, id as u64], || format!("broker {id}: {note}"));
        }
        self.take_roles(id, records);
    }

    /// Its disk has room again: logs that found none are opened anew, and what could not be acted on is. False where that
    /// does not help.
    pub fn broker_heals(&mut self, id: i32) -> bool {
        let now_ms = self.clock(Node::Broker(id));
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else {
            return false;
        };
        let mut effects = Effects::new();
        let heal = |replica: &mut Replica| replica.partition.heal(now_ms, &mut effects).is_ok();
        let healed = !serving.renewing && serving.replicas.values_mut().all(heal);
        let records: Vec<PartitionRecord> = serving.records.values().cloned().collect();
        self.carry_out(id, effects);
        if healed {
            self.note(&[52, id as u64], || format!("broker {id}: its logs take writes again"));
            self.act_on(id, &records);
        }
        healed
    }

    fn take_roles(&mut self, id: i32, records: &[PartitionRecord]) {
        let now_ms = self.clock(Node::Broker(id));
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        let here: Vec<&PartitionRecord> = records
            .iter()
            .filter(|record| serving.replicas.contains_key(&(record.topic_id, record.partition)))
            .collect();
        let noted = serving.logs.note_epochs(here.iter().copied());
        let mut effects = Effects::new();
        let mut errors = Vec::new();
        for record in here {
            let tp = (record.topic_id, record.partition);
            let Some(replica) = serving.replicas.get_mut(&tp) else { continue };
            if noted.is_err() {
                serving.ledger.not_acted_on(tp.0, tp.1);
                replica.partition.resign(&mut effects);
            } else if let Err(error) = replica.partition.assign(now_ms, record.clone(), &mut effects) {
                errors.push(error.to_string());
            }
        }
        if noted.as_ref().is_err_and(|error| !is_out_of_space(error.source())) {
            let _ = serving.logs.strike_out_note(Path::new(DIR));
        }
        for error in errors {
            self.note(&[31, id as u64], || format!("broker {id}: {error}"));
        }
        self.carry_out(id, effects);
        for record in records {
            self.observe(id, (record.topic_id, record.partition));
        }
        self.leave_what_is_not_assigned(id, records);
    }

    /// A replica that the record does not name any more is moved aside (rule 18).
    fn leave_what_is_not_assigned(&mut self, id: i32, records: &[PartitionRecord]) {
        let now_ms = self.clock(Node::Broker(id));
        for record in records.iter().filter(|record| !record.replicas.contains(&id)) {
            let tp = (record.topic_id, record.partition);
            let unique = self.rng.uuid();
            let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else {
                return;
            };
            let Some(mut replica) = serving.replicas.remove(&tp) else { continue };
            let mut effects = Effects::new();
            replica.partition.resign(&mut effects);
            let partition = TopicPartition::new(replica.name.as_str(), tp.1);
            let _ = serving.logs.set_aside(&partition, unique, now_ms);
            let _ = serving.checkpoint();
            self.carry_out(id, effects);
        }
    }

    fn after_update(&mut self, id: i32, snapshot: bool) {
        let now_ms = self.clock(Node::Broker(id));
        let unique = self.rng.uuid();
        if let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut())
            && snapshot
        {
            let assigned: BTreeSet<TopicPartition> = serving
                .records
                .iter()
                .filter(|(_, record)| record.replicas.contains(&id))
                .filter_map(|(tp, _)| Some(TopicPartition::new(&*serving.topics.get(&tp.0)?.name, tp.1)))
                .collect();
            let left = serving.logs.left_from_start().unwrap_or_default();
            for partition in left.iter().filter(|partition| !assigned.contains(partition)) {
                let _ = serving.logs.set_aside(partition, unique, now_ms);
            }
            if std::mem::take(&mut serving.renewing) {
                self.report_health(id, true);
            }
        }
        let run = self.brokers[&id].process.as_ref().map_or(0, |process| process.run);
        self.wake_fetchers(id, run);
    }

    /// Proposals were refused.
    pub fn broker_refused(&mut self, id: i32, refused: &[RefusedIsr]) {
        let now_ms = self.clock(Node::Broker(id));
        let mut effects = Effects::new();
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        for RefusedIsr { topic_id, partition, partition_epoch, reason } in refused {
            if let Some(replica) = serving.replicas.get_mut(&(*topic_id, *partition)) {
                replica.partition.isr_refused(now_ms, *partition_epoch, *reason, &mut effects);
            }
        }
        self.carry_out(id, effects);
    }

    /// The controller asks how far logs reach.
    pub fn broker_tells_ends(&mut self, id: i32, query_id: u64, partitions: &[Tp]) {
        let Some(serving) = self.brokers.get(&id).and_then(|broker| broker.serving()) else { return };
        let sound = |tp: &Tp| serving.replicas.get(tp).filter(|r| r.partition.log().poisoned().is_none());
        let ends = partitions.iter().filter_map(sound).map(|replica| replica.partition.log_end()).collect();
        let incarnation = serving.me.incarnation;
        self.tell(id, ToController::LogEnds { incarnation, query_id, ends });
    }

    /// Tells the controller how the logs are: all of it, or what changed.
    pub fn report_health(&mut self, id: i32, full: bool) {
        let now_ms = self.clock(Node::Broker(id));
        let Some(serving) = self.brokers.get_mut(&id).and_then(|broker| broker.serving_mut()) else { return };
        if serving.renewing {
            return;
        }
        let mut all: Vec<ReplicaHealth> =
            serving.replicas.values().map(|replica| replica.partition.health(now_ms)).collect();
        for (tp, log) in &serving.unwell {
            let leader_epoch = serving.records.get(tp).map_or(0, |record| record.leader_epoch);
            let log = log.clone();
            let (topic_id, partition) = *tp;
            let followers = Vec::new();
            all.push(ReplicaHealth { topic_id, partition, leader_epoch, log, log_end_offset: 0, followers });
        }
        let told = &mut serving.told;
        all.retain(|health| {
            let before = told.insert((health.topic_id, health.partition), health.log.clone());
            full || before.as_ref().unwrap_or(&LogState::Online) != &health.log
        });
        let incarnation = serving.me.incarnation;
        if full || !all.is_empty() {
            self.tell(id, ToController::Health { incarnation, full, replicas: all });
        }
    }

    /// Writes the checkpoints, after it synced some of the logs.
    pub fn broker_checkpoints(&mut self, id: i32, run: u64) {
        if !self.brokers[&id].runs(run) {
            return;
        }
        let again_ms = self.rng.between(500, 3_000);
        self.at(again_ms, Event::BrokerCheckpoints { broker: id, run });
        let sync = self.rng.percent(50);
        if sync {
            self.flush(id, true);
        }
        if let Some(serving) = self.brokers.get(&id).and_then(|broker| broker.serving())
            && !serving.renewing
        {
            // A checkpoint that cannot be written now is written in a while.
            let _ = serving.checkpoint();
        }
    }
}
