//! DescribeQuorum (key 55): who keeps the cluster's metadata (KIP-595).
//!
//! There is no quorum of brokers here and no metadata log: the controller alone decides, and what it remembers by is its
//! store. It is described as a quorum of one, under the id by which the other answers name the controller, with a log in
//! which nobody lags. Kafka's tools show that as it is meant: one voter, the brokers as observers.

use std::borrow::Cow;

use taffrail_protocol::messages::describe_quorum::{
    DescribedTopic, Listener, Node, PartitionData, ReplicaState, TopicData,
};
use taffrail_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use taffrail_protocol::{ErrorCode, Uuid};

use crate::call::Call;
use crate::cluster_view::ClusterView;
use crate::net::parked::Answer;
use crate::request::{Operation, Resource, authorize};

/// Kafka's metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Versions from this one on tell where the controllers are.
const NODES_FROM: i16 = 2;

/// Handles a question for the quorum.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DescribeQuorumRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    if !authorize(&call.context, Operation::Describe, Resource::Cluster) {
        call.note_error(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        return call.answer(&DescribeQuorumResponse {
            error_code: ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            error_message: Some("not authorized to see the cluster".into()),
            ..DescribeQuorumResponse::default()
        });
    }
    let view = ClusterView::new(&call.broker.cluster, &call.context.listener);
    let controller = call.broker.id;
    let observers: Vec<i32> = view.nodes().map(|node| node.id).filter(|id| *id != controller).collect();
    let topics = request.topics.iter().map(|topic| described(topic, controller, &observers)).collect();
    let tells = call.version() >= NODES_FROM;
    let reachable = view.nodes().filter(|node| tells && node.id == controller);
    let nodes = reachable.map(|node| Node {
        node_id: node.id,
        listeners: vec![Listener {
            name: Cow::Borrowed(&*call.context.listener),
            host: Cow::Borrowed(node.host),
            port: u16::try_from(node.port).unwrap_or(0),
        }],
    });
    let nodes = nodes.collect();
    call.answer(&DescribeQuorumResponse { error_code: ErrorCode::NONE, error_message: None, topics, nodes })
}

fn described<'a>(topic: &'a DescribedTopic<'_>, controller: i32, observers: &[i32]) -> TopicData<'a> {
    let partition = |partition_index| {
        if topic.topic_name != METADATA_TOPIC || partition_index != 0 {
            return PartitionData {
                partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                error_message: Some("only partition 0 of __cluster_metadata has a quorum".into()),
                ..PartitionData::default()
            };
        }
        PartitionData {
            partition_index,
            error_code: ErrorCode::NONE,
            error_message: None,
            leader_id: controller,
            leader_epoch: 0,
            high_watermark: 0,
            current_voters: vec![state(controller)],
            observers: observers.iter().copied().map(state).collect(),
        }
    };
    TopicData {
        topic_name: Cow::Borrowed(&*topic.topic_name),
        partitions: topic.partitions.iter().map(|asked| partition(asked.partition_index)).collect(),
    }
}

fn state(replica_id: i32) -> ReplicaState {
    ReplicaState {
        replica_id,
        replica_directory_id: Uuid::ZERO,
        log_end_offset: 0,
        last_fetch_timestamp: -1,
        last_caught_up_timestamp: -1,
    }
}
