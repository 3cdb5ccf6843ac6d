//! The table of topic keys.

use super::{BrokerSynonym, Honoured, TopicKey};
use crate::config_value::Accepts::{
    self, Any, AtLeast, Between, Fraction, OneOf, OrBetween, ThrottledReplicas,
};
use crate::config_value::ConfigType::{self, Boolean, Double, Int, List, Long, String};
use Honoured::{Fully, OnlyDefault};

const MS_PER_MINUTE: i64 = 60 * 1000;
const MS_PER_HOUR: i64 = 60 * MS_PER_MINUTE;

const RECOMPRESSION: Honoured = OnlyDefault("batches are kept in the codec that the producer chose");
const TIERING: Honoured = OnlyDefault("there is no tiered storage yet");
const PREALLOCATION: Honoured = OnlyDefault("segment files grow as they are written");

/// A broker key in the topic key's own unit, with the topic key's default.
const fn same(key: &'static str, default: &'static str) -> BrokerSynonym {
    BrokerSynonym { key, factor: 1, default: Some(default) }
}

/// A broker key without a default.
const fn unset(key: &'static str, factor: i64) -> BrokerSynonym {
    BrokerSynonym { key, factor, default: None }
}

/// A key, up to its broker synonyms and its documentation.
const fn key(
    name: &'static str,
    config_type: ConfigType,
    default: &'static str,
    accepts: Accepts,
    honoured: Honoured,
) -> TopicKey {
    TopicKey { name, config_type, default, accepts, broker_synonyms: &[], honoured, documentation: "" }
}

impl TopicKey {
    const fn broker(mut self, synonyms: &'static [BrokerSynonym]) -> Self {
        self.broker_synonyms = synonyms;
        self
    }

    const fn doc(mut self, documentation: &'static str) -> Self {
        self.documentation = documentation;
        self
    }
}

const FOREVER: &str = "9223372036854775807";
const A_DAY_MS: &str = "86400000";
const A_WEEK_MS: &str = "604800000";

/// Kafka asks for a MiB at least since 4.0; this is what it asked for before, and what test suites rely on.
const SMALLEST_SEGMENT: i64 = 14;

pub(super) static KEYS: [TopicKey; 33] = [
    key("cleanup.policy", List, "delete", OneOf(&["compact", "delete"]), Fully)
        .broker(&[same("log.cleanup.policy", "delete")])
        .doc(
            "What becomes of old records: delete drops whole segments by age or size, compact keeps the latest record \
             of every key; both may be named.",
        ),
    key("compression.gzip.level", Int, "-1", OrBetween(-1, 1, 9), RECOMPRESSION)
        .broker(&[same("compression.gzip.level", "-1")])
        .doc("Effort of gzip, where the broker compresses with it; -1 leaves the choice to the library."),
    key("compression.lz4.level", Int, "9", Between(1, 17), RECOMPRESSION)
        .broker(&[same("compression.lz4.level", "9")])
        .doc("Effort of LZ4, where the broker compresses with it."),
    key(
        "compression.type",
        String,
        "producer",
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        RECOMPRESSION,
    )
    .broker(&[same("compression.type", "producer")])
    .doc("The codec that batches are stored in; producer stores them as they came."),
    key("compression.zstd.level", Int, "3", Between(-131072, 22), RECOMPRESSION)
        .broker(&[same("compression.zstd.level", "3")])
        .doc("Effort of Zstandard, where the broker compresses with it."),
    key("delete.retention.ms", Long, A_DAY_MS, AtLeast(0), Fully)
        .broker(&[same("log.cleaner.delete.retention.ms", A_DAY_MS)])
        .doc(
            "How long a compacted topic keeps the marker of a deleted key. A consumer that starts at offset 0 and reads \
             to the end within this time sees every deletion.",
        ),
    key("file.delete.delay.ms", Long, "60000", AtLeast(0), Fully)
        .broker(&[same("log.segment.delete.delay.ms", "60000")])
        .doc("How long the files of a deleted segment or partition stay on disk under a name that ends in .deleted."),
    key("flush.messages", Long, FOREVER, AtLeast(1), Fully)
        .broker(&[same("log.flush.interval.messages", FOREVER)])
        .doc(
            "After how many records a log is synced to disk; 1 syncs before every acknowledgement. By default the \
             operating system decides, and replication is what keeps records safe.",
        ),
    key("flush.ms", Long, FOREVER, AtLeast(0), Fully)
        .broker(&[unset("log.flush.interval.ms", 1), same("log.flush.scheduler.interval.ms", FOREVER)])
        .doc("How long a record may stay unsynced before its log is synced to disk."),
    key("follower.replication.throttled.replicas", List, "", ThrottledReplicas, Fully).doc(
        "Replicas whose fetching is held to the followers' replication quota, as partition:broker pairs; * means all.",
    ),
    key("index.interval.bytes", Int, "4096", AtLeast(0), Fully)
        .broker(&[same("log.index.interval.bytes", "4096")])
        .doc(
            "How many bytes of log lie between two entries of the offset index. Fewer make look-ups shorter and indexes \
             larger.",
        ),
    key("leader.replication.throttled.replicas", List, "", ThrottledReplicas, Fully).doc(
        "Replicas that are sent data within the leaders' replication quota only, as partition:broker pairs; * means \
         all.",
    ),
    key("local.retention.bytes", Long, "-2", AtLeast(-2), TIERING)
        .broker(&[same("log.local.retention.bytes", "-2")])
        .doc("With tiered storage: bytes of a partition that stay on the broker's disk; -2 follows retention.bytes."),
    key("local.retention.ms", Long, "-2", AtLeast(-2), TIERING)
        .broker(&[same("log.local.retention.ms", "-2")])
        .doc("With tiered storage: how long segments stay on the broker's disk; -2 follows retention.ms."),
    key("max.compaction.lag.ms", Long, FOREVER, AtLeast(1), Fully)
        .broker(&[same("log.cleaner.max.compaction.lag.ms", FOREVER)])
        .doc("The longest time that a record of a compacted topic may wait for compaction."),
    key("max.message.bytes", Int, "1048588", AtLeast(0), Fully)
        .broker(&[same("message.max.bytes", "1048588")])
        .doc("The largest record batch that is taken, in bytes, as it is sent: compressed, with its header."),
    key("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), Fully)
        .broker(&[same("log.message.timestamp.after.max.ms", "3600000")])
        .doc(
            "How far a record's timestamp may lie ahead of the broker's clock. Records beyond that are refused, unless \
             the broker stamps them itself.",
        ),
    key("message.timestamp.before.max.ms", Long, FOREVER, AtLeast(0), Fully)
        .broker(&[same("log.message.timestamp.before.max.ms", FOREVER)])
        .doc(
            "How far a record's timestamp may lie behind the broker's clock. Records beyond that are refused, unless the \
             broker stamps them itself.",
        ),
    key("message.timestamp.type", String, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Fully)
        .broker(&[same("log.message.timestamp.type", "CreateTime")])
        .doc("Whose clock a record's timestamp shows: the producer's (CreateTime) or the broker's (LogAppendTime)."),
    key("min.cleanable.dirty.ratio", Double, "0.5", Fraction(0.0, 1.0), Fully)
        .broker(&[same("log.cleaner.min.cleanable.ratio", "0.5")])
        .doc("The share of a log that must be new since the last compaction before it is compacted again."),
    key("min.compaction.lag.ms", Long, "0", AtLeast(0), Fully)
        .broker(&[same("log.cleaner.min.compaction.lag.ms", "0")])
        .doc("How long a record of a compacted topic is safe from compaction."),
    key("min.insync.replicas", Int, "1", AtLeast(1), Fully).broker(&[same("min.insync.replicas", "1")]).doc(
        "How many replicas, the leader included, must be in sync for a write with acks=all to be taken. A partition \
         with fewer replicas than this needs all of them.",
    ),
    key("preallocate", Boolean, "false", Any, PREALLOCATION)
        .broker(&[same("log.preallocate", "false")])
        .doc("Whether a new segment's file is given its full size on disk at once."),
    key("remote.log.copy.disable", Boolean, "false", Any, TIERING)
        .doc("With tiered storage: stop uploading segments; what was uploaded stays readable."),
    key("remote.log.delete.on.disable", Boolean, "false", Any, TIERING)
        .doc("With tiered storage: delete what was uploaded when tiering is turned off for the topic."),
    key("remote.storage.enable", Boolean, "false", Any, TIERING)
        .doc("Whether sealed segments are moved to tiered storage."),
    key("retention.bytes", Long, "-1", Any, Fully).broker(&[same("log.retention.bytes", "-1")]).doc(
        "How large a partition may grow before its oldest segments are deleted; -1 sets no limit. It holds for each \
         partition, not for the topic.",
    ),
    key("retention.ms", Long, A_WEEK_MS, AtLeast(-1), Fully)
        .broker(&[
            unset("log.retention.ms", 1),
            unset("log.retention.minutes", MS_PER_MINUTE),
            BrokerSynonym { key: "log.retention.hours", factor: MS_PER_HOUR, default: Some("168") },
        ])
        .doc(
            "How long records are kept: a segment is deleted when its youngest record, by timestamp, is older; -1 keeps \
             them for good. A timestamp in the future keeps its segment and all behind it until then. A clock that leaps \
             ahead is believed after an hour.",
        ),
    key("segment.bytes", Int, "1073741824", AtLeast(SMALLEST_SEGMENT), Fully)
        .broker(&[same("log.segment.bytes", "1073741824")])
        .doc("How large a segment file grows before a new one is begun. Old records are deleted by whole segments."),
    key("segment.index.bytes", Int, "10485760", AtLeast(4), Fully)
        .broker(&[same("log.index.size.max.bytes", "10485760")])
        .doc("How large a segment's offset index may grow before a new segment is begun."),
    key("segment.jitter.ms", Long, "0", AtLeast(0), Fully)
        .broker(&[
            unset("log.roll.jitter.ms", 1),
            BrokerSynonym { key: "log.roll.jitter.hours", factor: MS_PER_HOUR, default: Some("0") },
        ])
        .doc("The most by which segment.ms is shortened at random, so that partitions do not roll all at once."),
    key("segment.ms", Long, A_WEEK_MS, AtLeast(1), Fully)
        .broker(&[
            unset("log.roll.ms", 1),
            BrokerSynonym { key: "log.roll.hours", factor: MS_PER_HOUR, default: Some("168") },
        ])
        .doc("After what time a new segment is begun, even if the old one is not full."),
    key("unclean.leader.election.enable", Boolean, "false", Any, Fully)
        .broker(&[same("unclean.leader.election.enable", "false")])
        .doc(
            "Whether a replica that is not in sync may lead when no other is left. The partition comes back sooner, and \
             acknowledged records may be lost.",
        ),
];
