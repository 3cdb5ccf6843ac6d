//! Who leads instead, told along with the error (KIP-951): a client that asked the wrong broker need not ask for metadata
//! before it goes to the right one.

use taffrail_protocol::ErrorCode;

use crate::call::Call;
use crate::cluster::PartitionKey;
use crate::cluster_view::{ClusterView, Leader, Node};

/// The leaders that one answer names.
#[derive(Default)]
pub struct LeaderHints {
    named: Vec<i32>,
}

impl LeaderHints {
    /// The leader and its epoch, to be put beside `error`; `None` where that does not help.
    pub fn hint(
        &mut self,
        call: &Call,
        error: ErrorCode,
        partition: Option<PartitionKey>,
    ) -> Option<(i32, i32)> {
        if !matches!(error, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH) {
            return None;
        }
        let (topic_id, number) = partition?;
        // As it is known now: the request may have waited while the leader changed.
        let topic = call.broker.cluster.topic_by_id(topic_id)?;
        let record = &topic.partition(number)?.record;
        match ClusterView::new(&call.broker.cluster, &call.context.listener).leader(record) {
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
    pub fn endpoints<E>(&self, call: &Call, make: impl Fn(Node<'_>) -> E) -> Vec<E> {
        if self.named.is_empty() {
            return Vec::new();
        }
        let view = ClusterView::new(&call.broker.cluster, &call.context.listener);
        self.named.iter().filter_map(|id| view.live_node(*id)).map(make).collect()
    }
}
