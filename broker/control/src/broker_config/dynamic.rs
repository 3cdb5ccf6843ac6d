//! The keys that can only be set while a broker runs (Kafka's `QuotaConfig`, the part of a broker).

use crate::config_value::Accepts::AtLeast;
use crate::config_value::ConfigType::Long;

use super::{BrokerKey, Handling};

const NO_LIMIT: Option<&str> = Some("9223372036854775807");

const fn rate(name: &'static str, handling: Handling, documentation: &'static str) -> BrokerKey {
    BrokerKey { name, config_type: Long, default: NO_LIMIT, accepts: AtLeast(0), handling, documentation }
}

pub(super) static KEYS: [BrokerKey; 3] = [
    rate(
        "follower.replication.throttled.rate",
        Handling::Honoured,
        "How many bytes a second this broker fetches in all for the replicas that \
         follower.replication.throttled.replicas names.",
    ),
    rate(
        "leader.replication.throttled.rate",
        Handling::Honoured,
        "How many bytes a second this broker sends in all to the replicas that \
         leader.replication.throttled.replicas names.",
    ),
    rate(
        "replica.alter.log.dirs.io.max.bytes.per.second",
        Handling::Honoured,
        "How many bytes a second this broker copies in all to move replicas between its data directories.",
    ),
];
