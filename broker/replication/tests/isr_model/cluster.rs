//! The controller's half: the stored record, the registrations, and the shipped decisions on them.

use taffrail_control::session::{IsrProposal, IsrRefusal, PartitionRecord};
use taffrail_controller::model::{BrokerState, ClusterState, Member, Other, PartitionState};
use taffrail_controller::{View, mend, take_isr};
use taffrail_protocol::Uuid;

/// A broker as it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Registered {
    pub incarnation: u64,
    pub since: u64,
    pub last: Option<u64>,
    pub fenced: bool,
}

impl Registered {
    pub const FIRST: Self = Self { incarnation: 1, since: 1, last: None, fenced: false };

    /// The next life of the broker; `kept` says whether its disk lost nothing (rule 16).
    pub fn again(self, kept: bool) -> Self {
        let incarnation = self.incarnation + 1;
        let since = if kept { self.since } else { incarnation };
        Self { incarnation, since, last: kept.then_some(self.incarnation), fenced: false }
    }
}

/// The record as the store has it.
pub fn stored(record: &PartitionRecord) -> PartitionState {
    let members =
        |members: &[taffrail_control::session::Member]| members.iter().copied().map(Member::from).collect();
    PartitionState {
        partition: record.partition,
        replicas: record.replicas.clone(),
        leader: record.leader.map(Member::from),
        leader_epoch: record.leader_epoch,
        partition_epoch: record.partition_epoch,
        isr: members(&record.isr),
        elr: members(&record.elr),
        min_isr: record.min_isr,
        adding: record.adding.clone(),
        removing: record.removing.clone(),
        unclean_epoch: record.unclean_epoch,
        other: Other::new(),
    }
}

/// The record as it is published.
fn published(state: PartitionState) -> PartitionRecord {
    state.published(Uuid::ZERO, 1)
}

fn registrations(brokers: &[Registered]) -> ClusterState {
    let broker = |(id, registered): (i32, &Registered)| BrokerState {
        broker_id: id,
        incarnation: registered.incarnation,
        process_id: Uuid::ZERO,
        endpoints: Vec::new(),
        rack: None,
        log_dirs: Vec::new(),
        peer_address: None,
        fenced: registered.fenced,
        since: registered.since,
        last: registered.last,
        skipped: false,
        other: Other::new(),
    };
    ClusterState { brokers: (0..).zip(brokers).map(broker).collect(), ..ClusterState::default() }
}

/// The record as it ought to be with these brokers, if it is not.
pub fn mended(record: &PartitionRecord, brokers: &[Registered]) -> Option<PartitionRecord> {
    mend(&stored(record), &View::of(&registrations(brokers))).map(published)
}

/// What a proposal makes of the record.
pub fn decided(
    record: &PartitionRecord,
    proposal: &IsrProposal,
    sender: taffrail_control::session::Member,
    brokers: &[Registered],
) -> Result<PartitionRecord, IsrRefusal> {
    take_isr(&stored(record), sender.into(), proposal, &View::of(&registrations(brokers))).map(published)
}
