//! The broker's configuration: which settings are taken, and their values in effect.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_control::broker_config::{BrokerKey, ConfigError, Settable, check};
use taffrail_control::config_value::{ConfigEntry, ConfigSource, ConfigSynonym, ConfigValue, parse};
use taffrail_control::topic_config::{self, BrokerLayer, TopicConfig};

use taffrail_controller_service::ClusterDefaults;

/// What `taffrail dev` with this many brokers sets before the user's settings, where one would be surprised by Kafka's
/// defaults: one broker cannot hold three replicas of the offsets topic, and whoever asks for three brokers wants records
/// to live on all of them.
pub fn dev_settings(brokers: u16) -> Vec<(&'static str, String)> {
    let replicas = brokers.min(3).to_string();
    let mut settings = vec![
        ("default.replication.factor", replicas.clone()),
        ("offsets.topic.replication.factor", replicas),
    ];
    if brokers >= 3 {
        settings.push(("min.insync.replicas", "2".to_owned()));
    }
    settings
}

/// A limit that was lowered to stay within the memory there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// The key.
    pub key: &'static str,
    /// What it was, in bytes.
    pub from: i64,
    /// What it is now, in bytes.
    pub to: i64,
}

/// A broker's configuration in effect: one field per key that acts, named after it, in Kafka's units. Keys that only
/// give topics their defaults have no field: [`BrokerConfig::topic`] resolves them.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each field is documented where its key is, in the table")]
pub struct BrokerConfig {
    pub auto_create_topics_enable: bool,
    pub auto_leader_rebalance_enable: bool,
    pub broker_heartbeat_interval_ms: i32,
    pub broker_rack: Option<String>,
    pub broker_session_timeout_ms: i32,
    pub connections_max_idle_ms: i64,
    pub default_replication_factor: i16,
    pub delete_topic_enable: bool,
    pub fetch_max_bytes: i32,
    pub follower_replication_throttled_rate: i64,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_max_size: i32,
    pub group_min_session_timeout_ms: i32,
    pub leader_replication_throttled_rate: i64,
    /// `None`: the first listener.
    pub inter_broker_listener_name: Option<String>,
    pub leader_imbalance_check_interval_seconds: i64,
    pub log_cleaner_backoff_ms: i64,
    pub log_cleaner_dedupe_buffer_size: i64,
    pub log_cleaner_enable: bool,
    pub log_cleaner_io_buffer_load_factor: f64,
    pub log_cleaner_io_buffer_size: i32,
    pub log_cleaner_io_max_bytes_per_second: f64,
    pub log_cleaner_threads: i32,
    pub log_flush_offset_checkpoint_interval_ms: i32,
    pub log_flush_scheduler_interval_ms: i64,
    pub log_dir_reserved_free_bytes: i64,
    pub log_retention_check_interval_ms: i64,
    pub log_stray_retention_ms: i64,
    pub log_flush_start_offset_checkpoint_interval_ms: i32,
    pub max_connections: i32,
    pub max_connections_per_ip: i32,
    pub max_incremental_fetch_session_cache_slots: i32,
    pub max_request_partition_size_limit: i32,
    pub message_max_bytes: i32,
    pub num_io_threads: i32,
    pub num_network_threads: i32,
    pub num_partitions: i32,
    pub num_recovery_threads_per_data_dir: i32,
    pub offset_metadata_max_bytes: i32,
    pub offsets_commit_timeout_ms: i32,
    pub offsets_load_buffer_size: i32,
    pub offsets_retention_check_interval_ms: i64,
    pub offsets_retention_minutes: i32,
    pub offsets_topic_num_partitions: i32,
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: i32,
    pub producer_id_expiration_check_interval_ms: i32,
    pub producer_id_expiration_ms: i32,
    /// -1: no limit was set; [`BrokerConfig::fit_into`] sets one.
    pub queued_max_request_bytes: i64,
    pub replica_alter_log_dirs_io_max_bytes_per_second: i64,
    pub replica_fetch_backoff_ms: i32,
    pub replica_fetch_max_bytes: i32,
    pub replica_fetch_min_bytes: i32,
    pub replica_fetch_response_max_bytes: i32,
    pub replica_fetch_wait_max_ms: i32,
    pub replica_high_watermark_checkpoint_interval_ms: i64,
    pub replica_lag_time_max_ms: i64,
    /// `replica.selector.class`: whether it is the selector by rack.
    pub replica_selector_by_rack: bool,
    pub replica_socket_timeout_ms: i32,
    pub request_timeout_ms: i32,
    pub socket_listen_backlog_size: i32,
    pub socket_receive_buffer_bytes: i32,
    pub socket_request_max_bytes: i32,
    pub socket_send_buffer_bytes: i32,
    /// The most that `log_cleaner_dedupe_buffer_size` may be.
    log_cleaner_memory: i64,
    settings: Settings,
}

/// What was set, by key, and how it came in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Settings {
    /// At the start.
    pub(super) started: BTreeMap<String, String>,
    /// For all brokers, while they run.
    pub(super) of_all: BTreeMap<String, String>,
    /// For this broker, while it runs.
    pub(super) own: BTreeMap<String, String>,
    /// What wins of each key.
    merged: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn new(
        started: BTreeMap<String, String>,
        of_all: BTreeMap<String, String>,
        own: BTreeMap<String, String>,
    ) -> Self {
        let all = started.iter().chain(&of_all).chain(&own);
        let merged = all.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { started, of_all, own, merged }
    }

    /// The keys that have another value than in `other`.
    pub(super) fn different_from(&self, other: &Self) -> BTreeSet<String> {
        let keys = self.merged.keys().chain(other.merged.keys());
        keys.filter(|key| self.merged.get(*key) != other.merged.get(*key)).cloned().collect()
    }

    /// By how they came in, those that win first.
    fn layers(&self) -> [BrokerLayer<'_>; 3] {
        [
            (ConfigSource::DynamicBrokerConfig, &self.own),
            (ConfigSource::DynamicDefaultBrokerConfig, &self.of_all),
            (ConfigSource::StaticBrokerConfig, &self.started),
        ]
    }
}

impl BrokerConfig {
    /// The configuration that `settings` (keys and values; of a key given twice the last counts) make.
    ///
    /// # Errors
    /// The first setting that is not taken, or a [`ConfigError::Conflict`].
    pub fn from_settings<K, V>(settings: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut kept = BTreeMap::new();
        for (key, value) in settings {
            check(key.as_ref(), value.as_ref())?;
            kept.insert(key.as_ref().to_owned(), value.as_ref().trim().to_owned());
        }
        let config = Self::read(Settings::new(kept, BTreeMap::new(), BTreeMap::new()));
        let (low, high) = (config.group_min_session_timeout_ms, config.group_max_session_timeout_ms);
        if low > high {
            return Err(ConfigError::Conflict {
                low: "group.min.session.timeout.ms",
                low_value: low.into(),
                high: "group.max.session.timeout.ms",
                high_value: high.into(),
            });
        }
        Ok(config)
    }

    fn read(settings: Settings) -> Self {
        let values = Values(&settings.merged);
        Self {
            auto_create_topics_enable: values.bool("auto.create.topics.enable"),
            auto_leader_rebalance_enable: values.bool("auto.leader.rebalance.enable"),
            broker_heartbeat_interval_ms: values.int("broker.heartbeat.interval.ms"),
            broker_rack: settings.merged.get("broker.rack").filter(|rack| !rack.is_empty()).cloned(),
            broker_session_timeout_ms: values.int("broker.session.timeout.ms"),
            connections_max_idle_ms: values.long("connections.max.idle.ms"),
            default_replication_factor: values.short("default.replication.factor"),
            delete_topic_enable: values.bool("delete.topic.enable"),
            fetch_max_bytes: values.int("fetch.max.bytes"),
            follower_replication_throttled_rate: values.long("follower.replication.throttled.rate"),
            group_initial_rebalance_delay_ms: values.int("group.initial.rebalance.delay.ms"),
            group_max_session_timeout_ms: values.int("group.max.session.timeout.ms"),
            group_max_size: values.int("group.max.size"),
            group_min_session_timeout_ms: values.int("group.min.session.timeout.ms"),
            leader_replication_throttled_rate: values.long("leader.replication.throttled.rate"),
            inter_broker_listener_name: settings.merged.get("inter.broker.listener.name").cloned(),
            leader_imbalance_check_interval_seconds: values.long("leader.imbalance.check.interval.seconds"),
            log_cleaner_backoff_ms: values.long("log.cleaner.backoff.ms"),
            log_cleaner_dedupe_buffer_size: values.long("log.cleaner.dedupe.buffer.size"),
            log_cleaner_enable: values.bool("log.cleaner.enable"),
            log_cleaner_io_buffer_load_factor: values.double("log.cleaner.io.buffer.load.factor"),
            log_cleaner_io_buffer_size: values.int("log.cleaner.io.buffer.size"),
            log_cleaner_io_max_bytes_per_second: values.double("log.cleaner.io.max.bytes.per.second"),
            log_cleaner_threads: values.int("log.cleaner.threads"),
            log_flush_offset_checkpoint_interval_ms: values.int("log.flush.offset.checkpoint.interval.ms"),
            log_flush_scheduler_interval_ms: values.long("log.flush.scheduler.interval.ms"),
            log_flush_start_offset_checkpoint_interval_ms: values
                .int("log.flush.start.offset.checkpoint.interval.ms"),
            log_dir_reserved_free_bytes: values.long("log.dir.reserved.free.bytes"),
            log_retention_check_interval_ms: values.long("log.retention.check.interval.ms"),
            log_stray_retention_ms: values.long("log.stray.retention.ms"),
            max_connections: values.int("max.connections"),
            max_connections_per_ip: values.int("max.connections.per.ip"),
            max_incremental_fetch_session_cache_slots: values
                .int("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: values.int("max.request.partition.size.limit"),
            message_max_bytes: values.int("message.max.bytes"),
            num_io_threads: values.int("num.io.threads"),
            num_network_threads: values.int("num.network.threads"),
            num_partitions: values.int("num.partitions"),
            num_recovery_threads_per_data_dir: values.int("num.recovery.threads.per.data.dir"),
            offset_metadata_max_bytes: values.int("offset.metadata.max.bytes"),
            offsets_commit_timeout_ms: values.int("offsets.commit.timeout.ms"),
            offsets_load_buffer_size: values.int("offsets.load.buffer.size"),
            offsets_retention_check_interval_ms: values.long("offsets.retention.check.interval.ms"),
            offsets_retention_minutes: values.int("offsets.retention.minutes"),
            offsets_topic_num_partitions: values.int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: values.short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: values.int("offsets.topic.segment.bytes"),
            producer_id_expiration_check_interval_ms: values.int("producer.id.expiration.check.interval.ms"),
            producer_id_expiration_ms: values.int("producer.id.expiration.ms"),
            queued_max_request_bytes: values.long("queued.max.request.bytes"),
            replica_alter_log_dirs_io_max_bytes_per_second: values
                .long("replica.alter.log.dirs.io.max.bytes.per.second"),
            replica_fetch_backoff_ms: values.int("replica.fetch.backoff.ms"),
            replica_fetch_max_bytes: values.int("replica.fetch.max.bytes"),
            replica_fetch_min_bytes: values.int("replica.fetch.min.bytes"),
            replica_fetch_response_max_bytes: values.int("replica.fetch.response.max.bytes"),
            replica_fetch_wait_max_ms: values.int("replica.fetch.wait.max.ms"),
            replica_high_watermark_checkpoint_interval_ms: values
                .long("replica.high.watermark.checkpoint.interval.ms"),
            replica_lag_time_max_ms: values.long("replica.lag.time.max.ms"),
            replica_selector_by_rack: settings
                .merged
                .get("replica.selector.class")
                .is_some_and(|class| !class.is_empty()),
            replica_socket_timeout_ms: values.int("replica.socket.timeout.ms"),
            request_timeout_ms: values.int("request.timeout.ms"),
            socket_listen_backlog_size: values.int("socket.listen.backlog.size"),
            socket_receive_buffer_bytes: values.int("socket.receive.buffer.bytes"),
            socket_request_max_bytes: values.int("socket.request.max.bytes"),
            socket_send_buffer_bytes: values.int("socket.send.buffer.bytes"),
            log_cleaner_memory: i64::MAX,
            settings,
        }
    }

    /// The configuration once these settings of all brokers and of this one have come in while it runs; those that came
    /// in before give way. What was lowered to fit into the memory stays so.
    pub(super) fn with_dynamic(
        &self,
        of_all: BTreeMap<String, String>,
        own: BTreeMap<String, String>,
    ) -> Self {
        let changed = Self::read(Settings::new(self.settings.started.clone(), of_all, own));
        Self {
            queued_max_request_bytes: self.queued_max_request_bytes,
            socket_request_max_bytes: self.socket_request_max_bytes,
            offsets_load_buffer_size: self.offsets_load_buffer_size,
            log_cleaner_dedupe_buffer_size: changed
                .log_cleaner_dedupe_buffer_size
                .min(self.log_cleaner_memory),
            log_cleaner_memory: self.log_cleaner_memory,
            ..changed
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The configuration of a topic with these settings of its own.
    pub fn topic(&self, overrides: &BTreeMap<String, String>) -> TopicConfig {
        TopicConfig::resolve(overrides, &self.settings.merged)
    }

    /// Every key of a topic with these settings of its own, for DescribeConfigs.
    pub fn describe_topic(&self, overrides: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
        topic_config::describe(overrides, &self.settings.layers())
    }

    /// Every key of the broker, ordered by name, for DescribeConfigs. `decided` holds values of keys that something
    /// other than a setting decides, such as `listeners`. Keys that cannot be set at the start are there once they are set.
    pub fn describe(&self, decided: &BTreeMap<&str, String>) -> Vec<ConfigEntry> {
        let set = |key: &&BrokerKey| self.settings.merged.contains_key(key.name);
        let keys = BrokerKey::all().chain(BrokerKey::only_dynamic().filter(set));
        let mut entries: Vec<_> = keys
            .map(|key| {
                let decided =
                    decided.get(key.name).map(|value| (value.as_str(), ConfigSource::StaticBrokerConfig));
                let layers = self.settings.layers();
                let given =
                    layers.iter().filter_map(|(source, set)| Some((set.get(key.name)?.as_str(), *source)));
                let default = key.default.map(|value| (value, ConfigSource::DefaultConfig));
                described(key, decided.into_iter().chain(given).chain(default))
            })
            .collect();
        entries.sort_by_key(|entry| entry.name);
        entries
    }

    /// The keys that are set for all brokers while they run, ordered by name, for DescribeConfigs.
    pub fn describe_of_all(&self) -> Vec<ConfigEntry> {
        let set = self.settings.of_all.iter();
        let entry = |(name, value): (&String, &String)| {
            let key = BrokerKey::find_any(name)?;
            Some(described(key, [(value.as_str(), ConfigSource::DynamicDefaultBrokerConfig)]))
        };
        set.filter_map(entry).collect()
    }

    /// Lowers what would not fit into `memory_bytes` and says what was lowered; afterwards `queued_max_request_bytes`
    /// is set. Requests in work get half of the memory, one request at most half of that, reading
    /// `__consumer_offsets` a sixteenth of the whole, what is fetched at a time from another broker a thirty-second, and the
    /// keys of logs that are compacted an eighth; the rest is for logs' tables, groups and connections.
    pub fn fit_into(&mut self, memory_bytes: u64) -> Vec<Lowered> {
        let memory = i64::try_from(memory_bytes).unwrap_or(i64::MAX);
        let mut lowered = Vec::new();
        if self.queued_max_request_bytes < 0 {
            self.queued_max_request_bytes = memory / 2;
        }
        let queued = self.queued_max_request_bytes;
        self.queued_max_request_bytes = lower("queued.max.request.bytes", queued, memory / 2, &mut lowered);
        let mut lower_int = |key, value: &mut i32, limit: i64| {
            *value = i32::try_from(lower(key, (*value).into(), limit, &mut lowered)).unwrap_or(*value);
        };
        let one_request = self.queued_max_request_bytes / 2;
        lower_int("socket.request.max.bytes", &mut self.socket_request_max_bytes, one_request);
        lower_int("offsets.load.buffer.size", &mut self.offsets_load_buffer_size, memory / 16);
        let (keys, limit) = (self.log_cleaner_dedupe_buffer_size, memory / 8);
        self.log_cleaner_dedupe_buffer_size =
            lower("log.cleaner.dedupe.buffer.size", keys, limit, &mut lowered);
        self.log_cleaner_memory = limit;
        let mut lower_int = |key, value: &mut i32, limit: i64| {
            *value = i32::try_from(lower(key, (*value).into(), limit, &mut lowered)).unwrap_or(*value);
        };
        let response = &mut self.replica_fetch_response_max_bytes;
        lower_int("replica.fetch.response.max.bytes", response, memory / 32);
        lowered
    }
}

impl BrokerConfig {
    /// What a controller takes from these settings.
    pub fn cluster_defaults(&self) -> ClusterDefaults {
        let topics = self.topic(&BTreeMap::new());
        let positive = |value: i64| u64::try_from(value).unwrap_or(0);
        ClusterDefaults {
            num_partitions: self.num_partitions,
            default_replication_factor: self.default_replication_factor,
            min_insync_replicas: topics.min_insync_replicas,
            unclean_leader_election: topics.unclean_leader_election_enable,
            auto_leader_rebalance: self.auto_leader_rebalance_enable,
            leader_imbalance_check_ms: positive(self.leader_imbalance_check_interval_seconds)
                .saturating_mul(1000),
            session_timeout_ms: positive(self.broker_session_timeout_ms.into()),
        }
    }

    /// [`Self::fit_into`], with a log line for each limit that is lowered.
    pub fn fit_into_and_tell(&mut self, memory_bytes: u64) {
        for lowered in self.fit_into(memory_bytes) {
            tracing::info!(
                "{} is lowered from {} to {} bytes to stay within the memory there is (--memory)",
                lowered.key,
                lowered.from,
                lowered.to
            );
        }
    }
}

fn described<'a>(
    key: &'static BrokerKey,
    values: impl IntoIterator<Item = (&'a str, ConfigSource)>,
) -> ConfigEntry {
    let sensitive = key.config_type.is_sensitive();
    let shown = |value: &str| (!sensitive).then(|| value.to_owned());
    let synonym = |(value, source): (&str, _)| ConfigSynonym { name: key.name, value: shown(value), source };
    let synonyms: Vec<_> = values.into_iter().map(synonym).collect();
    ConfigEntry {
        name: key.name,
        value: synonyms.first().and_then(|synonym| synonym.value.clone()),
        source: synonyms.first().map_or(ConfigSource::DefaultConfig, |synonym| synonym.source),
        read_only: key.settable() == Settable::AtStart,
        sensitive,
        config_type: key.config_type,
        documentation: key.documentation,
        synonyms,
    }
}

fn lower(key: &'static str, value: i64, limit: i64, lowered: &mut Vec<Lowered>) -> i64 {
    if value > limit {
        lowered.push(Lowered { key, from: value, to: limit });
    }
    value.min(limit)
}

/// Checked settings, with the table behind them.
struct Values<'a>(&'a BTreeMap<String, String>);

impl Values<'_> {
    /// The value in effect. `None` only for a key that is not in the table or has no default, which a test rules out.
    fn value(&self, name: &str) -> Option<ConfigValue> {
        let key = BrokerKey::find_any(name)?;
        let set = self.0.get(name).and_then(|text| parse(key.config_type, key.accepts, text));
        set.or_else(|| key.default_value())
    }

    fn double(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(ConfigValue::Double(value)) => value,
            _ => 0.0,
        }
    }

    fn long(&self, name: &str) -> i64 {
        self.value(name).and_then(|value| value.as_integer()).unwrap_or_default()
    }

    fn int(&self, name: &str) -> i32 {
        self.long(name).clamp(i32::MIN.into(), i32::MAX.into()) as i32
    }

    fn short(&self, name: &str) -> i16 {
        self.long(name).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }

    fn bool(&self, name: &str) -> bool {
        self.value(name).and_then(|value| value.as_bool()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_control::broker_config::{Handling, RACK_AWARE_SELECTOR};
    use taffrail_control::config_value::ConfigType;

    fn config(settings: &[(&str, &str)]) -> BrokerConfig {
        BrokerConfig::from_settings(settings.iter().copied()).unwrap()
    }

    fn refusal(key: &str, value: &str) -> String {
        BrokerConfig::from_settings([(key, value)]).unwrap_err().to_string()
    }

    #[test]
    fn every_honoured_key_changes_the_configuration_of_the_broker_or_of_its_topics() {
        let none = config(&[]);
        for key in BrokerKey::all().filter(|key| key.handling == Handling::Honoured) {
            let value = match key.config_type {
                ConfigType::Boolean => (key.default == Some("false")).to_string(),
                ConfigType::String if key.name == "replica.selector.class" => RACK_AWARE_SELECTOR.to_owned(),
                ConfigType::String if key.default.is_none() => "rack-1".to_owned(),
                ConfigType::String => "LogAppendTime".to_owned(),
                ConfigType::List => "compact".to_owned(),
                ConfigType::Double => "0.25".to_owned(),
                _ if key.name == "log.cleaner.dedupe.buffer.size" => "7000000".to_owned(),
                _ => "7000".to_owned(),
            };
            let some = config(&[(key.name, &value)]);
            let mut without_settings = some.clone();
            without_settings.settings = Settings::default();
            let topics = BTreeMap::new();
            assert!(
                without_settings != none || some.topic(&topics) != none.topic(&topics),
                "{}={value}",
                key.name
            );
        }
    }

    #[test]
    fn the_defaults_are_kafkas() {
        let config = config(&[]);
        assert_eq!(config.num_partitions, 1);
        assert_eq!(config.group_initial_rebalance_delay_ms, 3000);
        assert_eq!(config.offsets_topic_num_partitions, 50);
        assert_eq!(config.offsets_topic_replication_factor, 3);
        assert_eq!(config.socket_request_max_bytes, 100 * 1024 * 1024);
        assert_eq!(config.max_connections, i32::MAX);
        assert!(config.auto_create_topics_enable);
        assert_eq!(config.broker_rack, None);
    }

    #[test]
    fn the_settings_of_dev_fit_its_brokers_and_the_users_come_after_them() {
        let dev = |brokers, key: Option<&'static str>| {
            let users = key.map(|key| (key, "4".to_owned()));
            let config = BrokerConfig::from_settings(dev_settings(brokers).into_iter().chain(users)).unwrap();
            let min_isr = config.topic(&BTreeMap::new()).min_insync_replicas;
            (config.default_replication_factor, config.offsets_topic_replication_factor, min_isr)
        };
        assert_eq!(dev(1, None), (1, 1, 1));
        assert_eq!(dev(2, None), (2, 2, 1));
        assert_eq!(dev(3, None), (3, 3, 2));
        assert_eq!(dev(5, None), (3, 3, 2));
        assert_eq!(dev(1, Some("offsets.topic.replication.factor")), (1, 4, 1));
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        assert_eq!(
            refusal("num.partition", "3"),
            "unknown configuration key \"num.partition\"; did you mean num.partitions?"
        );
        assert_eq!(
            refusal("segment.bytes", "3"),
            "unknown configuration key \"segment.bytes\"; did you mean log.segment.bytes?"
        );
        assert_eq!(refusal("zookeeper.connect", "here"), "unknown configuration key \"zookeeper.connect\"");
    }

    #[test]
    fn a_bad_value_is_answered_with_what_is_accepted() {
        assert_eq!(
            refusal("num.partitions", "0"),
            "configuration num.partitions=0: the value is not valid, expected a whole number from 1 to 2147483647"
        );
        assert_eq!(
            refusal("auto.create.topics.enable", "yes"),
            "configuration auto.create.topics.enable=yes: the value is not valid, expected true or false"
        );
    }

    #[test]
    fn records_are_kept_for_some_time_or_for_good() {
        assert_eq!(
            refusal("log.retention.hours", "0"),
            "configuration log.retention.hours=0: the value is not valid, expected a whole number that is not 0"
        );
        for value in ["1", "-1", "-5"] {
            assert!(BrokerConfig::from_settings([("log.retention.ms", value)]).is_ok(), "{value}");
        }
    }

    #[test]
    fn a_key_that_is_not_honoured_takes_only_its_default() {
        assert_eq!(
            refusal("log.local.retention.ms", "24"),
            "configuration log.local.retention.ms=24 is not supported yet: there is no tiered storage yet. \
             Leave the key out or set it to its default, \"-2\""
        );
        assert!(BrokerConfig::from_settings([("log.local.retention.ms", "-2")]).is_ok());
        assert!(refusal("ssl.key.password", "hunter2").ends_with("Leave the key out"));
        assert!(!refusal("ssl.key.password", "hunter2").contains("hunter2"));
    }

    #[test]
    fn what_an_option_decides_cannot_be_set() {
        assert_eq!(
            refusal("listeners", "PLAINTEXT://:9092"),
            "configuration listeners cannot be set: the option --listen sets it"
        );
    }

    #[test]
    fn session_timeouts_must_leave_room_between_them() {
        assert_eq!(
            refusal("group.max.session.timeout.ms", "10"),
            "configuration group.min.session.timeout.ms=6000 is above group.max.session.timeout.ms=10; it must not be"
        );
    }

    #[test]
    fn a_description_shows_every_key_with_its_sources() {
        let described = config(&[("num.partitions", "4")])
            .describe(&BTreeMap::from([("listeners", "PLAINTEXT://:1".to_owned())]));
        assert_eq!(described.len(), BrokerKey::all().count());
        assert!(described.is_sorted_by_key(|entry| entry.name));
        let entry = |name| described.iter().find(|entry| entry.name == name).unwrap();
        let sources: Vec<_> =
            entry("num.partitions").synonyms.iter().map(|s| (s.value.as_deref(), s.source)).collect();
        assert_eq!(
            sources,
            [(Some("4"), ConfigSource::StaticBrokerConfig), (Some("1"), ConfigSource::DefaultConfig)]
        );
        assert_eq!(entry("listeners").value.as_deref(), Some("PLAINTEXT://:1"));
        assert!(entry("ssl.key.password").sensitive);
        assert_eq!((entry("log.dirs").value.as_deref(), entry("log.dirs").synonyms.len()), (None, 0));
    }

    #[test]
    fn limits_are_lowered_into_little_memory_and_left_alone_in_much() {
        let mut small = config(&[]);
        let lowered = small.fit_into(64 << 20);
        assert_eq!(small.queued_max_request_bytes, 32 << 20);
        assert_eq!(small.socket_request_max_bytes, 16 << 20);
        assert_eq!(small.offsets_load_buffer_size, 4 << 20);
        assert_eq!(
            lowered,
            [
                Lowered { key: "socket.request.max.bytes", from: 100 << 20, to: 16 << 20 },
                Lowered { key: "offsets.load.buffer.size", from: 5 << 20, to: 4 << 20 },
                Lowered { key: "log.cleaner.dedupe.buffer.size", from: 128 << 20, to: 8 << 20 },
                Lowered { key: "replica.fetch.response.max.bytes", from: 10 << 20, to: 2 << 20 },
            ]
        );
        let mut large = config(&[]);
        assert_eq!(large.fit_into(8 << 30), []);
        assert_eq!(large.queued_max_request_bytes, 4 << 30);
    }

    #[test]
    fn a_queue_set_larger_than_the_memory_is_lowered() {
        let mut config = config(&[("queued.max.request.bytes", "1000000000")]);
        let lowered = config.fit_into(64 << 20);
        assert_eq!(
            lowered[0],
            Lowered { key: "queued.max.request.bytes", from: 1_000_000_000, to: 32 << 20 }
        );
    }
}
