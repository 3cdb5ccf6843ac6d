//! From a frame to the handler of its API.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use taffrail_protocol::header::RequestHeader;
use taffrail_protocol::{ApiKey, Reader};

use crate::broker::Broker;
use crate::call::Call;
use crate::handler;
use crate::net::connection::Service;
use crate::net::parked::{Answer, Waiter};
use crate::peer::Authentication;
use crate::request::RequestContext;

/// Handles the requests of one connection.
pub struct Dispatcher {
    broker: Arc<Broker>,
    authentication: Authentication,
    listener: Arc<str>,
    address: SocketAddr,
    /// The last client id seen: it rarely changes on a connection, so it is kept rather than copied per request.
    client_id: Arc<str>,
}

impl Dispatcher {
    /// For a connection from `address` that came in on `listener`.
    pub fn new(broker: Arc<Broker>, listener: Arc<str>, address: SocketAddr) -> Self {
        Self { broker, authentication: Authentication::None, listener, address, client_id: "".into() }
    }

    fn call(&mut self, header: &RequestHeader<'_>, api: ApiKey, waiter: Waiter) -> Call {
        let client_id = header.client_id.as_deref().unwrap_or_default();
        if *self.client_id != *client_id {
            self.client_id = client_id.into();
        }
        Call {
            broker: Arc::clone(&self.broker),
            context: RequestContext {
                principal: self.authentication.principal(),
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
    fn handle(&mut self, frame: &mut [u8], waiter: Waiter, socket: BorrowedFd<'_>) -> Answer {
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
        let Some(spoken) = api.spoken() else {
            return Answer::Close(format!("the API {api} is not served"));
        };
        if !spoken.advertised.contains(version) {
            if api == ApiKey::ApiVersions {
                let call = self.call(&header, api, waiter);
                return handler::api_versions::unsupported_version(call);
            }
            return Answer::Close(format!(
                "{api} version {version} is not served, only {}",
                spoken.advertised
            ));
        }
        let call = self.call(&header, api, waiter);
        drop(header);
        match api {
            // What these find out holds for the requests that follow.
            ApiKey::SaslHandshake => {
                handler::sasl_handshake::handle(call, &frame[body..], &mut self.authentication)
            }
            ApiKey::SaslAuthenticate => {
                handler::sasl_authenticate::handle(call, &frame[body..], &mut self.authentication, socket)
            }
            _ => route(call, frame, body),
        }
    }

    fn cannot_read(&mut self, file: BorrowedFd<'_>, error: &std::io::Error) {
        // Which file it is matters only now, so nobody carries its name along.
        match std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
            Ok(path) => {
                tracing::error!("{} cannot be read: {error}; the segment is checked", path.display());
                self.broker.errands.unreadable(path);
            }
            Err(unnamed) => tracing::error!("a segment cannot be read: {error} (nor be named: {unnamed})"),
        }
    }
}

macro_rules! handlers {
    ($($api:ident: $handler:ident;)*) => {
        /// The APIs that are served, in the order of their codes.
        pub const SERVED: &[ApiKey] = &[ApiKey::Produce, $(ApiKey::$api),*];

        /// Hands the request to the handler of its API.
        fn route(call: Call, frame: &mut [u8], body: usize) -> Answer {
            match call.api {
                // Offsets and timestamps are put into the batches where they came in.
                ApiKey::Produce => handler::produce::handle(call, frame, body),
                $(ApiKey::$api => handler::$handler::handle(call, &frame[body..]),)*
                api => Answer::Close(format!("the API {api} is not served")),
            }
        }
    };
}

handlers! {
    Fetch: fetch;
    ListOffsets: list_offsets;
    Metadata: metadata;
    OffsetCommit: offset_commit;
    OffsetFetch: offset_fetch;
    FindCoordinator: find_coordinator;
    JoinGroup: join_group;
    Heartbeat: heartbeat;
    LeaveGroup: leave_group;
    SyncGroup: sync_group;
    DescribeGroups: describe_groups;
    ListGroups: list_groups;
    ApiVersions: api_versions;
    CreateTopics: create_topics;
    DeleteTopics: delete_topics;
    DeleteRecords: delete_records;
    InitProducerId: init_producer_id;
    OffsetForLeaderEpoch: offset_for_leader_epoch;
    DescribeConfigs: describe_configs;
    AlterConfigs: alter_configs;
    AlterReplicaLogDirs: alter_replica_log_dirs;
    DescribeLogDirs: describe_log_dirs;
    CreatePartitions: create_partitions;
    DeleteGroups: delete_groups;
    ElectLeaders: elect_leaders;
    IncrementalAlterConfigs: incremental_alter_configs;
    AlterPartitionReassignments: alter_partition_reassignments;
    ListPartitionReassignments: list_partition_reassignments;
    DescribeQuorum: describe_quorum;
    DescribeCluster: describe_cluster;
    UnregisterBroker: unregister_broker;
    DescribeTopicPartitions: describe_topic_partitions;
}
