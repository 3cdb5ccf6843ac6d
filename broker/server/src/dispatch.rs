//! From a frame to the handler of its API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use taffrail_protocol::header::RequestHeader;
use taffrail_protocol::{ApiKey, Reader};

use crate::broker::Broker;
use crate::call::Call;
use crate::handler;
use crate::net::connection::Service;
use crate::net::parked::{Answer, Waiter};
use crate::request::RequestContext;

/// The principal of everybody on a listener without authentication.
const ANONYMOUS: &str = "User:ANONYMOUS";

/// Handles the requests of one connection.
pub struct Dispatcher {
    broker: Arc<Broker>,
    principal: Arc<str>,
    listener: Arc<str>,
    address: SocketAddr,
    /// The last client id seen: it rarely changes on a connection, so it is kept rather than copied per request.
    client_id: Arc<str>,
}

impl Dispatcher {
    /// For a connection from `address` that came in on `listener`.
    pub fn new(broker: Arc<Broker>, listener: Arc<str>, address: SocketAddr) -> Self {
        Self { broker, principal: ANONYMOUS.into(), listener, address, client_id: "".into() }
    }

    fn call(&mut self, header: &RequestHeader<'_>, api: ApiKey, waiter: Waiter) -> Call {
        let client_id = header.client_id.as_deref().unwrap_or_default();
        if *self.client_id != *client_id {
            self.client_id = client_id.into();
        }
        Call {
            broker: Arc::clone(&self.broker),
            context: RequestContext {
                principal: Arc::clone(&self.principal),
                listener: Arc::clone(&self.listener),
                client_id: Arc::clone(&self.client_id),
                address: self.address,
                api_version: header.api_version,
                correlation_id: header.correlation_id,
            },
            api,
            waiter,
            started: Instant::now(),
        }
    }
}

impl Service for Dispatcher {
    fn handle(&mut self, frame: &mut [u8], waiter: Waiter) -> Answer {
        self.broker.metrics.bytes_in(frame.len());
        let mut reader = Reader::new(frame);
        let header = match RequestHeader::read(&mut reader) {
            Ok(header) => header,
            Err(error) => return Answer::Close(format!("the header of a request cannot be read: {error}")),
        };
        let body = reader.position();
        let version = header.api_version;
        let Some(api) = header.api() else {
            return Answer::Close(format!("there is no API with key {}", header.api_key));
        };
        let Some(served) = api.served() else {
            return Answer::Close(format!("the API {api} is not served"));
        };
        if !served.advertised.contains(version) {
            if api == ApiKey::ApiVersions {
                let call = self.call(&header, api, waiter);
                return handler::api_versions::unsupported_version(call);
            }
            return Answer::Close(format!(
                "{api} version {version} is not served, only {}",
                served.advertised
            ));
        }
        let call = self.call(&header, api, waiter);
        drop(header);
        route(call, frame, body)
    }
}

/// Hands the request to the handler of its API. Only APIs that are served get here.
fn route(call: Call, frame: &mut [u8], body: usize) -> Answer {
    if call.api == ApiKey::Produce {
        return handler::produce::handle(call, frame, body);
    }
    let body = &frame[body..];
    match call.api {
        ApiKey::Fetch => handler::fetch::handle(call, body),
        ApiKey::ListOffsets => handler::list_offsets::handle(call, body),
        ApiKey::Metadata => handler::metadata::handle(call, body),
        ApiKey::OffsetCommit => handler::offset_commit::handle(call, body),
        ApiKey::OffsetFetch => handler::offset_fetch::handle(call, body),
        ApiKey::FindCoordinator => handler::find_coordinator::handle(call, body),
        ApiKey::JoinGroup => handler::join_group::handle(call, body),
        ApiKey::Heartbeat => handler::heartbeat::handle(call, body),
        ApiKey::LeaveGroup => handler::leave_group::handle(call, body),
        ApiKey::SyncGroup => handler::sync_group::handle(call, body),
        ApiKey::DescribeGroups => handler::describe_groups::handle(call, body),
        ApiKey::ListGroups => handler::list_groups::handle(call, body),
        ApiKey::ApiVersions => handler::api_versions::handle(call, body),
        ApiKey::CreateTopics => handler::create_topics::handle(call, body),
        ApiKey::DeleteTopics => handler::delete_topics::handle(call, body),
        ApiKey::InitProducerId => handler::init_producer_id::handle(call, body),
        ApiKey::DescribeConfigs => handler::describe_configs::handle(call, body),
        ApiKey::CreatePartitions => handler::create_partitions::handle(call, body),
        ApiKey::DeleteGroups => handler::delete_groups::handle(call, body),
        ApiKey::DescribeCluster => handler::describe_cluster::handle(call, body),
        ApiKey::DescribeTopicPartitions => handler::describe_topic_partitions::handle(call, body),
        api => Answer::Close(format!("the API {api} is advertised and has no handler")),
    }
}
