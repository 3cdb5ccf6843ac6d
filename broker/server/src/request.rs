//! What is known about a request besides its body, and the two questions every handler asks before it acts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::peer::Peer;

/// Who sends the requests of a connection.
#[derive(Debug, Clone)]
pub enum Principal {
    /// Whoever did not prove who they are: `User:ANONYMOUS`.
    Anonymous,
    /// Another broker of the cluster.
    Peer(Arc<Peer>),
}

/// Who asks, from where and by which version of an API.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Who asks.
    pub principal: Principal,
    /// The name of the listener the connection came in on.
    pub listener: Arc<str>,
    /// What the client calls itself.
    pub client_id: Arc<str>,
    /// The client's address.
    pub address: SocketAddr,
    /// The version of the API that the request is in.
    pub api_version: i16,
    /// Comes back in the answer.
    pub correlation_id: i32,
}

/// What a request wants to do (`org.apache.kafka.common.acl.AclOperation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Consume records or offsets.
    Read,
    /// Produce records.
    Write,
    /// Make topics or partitions.
    Create,
    /// Delete topics or groups.
    Delete,
    /// Change partitions.
    Alter,
    /// See that something exists, and its state.
    Describe,
    /// Act as a broker of the cluster.
    ClusterAction,
    /// See configuration.
    DescribeConfigs,
    /// Change configuration.
    AlterConfigs,
    /// Produce with a producer id.
    IdempotentWrite,
}

impl Operation {
    /// Its place in a bit field of operations: the codes of `AclOperation`.
    const fn bit(self) -> i32 {
        let code = match self {
            Self::Read => 3,
            Self::Write => 4,
            Self::Create => 5,
            Self::Delete => 6,
            Self::Alter => 7,
            Self::Describe => 8,
            Self::ClusterAction => 9,
            Self::DescribeConfigs => 10,
            Self::AlterConfigs => 11,
            Self::IdempotentWrite => 12,
        };
        1 << code
    }
}

/// What a request wants to do it to (`org.apache.kafka.common.resource.ResourceType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The cluster as a whole.
    Cluster,
    /// The topic of this name.
    Topic(&'a str),
    /// The consumer group of this name.
    Group(&'a str),
}

/// Whether the principal may do it. Without configured authorization everybody may do everything.
pub fn authorize(_context: &RequestContext, _operation: Operation, _resource: Resource<'_>) -> bool {
    true
}

/// How long the client shall pause for what the request moved (`throttle_time_ms`). Without quotas: not at all.
pub fn throttle(_context: &RequestContext, _bytes: u64) -> Duration {
    Duration::ZERO
}

/// As [`throttle`] for a request that moves no records, in the whole milliseconds of the answer's field.
pub fn throttle_time_ms(context: &RequestContext) -> i32 {
    i32::try_from(throttle(context, 0).as_millis()).unwrap_or(i32::MAX)
}

/// Stands in the answer where the client did not ask for its operations.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// What the principal may do to the resource, as the bit field of KIP-430: of the operations that there are for this
/// kind of resource (`AclEntry.supportedOperations`), those that [`authorize`] allows.
pub fn authorized_operations(context: &RequestContext, resource: Resource<'_>) -> i32 {
    use Operation::{
        Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs, IdempotentWrite, Read,
        Write,
    };
    let operations: &[Operation] = match resource {
        Resource::Cluster => {
            &[Create, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, Alter, Describe]
        }
        Resource::Topic(_) => &[Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs],
        Resource::Group(_) => &[Read, Describe, Delete, DescribeConfigs, AlterConfigs],
    };
    let allowed = operations.iter().filter(|operation| authorize(context, **operation, resource));
    allowed.fold(0, |bits, operation| bits | operation.bit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_authorizer_the_operations_are_those_of_kafka() {
        let context = RequestContext {
            principal: Principal::Anonymous,
            listener: "PLAINTEXT".into(),
            client_id: "test".into(),
            address: ([127, 0, 0, 1], 1).into(),
            api_version: 0,
            correlation_id: 0,
        };
        // By the codes of `AclOperation`: bits 3 to 8, 10 and 11; 5, 7 to 12; 3, 6, 8, 10 and 11.
        assert_eq!(authorized_operations(&context, Resource::Topic("t")), 0b1101_1111_1000);
        assert_eq!(authorized_operations(&context, Resource::Cluster), 0b1_1111_1010_0000);
        assert_eq!(authorized_operations(&context, Resource::Group("g")), 0b1101_0100_1000);
    }
}
