//! Taking a record and the role that follows from it.

use taffrail_control::session::{Member, PartitionRecord};
use taffrail_log::{Poisoned, Storage};
use taffrail_protocol::ErrorCode;

use super::{Effects, Partition, Role};
use crate::follower::FollowerState;
use crate::leader::LeaderState;

/// Why a record was not acted on. The partition is idle then, or keeps the role it has.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// The log takes no writes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// A newer record has a lower leader epoch, which no controller may write (rule 2). It is ignored.
    #[error(
        "the record of partition epoch {partition_epoch} has leader epoch {leader_epoch}, and the one before has \
         {held}: leader epochs never fall, so it is ignored"
    )]
    EpochFell {
        /// The new record's partition epoch.
        partition_epoch: i32,
        /// The new record's leader epoch.
        leader_epoch: i32,
        /// The leader epoch that is held.
        held: i32,
    },
    /// A newer record names another leader under the same leader epoch, which no controller may write (rule 2). It is ignored:
    /// that one epoch has one leader is what makes two logs of equal epochs equal.
    #[error(
        "the record names broker {} as leader in leader epoch {leader_epoch}, and the one before named broker {}: every \
         leader has an epoch of its own, so it is ignored",
        named.broker_id, held.broker_id
    )]
    TwoLeaders {
        /// The epoch.
        leader_epoch: i32,
        /// The leader that is held.
        held: Member,
        /// The leader that the new record names.
        named: Member,
    },
    /// The log holds records of a later leader epoch than the record's (rules 25, 31): the record is older than what this
    /// replica has seen. It waits for a newer one.
    #[error(
        "the log has records of leader epoch {log_epoch}, and the record is of leader epoch {leader_epoch}: it was \
         published late, or the controller's store was restored; the replica waits for a newer one"
    )]
    LogAhead {
        /// The log's last leader epoch.
        log_epoch: i32,
        /// The record's.
        leader_epoch: i32,
    },
}

/// What a record makes of this broker.
enum Wanted {
    Idle,
    Leader,
    Follower(Member),
}

impl<S: Storage, T: Clone> Partition<S, T> {
    /// Takes the controller's record and the role that follows from it: leader if it names this broker in this incarnation
    /// (rule 7), follower if it names this broker as a replica and another as leader, idle otherwise. A record older than
    /// the one held is ignored (rule 2), the same one once more changes nothing.
    ///
    /// # Errors
    /// [`AssignError`]; the partition is idle then, or, where the record itself cannot be, as it was.
    pub fn assign(
        &mut self,
        now_ms: i64,
        record: PartitionRecord,
        effects: &mut Effects<T>,
    ) -> Result<(), AssignError> {
        let held = (self.record.creation, self.record.partition_epoch);
        if (record.creation, record.partition_epoch) < held {
            return Ok(());
        }
        if record.leader_epoch < self.record.leader_epoch {
            return Err(AssignError::EpochFell {
                partition_epoch: record.partition_epoch,
                leader_epoch: record.leader_epoch,
                held: self.record.leader_epoch,
            });
        }
        let same_epoch = record.leader_epoch == self.record.leader_epoch;
        if let (Some(held), Some(named)) = (self.record.leader, record.leader)
            && same_epoch
            && held != named
        {
            return Err(AssignError::TwoLeaders { leader_epoch: record.leader_epoch, held, named });
        }
        self.record = record;
        let wanted = self.wanted();
        match (&mut self.role, wanted) {
            (Role::Leader(leader), Wanted::Leader) if same_epoch => {
                leader.take_record(now_ms, &self.record);
                if !leader.committed_isr().has_min() {
                    // Nothing will be committed before the ISR has grown again (rules 8, 9).
                    self.purgatory.too_few_replicas(effects);
                }
            }
            (Role::Follower(follower), Wanted::Follower(leader))
                if same_epoch && follower.leader() == leader => {}
            (Role::Idle, Wanted::Idle) => {}
            (_, wanted) => {
                self.resign(effects);
                let taken = self.take_role(now_ms, wanted, effects);
                self.tell_failure(effects);
                taken?;
            }
        }
        self.advance(effects);
        self.propose(now_ms, effects);
        Ok(())
    }

    fn wanted(&self) -> Wanted {
        match self.record.leader {
            Some(leader) if leader == self.me => Wanted::Leader,
            // This broker in another life: nobody leads (rule 7).
            Some(leader) if leader.broker_id == self.me.broker_id => Wanted::Idle,
            Some(leader) if self.record.replicas.contains(&self.me.broker_id) => Wanted::Follower(leader),
            _ => Wanted::Idle,
        }
    }

    fn take_role(
        &mut self,
        now_ms: i64,
        wanted: Wanted,
        effects: &mut Effects<T>,
    ) -> Result<(), AssignError> {
        let leader_epoch = self.record.leader_epoch;
        let log_epoch = self.log.latest_epoch().filter(|log_epoch| *log_epoch > leader_epoch);
        match (wanted, log_epoch) {
            (Wanted::Idle, _) => return Ok(()),
            (_, Some(log_epoch)) => return Err(AssignError::LogAhead { log_epoch, leader_epoch }),
            (Wanted::Leader, None) => {
                // Noted before anything is appended under the epoch (rule 7).
                self.log.assign_leader_epoch(leader_epoch)?;
                let leader = if self.led_in == Some(leader_epoch) {
                    LeaderState::resumed(now_ms, self.me, &self.record, self.log.log_end_offset())
                } else {
                    let start = self.log.leader_epochs().last().map(|entry| entry.start_offset);
                    let start = start.unwrap_or(self.log.log_end_offset());
                    LeaderState::new(now_ms, self.me, &self.record, start)
                };
                self.led_in = Some(leader_epoch);
                self.role = Role::Leader(leader);
            }
            (Wanted::Follower(leader), None) => {
                // Reading goes on also where the log takes no writes.
                self.role = Role::Follower(FollowerState::new(leader));
                // An epoch that this broker led in without appending anything is in nobody's log, and the records of an
                // earlier one may yet come from the new leader (rule 29).
                self.log.truncate_to(self.log.log_end_offset(), now_ms)?;
            }
        }
        self.ask_for_flush(effects);
        self.tell_if_fetchable(effects);
        Ok(())
    }

    /// Gives up the role: whoever waits is told to look for the leader (rule 12). The partition is idle until a record is
    /// assigned again.
    pub fn resign(&mut self, effects: &mut Effects<T>) {
        self.role = Role::Idle;
        self.purgatory.fail_all(ErrorCode::NOT_LEADER_OR_FOLLOWER, effects);
    }
}
