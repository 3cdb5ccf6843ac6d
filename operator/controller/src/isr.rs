//! In-sync replicas as leaders propose them (rules 10, 22).

use taffrail_control::session::{FromController, IsrProposal, IsrRefusal, RefusedIsr};

use crate::controller::Controller;
use crate::election::{View, elr_beside, in_order, kept};
use crate::message::{Output, SessionId};
use crate::model::{Member, ObjectKey, PartitionState};
use crate::partitions::PartitionIntent;

/// Proposals that may wait for one slice's next write. As a leader has one in flight per partition, more are copies.
const PROPOSALS_PER_SLICE: usize = 4_096;

/// The record with the ISR that `sender` proposes. One that is equal to the present raises the partition epoch all the
/// same: it makes sure that an earlier one is void (rule 10).
///
/// # Errors
/// Why the proposal is not taken.
pub fn take(
    record: &PartitionState,
    sender: Member,
    proposal: &IsrProposal,
    view: &View<'_>,
) -> Result<PartitionState, IsrRefusal> {
    if record.leader != Some(sender) {
        return Err(IsrRefusal::NotLeader);
    }
    if (proposal.leader_epoch, proposal.partition_epoch) != (record.leader_epoch, record.partition_epoch) {
        return Err(IsrRefusal::StaleEpoch);
    }
    let isr: Vec<Member> = proposal.isr.iter().copied().map(Member::from).collect();
    let once = |member: &Member| isr.iter().filter(|m| m.broker_id == member.broker_id).count() == 1;
    let may_be_in = |member: &Member| {
        let may_join = || record.replicas.contains(&member.broker_id) && view.is_fit(*member);
        record.isr.contains(member) || may_join()
    };
    if !isr.contains(&sender) || !isr.iter().all(|member| once(member) && may_be_in(member)) {
        return Err(IsrRefusal::Ineligible);
    }
    let mut outside = kept(record, &record.isr, view);
    outside.extend(kept(record, &record.elr, view));
    let isr = in_order(record, isr);
    let elr = elr_beside(record, &isr, outside);
    Ok(record.next(|next| (next.isr, next.elr) = (isr, elr)))
}

impl Controller {
    pub(crate) fn on_propose_isr(
        &mut self,
        session: SessionId,
        incarnation: u64,
        proposals: Vec<IsrProposal>,
    ) {
        let Some(sender) = self.speaker(session, incarnation) else { return };
        for proposal in proposals {
            let Some(slice) = self.home_of(proposal.topic_id, proposal.partition) else {
                self.refuse_isr(session, &proposal, IsrRefusal::UnknownPartition);
                continue;
            };
            self.reread_if_behind(slice, &proposal);
            let full =
                self.partitions.get(&slice).is_some_and(|cell| cell.waiting().len() >= PROPOSALS_PER_SLICE);
            if full {
                self.refuse_isr(session, &proposal, IsrRefusal::StaleEpoch);
            } else {
                self.begin_to_coalesce(slice);
                self.enqueue_partitions(slice, PartitionIntent::Propose { session, sender, proposal });
            }
        }
    }

    /// A leader that proposes on a newer record than this controller's has it from another one (rule 25): the slice is read
    /// again first, or the proposal would be refused until something else made this controller look.
    fn reread_if_behind(&mut self, slice: u32, proposal: &IsrProposal) {
        let entry = self.entry(proposal.topic_id).map(|(_, entry)| entry);
        let record = entry.and_then(|entry| self.record(entry, proposal.partition));
        let told = (proposal.leader_epoch, proposal.partition_epoch);
        let behind = record.is_some_and(|record| (record.leader_epoch, record.partition_epoch) < told);
        if behind && let Some(cell) = self.partitions.get_mut(&slice) {
            cell.reread();
            self.ready.insert(ObjectKey::Partitions(slice));
        }
    }

    /// Told after the next update, which may show why.
    pub(crate) fn refuse_isr(&mut self, session: SessionId, proposal: &IsrProposal, reason: IsrRefusal) {
        let IsrProposal { topic_id, partition, partition_epoch, .. } = *proposal;
        let refused = RefusedIsr { topic_id, partition, partition_epoch, reason };
        self.refused_isrs.entry(session).or_default().push(refused);
    }

    pub(crate) fn tell_refused_isrs(&mut self) {
        for (session, refused) in std::mem::take(&mut self.refused_isrs) {
            if self.sessions.contains_key(&session) {
                let message = FromController::IsrRefused { refused };
                self.outputs.push(Output::Send { session, message });
            }
        }
    }
}
