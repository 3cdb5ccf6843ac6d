//! Counters and histograms of the broker, and their text form for Prometheus.
//!
//! What is counted on the way of a request is an atomic in a place found by index, without locks or look-ups by name.
//! What can be asked for (logs, groups, memory) is asked for when somebody scrapes, through [`MetricsSource`], and
//! kept nowhere: thousands of idle partitions cost nothing between two scrapes.

pub mod cleaner;
mod controller;
mod log_dirs;
mod process;
mod replication;
mod text;

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use taffrail_protocol::{ApiKey, ErrorCode};

use crate::broker::Broker;
use crate::recovery::Recoveries;

pub use self::controller::ControllerScrape;
pub use self::log_dirs::{DirSample, MovesSample};
use self::text::{Kind, TextWriter};
pub use replication::{LedSample, ReplicationSample};

/// The upper bounds of the latency buckets, in microseconds: from well under a disk's write to a long poll's end.
const BUCKETS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// The highest API code that has a place of its own.
const API_PLACES: usize = 128;

/// The places for errors of one API: codes from -1 on. A code beyond them is counted as UNKNOWN_SERVER_ERROR.
const ERROR_PLACES: usize = 160;

/// Why a connection was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedConnection {
    /// `max.connections` are open.
    TooMany,
    /// Its address has `max.connections.per.ip` open.
    TooManyFromAddress,
    /// There was no file descriptor or no memory for it.
    NoResources,
}

impl RefusedConnection {
    const ALL: [(Self, &'static str); 3] = [
        (Self::TooMany, "max_connections"),
        (Self::TooManyFromAddress, "max_connections_per_ip"),
        (Self::NoResources, "no_resources"),
    ];
}

/// The broker's counters. One per process.
#[derive(Debug)]
pub struct Metrics {
    apis: Box<[ApiCounters]>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    connections_open: AtomicI64,
    connections_accepted: AtomicU64,
    connections_refused: [AtomicU64; RefusedConnection::ALL.len()],
    bad_requests: AtomicU64,
    isr_shrinks: AtomicU64,
    isr_expands: AtomicU64,
    isr_updates_failed: AtomicU64,
    /// What compaction did.
    pub cleaner: cleaner::CleanerCounters,
    corrupt_batches: AtomicU64,
    corrupt_batches_mended: AtomicU64,
    started: SystemTime,
}

/// The counters of one API.
#[derive(Debug, Default)]
struct ApiCounters {
    /// Requests by the bucket that their duration fell into; the last place is for those beyond all bounds.
    durations: [AtomicU64; BUCKETS_US.len() + 1],
    duration_sum_us: AtomicU64,
    /// Made at the first error: most APIs never have one.
    errors: OnceLock<Box<[AtomicU64]>>,
}

/// An open connection in the count, until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Metrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All zero.
    pub fn new() -> Self {
        Self {
            apis: (0..API_PLACES).map(|_| ApiCounters::default()).collect(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            connections_open: AtomicI64::new(0),
            connections_accepted: AtomicU64::new(0),
            connections_refused: Default::default(),
            bad_requests: AtomicU64::new(0),
            isr_shrinks: AtomicU64::new(0),
            isr_expands: AtomicU64::new(0),
            isr_updates_failed: AtomicU64::new(0),
            cleaner: cleaner::CleanerCounters::default(),
            corrupt_batches: AtomicU64::new(0),
            corrupt_batches_mended: AtomicU64::new(0),
            started: SystemTime::now(),
        }
    }

    /// A request was answered, or done without an answer: how long after its last byte came in, and how many bytes the
    /// answer has, length prefix included.
    pub fn request_done(&self, api: ApiKey, elapsed: Duration, sent_bytes: u64) {
        self.sent_bytes.fetch_add(sent_bytes, Relaxed);
        let Some(counters) = self.counters(api) else { return };
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.iter().position(|bound| elapsed_us <= *bound).unwrap_or(BUCKETS_US.len());
        counters.durations[bucket].fetch_add(1, Relaxed);
        counters.duration_sum_us.fetch_add(elapsed_us, Relaxed);
    }

    /// How many requests of an API were done.
    pub fn requests_done(&self, api: ApiKey) -> u64 {
        let durations = self.counters(api).map(|counters| counters.durations.iter());
        durations.into_iter().flatten().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// An answer carries this error, for the request or for one part of it.
    pub fn request_error(&self, api: ApiKey, code: ErrorCode) {
        let Some(counters) = self.counters(api) else { return };
        let errors = counters.errors.get_or_init(|| (0..ERROR_PLACES).map(|_| AtomicU64::new(0)).collect());
        let place =
            usize::try_from(i32::from(code.0) + 1).ok().filter(|place| *place < ERROR_PLACES).unwrap_or(0);
        errors[place].fetch_add(1, Relaxed);
    }

    /// Bytes of requests came in, length prefixes included.
    pub fn bytes_in(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// A request was not understood and its connection closed.
    pub fn bad_request(&self) {
        self.bad_requests.fetch_add(1, Relaxed);
    }

    /// A connection was accepted and will be served; it is open until the answer is dropped.
    pub fn connection_opened(self: &Arc<Self>) -> OpenConnection {
        self.connections_accepted.fetch_add(1, Relaxed);
        self.connections_open.fetch_add(1, Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// A connection was closed without being served.
    pub fn connection_refused(&self, reason: RefusedConnection) {
        if let Some(place) = RefusedConnection::ALL.iter().position(|(known, _)| *known == reason) {
            self.connections_refused[place].fetch_add(1, Relaxed);
        }
    }

    /// A partition led here went from `before` to `after` in-sync replicas.
    pub fn isr_changed(&self, before: usize, after: usize) {
        match before.cmp(&after) {
            Ordering::Less => self.isr_expands.fetch_add(1, Relaxed),
            Ordering::Equal => 0,
            Ordering::Greater => self.isr_shrinks.fetch_add(1, Relaxed),
        };
    }

    /// A batch was corrupt: one that a leader sent, or one in a log of this broker.
    pub fn corrupt_batch(&self) {
        self.corrupt_batches.fetch_add(1, Relaxed);
    }

    /// A corrupt batch of a log here was fetched anew.
    pub fn corrupt_batch_mended(&self) {
        self.corrupt_batches_mended.fetch_add(1, Relaxed);
    }

    /// The controller did not take in-sync replicas that were proposed.
    pub fn isr_update_failed(&self) {
        self.isr_updates_failed.fetch_add(1, Relaxed);
    }

    fn counters(&self, api: ApiKey) -> Option<&ApiCounters> {
        usize::try_from(api.code()).ok().and_then(|code| self.apis.get(code))
    }
}

/// What is asked for when somebody scrapes. The methods are called on a thread that may wait for locks; they must not
/// hold one while they call back.
pub trait MetricsSource: Send + Sync {
    /// The state of each log on this broker.
    fn logs(&self) -> Vec<LogSample>;
    /// The log directories.
    fn log_dirs(&self) -> Vec<DirSample>;

    /// The moves of replicas between them.
    fn log_dir_moves(&self) -> MovesSample;
    /// How well partitions are replicated.
    fn replication(&self) -> ReplicationSample;
    /// How many groups this broker coordinates in each state, by Kafka's names for states, such as `Stable`.
    fn groups(&self) -> Vec<(&'static str, u64)>;
    /// Memory that requests in work hold, and how much they may hold, in bytes.
    fn memory(&self) -> MemorySample;
}

/// What the admin port shows as metrics. Called on a thread that may wait.
pub trait Scrape: Send + Sync {
    /// Everything in Prometheus' text format (version 0.0.4); `ready` is what /readyz says.
    fn render(&self, ready: bool) -> String;
}

/// A broker's metrics.
pub struct BrokerScrape {
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What is asked for.
    pub source: Arc<dyn MetricsSource>,
    /// How far the recovery of the logs has come.
    pub recoveries: Arc<Recoveries>,
}

impl Scrape for BrokerScrape {
    fn render(&self, ready: bool) -> String {
        let mut text = TextWriter::default();
        render_recoveries(&mut text, &self.recoveries);
        self.metrics.render(self.source.as_ref(), ready) + &text.finish()
    }
}

fn render_recoveries(text: &mut TextWriter, recoveries: &Recoveries) {
    let left = recoveries.left();
    type Figure = fn(&taffrail_log::Workload) -> u64;
    let families: [(&str, &str, Figure); 3] = [
        (
            "taffrail_remaining_logs_to_recover",
            "Logs that a start has still to open, by data directory.",
            |left| left.logs,
        ),
        (
            "taffrail_remaining_segments_to_recover",
            "Segments that a start after a crash has still to check, by data directory.",
            |left| left.segments,
        ),
        (
            "taffrail_remaining_bytes_to_recover",
            "Bytes of segments that a start after a crash has still to check, by data directory.",
            |left| left.bytes,
        ),
    ];
    for (name, help, figure) in families {
        text.family(name, Kind::Gauge, help);
        for (dir, left) in &left {
            text.sample(name, &[("dir", &dir.to_string_lossy())], figure(left));
        }
    }
}

/// A broker that may not have started yet, and has nothing to tell until then.
#[derive(Default)]
pub struct StartingBroker(OnceLock<Arc<Broker>>);

impl StartingBroker {
    /// The broker has started. Only the first call counts.
    pub fn started(&self, broker: &Arc<Broker>) {
        self.0.get_or_init(|| Arc::clone(broker));
    }
}

impl MetricsSource for StartingBroker {
    fn logs(&self) -> Vec<LogSample> {
        self.0.get().map(|broker| broker.logs()).unwrap_or_default()
    }

    fn log_dirs(&self) -> Vec<DirSample> {
        self.0.get().map(|broker| MetricsSource::log_dirs(&**broker)).unwrap_or_default()
    }

    fn log_dir_moves(&self) -> MovesSample {
        self.0.get().map(|broker| MetricsSource::log_dir_moves(&**broker)).unwrap_or_default()
    }

    fn replication(&self) -> ReplicationSample {
        self.0.get().map(|broker| broker.replication()).unwrap_or_default()
    }

    fn groups(&self) -> Vec<(&'static str, u64)> {
        self.0.get().map(|broker| MetricsSource::groups(&**broker)).unwrap_or_default()
    }

    fn memory(&self) -> MemorySample {
        let none = MemorySample { used_bytes: 0, limit_bytes: 0 };
        self.0.get().map_or(none, |broker| broker.memory())
    }
}

/// The state of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSample {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// Bytes of record data in all segments.
    pub size_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// First offset that can be read.
    pub log_start_offset: i64,
    /// Offset after the last record.
    pub log_end_offset: i64,
    /// Offset below which consumers may read.
    pub high_watermark: i64,
    /// Whether this broker leads the partition.
    pub leader: bool,
}

/// Memory that requests in work hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySample {
    /// Bytes held now.
    pub used_bytes: u64,
    /// Bytes that may be held.
    pub limit_bytes: u64,
}

impl Metrics {
    /// Everything in Prometheus' text format (version 0.0.4). Reads `/proc` and asks `source`, so not for a thread that
    /// must not wait.
    pub fn render(&self, source: &dyn MetricsSource, ready: bool) -> String {
        let mut text = TextWriter::default();
        text.family("taffrail_build_info", Kind::Gauge, "Always 1; the label tells the version.");
        text.sample("taffrail_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.family(
            "taffrail_ready",
            Kind::Gauge,
            "1 if the broker serves clients, 0 while it starts or stops.",
        );
        text.sample("taffrail_ready", &[], u8::from(ready));
        self.render_requests(&mut text);
        self.render_network(&mut text);
        render_logs(&mut text, &source.logs());
        log_dirs::render(&mut text, &source.log_dirs(), source.log_dir_moves());
        self.render_replication(&mut text, &source.replication());
        self.render_cleaner(&mut text);
        render_groups(&mut text, &source.groups());
        let MemorySample { used_bytes, limit_bytes } = source.memory();
        text.single(
            "taffrail_request_memory_bytes",
            Kind::Gauge,
            "Memory held by requests in work and answers not yet sent.",
            used_bytes,
        );
        text.single(
            "taffrail_request_memory_limit_bytes",
            Kind::Gauge,
            "Memory that requests and answers may hold; at this limit connections are no longer read from.",
            limit_bytes,
        );
        process::render(&mut text, self.started);
        text.finish()
    }

    fn render_requests(&self, text: &mut TextWriter) {
        let used = || {
            ApiKey::ALL.iter().filter_map(|api| {
                let counters = self.counters(*api)?;
                let buckets: Vec<u64> =
                    counters.durations.iter().map(|bucket| bucket.load(Relaxed)).collect();
                let count: u64 = buckets.iter().sum();
                (count > 0).then_some((api.name(), counters, buckets, count))
            })
        };
        text.family("taffrail_requests_total", Kind::Counter, "Requests that were done, by API.");
        for (api, _, _, count) in used() {
            text.sample("taffrail_requests_total", &[("api", api)], count);
        }
        text.family(
            "taffrail_request_duration_seconds",
            Kind::Histogram,
            "Time from a request's last byte to its answer, waits that the client asked for included, by API.",
        );
        for (api, counters, buckets, _) in used() {
            let mut below = 0;
            for (bound_us, count) in BUCKETS_US.iter().map(Some).chain([None]).zip(buckets) {
                below += count;
                let bound = bound_us.map_or("+Inf".to_owned(), |us| seconds(*us).to_string());
                text.sample(
                    "taffrail_request_duration_seconds_bucket",
                    &[("api", api), ("le", &bound)],
                    below,
                );
            }
            let sum = seconds(counters.duration_sum_us.load(Relaxed));
            text.sample("taffrail_request_duration_seconds_sum", &[("api", api)], sum);
            text.sample("taffrail_request_duration_seconds_count", &[("api", api)], below);
        }
        text.family(
            "taffrail_request_errors_total",
            Kind::Counter,
            "Errors that answers carried, one per topic partition or other part of a request, by API and Kafka's name.",
        );
        for api in ApiKey::ALL {
            let errors = self.counters(*api).and_then(|counters| counters.errors.get());
            for (code, count) in (-1_i16..).zip(errors.into_iter().flat_map(|errors| errors.iter())) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let error = ErrorCode(code).to_string();
                    text.sample(
                        "taffrail_request_errors_total",
                        &[("api", api.name()), ("error", &error)],
                        count,
                    );
                }
            }
        }
        text.single(
            "taffrail_bad_requests_total",
            Kind::Counter,
            "Requests that were not understood and cost their connection.",
            self.bad_requests.load(Relaxed),
        );
    }

    fn render_network(&self, text: &mut TextWriter) {
        let received = self.received_bytes.load(Relaxed);
        text.single("taffrail_received_bytes_total", Kind::Counter, "Bytes of requests received.", received);
        let sent = self.sent_bytes.load(Relaxed);
        text.single("taffrail_sent_bytes_total", Kind::Counter, "Bytes of answers sent or being sent.", sent);
        let open = self.connections_open.load(Relaxed);
        text.single("taffrail_connections", Kind::Gauge, "Client connections that are open.", open);
        let accepted = self.connections_accepted.load(Relaxed);
        text.single(
            "taffrail_connections_accepted_total",
            Kind::Counter,
            "Client connections served.",
            accepted,
        );
        text.family(
            "taffrail_connections_refused_total",
            Kind::Counter,
            "Client connections closed without being served, by reason.",
        );
        for ((_, reason), count) in RefusedConnection::ALL.iter().zip(&self.connections_refused) {
            text.sample("taffrail_connections_refused_total", &[("reason", reason)], count.load(Relaxed));
        }
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// A family of the logs: its name, its help, and the number it shows of a log.
type LogFamily = (&'static str, &'static str, fn(&LogSample) -> i64);

fn render_logs(text: &mut TextWriter, logs: &[LogSample]) {
    const FAMILIES: [LogFamily; 6] = [
        ("taffrail_log_size_bytes", "Bytes of record data on disk, by topic partition.", |log| {
            i64::try_from(log.size_bytes).unwrap_or(i64::MAX)
        }),
        ("taffrail_log_segments", "Segments, by topic partition.", |log| {
            i64::try_from(log.segments).unwrap_or(i64::MAX)
        }),
        ("taffrail_log_start_offset", "First offset that can be read, by topic partition.", |log| {
            log.log_start_offset
        }),
        ("taffrail_log_end_offset", "Offset after the last record, by topic partition.", |log| {
            log.log_end_offset
        }),
        ("taffrail_high_watermark", "Offset below which consumers may read, by topic partition.", |log| {
            log.high_watermark
        }),
        ("taffrail_leader", "1 where this broker leads the topic partition, else 0.", |log| {
            i64::from(log.leader)
        }),
    ];
    text.single("taffrail_logs", Kind::Gauge, "Topic partitions with a log on this broker.", logs.len());
    for (name, help, value) in FAMILIES {
        text.family(name, Kind::Gauge, help);
        for log in logs {
            let partition = log.partition.to_string();
            text.sample(name, &[("topic", &log.topic), ("partition", &partition)], value(log));
        }
    }
}

fn render_groups(text: &mut TextWriter, groups: &[(&'static str, u64)]) {
    text.family("taffrail_groups", Kind::Gauge, "Groups that this broker coordinates, by state.");
    for (state, count) in groups {
        text.sample("taffrail_groups", &[("state", state)], *count);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::log_dirs::DirStatus;
    use std::collections::BTreeMap;

    use taffrail_control::session::FollowerLag;
    use taffrail_log::DiskSpace;
    use taffrail_replication::disk::logs::Condition;

    /// Two logs, two states of groups.
    pub(crate) struct Example;

    impl MetricsSource for Example {
        fn log_dirs(&self) -> Vec<DirSample> {
            let space = DiskSpace { total_bytes: 1000, free_bytes: 10, read_only: false };
            let condition = Condition::Full("full".into());
            let status = DirStatus { condition, space: Some(space), refused: false };
            vec![DirSample { path: "/data".into(), status }]
        }

        fn log_dir_moves(&self) -> MovesSample {
            MovesSample { under_way: 1, copied_bytes: 500 }
        }

        fn logs(&self) -> Vec<LogSample> {
            let log = |topic: &str, partition| LogSample {
                topic: topic.into(),
                partition,
                size_bytes: 1000,
                segments: 2,
                log_start_offset: 3,
                log_end_offset: 10,
                high_watermark: 9,
                leader: true,
            };
            vec![log("orders", 0), log("odd\"\\\nname", 7)]
        }

        fn replication(&self) -> ReplicationSample {
            let lag = FollowerLag { broker_id: 3, records: 17, ms: 2_500 };
            let led = LedSample {
                topic: "orders".into(),
                partition: 0,
                in_sync: 2,
                under_replicated: true,
                under_min_isr: false,
                at_min_isr: true,
                followers: vec![lag],
            };
            ReplicationSample { led: vec![led], offline_partitions: 4, offline_replicas: 2 }
        }

        fn groups(&self) -> Vec<(&'static str, u64)> {
            vec![("Empty", 1), ("Stable", 4)]
        }

        fn memory(&self) -> MemorySample {
            MemorySample { used_bytes: 5, limit_bytes: 50 }
        }
    }

    /// Reads the text format strictly: HELP, TYPE, then that family's samples; no family or series twice.
    pub(crate) fn read(text: &str) -> BTreeMap<String, f64> {
        let mut samples = BTreeMap::new();
        let mut families = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let help =
                line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("a family begins with HELP: {line}"));
            let (family, _) = help.split_once(' ').unwrap();
            assert!(!families.contains(&family), "{family} comes twice");
            families.push(family);
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {family} ")).unwrap();
            assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let suffix = name.strip_prefix(family).unwrap();
                assert!(suffix.is_empty() || kind == "histogram", "{line}");
                assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
                let earlier = samples.insert(series.to_owned(), value.parse().unwrap());
                assert_eq!(earlier, None, "{series} comes twice");
            }
        }
        assert!(text.ends_with('\n'));
        samples
    }

    #[test]
    fn the_text_reads_back_with_what_was_counted() {
        let metrics = Arc::new(Metrics::new());
        metrics.bytes_in(300);
        metrics.request_done(ApiKey::Produce, Duration::from_micros(70), 40);
        metrics.request_done(ApiKey::Produce, Duration::from_secs(60), 60);
        metrics.request_error(ApiKey::Fetch, ErrorCode::OFFSET_OUT_OF_RANGE);
        metrics.request_error(ApiKey::Fetch, ErrorCode(-1));
        metrics.connection_refused(RefusedConnection::TooMany);
        let open = metrics.connection_opened();
        drop(metrics.connection_opened());
        let samples = read(&metrics.render(&Example, true));
        let value = |series: &str| samples.get(series).copied();
        assert_eq!(value("taffrail_ready"), Some(1.0));
        assert_eq!(value("taffrail_received_bytes_total"), Some(300.0));
        assert_eq!(value("taffrail_sent_bytes_total"), Some(100.0));
        assert_eq!(value("taffrail_requests_total{api=\"Produce\"}"), Some(2.0));
        assert_eq!(value("taffrail_requests_total{api=\"Metadata\"}"), None);
        let bucket = |le: &str| {
            value(&format!("taffrail_request_duration_seconds_bucket{{api=\"Produce\",le=\"{le}\"}}"))
        };
        assert_eq!(bucket("0.00005"), Some(0.0));
        assert_eq!(bucket("0.0001"), Some(1.0));
        assert_eq!(bucket("10"), Some(1.0));
        assert_eq!(bucket("+Inf"), Some(2.0));
        assert_eq!(value("taffrail_request_duration_seconds_sum{api=\"Produce\"}"), Some(60.00007));
        assert_eq!(value("taffrail_request_duration_seconds_count{api=\"Produce\"}"), Some(2.0));
        let error =
            |name: &str| value(&format!("taffrail_request_errors_total{{api=\"Fetch\",error=\"{name}\"}}"));
        assert_eq!(error("OFFSET_OUT_OF_RANGE"), Some(1.0));
        assert_eq!(error("UNKNOWN_SERVER_ERROR"), Some(1.0));
        assert_eq!(value("taffrail_connections"), Some(1.0));
        assert_eq!(value("taffrail_connections_accepted_total"), Some(2.0));
        assert_eq!(value("taffrail_connections_refused_total{reason=\"max_connections\"}"), Some(1.0));
        drop(open);
        assert_eq!(read(&metrics.render(&Example, true)).get("taffrail_connections"), Some(&0.0));
    }

    #[test]
    fn logs_and_groups_are_asked_for_when_scraped_and_labels_are_escaped() {
        let samples = read(&Metrics::new().render(&Example, false));
        let value = |series: &str| samples.get(series).copied();
        assert_eq!(value("taffrail_logs"), Some(2.0));
        assert_eq!(value("taffrail_log_size_bytes{topic=\"orders\",partition=\"0\"}"), Some(1000.0));
        assert_eq!(value("taffrail_high_watermark{topic=\"odd\\\"\\\\\\nname\",partition=\"7\"}"), Some(9.0));
        assert_eq!(value("taffrail_groups{state=\"Stable\"}"), Some(4.0));
        assert_eq!(value("taffrail_request_memory_limit_bytes"), Some(50.0));
        assert_eq!(value("taffrail_ready"), Some(0.0));
    }

    #[test]
    fn every_error_code_and_api_has_a_place() {
        let metrics = Metrics::new();
        for code in ErrorCode::ALL {
            assert!(usize::try_from(i32::from(code.0) + 1).unwrap() < ERROR_PLACES, "{code}");
        }
        assert!(ApiKey::ALL.iter().all(|api| metrics.counters(*api).is_some()));
        metrics.request_error(ApiKey::Fetch, ErrorCode(i16::MAX));
        metrics.request_error(ApiKey::Fetch, ErrorCode(i16::MIN));
        let samples = read(&metrics.render(&Example, true));
        let unknown = "taffrail_request_errors_total{api=\"Fetch\",error=\"UNKNOWN_SERVER_ERROR\"}";
        assert_eq!(samples.get(unknown), Some(&2.0));
    }

    #[test]
    fn the_process_is_described() {
        let samples = read(&Metrics::new().render(&Example, true));
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            assert!(samples.get(name).is_some_and(|value| *value > 0.0), "{name}");
        }
    }
}
