//! A broker's half: a log of a few records, and the shipped leader and follower around it.

use taffrail_control::session::{IsrProposal, Member, PartitionRecord};
use taffrail_log::EpochEntry;
use taffrail_replication::follower::truncation_point;
use taffrail_replication::leader::{LeaderState, Standpoint};
use taffrail_replication::progress::CountedFetch;

/// Two moments are enough: in the later one everybody who is not at the log's end lags.
pub const EARLY_MS: i64 = 0;
pub const LATE_MS: i64 = 1_000_000;
const LAG_TIME_MAX_MS: i64 = 30_000;

/// A record of the log: the leader epoch it was appended in and what it says.
pub type Entry = (i32, u8);

/// A leader's answer on its way to a follower.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    leader_epoch: i32,
    asked: (usize, i32),
    diverging: Option<(i32, i64)>,
    high_watermark: usize,
    entry: Option<Entry>,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub me: Member,
    pub up: bool,
    /// What this process was told.
    pub record: Option<PartitionRecord>,
    /// The leader epoch it acted under, on the disk (rule 31).
    pub noted_epoch: i32,
    /// `None`: the disk is new, and no log has been made yet.
    pub log: Option<Vec<Entry>>,
    pub high_watermark: usize,
    pub leader: Option<LeaderState>,
    pub answer: Option<Answer>,
}

impl Node {
    pub fn new(broker_id: i32) -> Self {
        Self {
            me: Member { broker_id, incarnation: 1 },
            up: true,
            record: None,
            noted_epoch: 0,
            log: Some(Vec::new()),
            high_watermark: 0,
            leader: None,
            answer: None,
        }
    }

    /// The process ends. Where the log's checkpoint says least, its high watermark is as good as unknown.
    pub fn die(&mut self, with_disk: bool) {
        self.up = false;
        (self.record, self.leader, self.answer) = (None, None, None);
        self.high_watermark = 0;
        if with_disk {
            self.log = None;
            self.noted_epoch = -1;
        }
    }

    pub fn entries(&self) -> &[Entry] {
        self.log.as_deref().unwrap_or_default()
    }

    fn last_epoch(&self) -> i32 {
        self.entries().last().map_or(-1, |(epoch, _)| *epoch)
    }

    /// Takes a record (rules 2, 7, 30, 31); whether it was news.
    pub fn take(&mut self, record: &PartitionRecord) -> bool {
        let older = self.record.as_ref().is_some_and(|held| held.partition_epoch >= record.partition_epoch);
        if older || record.leader_epoch < self.noted_epoch {
            return false;
        }
        if self.log.is_none() {
            let counted_on = record.isr.contains(&self.me) || record.elr.contains(&self.me);
            if counted_on && record.leader_epoch > 0 {
                return false;
            }
            self.log = Some(Vec::new());
        }
        let same_epoch = self.record.as_ref().is_some_and(|held| held.leader_epoch == record.leader_epoch);
        self.noted_epoch = record.leader_epoch;
        self.record = Some(record.clone());
        match &mut self.leader {
            Some(leader) if same_epoch => leader.take_record(EARLY_MS, record),
            leader => {
                let start = self.log.as_ref().map_or(0, Vec::len) as i64;
                let leads = record.leader == Some(self.me);
                *leader = leads.then(|| LeaderState::new(EARLY_MS, self.me, record, start));
            }
        }
        true
    }

    /// The epoch it follows `leader` in.
    pub fn follows(&self, leader: &Self) -> Option<i32> {
        let record = self.record.as_ref().filter(|_| self.up && self.leader.is_none())?;
        (record.leader == Some(leader.me)).then_some(record.leader_epoch)
    }

    pub fn led_epoch(&self) -> Option<i32> {
        self.leader.as_ref().and(self.record.as_ref()).map(|record| record.leader_epoch)
    }

    /// Where the last epoch that is not above `epoch` ends, as `Log::end_offset_for_epoch` has it.
    fn end_offset_for_epoch(&self, epoch: i32) -> Option<EpochEntry> {
        let mut starts: Vec<(i32, i64)> = Vec::new();
        for (offset, (epoch, _)) in (0..).zip(self.entries()) {
            if starts.last().is_none_or(|(last, _)| last < epoch) {
                starts.push((*epoch, offset));
            }
        }
        if let (Some(leader), Some(led)) = (&self.leader, self.led_epoch())
            && starts.last().is_none_or(|(last, _)| *last < led)
        {
            starts.push((led, leader.epoch_start_offset()));
        }
        let end = self.entries().len() as i64;
        let (latest, _) = starts.last()?;
        if epoch == *latest {
            return Some(EpochEntry { epoch, start_offset: end });
        }
        let above = starts.partition_point(|(start, _)| *start <= epoch);
        let (_, next) = starts.get(above)?;
        let floor = above.checked_sub(1).map_or(epoch, |at| starts[at].0);
        Some(EpochEntry { epoch: floor, start_offset: *next })
    }

    /// Answers and counts the fetch of `follower`, which tells its last epoch or, broken, does not.
    pub fn serve(&mut self, follower: &Self, registered: u64, tells_epoch: bool) -> Option<Answer> {
        let asked = (follower.entries().len(), if tells_epoch { follower.last_epoch() } else { -1 });
        let leader_epoch = self.led_epoch()?;
        let diverging = if asked.1 < 0 {
            None
        } else {
            let end = self.end_offset_for_epoch(asked.1)?;
            let parts = end.epoch < asked.1 || (end.start_offset as usize) < asked.0;
            parts.then_some((end.epoch, end.start_offset))
        };
        let len = self.entries().len();
        let leader = self.leader.as_mut()?;
        leader.admit(EARLY_MS, follower.me, Some(registered)).ok()?;
        if diverging.is_none() {
            if asked.0 > len {
                return None;
            }
            leader.count(
                follower.me,
                CountedFetch {
                    now_ms: EARLY_MS,
                    end_offset: asked.0 as i64,
                    log_start_offset: 0,
                    leader_end_offset: len as i64,
                    fenced: false,
                },
            );
        }
        let entry = self.entries().get(asked.0).copied().filter(|_| diverging.is_none());
        Some(Answer { leader_epoch, asked, diverging, high_watermark: self.high_watermark, entry })
    }

    /// Takes an answer (rules 13, 14). Whether it lacks what this broker knows to be committed.
    pub fn fetched(&mut self) -> bool {
        let Some(answer) = self.answer.take() else { return false };
        let position = (self.entries().len(), self.last_epoch());
        let held = self.record.as_ref().map(|record| (record.leader_epoch, record.unclean_epoch));
        let Some((epoch, unclean)) = held.filter(|_| self.leader.is_none()) else { return false };
        if epoch != answer.leader_epoch || position.0 != answer.asked.0 || position.1 < answer.asked.1 {
            return false;
        }
        if let Some((epoch, start_offset)) = answer.diverging {
            let own = self.end_offset_for_epoch(epoch);
            let to = truncation_point(EpochEntry { epoch, start_offset }, own, position.0 as i64) as usize;
            let allowed = unclean.is_some_and(|unclean| unclean > position.1);
            if to < self.high_watermark && !allowed {
                return true;
            }
            self.log.get_or_insert_default().truncate(to);
            self.high_watermark = self.high_watermark.min(to);
            return false;
        }
        self.log.get_or_insert_default().extend(answer.entry);
        let committed = answer.high_watermark.min(self.entries().len());
        self.high_watermark = self.high_watermark.max(committed);
        false
    }

    /// The ISR it proposes at `now_ms`.
    pub fn propose(&mut self, now_ms: i64) -> Option<IsrProposal> {
        let at = Standpoint {
            now_ms,
            high_watermark: self.high_watermark as i64,
            log_end_offset: self.entries().len() as i64,
            lag_time_max_ms: LAG_TIME_MAX_MS,
        };
        let leader = self.leader.as_mut()?;
        let isr = leader.next_proposal(&at)?;
        let partition_epoch = leader.isr().partition_epoch();
        let record = self.record.as_ref()?;
        Some(IsrProposal {
            topic_id: record.topic_id,
            partition: 0,
            leader_epoch: record.leader_epoch,
            partition_epoch,
            isr,
        })
    }
}
