//! Kafka's error codes.

use std::fmt;

/// An error code as it stands on the wire (`org.apache.kafka.common.protocol.Errors`). Codes that Kafka 4.1 does not
/// have are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ErrorCode(pub i16);

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal $(, $retriable:ident)?;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// All codes of Kafka 4.1, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Kafka's name, or `None` for a code it does not have.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// Whether a client may try the same request again (`RetriableException`).
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self.0 {
                    $($($code => error_codes!(@$retriable),)?)*
                    _ => false,
                }
            }
        }
    };
    (@retriable) => { true };
}

impl ErrorCode {
    /// Whether it stands for an error at all.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "UNKNOWN({})", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

error_codes! {
    /// The broker failed in a way it has no code for.
    UNKNOWN_SERVER_ERROR = -1;
    /// No error.
    NONE = 0;
    /// The offset lies outside of the log.
    OFFSET_OUT_OF_RANGE = 1;
    /// A batch failed its checksum or is malformed.
    CORRUPT_MESSAGE = 2, retriable;
    /// The broker does not host the topic partition, or no such one exists.
    UNKNOWN_TOPIC_OR_PARTITION = 3, retriable;
    /// The fetch size is not valid.
    INVALID_FETCH_SIZE = 4;
    /// The partition has no leader at present.
    LEADER_NOT_AVAILABLE = 5, retriable;
    /// The broker is not the leader, or for a fetch not a replica, of the partition.
    NOT_LEADER_OR_FOLLOWER = 6, retriable;
    /// The request was not completed in time.
    REQUEST_TIMED_OUT = 7, retriable;
    /// The broker is not available.
    BROKER_NOT_AVAILABLE = 8;
    /// The replica is not available.
    REPLICA_NOT_AVAILABLE = 9, retriable;
    /// The batch is larger than the broker accepts.
    MESSAGE_TOO_LARGE = 10;
    /// The controller moved to another broker.
    STALE_CONTROLLER_EPOCH = 11;
    /// The metadata of an offset commit is too long.
    OFFSET_METADATA_TOO_LARGE = 12;
    /// The connection broke before the answer.
    NETWORK_EXCEPTION = 13, retriable;
    /// The coordinator is still loading.
    COORDINATOR_LOAD_IN_PROGRESS = 14, retriable;
    /// There is no coordinator at present.
    COORDINATOR_NOT_AVAILABLE = 15, retriable;
    /// The broker is not the coordinator.
    NOT_COORDINATOR = 16, retriable;
    /// The topic's name is not allowed.
    INVALID_TOPIC_EXCEPTION = 17;
    /// The batch is larger than a segment.
    RECORD_LIST_TOO_LARGE = 18;
    /// Fewer replicas are in sync than the topic demands.
    NOT_ENOUGH_REPLICAS = 19, retriable;
    /// The records were written, and fewer replicas are in sync than the topic demands.
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, retriable;
    /// The acks of a produce request are not -1, 0 or 1.
    INVALID_REQUIRED_ACKS = 21;
    /// The group's generation is another one.
    ILLEGAL_GENERATION = 22;
    /// The member's protocols do not match those of the group.
    INCONSISTENT_GROUP_PROTOCOL = 23;
    /// The group id is not valid.
    INVALID_GROUP_ID = 24;
    /// The group does not know the member.
    UNKNOWN_MEMBER_ID = 25;
    /// The session timeout is outside of the allowed range.
    INVALID_SESSION_TIMEOUT = 26;
    /// The group is rebalancing; the member must join again.
    REBALANCE_IN_PROGRESS = 27;
    /// The offset commit is too large to be stored.
    INVALID_COMMIT_OFFSET_SIZE = 28;
    /// The client may not do this to the topic.
    TOPIC_AUTHORIZATION_FAILED = 29;
    /// The client may not do this to the group.
    GROUP_AUTHORIZATION_FAILED = 30;
    /// The client may not do this to the cluster.
    CLUSTER_AUTHORIZATION_FAILED = 31;
    /// The record's timestamp is out of the range that the topic accepts.
    INVALID_TIMESTAMP = 32;
    /// The broker does not offer the SASL mechanism.
    UNSUPPORTED_SASL_MECHANISM = 33;
    /// The request does not fit the state of the SASL exchange.
    ILLEGAL_SASL_STATE = 34;
    /// The broker does not serve this version of the API.
    UNSUPPORTED_VERSION = 35;
    /// A topic of this name exists.
    TOPIC_ALREADY_EXISTS = 36;
    /// The number of partitions is not valid.
    INVALID_PARTITIONS = 37;
    /// The replication factor is not valid, or there are too few brokers for it.
    INVALID_REPLICATION_FACTOR = 38;
    /// The replica assignment is not valid.
    INVALID_REPLICA_ASSIGNMENT = 39;
    /// A configuration key or value is not valid.
    INVALID_CONFIG = 40;
    /// The broker is not the controller.
    NOT_CONTROLLER = 41, retriable;
    /// The request contradicts itself or the protocol.
    INVALID_REQUEST = 42;
    /// The message format does not support this.
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43;
    /// A policy of the cluster refuses this.
    POLICY_VIOLATION = 44;
    /// The producer's sequence numbers have a gap.
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45;
    /// The producer's sequence number was seen before.
    DUPLICATE_SEQUENCE_NUMBER = 46;
    /// The producer's epoch is an older one.
    INVALID_PRODUCER_EPOCH = 47;
    /// The transaction is not in a state for this.
    INVALID_TXN_STATE = 48;
    /// The producer id is not the transactional id's.
    INVALID_PRODUCER_ID_MAPPING = 49;
    /// The transaction timeout is longer than the broker allows.
    INVALID_TRANSACTION_TIMEOUT = 50;
    /// Another operation on the transaction is still under way.
    CONCURRENT_TRANSACTIONS = 51, retriable;
    /// The transaction coordinator has been replaced.
    TRANSACTION_COORDINATOR_FENCED = 52;
    /// The client may not use the transactional id.
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53;
    /// The cluster has no authorization.
    SECURITY_DISABLED = 54;
    /// Nothing was attempted, because another part of the request failed.
    OPERATION_NOT_ATTEMPTED = 55;
    /// The log directory failed.
    KAFKA_STORAGE_ERROR = 56, retriable;
    /// The broker has no such log directory.
    LOG_DIR_NOT_FOUND = 57;
    /// The credentials are wrong.
    SASL_AUTHENTICATION_FAILED = 58;
    /// The broker has no state of the producer.
    UNKNOWN_PRODUCER_ID = 59;
    /// A reassignment of the partition is under way.
    REASSIGNMENT_IN_PROGRESS = 60;
    /// Delegation tokens are disabled.
    DELEGATION_TOKEN_AUTH_DISABLED = 61;
    /// No such delegation token exists.
    DELEGATION_TOKEN_NOT_FOUND = 62;
    /// The principal does not own the delegation token.
    DELEGATION_TOKEN_OWNER_MISMATCH = 63;
    /// Delegation tokens cannot be requested over this channel.
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64;
    /// The client may not do this to the delegation token.
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65;
    /// The delegation token has expired.
    DELEGATION_TOKEN_EXPIRED = 66;
    /// The principal type is not supported.
    INVALID_PRINCIPAL_TYPE = 67;
    /// The group has members.
    NON_EMPTY_GROUP = 68;
    /// No such group exists.
    GROUP_ID_NOT_FOUND = 69;
    /// No such fetch session exists.
    FETCH_SESSION_ID_NOT_FOUND = 70, retriable;
    /// The fetch session is at another epoch.
    INVALID_FETCH_SESSION_EPOCH = 71, retriable;
    /// The leader has no listener of the client's kind.
    LISTENER_NOT_FOUND = 72, retriable;
    /// The cluster does not allow topics to be deleted.
    TOPIC_DELETION_DISABLED = 73;
    /// The client knows an older leader epoch than the broker.
    FENCED_LEADER_EPOCH = 74, retriable;
    /// The client knows a newer leader epoch than the broker.
    UNKNOWN_LEADER_EPOCH = 75, retriable;
    /// The client's version cannot read the records' compression.
    UNSUPPORTED_COMPRESSION_TYPE = 76;
    /// The broker's epoch is an older one.
    STALE_BROKER_EPOCH = 77;
    /// The leader has just been elected and does not know the offset yet.
    OFFSET_NOT_AVAILABLE = 78, retriable;
    /// The member must join again with the id it was given.
    MEMBER_ID_REQUIRED = 79;
    /// The preferred leader is not available.
    PREFERRED_LEADER_NOT_AVAILABLE = 80, retriable;
    /// The group has as many members as it may have.
    GROUP_MAX_SIZE_REACHED = 81;
    /// Another member has taken over the static member id.
    FENCED_INSTANCE_ID = 82;
    /// No replica that may become leader is available.
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, retriable;
    /// The preferred leader leads already.
    ELECTION_NOT_NEEDED = 84, retriable;
    /// No reassignment of the partition is under way.
    NO_REASSIGNMENT_IN_PROGRESS = 85;
    /// A member of the group subscribes to the topic.
    GROUP_SUBSCRIBED_TO_TOPIC = 86;
    /// The broker refused a record.
    INVALID_RECORD = 87;
    /// Some offsets are part of an open transaction.
    UNSTABLE_OFFSET_COMMIT = 88, retriable;
    /// The quota is used up.
    THROTTLING_QUOTA_EXCEEDED = 89, retriable;
    /// A newer producer has taken over the transactional id.
    PRODUCER_FENCED = 90;
    /// There is no such resource.
    RESOURCE_NOT_FOUND = 91;
    /// The request names a resource twice.
    DUPLICATE_RESOURCE = 92;
    /// The credential does not meet the requirements.
    UNACCEPTABLE_CREDENTIAL = 93;
    /// The voter sets differ.
    INCONSISTENT_VOTER_SET = 94;
    /// The update's version is not valid.
    INVALID_UPDATE_VERSION = 95;
    /// The features could not be updated.
    FEATURE_UPDATE_FAILED = 96;
    /// A forwarded principal could not be read.
    PRINCIPAL_DESERIALIZATION_FAILURE = 97;
    /// No such snapshot exists.
    SNAPSHOT_NOT_FOUND = 98;
    /// The position lies outside of the snapshot.
    POSITION_OUT_OF_RANGE = 99;
    /// The broker does not know the topic id.
    UNKNOWN_TOPIC_ID = 100, retriable;
    /// The broker id is in use by another broker.
    DUPLICATE_BROKER_REGISTRATION = 101;
    /// The broker id is not registered.
    BROKER_ID_NOT_REGISTERED = 102;
    /// The log's topic id is another one than the request's.
    INCONSISTENT_TOPIC_ID = 103, retriable;
    /// The cluster's id is another one than the request's.
    INCONSISTENT_CLUSTER_ID = 104;
    /// No such transactional id exists.
    TRANSACTIONAL_ID_NOT_FOUND = 105;
    /// The fetch session mixes topic ids and topic names.
    FETCH_SESSION_TOPIC_ID_ERROR = 106, retriable;
    /// The replica may not join the in-sync replicas.
    INELIGIBLE_REPLICA = 107;
    /// The change to the in-sync replicas brought a new leader about.
    NEW_LEADER_ELECTED = 108;
    /// The offset has moved to tiered storage.
    OFFSET_MOVED_TO_TIERED_STORAGE = 109;
    /// The coordinator has fenced the member's epoch.
    FENCED_MEMBER_EPOCH = 110;
    /// Another member still owns the static member id.
    UNRELEASED_INSTANCE_ID = 111;
    /// The coordinator does not offer the assignor.
    UNSUPPORTED_ASSIGNOR = 112;
    /// The member's epoch is an older one.
    STALE_MEMBER_EPOCH = 113;
    /// The request went to an endpoint of another type.
    MISMATCHED_ENDPOINT_TYPE = 114;
    /// The endpoint type is not supported.
    UNSUPPORTED_ENDPOINT_TYPE = 115;
    /// No such controller id is known.
    UNKNOWN_CONTROLLER_ID = 116;
    /// The telemetry subscription is another one.
    UNKNOWN_SUBSCRIPTION_ID = 117;
    /// The telemetry payload is too large.
    TELEMETRY_TOO_LARGE = 118;
    /// The registration is not valid.
    INVALID_REGISTRATION = 119;
    /// The transaction failed and must be aborted.
    TRANSACTION_ABORTABLE = 120;
    /// The record's state does not allow this.
    INVALID_RECORD_STATE = 121;
    /// No such share session exists.
    SHARE_SESSION_NOT_FOUND = 122, retriable;
    /// The share session is at another epoch.
    INVALID_SHARE_SESSION_EPOCH = 123, retriable;
    /// The share coordinator has fenced the state epoch.
    FENCED_STATE_EPOCH = 124;
    /// The voter's key does not match.
    INVALID_VOTER_KEY = 125;
    /// The voter exists already.
    DUPLICATE_VOTER = 126;
    /// No such voter exists.
    VOTER_NOT_FOUND = 127;
    /// The regular expression is not valid.
    INVALID_REGULAR_EXPRESSION = 128;
    /// The client must start over from its bootstrap servers.
    REBOOTSTRAP_REQUIRED = 129;
    /// The streams topology is not valid.
    STREAMS_INVALID_TOPOLOGY = 130;
    /// The streams topology's epoch is not valid.
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131;
    /// The streams topology's epoch is an older one.
    STREAMS_TOPOLOGY_FENCED = 132;
    /// The broker has as many share sessions as it may have.
    SHARE_SESSION_LIMIT_REACHED = 133, retriable;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_are_those_of_kafka() {
        assert_eq!(ErrorCode::UNKNOWN_SERVER_ERROR.0, -1);
        assert_eq!(ErrorCode(3).to_string(), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(ErrorCode(9999).to_string(), "UNKNOWN(9999)");
        assert_eq!(ErrorCode::ALL.len(), 135);
        assert!(ErrorCode::ALL.is_sorted_by(|left, right| left.0 + 1 == right.0));
    }

    #[test]
    fn codes_are_those_of_the_oracle() {
        for code in ErrorCode::ALL.iter().filter(|code| code.is_error()) {
            let Some(oracle) = kafka_protocol::ResponseError::try_from_code(code.0) else { continue };
            let same = |text: String| text.to_lowercase().replace('_', "");
            if !matches!(oracle, kafka_protocol::ResponseError::Unknown(_)) {
                assert_eq!(same(code.to_string()), same(format!("{oracle:?}")));
            }
        }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retriable() {
        assert!(ErrorCode::NOT_LEADER_OR_FOLLOWER.is_retriable());
        assert!(ErrorCode::CONCURRENT_TRANSACTIONS.is_retriable());
        assert!(!ErrorCode::NONE.is_retriable());
        assert!(!ErrorCode::REBALANCE_IN_PROGRESS.is_retriable());
        assert!(!ErrorCode(9999).is_retriable());
        assert_eq!(ErrorCode::ALL.iter().filter(|code| code.is_retriable()).count(), 32);
    }
}
