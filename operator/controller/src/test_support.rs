//! What the tests of several modules share.

use taffrail_protocol::Uuid;

use crate::model::{BrokerState, ClusterState, Other, TopicEntry};

/// Brokers 1..=n, unfenced, each with its id as incarnation.
pub(crate) fn cluster_of(n: i32) -> ClusterState {
    let broker = |id: i32| BrokerState {
        broker_id: id,
        incarnation: id as u64,
        process_id: Uuid([id as u8; 16]),
        endpoints: Vec::new(),
        rack: None,
        log_dirs: Vec::new(),
        peer_address: None,
        fenced: false,
        since: id as u64,
        last: None,
        skipped: false,
        other: Other::new(),
    };
    ClusterState {
        cluster_id: "test".into(),
        brokers: (1..=n).map(broker).collect(),
        ..ClusterState::default()
    }
}

/// A topic with this configuration.
pub(crate) fn entry_of(config: &[(&str, &str)]) -> TopicEntry {
    TopicEntry {
        topic_id: Uuid([1; 16]),
        creation: 1,
        partition_count: 1,
        config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        deleting_since_ms: None,
        pieces: Vec::new(),
        wish: None,
        other: Other::new(),
    }
}
