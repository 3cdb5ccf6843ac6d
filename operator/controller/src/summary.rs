//! The cluster in numbers, for the people who run it.

use crate::controller::Controller;

/// The cluster in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Registered brokers.
    pub brokers: usize,
    /// Those of them that are fenced.
    pub fenced_brokers: usize,
    /// Brokers in session with this controller.
    pub sessions: usize,
    /// Topics.
    pub topics: usize,
    /// Partitions of all topics.
    pub partitions: usize,
    /// Partitions without a leader.
    pub offline_partitions: usize,
    /// Partitions whose ISR is smaller than the number of their replicas, those that are being added left out.
    pub under_replicated_partitions: usize,
    /// Partitions whose ISR is smaller than they need it.
    pub under_min_isr_partitions: usize,
}

impl Controller {
    /// The cluster as it is committed. Looks at every partition.
    pub fn summary(&self) -> Summary {
        let brokers = &self.cluster.committed().brokers;
        let mut summary = Summary {
            brokers: brokers.len(),
            fenced_brokers: brokers.iter().filter(|broker| broker.fenced).count(),
            sessions: self.sessions.values().filter(|session| session.broker.is_some()).count(),
            topics: self.names.len(),
            ..Summary::default()
        };
        let topics = self.partitions.values().flat_map(|cell| &cell.committed().topics);
        for record in topics.flat_map(|topic| &topic.partitions) {
            summary.partitions += 1;
            summary.offline_partitions += usize::from(record.leader.is_none());
            let wanted = record.replicas.len().saturating_sub(record.adding.len());
            summary.under_replicated_partitions += usize::from(record.isr.len() < wanted);
            let missed = i64::try_from(record.isr.len()).is_ok_and(|size| size < i64::from(record.min_isr));
            summary.under_min_isr_partitions += usize::from(missed);
        }
        summary
    }
}
