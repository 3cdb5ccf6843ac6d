//! One partition as this broker has it: its log, its role, and the requests that wait on it.
//!
//! A step machine without clock, tasks or sockets: time and bytes are arguments, what the caller asked for is returned,
//! and what *others* must be told is pushed to an [`Effects`] list that the caller carries out after it let go of the
//! partition. `T` is how a waiting request is named; the partition only stores and returns it.
//!
//! ```text
//!            record names another leader, and this broker a replica
//!         ┌──────────────────────────────────────────────────────┐
//!         │                                                      ▼
//!      Leader ◀──── record names this broker, this incarnation ── Follower
//!         │  ▲                                                 ▲ │
//!         └──┼──────────────▶  Idle  ──────────────────────────┘ │
//!            └──────────────────┘ ▲                              │
//!                                 └──────────────────────────────┘
//!            no leader, no replica here, deleted, stopping, or a log that cannot take the role
//! ```
//!
//! A role is taken under one leader epoch; a record with another one ends it, whatever comes next, and everybody who waits
//! is told to look again (rule 12). A record of the same leader epoch with another ISR disturbs nobody.
//!
//! Invariants, asserted where the values change:
//! - log_start_offset ≤ last_stable_offset ≤ high_watermark ≤ log_end_offset;
//! - the log's start as it was written down ≤ log_start_offset: records between them may come back after a crash, so
//!   nobody was told yet that they are gone;
//! - the high watermark never falls, but where a follower truncates what an unclean election lost (rules 8, 13);
//! - the leader epoch and the partition epoch of the record never fall (rule 2).

mod assign;
mod clean;
mod damage;
mod delete;
mod exchange;
mod flush;
mod follow;
mod held;
mod lead;
mod parked;
mod produce;
mod read;
mod refused;
mod repair;

use std::sync::Arc;

use taffrail_control::session::{LogEnd, LogState, Member, PartitionRecord, ReplicaHealth};
use taffrail_log::{Log, LogConfig, Storage};
use taffrail_protocol::ErrorCode;

use crate::follower::FollowerState;
use crate::leader::LeaderState;
use crate::positions::counted_end;

pub use assign::AssignError;
use damage::Damages;
pub use delete::DeleteError;
use parked::Purgatory;
pub use parked::{Effect, Effects, ParkId};
pub use produce::{ProduceError, Produced, RequiredAcks};
pub use read::Isolation;
use refused::RefusedBatches;
pub use repair::{RepairState, RepairTask};

/// `replica.lag.time.max.ms` where nothing else is set.
pub const DEFAULT_LAG_TIME_MAX_MS: i64 = 30_000;

/// What this broker is to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    /// Neither leads nor follows.
    Idle,
    /// The record names this broker in this incarnation (rule 7).
    Leader,
    /// The record names this broker as a replica and another as leader.
    Follower,
}

/// The role with what belongs to it.
enum Role {
    Idle,
    Leader(LeaderState),
    Follower(FollowerState),
}

/// One replica of a partition.
pub struct Partition<S: Storage, T> {
    log: Log<S>,
    me: Member,
    record: PartitionRecord,
    role: Role,
    /// The last leader epoch that this broker led in with this log, also in an earlier life.
    led_in: Option<i32>,
    high_watermark: i64,
    /// The log's start as it was last written down. Not above the log's start.
    written_start: i64,
    purgatory: Purgatory<T>,
    refused: RefusedBatches,
    damages: Damages,
    /// The token of effects that concern no request but the partition.
    reporter: T,
    lag_time_max_ms: i64,
    /// [`Effect::FlushWanted`] was told and no flush has begun since.
    flush_asked: bool,
    /// [`Effect::Failed`] was told.
    failure_told: bool,
    /// Why nothing is to be appended, though the log may take it: its disk is nearly full, or has failed.
    held: Option<Arc<str>>,
}

impl<S: Storage, T: Clone> Partition<S, T> {
    /// A replica around an open log, on the broker `me`. `high_watermark` is the checkpointed one; what it claims beyond the
    /// log's end or before its start is cut. `reporter` is the token of effects that concern the partition itself. It serves
    /// nothing before [`Partition::assign`].
    pub fn new(log: Log<S>, record: PartitionRecord, high_watermark: i64, me: Member, reporter: T) -> Self {
        let high_watermark = high_watermark.clamp(log.log_start_offset(), log.log_end_offset());
        // What the log was opened with was on the disk.
        let written_start = log.log_start_offset();
        Self {
            log,
            me,
            record,
            role: Role::Idle,
            led_in: None,
            high_watermark,
            written_start,
            purgatory: Purgatory::default(),
            refused: RefusedBatches::default(),
            damages: Damages::default(),
            reporter,
            lag_time_max_ms: DEFAULT_LAG_TIME_MAX_MS,
            flush_asked: false,
            failure_told: false,
            held: None,
        }
    }

    /// Takes another `replica.lag.time.max.ms`; it holds from the next decision on.
    pub fn set_lag_time_max_ms(&mut self, lag_time_max_ms: i64) {
        self.lag_time_max_ms = lag_time_max_ms;
    }

    /// This broker has led in `leader_epoch`, with the same log in other hands: should it lead in it again, then it has
    /// to reckon with what it committed and proposed before.
    pub fn has_led_in(&mut self, leader_epoch: i32) {
        self.led_in = self.led_in.max(Some(leader_epoch));
    }

    /// The controller's record.
    pub fn record(&self) -> &PartitionRecord {
        &self.record
    }

    /// The log, to look at.
    pub fn log(&self) -> &Log<S> {
        &self.log
    }

    /// The log, for maintenance that moves no offset: closing, deletion. Settings go through [`Partition::update_config`]
    /// and flushing through [`Partition::begin_flush`], as records may wait for it.
    pub fn log_mut(&mut self) -> &mut Log<S> {
        &mut self.log
    }

    /// Takes new settings of the log. Records may begin or cease to wait for a flush.
    pub fn update_config(&mut self, now_ms: i64, config: LogConfig, effects: &mut Effects<T>) {
        self.log.update_config(config);
        self.ask_for_flush(effects);
        self.advance(effects);
        self.propose(now_ms, effects);
        self.tell_if_fetchable(effects);
    }

    /// What this broker is to the partition.
    pub fn role(&self) -> RoleKind {
        match self.role {
            Role::Idle => RoleKind::Idle,
            Role::Leader(_) => RoleKind::Leader,
            Role::Follower(_) => RoleKind::Follower,
        }
    }

    /// The epoch that this broker leads in, if it leads.
    pub fn led_epoch(&self) -> Option<i32> {
        matches!(self.role, Role::Leader(_)).then_some(self.record.leader_epoch)
    }

    /// Records below it are committed.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Up to where the log counts towards the high watermark (rule 26).
    pub fn counted_end(&self) -> i64 {
        let log = &self.log;
        counted_end(log.log_end_offset(), log.recovery_point(), log.config().flush_messages)
    }

    /// Whether the epoch that a request carries is the one held; -1 skips the check (KIP-320, rule 20).
    fn check_epoch(&self, current_leader_epoch: i32) -> Result<(), ErrorCode> {
        if current_leader_epoch >= 0 {
            match current_leader_epoch.cmp(&self.record.leader_epoch) {
                std::cmp::Ordering::Less => return Err(ErrorCode::FENCED_LEADER_EPOCH),
                std::cmp::Ordering::Greater => return Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
                std::cmp::Ordering::Equal => {}
            }
        }
        Ok(())
    }

    /// Whether this broker leads, and under the epoch that the client knows; -1 skips the epoch check (KIP-320, rule 20).
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`, `FENCED_LEADER_EPOCH` or `UNKNOWN_LEADER_EPOCH`.
    pub fn check_leader(&self, current_leader_epoch: i32) -> Result<(), ErrorCode> {
        self.check_epoch(current_leader_epoch)?;
        match self.role {
            Role::Leader(_) => Ok(()),
            Role::Idle | Role::Follower(_) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }

    /// As [`Partition::check_leader`], but a follower will do: for consumers that may read from one (KIP-392).
    ///
    /// # Errors
    /// As [`Partition::check_leader`].
    pub fn check_reader(&self, current_leader_epoch: i32) -> Result<(), ErrorCode> {
        self.check_epoch(current_leader_epoch)?;
        match self.role {
            Role::Leader(_) | Role::Follower(_) => Ok(()),
            Role::Idle => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }

    /// Parks a request until records up to and including `last_offset` are committed, however long that takes: for
    /// coordinators, whose records stay in the log whatever becomes of the ISR. It fails when leadership is lost.
    pub fn await_commit(&mut self, last_offset: i64, token: T) {
        self.purgatory.park_commit(last_offset, token);
    }

    /// Parks a produce request whose batch is not [acknowledged](Produced::acknowledged) yet until it is, or cannot be
    /// (rule 9).
    pub fn await_acks(&mut self, last_offset: i64, acks: RequiredAcks, token: T) {
        self.purgatory.park_produce(last_offset, acks, token);
    }

    /// Parks a consumer's fetch: `token` is told whenever more becomes readable, until [`Partition::leave`].
    pub fn await_data(&mut self, token: T) -> ParkId {
        self.purgatory.park_fetch(token)
    }

    /// Parks a follower's fetch: `token` is told whenever records are appended or the high watermark moves, until
    /// [`Partition::leave`].
    pub fn await_append(&mut self, token: T) -> ParkId {
        self.purgatory.park_replica_fetch(token)
    }

    /// Takes a parked fetch back. Unknown ids are ignored: the partition may have let it go itself.
    pub fn leave(&mut self, id: ParkId) {
        self.purgatory.leave(id);
    }

    /// How far the log reaches, for an election that may lose records (rules 4, 17). Who led in an epoch reaches into it
    /// without a record of it too: it may have committed what it had of earlier ones, and logs that end with records of
    /// an epoch in between lack that.
    pub fn log_end(&self) -> LogEnd {
        let led_in = self.led_in.unwrap_or(-1);
        LogEnd {
            topic_id: self.record.topic_id,
            partition: self.record.partition,
            last_epoch: self.last_record_epoch().max(led_in),
            end_offset: self.log.log_end_offset(),
        }
    }

    /// How the replica is.
    pub fn health(&self, now_ms: i64) -> ReplicaHealth {
        let log_end_offset = self.log.log_end_offset();
        let failure = match (self.log.poisoned(), &self.held, &self.role) {
            (Some(poisoned), _, _) => Some(poisoned.to_string()),
            (None, Some(reason), _) => Some(reason.to_string()),
            (None, None, Role::Follower(follower)) => follower.stopped().map(str::to_owned),
            (None, None, _) => None,
        };
        let failure = failure.or_else(|| self.corrupt_batch().map(ToString::to_string));
        let followers = match &self.role {
            Role::Leader(leader) => leader.lags(now_ms, log_end_offset),
            Role::Idle | Role::Follower(_) => Vec::new(),
        };
        ReplicaHealth {
            topic_id: self.record.topic_id,
            partition: self.record.partition,
            leader_epoch: self.record.leader_epoch,
            log: failure.map_or(LogState::Online, |reason| LogState::Failed { reason }),
            log_end_offset,
            followers,
        }
    }

    /// Whether this broker leads and not all replicas are in sync; those that a reassignment adds may still be on their way.
    pub fn is_under_replicated(&self) -> bool {
        let wanted = self.record.replicas.len().saturating_sub(self.record.adding.len());
        self.led_epoch().is_some() && self.record.isr.len() < wanted
    }

    /// Whether this broker leads and nothing can be committed for want of in-sync replicas (rule 8).
    pub fn is_under_min_isr(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if !leader.committed_isr().has_min())
    }

    /// Whether this broker leads and one in-sync replica less would stop commits.
    pub fn is_at_min_isr(&self) -> bool {
        let min_isr = usize::try_from(self.record.min_isr).unwrap_or(0);
        self.led_epoch().is_some() && self.record.isr.len() == min_isr
    }

    /// The leader epoch of the last record; -1 if there is none. An epoch that began at the log's end has no record yet.
    fn last_record_epoch(&self) -> i32 {
        let end = self.log.log_end_offset();
        let epochs = self.log.leader_epochs().iter().rev();
        epochs
            .map(|entry| (entry.epoch, entry.start_offset))
            .find(|(_, start)| *start < end)
            .map_or(-1, |e| e.0)
    }

    /// Raises the high watermark and tells those who wait for it.
    fn raise_high_watermark(&mut self, to: i64, effects: &mut Effects<T>) {
        assert!(
            self.high_watermark < to && to <= self.log.log_end_offset(),
            "the high watermark would go from {} to {to}, and the log ends at {}",
            self.high_watermark,
            self.log.log_end_offset()
        );
        self.high_watermark = to;
        self.purgatory.committed(to, effects);
    }

    /// Tells that there is something to fetch.
    fn tell_if_fetchable(&mut self, effects: &mut Effects<T>) {
        if self.fetch_position().is_some() {
            effects.push(Effect::Fetchable { token: self.reporter.clone() });
        }
    }

    /// Tells once that the log takes no writes any more, or has a corrupt batch.
    fn tell_failure(&mut self, effects: &mut Effects<T>) {
        let failed = self.log.poisoned().is_some() || self.corrupt_batch().is_some();
        if failed && !self.failure_told {
            self.failure_told = true;
            effects.push(Effect::Failed { token: self.reporter.clone() });
        }
    }
}
