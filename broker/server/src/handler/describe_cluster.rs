//! DescribeCluster (key 60): the brokers and where to reach them (KIP-700, KIP-919, KIP-1073).

use taffrail_protocol::ErrorCode;
use taffrail_protocol::messages::describe_cluster::DescribeClusterBroker;
use taffrail_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use crate::call::Call;
use crate::cluster_view::ClusterView;
use crate::net::parked::Answer;
use crate::request::{
    OPERATIONS_NOT_ASKED, Operation, Resource, authorize, authorized_operations, throttle_time_ms,
};

/// `EndpointType.BROKER`.
const BROKERS: i8 = 1;
/// `EndpointType.CONTROLLER`.
const CONTROLLERS: i8 = 2;

/// Handles a request for the cluster's description.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: DescribeClusterRequest = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let message = "this is a broker's endpoint; it cannot describe the controllers";
            return refuse(&call, ErrorCode::MISMATCHED_ENDPOINT_TYPE, message.to_owned());
        }
        other => {
            let message = format!("there is no endpoint type {other}, only brokers (1) and controllers (2)");
            return refuse(&call, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, message);
        }
    }
    let (broker, context) = (&call.broker, &call.context);
    let view = ClusterView::new(&broker.cluster, &context.listener);
    let nodes = view.nodes().filter(|node| !node.fenced || request.include_fenced_brokers);
    let brokers: Vec<_> = nodes
        .map(|node| DescribeClusterBroker {
            broker_id: node.id,
            host: node.host.into(),
            port: node.port,
            rack: node.rack.map(Into::into),
            is_fenced: node.fenced,
        })
        .collect();
    let operations = if !request.include_cluster_authorized_operations {
        OPERATIONS_NOT_ASKED
    } else if authorize(context, Operation::Describe, Resource::Cluster) {
        authorized_operations(context, Resource::Cluster)
    } else {
        0
    };
    call.answer(&DescribeClusterResponse {
        throttle_time_ms: throttle_time_ms(context),
        endpoint_type: BROKERS,
        cluster_id: (&*broker.cluster.id).into(),
        // Every broker forwards what only the controller can decide.
        controller_id: broker.id,
        brokers,
        cluster_authorized_operations: operations,
        ..DescribeClusterResponse::default()
    })
}

fn refuse(call: &Call, error_code: ErrorCode, message: String) -> Answer {
    call.note_error(error_code);
    call.answer(&DescribeClusterResponse {
        throttle_time_ms: throttle_time_ms(&call.context),
        error_code,
        error_message: Some(message.into()),
        ..DescribeClusterResponse::default()
    })
}
