//! Who leads instead, told along with the error (KIP-951): a client that asked the wrong broker need not ask for metadata
//! before it goes to the right one.

use taffrail_protocol::ErrorCode;

use crate::call::Call;
use crate::cluster::PartitionKey;
use crate::cluster_view::{ClusterView, Leader, Node};

/// The leaders that one answer names.
pub struct LeaderHints<'a> {
    call: &'a Call,
    /// Made for the first partition that needs it: most answers name nobody.
    view: Option<ClusterView<'a>>,
    named: Vec<i32>,
}

impl<'a> LeaderHints<'a> {
    /// For an answer to `call` that is being written.
    pub fn new(call: &'a Call) -> Self {
        Self { call, view: None, named: Vec::new() }
    }

    /// The leader and its epoch, to be put beside `error`; `None` where that does not help.
    pub fn hint(&mut self, error: ErrorCode, partition: Option<PartitionKey>) -> Option<(i32, i32)> {
        if !matches!(error, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH) {
            return None;
        }
        let (topic_id, number) = partition?;
        // As it is known now: the request may have waited while the leader changed.
        let (cluster, listener) = (&self.call.broker.cluster, &self.call.context.listener);
        let topic = cluster.topic_by_id(topic_id)?;
        let record = &topic.partition(number)?.record;
        match self.view.get_or_insert_with(|| ClusterView::new(cluster, listener)).leader(record) {
            Leader::Broker(id) => {
                if !self.named.contains(&id) {
                    self.named.push(id);
                }
                Some((id, record.leader_epoch))
            }
            Leader::None | Leader::WithoutListener => None,
        }
    }

    /// Where the leaders that were named are reached, as `make` writes it.
    pub fn endpoints<E>(&self, make: impl Fn(Node<'_>) -> E) -> Vec<E> {
        let Some(view) = &self.view else { return Vec::new() };
        self.named.iter().filter_map(|id| view.live_node(*id)).map(make).collect()
    }
}
