//! Keys that Apache Kafka does not have.

use crate::config_value::Accepts::AtLeast;
use crate::config_value::ConfigType::Long;

use super::{BrokerKey, Handling};

/// Ordered by name.
#[rustfmt::skip]
pub(super) static KEYS: [BrokerKey; 2] = [
    BrokerKey {
        name: "log.dir.reserved.free.bytes",
        config_type: Long,
        default: Some("67108864"),
        accepts: AtLeast(0),
        handling: Handling::Honoured,
        documentation: "How much of a log directory's disk is kept free of records, but no more than a twentieth of it: below that \
            the directory counts as full, and what would be appended to its logs is refused until half as much again is \
            free. Reading and deleting go on.",
    },
    BrokerKey {
        name: "log.stray.retention.ms",
        config_type: Long,
        default: Some("604800000"),
        accepts: AtLeast(-1),
        handling: Handling::Honoured,
        documentation: "How long the log of a partition that this broker no longer has is kept aside (-stray) before it is \
            deleted, counted from when it was moved; -1 keeps it for ever.",
    },
];
