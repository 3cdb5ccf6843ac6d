//! What a leader knows of its followers and decides about them (rules 7 to 10, 15, 22, 23, 26, 27).
//!
//! Without a log: offsets are arguments. The partition feeds it what its own log and its followers' fetches say; a model
//! checker feeds it whatever it likes.

use taffrail_control::session::{FollowerLag, IsrRefusal, Member, PartitionRecord};
use taffrail_protocol::ErrorCode;

use crate::isr::{CommittedIsr, Isr};
use crate::progress::{CountedFetch, Progress};

/// Where a leader stands when it decides about its ISR.
#[derive(Debug, Clone, Copy)]
pub struct Standpoint {
    /// The time. Milliseconds since 1970.
    pub now_ms: i64,
    /// Records below are committed.
    pub high_watermark: i64,
    /// The offset that the leader's next record gets.
    pub log_end_offset: i64,
    /// `replica.lag.time.max.ms`: a member that was not caught up for longer leaves the ISR.
    pub lag_time_max_ms: i64,
}

/// A leader, from the record that makes it so until the next leader epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaderState {
    me: Member,
    /// Where this leadership begins in the log: nothing behind it was committed before.
    epoch_start_offset: i64,
    isr: Isr,
    /// One for every other replica and member of the ISR. What it says was counted in this leader epoch (rule 8).
    followers: Vec<Progress>,
}

impl LeaderState {
    /// Takes up leadership. Nothing is known of any follower but that those in the ISR were in sync a moment ago.
    pub fn new(now_ms: i64, me: Member, record: &PartitionRecord, epoch_start_offset: i64) -> Self {
        Self::with(now_ms, me, record, epoch_start_offset, Isr::new(record))
    }

    /// Takes leadership up again under a leader epoch that this broker has led in before, where it does not know any more
    /// what it committed and whose addition it proposed in it. As at the beginning of an epoch, nobody qualifies as in-sync
    /// who has not reached `log_end_offset` (rule 10); and nothing is committed before every earlier proposal is decided or
    /// void (rule 8).
    pub fn resumed(now_ms: i64, me: Member, record: &PartitionRecord, log_end_offset: i64) -> Self {
        let mut leader = Self::with(now_ms, me, record, log_end_offset, Isr::resumed(record));
        if leader.followers.is_empty() {
            // There is nobody whom it could have proposed on this record.
            leader.isr = Isr::new(record);
        }
        leader
    }

    fn with(now_ms: i64, me: Member, record: &PartitionRecord, epoch_start_offset: i64, isr: Isr) -> Self {
        assert_eq!(record.leader, Some(me), "only whom the record names leads (rule 7)");
        let mut leader = Self { me, epoch_start_offset, isr, followers: Vec::new() };
        leader.meet_followers(now_ms, record, &[]);
        leader
    }

    /// Takes a newer record of the same leader epoch. What was proposed on an older one is decided or void.
    pub fn take_record(&mut self, now_ms: i64, record: &PartitionRecord) {
        let before = self.isr.committed().members().to_vec();
        if self.isr.take_record(record) {
            self.meet_followers(now_ms, record, &before);
        }
    }

    /// Watches exactly the replicas and ISR members of the record.
    fn meet_followers(&mut self, now_ms: i64, record: &PartitionRecord, isr_before: &[Member]) {
        let me = self.me.broker_id;
        self.followers.retain(|follower| {
            let id = follower.member.broker_id;
            record.replicas.contains(&id) || record.isr.iter().any(|member| member.broker_id == id)
        });
        for follower in &mut self.followers {
            if isr_before.contains(&follower.member) && !record.isr.contains(&follower.member) {
                follower.left();
            }
        }
        for member in record.isr.iter().filter(|member| member.broker_id != me) {
            let known = self.followers.iter_mut().find(|known| known.member.broker_id == member.broker_id);
            match known {
                Some(known) if known.member == *member => {
                    if !isr_before.contains(member) {
                        known.joined(now_ms);
                    }
                }
                // A later life of the broker was met already: the ISR's member does not exist any more.
                Some(known) if known.member.incarnation > member.incarnation => {}
                Some(known) => {
                    *known = Progress::new(now_ms, *member);
                    known.joined(now_ms);
                }
                None => {
                    let mut follower = Progress::new(now_ms, *member);
                    follower.joined(now_ms);
                    self.followers.push(follower);
                }
            }
        }
        for broker_id in record.replicas.iter().copied().filter(|id| *id != me) {
            if !self.followers.iter().any(|follower| follower.member.broker_id == broker_id) {
                // In which incarnation it lives is learnt from its first fetch.
                self.followers.push(Progress::new(now_ms, Member { broker_id, incarnation: 0 }));
            }
        }
    }

    /// The ISR that was decided on; says whether acks=all can be given.
    pub fn committed_isr(&self) -> &CommittedIsr {
        self.isr.committed()
    }

    /// The ISR with what has been proposed.
    pub fn isr(&self) -> &Isr {
        &self.isr
    }

    /// Where this leadership begins in the log.
    pub fn epoch_start_offset(&self) -> i64 {
        self.epoch_start_offset
    }

    /// What is known of each follower.
    pub fn followers(&self) -> &[Progress] {
        &self.followers
    }

    /// Lets a follower's fetch in, or not (rule 15): it has to be a replica, in the incarnation that is `registered`, and in
    /// none that this leader knows to be over.
    ///
    /// # Errors
    /// `STALE_BROKER_EPOCH` for the wrong incarnation, `UNKNOWN_LEADER_EPOCH` for a broker that is no replica here: its
    /// record may be newer.
    pub fn admit(&mut self, now_ms: i64, replica: Member, registered: Option<u64>) -> Result<(), ErrorCode> {
        let follower = self.follower(replica.broker_id).ok_or(ErrorCode::UNKNOWN_LEADER_EPOCH)?;
        if registered != Some(replica.incarnation) || replica.incarnation < follower.member.incarnation {
            return Err(ErrorCode::STALE_BROKER_EPOCH);
        }
        if replica.incarnation > follower.member.incarnation {
            *follower = Progress::new(now_ms, replica);
        }
        Ok(())
    }

    /// Counts a fetch that was [admitted](Self::admit) and whose log agrees with the leader's. Returns whether the
    /// follower's log starts elsewhere than it did.
    pub fn count(&mut self, replica: Member, fetch: CountedFetch) -> bool {
        assert!(
            fetch.end_offset <= fetch.leader_end_offset,
            "a follower that agrees with its leader ends at {} behind it at {}",
            fetch.end_offset,
            fetch.leader_end_offset
        );
        let Some(follower) = self.follower(replica.broker_id) else { return false };
        assert_eq!(follower.member, replica, "a fetch is counted for the incarnation that sent it");
        follower.fetched(fetch)
    }

    fn follower(&mut self, broker_id: i32) -> Option<&mut Progress> {
        self.followers.iter_mut().find(|follower| follower.member.broker_id == broker_id)
    }

    /// Up to where everything is on all members of the maximal ISR, given how far the leader's own log counts; `None`
    /// while they are not known, one of them was not heard of in this leader epoch and incarnation, or the committed ISR is
    /// too small for anything to be committed (rule 8). May be below the high watermark, which never falls.
    pub fn committed_end(&self, own_end: i64) -> Option<i64> {
        if !self.isr.committed().has_min() {
            return None;
        }
        let mut end = own_end;
        for member in self.isr.maximal()?.members().filter(|member| *member != self.me) {
            let follower = self.followers.iter().find(|follower| follower.member == member)?;
            end = end.min(follower.end_offset()?);
        }
        Some(end)
    }

    /// The smallest log start offset of this leader, whose own is given, and of all other replicas on brokers that live; -1
    /// while one of those was not heard of in this leader epoch and incarnation (KIP-107).
    pub fn low_watermark(&self, own_start: i64, lives: impl Fn(i32) -> bool) -> i64 {
        let others = self.followers.iter().filter(|follower| lives(follower.member.broker_id));
        let starts = others.map(|follower| follower.log_start_offset().unwrap_or(-1));
        starts.fold(own_start, i64::min)
    }

    /// The ISR to propose now, if another one is wished for and no proposal is in flight. Whoever it adds belongs to the
    /// maximal ISR from here on.
    pub fn next_proposal(&mut self, at: &Standpoint) -> Option<Vec<Member>> {
        if self.followers.is_empty() || !self.isr.may_propose(at.now_ms) {
            return None;
        }
        let committed = self.isr.committed().members();
        if self.isr.must_void() {
            let old = committed.to_vec();
            return Some(self.isr.propose(at.now_ms, old));
        }
        if !self.wishes_a_change(at) {
            if !self.isr.has_additions() {
                return None;
            }
            // Those who were to be added do not qualify any more, or are not known any more, and hold the high watermark
            // back until it is sure that they never will have been.
            let old = committed.to_vec();
            return Some(self.isr.propose(at.now_ms, old));
        }
        let wished = self.wished(at);
        Some(self.isr.propose(at.now_ms, wished))
    }

    fn wishes_a_change(&self, at: &Standpoint) -> bool {
        let committed = self.isr.committed();
        committed.members().iter().any(|member| !self.stays(*member, at))
            || self.followers.iter().any(|follower| self.joins(follower, at))
    }

    fn wished(&self, at: &Standpoint) -> Vec<Member> {
        let stays = self.isr.committed().members().iter().copied().filter(|member| self.stays(*member, at));
        let mut joins: Vec<_> = self.followers.iter().filter(|follower| self.joins(follower, at)).collect();
        // A proposal is refused for any one of its members: who was refused is proposed by itself, and keeps nobody out.
        if let Some(least) = joins.iter().map(|follower| follower.refusals()).min() {
            joins.retain(|follower| follower.refusals() == least);
            joins.truncate(if least > 0 { 1 } else { joins.len() });
        }
        let mut wished: Vec<Member> = stays.collect();
        for follower in joins {
            // Its former life gives way: no broker is in an ISR twice.
            wished.retain(|member| member.broker_id != follower.member.broker_id);
            wished.push(follower.member);
        }
        wished
    }

    /// Whether a member of the ISR keeps up. One that came back in another incarnation has as long as others to catch up;
    /// the controller decides earlier what becomes of it (rule 17).
    fn stays(&self, member: Member, at: &Standpoint) -> bool {
        if member.broker_id == self.me.broker_id {
            return true;
        }
        let known = self.followers.iter().find(|known| known.member.broker_id == member.broker_id);
        known.is_some_and(|known| {
            if known.member == member {
                known.is_caught_up(at.now_ms, at.log_end_offset, at.lag_time_max_ms)
            } else {
                !known.is_overdue(at.now_ms, at.lag_time_max_ms)
            }
        })
    }

    /// Whether a follower outside of the ISR qualifies: it reached the high watermark and this epoch's start (rule 10).
    /// Without the latter it might lack records that were committed in an earlier epoch and that this leader, whose high
    /// watermark lags, does not know to be.
    fn joins(&self, follower: &Progress, at: &Standpoint) -> bool {
        let reached = at.high_watermark.max(self.epoch_start_offset);
        !self.isr.committed().contains(follower.member)
            && follower.may_join(at.now_ms, reached, at.lag_time_max_ms)
    }

    /// The proposal that carried `partition_epoch` was refused.
    pub fn isr_refused(&mut self, now_ms: i64, partition_epoch: i32, reason: IsrRefusal) {
        let added = self.isr.refused(now_ms, partition_epoch);
        if reason == IsrRefusal::Ineligible {
            for follower in self.followers.iter_mut().filter(|follower| added.contains(&follower.member)) {
                follower.refused(now_ms);
            }
        }
    }

    /// A new session with the controller begins.
    pub fn session_renewed(&mut self) {
        self.isr.session_renewed();
    }

    /// How far each follower is behind.
    pub fn lags(&self, now_ms: i64, log_end_offset: i64) -> Vec<FollowerLag> {
        let lags = self.followers.iter().map(|follower| FollowerLag {
            broker_id: follower.member.broker_id,
            records: (log_end_offset - follower.end_offset().unwrap_or(0)).max(0),
            ms: follower.lag_ms(now_ms, log_end_offset),
        });
        lags.collect()
    }
}
