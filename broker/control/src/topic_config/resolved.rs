//! The values in effect on a topic.

use std::collections::BTreeMap;

use super::TopicKey;
use crate::config_value::{ConfigEntry, ConfigSource, ConfigSynonym, ConfigValue, parse};

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Segments are deleted by age or size.
    pub delete: bool,
    /// Only the latest record of each key is kept.
    pub compact: bool,
}

/// The codec that batches are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Whose clock a record's timestamp shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, at the time of the append.
    LogAppendTime,
}

/// A topic's configuration in effect, one field per key, named after it. Units are in the names; `i64::MAX` and, where
/// Kafka says so, negative values mean "no limit". The replicas to throttle are left out, as they are lists for the
/// quota's own use.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each field is documented where its key is, in the table")]
pub struct TopicConfig {
    pub cleanup_policy: CleanupPolicy,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_type: CompressionType,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub index_interval_bytes: i32,
    pub local_retention_bytes: i64,
    pub local_retention_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: i32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    pub remote_log_copy_disable: bool,
    pub remote_log_delete_on_disable: bool,
    pub remote_storage_enable: bool,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election_enable: bool,
}

impl TopicConfig {
    /// The configuration of a topic on which `overrides` are set, on a broker with `broker_settings` (broker keys and
    /// their values, without those left at their default). Both were checked where they came in; an
    /// entry that cannot be read all the same, because another release wrote it, counts as not set.
    pub fn resolve(overrides: &BTreeMap<String, String>, broker_settings: &BTreeMap<String, String>) -> Self {
        let values = Values { overrides, broker_settings };
        Self {
            cleanup_policy: values.cleanup_policy(),
            compression_gzip_level: values.int("compression.gzip.level"),
            compression_lz4_level: values.int("compression.lz4.level"),
            compression_type: values.compression_type(),
            compression_zstd_level: values.int("compression.zstd.level"),
            delete_retention_ms: values.long("delete.retention.ms"),
            file_delete_delay_ms: values.long("file.delete.delay.ms"),
            flush_messages: values.long("flush.messages"),
            flush_ms: values.long("flush.ms"),
            index_interval_bytes: values.int("index.interval.bytes"),
            local_retention_bytes: values.long("local.retention.bytes"),
            local_retention_ms: values.long("local.retention.ms"),
            max_compaction_lag_ms: values.long("max.compaction.lag.ms"),
            max_message_bytes: values.int("max.message.bytes"),
            message_timestamp_after_max_ms: values.long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: values.long("message.timestamp.before.max.ms"),
            message_timestamp_type: values.timestamp_type(),
            min_cleanable_dirty_ratio: values
                .value("min.cleanable.dirty.ratio")
                .and_then(|value| value.as_double())
                .unwrap_or_default(),
            min_compaction_lag_ms: values.long("min.compaction.lag.ms"),
            min_insync_replicas: values.int("min.insync.replicas"),
            preallocate: values.bool("preallocate"),
            remote_log_copy_disable: values.bool("remote.log.copy.disable"),
            remote_log_delete_on_disable: values.bool("remote.log.delete.on.disable"),
            remote_storage_enable: values.bool("remote.storage.enable"),
            retention_bytes: values.long("retention.bytes"),
            retention_ms: values.long("retention.ms"),
            segment_bytes: values.int("segment.bytes"),
            segment_index_bytes: values.int("segment.index.bytes"),
            segment_jitter_ms: values.long("segment.jitter.ms"),
            segment_ms: values.long("segment.ms"),
            unclean_leader_election_enable: values.bool("unclean.leader.election.enable"),
        }
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::resolve(&BTreeMap::new(), &BTreeMap::new())
    }
}

/// Where values are looked for: on the topic, on the broker, in the table.
struct Values<'a> {
    overrides: &'a BTreeMap<String, String>,
    broker_settings: &'a BTreeMap<String, String>,
}

impl Values<'_> {
    /// The value in effect. `None` only for a name that is not in the table, which a test rules out.
    fn value(&self, name: &str) -> Option<ConfigValue> {
        let key = TopicKey::find(name)?;
        let on_topic = self.overrides.get(name).and_then(|text| key.parse(text).ok());
        on_topic.or_else(|| self.on_broker(key)).or_else(|| key.parse(key.default).ok())
    }

    fn on_broker(&self, key: &TopicKey) -> Option<ConfigValue> {
        key.broker_synonyms.iter().find_map(|synonym| {
            let text = self.broker_settings.get(synonym.key)?;
            let in_same_unit = (synonym.factor == 1).then(|| key.parse(text).ok()).flatten();
            in_same_unit.or_else(|| {
                let number: i64 = text.trim().parse().ok()?;
                // A negative time means "never" in every unit.
                let scaled = if number < 0 { -1 } else { number.saturating_mul(synonym.factor) };
                parse(key.config_type, key.accepts, &scaled.to_string())
            })
        })
    }

    fn long(&self, name: &str) -> i64 {
        self.value(name).and_then(|value| value.as_integer()).unwrap_or_default()
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).unwrap_or_default()
    }

    fn bool(&self, name: &str) -> bool {
        self.value(name).and_then(|value| value.as_bool()).unwrap_or_default()
    }

    fn cleanup_policy(&self) -> CleanupPolicy {
        let value = self.value("cleanup.policy");
        let names = |policy: &str| {
            let listed = value.as_ref().and_then(ConfigValue::as_list).unwrap_or_default();
            listed.iter().any(|name| name == policy)
        };
        CleanupPolicy { delete: names("delete"), compact: names("compact") }
    }

    fn compression_type(&self) -> CompressionType {
        match self.value("compression.type").as_ref().and_then(ConfigValue::as_text) {
            Some("uncompressed") => CompressionType::Uncompressed,
            Some("gzip") => CompressionType::Gzip,
            Some("snappy") => CompressionType::Snappy,
            Some("lz4") => CompressionType::Lz4,
            Some("zstd") => CompressionType::Zstd,
            _ => CompressionType::Producer,
        }
    }

    fn timestamp_type(&self) -> TimestampType {
        match self.value("message.timestamp.type").as_ref().and_then(ConfigValue::as_text) {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }

    fn entry(&self, key: &'static TopicKey, layers: &[BrokerLayer<'_>]) -> ConfigEntry {
        let on_topic = self.overrides.get(key.name).filter(|text| key.parse(text).is_ok());
        let mut synonyms: Vec<ConfigSynonym> = Vec::new();
        let mut add = |name, value: &str, source| {
            synonyms.push(ConfigSynonym { name, value: Some(value.to_owned()), source });
        };
        if let Some(value) = on_topic {
            add(key.name, value, ConfigSource::DynamicTopicConfig);
        }
        for (source, settings) in layers {
            for synonym in key.broker_synonyms {
                if let Some(value) = settings.get(synonym.key) {
                    add(synonym.key, value, *source);
                }
            }
        }
        for synonym in key.broker_synonyms {
            if let Some(value) = synonym.default {
                add(synonym.key, value, ConfigSource::DefaultConfig);
            }
        }
        ConfigEntry {
            name: key.name,
            value: self.value(key.name).map(|value| value.to_string()),
            source: synonyms.first().map_or(ConfigSource::DefaultConfig, |synonym| synonym.source),
            read_only: false,
            sensitive: key.config_type.is_sensitive(),
            config_type: key.config_type,
            documentation: key.documentation,
            synonyms,
        }
    }
}

/// Settings of a broker that came in one way.
pub type BrokerLayer<'a> = (ConfigSource, &'a BTreeMap<String, String>);

/// Every key of a topic, ordered by name, with its value in effect and where it comes from. `layers` are the broker's
/// settings, those that win first.
pub fn describe(overrides: &BTreeMap<String, String>, layers: &[BrokerLayer<'_>]) -> Vec<ConfigEntry> {
    let all = layers.iter().rev().flat_map(|(_, settings)| settings.iter());
    let broker_settings = &all.map(|(key, value)| (key.clone(), value.clone())).collect();
    let values = Values { overrides, broker_settings };
    TopicKey::all().iter().map(|key| values.entry(key, layers)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_value::{Accepts, ConfigType};

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn entry(name: &str, overrides: &[(&str, &str)], broker: &[(&str, &str)]) -> ConfigEntry {
        let entries =
            describe(&settings(overrides), &[(ConfigSource::StaticBrokerConfig, &settings(broker))]);
        entries.into_iter().find(|entry| entry.name == name).unwrap()
    }

    /// A valid value that is not the default.
    fn another_value(key: &TopicKey) -> String {
        match (key.config_type, key.accepts) {
            (ConfigType::Boolean, _) => (key.default == "false").to_string(),
            (ConfigType::Double, _) => "0.25".to_owned(),
            (ConfigType::List, Accepts::ThrottledReplicas) => "*".to_owned(),
            (_, Accepts::OneOf(words)) => {
                (*words.iter().find(|word| **word != key.default).unwrap()).to_owned()
            }
            _ => "17".to_owned(),
        }
    }

    #[test]
    fn every_key_set_on_the_topic_changes_the_configuration() {
        for key in TopicKey::all().iter().filter(|key| key.accepts != Accepts::ThrottledReplicas) {
            let value = another_value(key);
            if value != key.default && key.parse(&value).is_ok() {
                let changed = TopicConfig::resolve(&settings(&[(key.name, &value)]), &BTreeMap::new());
                assert_ne!(changed, TopicConfig::default(), "{}={value}", key.name);
            } else {
                assert_eq!(key.accepts, Accepts::OrBetween(-1, 1, 9), "{} was not tried", key.name);
            }
        }
    }

    #[test]
    fn every_broker_synonym_changes_the_configuration() {
        for key in TopicKey::all() {
            for synonym in key.broker_synonyms {
                let value =
                    if key.name == "compression.gzip.level" { "5".to_owned() } else { another_value(key) };
                let changed = TopicConfig::resolve(&BTreeMap::new(), &settings(&[(synonym.key, &value)]));
                assert_ne!(changed, TopicConfig::default(), "{}={value}", synonym.key);
            }
        }
    }

    #[test]
    fn the_defaults_are_kafkas() {
        let config = TopicConfig::default();
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.segment_ms, 7 * 24 * 3_600_000);
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: false });
        assert_eq!(config.compression_type, CompressionType::Producer);
        assert_eq!(config.message_timestamp_type, TimestampType::CreateTime);
        assert_eq!(config.min_cleanable_dirty_ratio, 0.5);
        assert_eq!(config.flush_messages, i64::MAX);
    }

    #[test]
    fn the_topic_wins_over_the_broker_and_the_finer_unit_over_the_coarser() {
        let broker = settings(&[("log.roll.hours", "2"), ("log.roll.jitter.hours", "1")]);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &broker).segment_ms, 7_200_000);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &broker).segment_jitter_ms, 3_600_000);
        let finer = settings(&[("log.roll.hours", "2"), ("log.roll.ms", "5000")]);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &finer).segment_ms, 5000);
        assert_eq!(TopicConfig::resolve(&settings(&[("segment.ms", "10")]), &finer).segment_ms, 10);
        let never = settings(&[("log.retention.minutes", "-1")]);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &never).retention_ms, -1);
        let never = settings(&[("log.retention.ms", "-7"), ("log.retention.hours", "1")]);
        assert_eq!(TopicConfig::resolve(&BTreeMap::new(), &never).retention_ms, -1);
    }

    #[test]
    fn an_unreadable_value_counts_as_not_set() {
        let overrides = settings(&[("segment.bytes", "huge"), ("from.the.future", "1")]);
        assert_eq!(TopicConfig::resolve(&overrides, &BTreeMap::new()), TopicConfig::default());
        assert_eq!(
            entry("segment.bytes", &[("segment.bytes", "huge")], &[]).source,
            ConfigSource::DefaultConfig
        );
    }

    #[test]
    fn a_description_names_every_source_the_one_in_effect_first() {
        let described = entry("segment.ms", &[("segment.ms", "10")], &[("log.roll.hours", "2")]);
        assert_eq!(described.value.as_deref(), Some("10"));
        assert_eq!(described.source, ConfigSource::DynamicTopicConfig);
        let listed: Vec<_> =
            described.synonyms.iter().map(|s| (s.name, s.value.as_deref(), s.source)).collect();
        assert_eq!(
            listed,
            [
                ("segment.ms", Some("10"), ConfigSource::DynamicTopicConfig),
                ("log.roll.hours", Some("2"), ConfigSource::StaticBrokerConfig),
                ("log.roll.hours", Some("168"), ConfigSource::DefaultConfig),
            ]
        );
    }

    #[test]
    fn what_was_set_while_the_broker_ran_comes_before_what_it_was_started_with() {
        let (own, all) =
            (settings(&[("log.segment.bytes", "100")]), settings(&[("log.segment.bytes", "200")]));
        let started = settings(&[("log.segment.bytes", "300"), ("log.roll.ms", "4")]);
        let layers = [
            (ConfigSource::DynamicBrokerConfig, &own),
            (ConfigSource::DynamicDefaultBrokerConfig, &all),
            (ConfigSource::StaticBrokerConfig, &started),
        ];
        let entries = describe(&BTreeMap::new(), &layers);
        let bytes = entries.iter().find(|entry| entry.name == "segment.bytes").unwrap();
        assert_eq!((bytes.value.as_deref(), bytes.source.id()), (Some("100"), 2));
        let listed: Vec<_> = bytes.synonyms.iter().map(|s| (s.value.as_deref(), s.source.id())).collect();
        let default = (Some("1073741824"), 5);
        assert_eq!(listed, [(Some("100"), 2), (Some("200"), 3), (Some("300"), 4), default]);
        let ms = entries.iter().find(|entry| entry.name == "segment.ms").unwrap();
        assert_eq!((ms.value.as_deref(), ms.source.id()), (Some("4"), 4));
    }

    #[test]
    fn a_description_shows_the_brokers_value_in_the_topics_unit() {
        let described = entry("segment.ms", &[], &[("log.roll.hours", "2")]);
        assert_eq!(described.value.as_deref(), Some("7200000"));
        assert_eq!(described.source, ConfigSource::StaticBrokerConfig);
        let throttle = entry("leader.replication.throttled.replicas", &[], &[]);
        assert_eq!((throttle.value.as_deref(), throttle.synonyms.len()), (Some(""), 0));
    }
}
