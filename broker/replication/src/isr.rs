//! The in-sync replicas: those that the controller decided on, those that a leader has to reckon with, and the proposals
//! between the two (rules 8, 9, 10; KIP-497, `kafka.cluster.Partition`'s `PartitionState`).
//!
//! Committed and maximal ISR are different types, so that nobody acknowledges on a member that is only hoped for, nor
//! forgets one that may have been added already.

use taffrail_control::session::{Member, PartitionRecord};

/// How long a proposal may go unanswered before it is made again.
pub const PROPOSAL_PATIENCE_MS: i64 = 10_000;
/// How long a leader waits for a newer record after even its old ISR was refused.
pub const REFUSED_PATIENCE_MS: i64 = 1_000;

/// The ISR of the controller's record. Its size decides whether anything may be committed and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommittedIsr {
    members: Vec<Member>,
    min_isr: usize,
}

impl CommittedIsr {
    fn of(record: &PartitionRecord) -> Self {
        Self { members: record.isr.clone(), min_isr: usize::try_from(record.min_isr).unwrap_or(0) }
    }

    /// The members, as the record names them.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether there are as many as the record's `min_isr` asks for (rule 23). Counted as written (rule 22).
    pub fn has_min(&self) -> bool {
        self.members.len() >= self.min_isr
    }

    /// Whether this broker is in it in this incarnation.
    pub fn contains(&self, member: Member) -> bool {
        self.members.contains(&member)
    }
}

/// The committed ISR and everybody whose addition may have been decided without this leader having heard of it. The high
/// watermark waits for all of them.
#[derive(Debug, Clone, Copy)]
pub struct MaximalIsr<'a> {
    committed: &'a CommittedIsr,
    added: &'a [Member],
}

impl<'a> MaximalIsr<'a> {
    /// The members; one that was proposed may come twice.
    pub fn members(self) -> impl Iterator<Item = Member> + 'a {
        self.committed.members.iter().chain(self.added).copied()
    }
}

/// How far the one proposal in flight is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Proposing {
    /// None was made on the record that is held, or it is time to make it again.
    Idle,
    /// It was sent and not answered yet.
    InFlight { isr: Vec<Member>, since_ms: i64 },
    /// It was refused. Another copy may still reach another controller, so the old ISR is proposed next: the swap that takes
    /// it raises the partition epoch, and everything that was proposed before is void.
    Refused,
    /// The old ISR was refused too: a newer record exists and is on its way.
    AwaitingRecord { until_ms: i64 },
}

/// The ISR as a leader keeps it: the record's, and what it has proposed since.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Isr {
    committed: CommittedIsr,
    /// What every proposal made on the record carries.
    partition_epoch: i32,
    /// Everybody whose addition was proposed on this partition epoch, whatever became of the proposal. Only a record with a
    /// higher partition epoch empties it: then no swap of those proposals can succeed any more (rule 8).
    added: Vec<Member>,
    /// Others may have been proposed on this partition epoch too, by this broker before it gave the leadership up that it
    /// has again.
    others_added: bool,
    proposing: Proposing,
}

impl Isr {
    /// As the record has it.
    pub fn new(record: &PartitionRecord) -> Self {
        Self {
            committed: CommittedIsr::of(record),
            partition_epoch: record.partition_epoch,
            added: Vec::new(),
            others_added: false,
            proposing: Proposing::Idle,
        }
    }

    /// As the record has it, where this broker has led under the record's leader epoch before and does not know any more
    /// what it proposed.
    pub fn resumed(record: &PartitionRecord) -> Self {
        Self { others_added: true, ..Self::new(record) }
    }

    /// Takes the record over if it is newer than the one held; returns whether it is.
    pub fn take_record(&mut self, record: &PartitionRecord) -> bool {
        let newer = record.partition_epoch > self.partition_epoch;
        if newer {
            *self = Self::new(record);
        }
        newer
    }

    /// What was decided.
    pub fn committed(&self) -> &CommittedIsr {
        &self.committed
    }

    /// What may have been decided; `None` while that is not known.
    pub fn maximal(&self) -> Option<MaximalIsr<'_>> {
        let maximal = MaximalIsr { committed: &self.committed, added: &self.added };
        (!self.others_added).then_some(maximal)
    }

    /// The partition epoch of the record that is held.
    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// Whether a proposal may be made now.
    pub fn may_propose(&self, now_ms: i64) -> bool {
        match &self.proposing {
            Proposing::Idle | Proposing::Refused => true,
            Proposing::InFlight { since_ms, .. } => now_ms - since_ms >= PROPOSAL_PATIENCE_MS,
            Proposing::AwaitingRecord { until_ms } => now_ms >= *until_ms,
        }
    }

    /// Whether the old ISR has to be proposed before anything else, or instead of nothing: there are proposals to make void.
    pub fn must_void(&self) -> bool {
        self.proposing == Proposing::Refused
    }

    /// Whether additions were proposed that are not known to be decided or void.
    pub fn has_additions(&self) -> bool {
        self.others_added || !self.added.is_empty()
    }

    /// Notes that `isr` is proposed: from now on, whoever it adds holds the high watermark back.
    pub fn propose(&mut self, now_ms: i64, isr: Vec<Member>) -> Vec<Member> {
        assert!(self.may_propose(now_ms), "a second proposal would be in flight");
        for member in &isr {
            if !self.committed.contains(*member) && !self.added.contains(member) {
                self.added.push(*member);
            }
        }
        self.proposing = Proposing::InFlight { isr: isr.clone(), since_ms: now_ms };
        isr
    }

    /// The proposal that carried `partition_epoch` was refused. Returns the members whose addition that refused; refusals of
    /// older proposals say nothing.
    pub fn refused(&mut self, now_ms: i64, partition_epoch: i32) -> Vec<Member> {
        if partition_epoch != self.partition_epoch {
            return Vec::new();
        }
        let Proposing::InFlight { isr, .. } = &self.proposing else { return Vec::new() };
        let was_void = *isr == self.committed.members;
        let added = isr.iter().copied().filter(|member| !self.committed.contains(*member)).collect();
        self.proposing = if was_void {
            Proposing::AwaitingRecord { until_ms: now_ms + REFUSED_PATIENCE_MS }
        } else {
            Proposing::Refused
        };
        added
    }

    /// A new session with the controller begins: what was proposed in the old one may have been taken or lost, and is
    /// proposed again if it is still wished for. Not to be called when something was proposed in the new session already:
    /// refusals name no more than the partition epoch, so the second refusal of a proposal that was made twice would be
    /// taken for that of the old ISR.
    pub fn session_renewed(&mut self) {
        if matches!(self.proposing, Proposing::InFlight { .. } | Proposing::AwaitingRecord { .. }) {
            self.proposing = Proposing::Idle;
        }
    }
}
