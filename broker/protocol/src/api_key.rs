//! The APIs: their names, and the versions of those whose messages are here.

use std::fmt;

use crate::codec::VersionRange;

/// The versions of an API whose messages are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    /// The API.
    pub key: ApiKey,
    /// The versions in the answer to ApiVersions of a broker that serves it. Those of Produce begin at 0, because old clients stop compressing
    /// otherwise (KAFKA-18659), although only those of the message itself can be read.
    pub advertised: VersionRange,
    /// The first version with compact lengths and tagged fields (KIP-482); `i16::MAX` where there is none.
    pub flexible_from: i16,
}

macro_rules! api_keys {
    ($($name:ident = $code:literal,)*) => {
        /// An API of Kafka 4.1 (`org.apache.kafka.common.protocol.ApiKeys`), or of a release before it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the names are Kafka's and say it all")]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $code,)*
        }

        impl ApiKey {
            /// All of them, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The API of a code, or `None` if Kafka has none.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

macro_rules! spoken {
    ($($name:ident: $min:literal to $max:literal, flexible from $flexible:expr;)*) => {
        impl ApiKey {
            /// The APIs whose messages are here, in the order of their codes, in the ranges of Kafka 4.1. Which of
            /// them are served is for the broker to say: those that it has handlers for.
            pub const SPOKEN: &'static [Spoken] = &[$(Spoken {
                key: Self::$name,
                advertised: VersionRange { min: $min, max: $max },
                flexible_from: $flexible,
            }),*];

            /// The versions of this API; `None` if its messages are not here.
            #[must_use]
            pub const fn spoken(self) -> Option<Spoken> {
                match self {
                    $(Self::$name => Some(Spoken {
                        key: self,
                        advertised: VersionRange { min: $min, max: $max },
                        flexible_from: $flexible,
                    }),)*
                    _ => None,
                }
            }
        }
    };
}

impl ApiKey {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether `version` is flexible. Unknown versions above the known ones are; those of APIs not spoken are not.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.spoken() {
            Some(spoken) => version >= spoken.flexible_from,
            None => false,
        }
    }

    /// The version of the header before a request of `version`.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header before a response of `version`. That of ApiVersions is always 0, since the client
    /// does not know yet what the broker speaks (KIP-511).
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, Self::ApiVersions) { 1 } else { 0 }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

api_keys! {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    LeaderAndIsr = 4,
    StopReplica = 5,
    UpdateMetadata = 6,
    ControlledShutdown = 7,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    WriteTxnMarkers = 27,
    TxnOffsetCommit = 28,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    AlterReplicaLogDirs = 34,
    DescribeLogDirs = 35,
    SaslAuthenticate = 36,
    CreatePartitions = 37,
    CreateDelegationToken = 38,
    RenewDelegationToken = 39,
    ExpireDelegationToken = 40,
    DescribeDelegationToken = 41,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeClientQuotas = 48,
    AlterClientQuotas = 49,
    DescribeUserScramCredentials = 50,
    AlterUserScramCredentials = 51,
    Vote = 52,
    BeginQuorumEpoch = 53,
    EndQuorumEpoch = 54,
    DescribeQuorum = 55,
    AlterPartition = 56,
    UpdateFeatures = 57,
    Envelope = 58,
    FetchSnapshot = 59,
    DescribeCluster = 60,
    DescribeProducers = 61,
    BrokerRegistration = 62,
    BrokerHeartbeat = 63,
    UnregisterBroker = 64,
    DescribeTransactions = 65,
    ListTransactions = 66,
    AllocateProducerIds = 67,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    ControllerRegistration = 70,
    GetTelemetrySubscriptions = 71,
    PushTelemetry = 72,
    AssignReplicasToDirs = 73,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
    ShareGroupHeartbeat = 76,
    ShareGroupDescribe = 77,
    ShareFetch = 78,
    ShareAcknowledge = 79,
    AddRaftVoter = 80,
    RemoveRaftVoter = 81,
    UpdateRaftVoter = 82,
    InitializeShareGroupState = 83,
    ReadShareGroupState = 84,
    WriteShareGroupState = 85,
    DeleteShareGroupState = 86,
    ReadShareGroupStateSummary = 87,
    StreamsGroupHeartbeat = 88,
    StreamsGroupDescribe = 89,
    DescribeShareGroupOffsets = 90,
    AlterShareGroupOffsets = 91,
    DeleteShareGroupOffsets = 92,
}

/// Where no version is flexible.
const NEVER: i16 = i16::MAX;

spoken! {
    Produce: 0 to 13, flexible from 9;
    Fetch: 4 to 18, flexible from 12;
    ListOffsets: 1 to 10, flexible from 6;
    Metadata: 0 to 13, flexible from 9;
    OffsetCommit: 2 to 9, flexible from 8;
    OffsetFetch: 1 to 9, flexible from 6;
    FindCoordinator: 0 to 6, flexible from 3;
    JoinGroup: 0 to 9, flexible from 6;
    Heartbeat: 0 to 4, flexible from 4;
    LeaveGroup: 0 to 5, flexible from 4;
    SyncGroup: 0 to 5, flexible from 4;
    DescribeGroups: 0 to 6, flexible from 5;
    ListGroups: 0 to 5, flexible from 3;
    SaslHandshake: 0 to 1, flexible from NEVER;
    ApiVersions: 0 to 4, flexible from 3;
    CreateTopics: 2 to 7, flexible from 5;
    DeleteTopics: 1 to 6, flexible from 4;
    DeleteRecords: 0 to 2, flexible from 2;
    InitProducerId: 0 to 5, flexible from 2;
    OffsetForLeaderEpoch: 2 to 4, flexible from 4;
    DescribeConfigs: 1 to 4, flexible from 4;
    AlterConfigs: 0 to 2, flexible from 2;
    AlterReplicaLogDirs: 1 to 2, flexible from 2;
    DescribeLogDirs: 1 to 4, flexible from 2;
    SaslAuthenticate: 0 to 2, flexible from 2;
    CreatePartitions: 0 to 3, flexible from 2;
    DeleteGroups: 0 to 2, flexible from 2;
    ElectLeaders: 0 to 2, flexible from 2;
    IncrementalAlterConfigs: 0 to 1, flexible from 1;
    AlterPartitionReassignments: 0 to 1, flexible from 0;
    ListPartitionReassignments: 0 to 0, flexible from 0;
    DescribeQuorum: 0 to 2, flexible from 0;
    DescribeCluster: 0 to 2, flexible from 0;
    UnregisterBroker: 0 to 0, flexible from 0;
    DescribeTopicPartitions: 0 to 0, flexible from 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ApiMessage;

    #[test]
    fn codes_and_names_are_those_of_the_oracle() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(key.code()), Some(*key));
            if let Ok(oracle) = kafka_protocol::messages::ApiKey::try_from(key.code()) {
                assert_eq!(key.name(), format!("{oracle:?}"));
            }
        }
        assert_eq!(ApiKey::from_code(93), None);
        assert_eq!(ApiKey::from_code(-1), None);
    }

    #[test]
    fn headers_are_those_of_the_oracle() {
        for spoken in ApiKey::SPOKEN {
            let key = spoken.key;
            assert_eq!(key.spoken(), Some(*spoken));
            let oracle = kafka_protocol::messages::ApiKey::try_from(key.code()).unwrap();
            for version in oracle.valid_versions().min..=spoken.advertised.max {
                assert_eq!(
                    key.request_header_version(version),
                    oracle.request_header_version(version),
                    "{key}"
                );
                assert_eq!(
                    key.response_header_version(version),
                    oracle.response_header_version(version),
                    "{key}"
                );
            }
        }
    }

    fn assert_agrees<M: ApiMessage>(_: M, oracle: kafka_protocol::protocol::VersionRange) {
        let spoken = M::API_KEY.spoken().unwrap();
        let min = if M::API_KEY == ApiKey::Produce { 3 } else { spoken.advertised.min };
        assert_eq!(M::VERSIONS, VersionRange { min, max: spoken.advertised.max }, "{}", M::NAME);
        assert_eq!((min, spoken.advertised.max), (oracle.min, oracle.max), "{}", M::NAME);
        assert_eq!(M::FLEXIBLE_FROM, spoken.flexible_from, "{}", M::NAME);
    }

    macro_rules! messages_agree {
        ($($key:ident: $request:ident, $response:ident;)*) => {
            #[test]
            fn every_spoken_api_has_messages_of_the_advertised_versions() {
                let mut keys = Vec::new();
                $(
                    let oracle = <kafka_protocol::messages::$request as kafka_protocol::protocol::Message>::VERSIONS;
                    assert_agrees(crate::messages::$request::default(), oracle);
                    assert_agrees(crate::messages::$response::default(), oracle);
                    keys.push(ApiKey::$key);
                )*
                assert!(ApiKey::SPOKEN.iter().map(|spoken| spoken.key).eq(keys));
            }
        };
    }

    crate::for_each_api!(messages_agree);
}
