//! What brokers say of their replicas. Nothing of it is stored: a broker tells all of it again in its next session, and
//! what was decided on it is in the records.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::session::{FollowerLag, LogDirHealth, LogState, ReplicaHealth};
use taffrail_protocol::Uuid;

use crate::controller::Controller;
use crate::message::SessionId;
use crate::model::Member;

/// Of so many log directories of a broker is remembered what it said.
const MOST_LOG_DIRS: usize = 100;

/// Why a replica's log cannot be counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadLog {
    /// It is not there (rule 30).
    Missing,
    /// It takes no writes.
    Failed,
}

/// The bad logs of one partition.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BadLogs<'a>(&'a [(Member, BadLog)]);

impl BadLogs<'_> {
    /// What is wrong with the log that the member has in this very life.
    pub(crate) fn of(&self, member: Member) -> Option<BadLog> {
        self.0.iter().find(|(of, _)| *of == member).map(|(_, bad)| *bad)
    }
}

/// How one replica is, as its broker last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Whose it is.
    pub member: Member,
    /// The leader epoch that it acts under.
    pub leader_epoch: i32,
    /// Whether there is a log that takes writes.
    pub log: LogState,
    /// The offset that the next record gets.
    pub log_end_offset: i64,
    /// On a leader: how far each follower is behind.
    pub followers: Vec<FollowerLag>,
}

/// What all brokers say, by partition. Bounded by the replicas that there are: what is told of others is dropped.
#[derive(Debug, Default)]
pub struct Health {
    replicas: BTreeMap<(Uuid, i32), Vec<Replica>>,
    /// Log directories that take no writes, by broker. For people; nothing is decided from it.
    log_dirs: BTreeMap<i32, Vec<LogDirHealth>>,
    bad: BTreeMap<(Uuid, i32), Vec<(Member, BadLog)>>,
}

impl Health {
    /// The replicas of a partition of which something was said.
    pub fn partition(&self, topic_id: Uuid, partition: i32) -> &[Replica] {
        self.replicas.get(&(topic_id, partition)).map_or(&[], Vec::as_slice)
    }

    /// All replicas of which something was said, by topic id and partition.
    pub fn replicas(&self) -> impl Iterator<Item = (Uuid, i32, &Replica)> {
        let each = self.replicas.iter();
        each.flat_map(|((id, partition), all)| all.iter().map(|replica| (*id, *partition, replica)))
    }

    /// The log directories that take no writes, by broker.
    pub fn log_dirs(&self) -> &BTreeMap<i32, Vec<LogDirHealth>> {
        &self.log_dirs
    }

    /// How many logs are missing or take no writes.
    pub fn bad_logs(&self) -> usize {
        self.bad.values().map(Vec::len).sum()
    }

    pub(crate) fn bad(&self, topic_id: Uuid, partition: i32) -> BadLogs<'_> {
        if self.bad.is_empty() {
            return BadLogs::default();
        }
        BadLogs(self.bad.get(&(topic_id, partition)).map_or(&[], Vec::as_slice))
    }

    /// Takes over a report; whether decisions look different with it.
    fn report(&mut self, member: Member, report: ReplicaHealth) -> bool {
        let key = (report.topic_id, report.partition);
        let bad = match report.log {
            LogState::Online => None,
            LogState::Missing => Some(BadLog::Missing),
            LogState::Failed { .. } => Some(BadLog::Failed),
        };
        let replica = Replica {
            member,
            leader_epoch: report.leader_epoch,
            log: report.log,
            log_end_offset: report.log_end_offset,
            followers: report.followers,
        };
        let all = self.replicas.entry(key).or_default();
        match all.iter_mut().find(|known| known.member.broker_id == member.broker_id) {
            Some(known) => *known = replica,
            None => all.push(replica),
        }
        self.note_bad(key, member, bad)
    }

    fn note_bad(&mut self, key: (Uuid, i32), member: Member, bad: Option<BadLog>) -> bool {
        if bad.is_none() && !self.bad.contains_key(&key) {
            return false;
        }
        let all = self.bad.entry(key).or_default();
        let before = BadLogs(all).of(member);
        all.retain(|(of, _)| of.broker_id != member.broker_id);
        all.extend(bad.map(|bad| (member, bad)));
        if all.is_empty() {
            self.bad.remove(&key);
        }
        before != bad
    }

    /// Forgets what the broker said; the partitions for which decisions look different without it.
    fn forget_broker(&mut self, broker_id: i32) -> Vec<(Uuid, i32)> {
        self.replicas.retain(|_, all| {
            all.retain(|replica| replica.member.broker_id != broker_id);
            !all.is_empty()
        });
        let mut changed = Vec::new();
        self.bad.retain(|key, all| {
            let before = all.len();
            all.retain(|(member, _)| member.broker_id != broker_id);
            if all.len() != before {
                changed.push(*key);
            }
            !all.is_empty()
        });
        changed
    }

    /// The topic is gone.
    pub(crate) fn forget_topic(&mut self, topic_id: Uuid) {
        let of_topic = (topic_id, i32::MIN)..=(topic_id, i32::MAX);
        let keys: Vec<(Uuid, i32)> = self.replicas.range(of_topic).map(|(key, _)| *key).collect();
        for key in keys {
            self.replicas.remove(&key);
            self.bad.remove(&key);
        }
    }
}

impl Controller {
    /// What brokers last said of their replicas.
    pub fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn on_health(
        &mut self,
        session: SessionId,
        incarnation: u64,
        full: bool,
        replicas: Vec<ReplicaHealth>,
    ) {
        let Some(member) = self.speaker(session, incarnation) else { return };
        let mut changed = Vec::new();
        if full {
            changed = self.health.forget_broker(member.broker_id);
        }
        for report in replicas {
            let (topic_id, partition) = (report.topic_id, report.partition);
            let known = self.entry(topic_id).and_then(|(_, entry)| self.record(entry, partition));
            let is_replica = known.is_some_and(|record| record.replicas.contains(&member.broker_id));
            if is_replica && self.health.report(member, report) {
                changed.push((topic_id, partition));
            }
        }
        self.look_again(changed);
    }

    pub(crate) fn on_log_dirs(&mut self, session: SessionId, incarnation: u64, mut dirs: Vec<LogDirHealth>) {
        let Some(member) = self.speaker(session, incarnation) else { return };
        dirs.truncate(MOST_LOG_DIRS);
        if dirs.is_empty() {
            self.health.log_dirs.remove(&member.broker_id);
        } else {
            self.health.log_dirs.insert(member.broker_id, dirs);
        }
    }

    /// Forgets what an earlier life of the broker said.
    pub(crate) fn forget_health(&mut self, broker_id: i32) {
        self.health.log_dirs.remove(&broker_id);
        let changed = self.health.forget_broker(broker_id);
        self.look_again(changed);
    }

    /// Decisions on these partitions look different now.
    fn look_again(&mut self, partitions: Vec<(Uuid, i32)>) {
        partitions.iter().for_each(|key| self.contests.stir(*key));
        let slices: BTreeSet<u32> =
            partitions.into_iter().filter_map(|(id, partition)| self.home_of(id, partition)).collect();
        slices.into_iter().for_each(|slice| self.enqueue_mend(slice));
    }
}
