//! Lies told to the shipped types, each a breakage of the protocol that the checks must find out.
//!
//! The types themselves are as they ship: what goes into them or comes out of them is bent on the way.

use std::collections::BTreeSet;

use clap::ValueEnum;
use taffrail_control::session::{
    ClusterUpdate, IsrProposal, Member, PartitionRecord, SliceDigest, TopicRecord,
};
use taffrail_control::slices::topic_slice;
use taffrail_log::EpochEntry;
use taffrail_protocol::Uuid;
use taffrail_replication::replica_fetch::ReplicaFetch;

use crate::broker::Serving;
use crate::broker::fetching::Answer;
use crate::checks::Tp;
use crate::scenario::{Promise, Scenario};

/// A breakage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mutation {
    /// A leader commits without its in-sync replicas (rule 8).
    CommitAlone,
    /// A leader commits while the ISR is smaller than `min_isr` (rule 8).
    CommitBelowMinIsr,
    /// A broker that lost records keeps its place in the ISR (rules 16, 17).
    ClaimEverything,
    /// A follower truncates to its high watermark instead of where the logs part (rule 13).
    TruncateToHighWatermark,
    /// A leader does not tell where the logs part (rule 13).
    HideDivergence,
    /// A leader takes fetches of any epoch for its own (rule 20).
    AcceptStaleEpoch,
    /// A process that starts again passes for the one before it, whatever its disk has lost (rules 3, 15, 16).
    IgnoreIncarnation,
    /// A producer is told before the high watermark has passed its batch (rule 9).
    AcknowledgeEarly,
    /// A follower acknowledges what it has not got (rule 8).
    AcknowledgeUnseen,
    /// Consumers are shown what is not committed (rule 19).
    ShowUncommitted,
    /// A leader tells its log's end as the high watermark (rule 14).
    TellEndAsHighWatermark,
    /// A leader proposes everybody as in-sync (rule 10).
    ProposeEverybody,
    /// Every member of the ISR takes itself for the leader (rule 7).
    LeadUnasked,
    /// What was acted on is forgotten at each start (rule 31).
    ForgetEpochs,
    /// Nothing is flushed before it counts, though it was promised (rule 26).
    CountUnflushed,
    /// A leader deletes what is not committed (KIP-107).
    DeleteUncommitted,
    /// A cleaner lets records go for others that are not committed.
    CompactUncommitted,
    /// Whatever a broker holds when it opens a session is taken for what there is.
    LeaveOutEverything,
}

impl Mutation {
    /// Has a scenario break what the mutation is about.
    pub fn bend_scenario(self, scenario: &mut Scenario) {
        match self {
            Self::ClaimEverything | Self::IgnoreIncarnation => {
                scenario.promise = Promise::OneDisk;
                (scenario.min_isr, scenario.replication_factor) = (2, 3);
                scenario.flush_messages = i64::MAX;
            }
            Self::CountUnflushed => {
                scenario.promise = Promise::Flushed;
                scenario.flush_messages = i64::MAX;
            }
            Self::DeleteUncommitted => (scenario.deletes, scenario.compacts) = (true, false),
            Self::CompactUncommitted => {
                (scenario.deletes, scenario.compacts) = (false, true);
                (scenario.retention_ms, scenario.retention_bytes, scenario.segment_bytes) = (-1, -1, 300);
            }
            _ => {}
        }
    }

    /// Bends a snapshot on its way from the controller, to a broker that registered with `held`.
    pub fn bend_snapshot(self, snapshot: &mut ClusterUpdate, held: &[SliceDigest]) {
        if self == Self::LeaveOutEverything {
            snapshot.unchanged_slices = held.iter().map(|held| held.slice).collect();
            let unchanged = &snapshot.unchanged_slices;
            let left_out = |topic: &TopicRecord| unchanged.contains(&topic_slice(&topic.name));
            let left_out: BTreeSet<Uuid> =
                snapshot.topics.iter().filter(|topic| left_out(topic)).map(|topic| topic.topic_id).collect();
            snapshot.topics.retain(|topic| !left_out.contains(&topic.topic_id));
            snapshot.partitions.retain(|record| !left_out.contains(&record.topic_id));
        }
    }

    /// Bends a record on its way from the controller.
    pub fn bend_record(self, record: &mut PartitionRecord, me: Member) {
        match self {
            Self::CommitAlone if record.leader == Some(me) => {
                record.isr.retain(|member| *member == me);
                record.min_isr = 1;
            }
            Self::CommitBelowMinIsr => record.min_isr = 1,
            Self::LeadUnasked if record.isr.contains(&me) => record.leader = Some(me),
            _ => {}
        }
    }

    /// Bends a follower's fetch on its way to the leader.
    pub fn bend_replica_fetch(self, fetch: &mut ReplicaFetch, leader: &Serving, tp: Tp) {
        let Some(led) = leader.replicas.get(&tp) else { return };
        match self {
            Self::AcceptStaleEpoch => {
                fetch.current_leader_epoch = led.partition.record().leader_epoch;
                fetch.last_fetched_epoch = -1;
                fetch.fetch_offset = fetch.fetch_offset.min(led.partition.log().log_end_offset());
            }
            Self::HideDivergence if fetch.fetch_offset <= led.partition.log().log_end_offset() => {
                fetch.last_fetched_epoch = -1;
            }
            _ => {}
        }
    }

    /// Bends a leader's answer on its way to the follower.
    pub fn bend_answer(self, answer: &mut Answer, leader: &Serving, tp: Tp) {
        match self {
            Self::TellEndAsHighWatermark => {
                if let Some(led) = leader.replicas.get(&tp) {
                    answer.high_watermark = led.partition.log().log_end_offset();
                }
            }
            Self::TruncateToHighWatermark => {
                if let Some(diverging) = &mut answer.diverging {
                    *diverging = EpochEntry {
                        epoch: answer.asked.last_fetched_epoch,
                        start_offset: answer.high_watermark.min(answer.asked.fetch_offset - 1).max(0),
                    };
                }
            }
            _ => {}
        }
    }

    /// Bends a proposal on its way to the controller.
    pub fn bend_proposal(self, proposal: &mut IsrProposal, leader: &Serving) {
        if self == Self::ProposeEverybody {
            let tp = (proposal.topic_id, proposal.partition);
            let replicas = leader.records.get(&tp).map(|record| record.replicas.clone()).unwrap_or_default();
            let members = replicas.iter().filter_map(|id| {
                let broker = leader.brokers.get(id).filter(|broker| !broker.fenced)?;
                Some(Member { broker_id: *id, incarnation: broker.incarnation })
            });
            proposal.isr = members.collect();
        }
    }
}
