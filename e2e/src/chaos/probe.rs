//! How long writes wait after a broker has failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::ClientContext;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use serde::Serialize;

use crate::clock::monotonic_ns;

/// How often a producer with fresh connections is tried.
const FRESH_INTERVAL: Duration = Duration::from_millis(100);

/// What to write.
#[derive(clap::Args)]
pub struct Options {
    /// The brokers, as HOST:PORT,…
    #[arg(long)]
    bootstrap: String,
    /// The topic. It exists and has --partitions partitions.
    #[arg(long)]
    topic: String,
    /// The topic's partitions.
    #[arg(long, default_value_t = 100)]
    partitions: i32,
    /// Records per second and producer.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Which producers to measure; may be repeated.
    #[arg(long = "producer", value_enum, default_values_t = [Kind::Hasty])]
    producers: Vec<Kind>,
    /// Seconds after which a producer that still waits is given up.
    #[arg(long, default_value_t = 30)]
    limit_seconds: u64,
}

/// How a producer is configured, beside acks=all.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Retries and reconnects after 10 to 50 ms. After a broker is gone librdkafka asks once who leads, and then only
    /// about every second.
    Hasty,
    /// The same, and gives a request up after two seconds.
    Timeout,
    /// librdkafka's defaults.
    Defaults,
    /// One made anew every tenth of a second until one succeeds; it writes nothing before the failure.
    Fresh,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Hasty => "hasty",
            Self::Timeout => "timeout",
            Self::Defaults => "defaults",
            Self::Fresh => "fresh",
        }
    }

    fn properties(self) -> Vec<(&'static str, &'static str)> {
        let hasty = [
            ("linger.ms", "0"),
            ("reconnect.backoff.ms", "10"),
            ("reconnect.backoff.max.ms", "50"),
            ("retry.backoff.ms", "10"),
            ("retry.backoff.max.ms", "50"),
            ("topic.metadata.refresh.fast.interval.ms", "10"),
        ];
        // librdkafka counts its own patience with a request in socket.timeout.ms.
        let timeout = [("request.timeout.ms", "2000"), ("socket.timeout.ms", "2000")];
        match self {
            Self::Hasty | Self::Fresh => hasty.to_vec(),
            Self::Timeout => hasty.into_iter().chain(timeout).collect(),
            Self::Defaults => Vec::new(),
        }
    }
}

/// How long it took, in milliseconds since the failure; null if it did not happen within the limit.
#[derive(Serialize)]
struct Waited {
    /// Until the first record for one of the failed leader's partitions was acknowledged.
    first_ms: Option<f64>,
    /// Until each of its partitions had acknowledged one.
    all_ms: Option<f64>,
    /// Until every partition of the topic had.
    topic_ms: Option<f64>,
}

/// Follows the orders until they end.
pub fn run(options: &Options, orders: &mut impl Iterator<Item = Result<String>>) -> Result<()> {
    let steady = options.producers.iter().filter(|kind| **kind != Kind::Fresh);
    let steady = steady.map(|kind| Steady::start(options, *kind)).collect::<Result<Vec<_>>>()?;
    let limit = Duration::from_secs(options.limit_seconds);
    for producer in &steady {
        let watch = producer.watch(monotonic_ns());
        if producer.wait(&watch, limit, options.partitions).is_none() {
            bail!(
                "the producer {} could not write to every partition within {limit:?}",
                producer.kind.name()
            );
        }
    }
    crate::answer(&"ready")?;
    for order in orders {
        let (failed_ns, partitions) = parse(&order?)?;
        let deadline = Instant::now() + limit;
        let watches: Vec<_> = steady.iter().map(|producer| producer.watch(monotonic_ns())).collect();
        let fresh = options.producers.contains(&Kind::Fresh).then(|| fresh(options, &partitions, deadline));
        let mut waited = BTreeMap::new();
        for (producer, watch) in steady.iter().zip(watches) {
            let left = deadline.saturating_duration_since(Instant::now());
            producer.wait(&watch, left, options.partitions);
            waited.insert(producer.kind.name(), watch.waited(failed_ns, &partitions, options.partitions));
        }
        if let Some(acknowledged_ns) = fresh.transpose()? {
            let first_ms = acknowledged_ns.map(|ns| ms_between(failed_ns, ns));
            waited.insert(Kind::Fresh.name(), Waited { first_ms, all_ms: None, topic_ms: None });
        }
        crate::answer(&waited)?;
    }
    Ok(())
}

/// `after NANOSECONDS PARTITION,…`
fn parse(order: &str) -> Result<(u64, Vec<i32>)> {
    let words: Vec<&str> = order.split_whitespace().collect();
    let ["after", failed_ns, partitions] = words[..] else {
        bail!("unknown order {order:?}: there is `after NANOSECONDS PARTITION,…`");
    };
    let partitions = partitions.split(',').map(str::parse).collect::<Result<_, _>>();
    Ok((failed_ns.parse().context("NANOSECONDS")?, partitions.context("PARTITION")?))
}

fn ms_between(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}

/// What was acknowledged since a moment.
#[derive(Clone)]
struct Watch {
    /// Records that were sent before tell nothing: their acknowledgement may have been on its way.
    sent_from_ns: u64,
    /// By partition, when its first record sent since was acknowledged.
    acknowledged_ns: Arc<Mutex<BTreeMap<i32, u64>>>,
}

impl Watch {
    fn waited(&self, failed_ns: u64, of_leader: &[i32], partitions: i32) -> Waited {
        let acknowledged = self.acknowledged_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = |at: Option<u64>| at.map(|ns| ms_between(failed_ns, ns));
        let all = |partitions: &mut dyn Iterator<Item = i32>| {
            partitions
                .map(|partition| acknowledged.get(&partition).copied())
                .max_by_key(|at| at.unwrap_or(u64::MAX))
        };
        let first = of_leader.iter().filter_map(|partition| acknowledged.get(partition).copied()).min();
        Waited {
            first_ms: ms(first),
            all_ms: ms(all(&mut of_leader.iter().copied()).flatten()),
            topic_ms: ms(all(&mut (0..partitions)).flatten()),
        }
    }

    fn note(&self, partition: i32, sent_ns: u64) {
        if sent_ns >= self.sent_from_ns {
            let mut acknowledged = self.acknowledged_ns.lock().unwrap_or_else(PoisonError::into_inner);
            acknowledged.entry(partition).or_insert_with(monotonic_ns);
        }
    }

    fn count(&self) -> usize {
        self.acknowledged_ns.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Tells the present watch of every acknowledgement.
struct Watched(Mutex<Watch>);

impl ClientContext for Watched {}

impl ProducerContext for Watched {
    /// When the record was sent, by CLOCK_MONOTONIC.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent_ns: usize) {
        if let Ok(message) = result {
            let watch = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            watch.note(message.partition(), sent_ns as u64);
        }
    }
}

fn watched(options: &Options, kind: Kind, more: &[(&str, &str)]) -> Result<ThreadedProducer<Watched>> {
    let watch = Watch { sent_from_ns: 0, acknowledged_ns: Arc::default() };
    let mut config = crate::client(&options.bootstrap, &kind.properties());
    for (key, value) in [("acks", "all")].iter().chain(more) {
        config.set(*key, *value);
    }
    config.create_with_context(Watched(Mutex::new(watch))).context("making a producer")
}

fn send(producer: &ThreadedProducer<Watched>, topic: &str, partition: i32) -> bool {
    let now_ns = monotonic_ns() as usize;
    let record = BaseRecord::<(), [u8], usize>::with_opaque_to(topic, now_ns).partition(partition);
    producer.send(record.payload(&[b'.'; 100])).is_ok()
}

/// A producer that writes to all partitions in turn.
struct Steady {
    kind: Kind,
    producer: Arc<ThreadedProducer<Watched>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Steady {
    fn start(options: &Options, kind: Kind) -> Result<Self> {
        // A full queue would let the records of one partition keep those of others out.
        let producer = Arc::new(watched(options, kind, &[("queue.buffering.max.messages", "1000000")])?);
        let stop = Arc::new(AtomicBool::new(false));
        let interval = Duration::from_secs(1) / options.rate.max(1);
        let (feed, topic, partitions, ended) =
            (Arc::clone(&producer), options.topic.clone(), options.partitions, Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut due = Instant::now();
            for partition in (0..partitions).cycle() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due += interval;
                // A record that does not fit the queue is one less that asks.
                send(&feed, &topic, partition);
            }
        });
        Ok(Self { kind, producer, stop, thread: Some(thread) })
    }

    /// Watches the records sent from `sent_from_ns` on.
    fn watch(&self, sent_from_ns: u64) -> Watch {
        let watch = Watch { sent_from_ns, acknowledged_ns: Arc::default() };
        *self.producer.context().0.lock().unwrap_or_else(PoisonError::into_inner) = watch.clone();
        watch
    }

    /// Waits until every partition has acknowledged a record; `None` if that takes too long.
    fn wait(&self, watch: &Watch, limit: Duration, partitions: i32) -> Option<()> {
        let deadline = Instant::now() + limit;
        while watch.count() < partitions as usize {
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(())
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // What is still queued for a broker that is away is of no interest.
        self.producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    }
}

/// Makes producers until one gets a record into one of `partitions`: when that was, by CLOCK_MONOTONIC.
fn fresh(options: &Options, partitions: &[i32], deadline: Instant) -> Result<Option<u64>> {
    let (sender, receiver) = mpsc::channel();
    let mut attempts = Vec::new();
    let mut acknowledged_ns = None;
    while acknowledged_ns.is_none() && Instant::now() < deadline {
        let producer = watched(options, Kind::Fresh, &[("message.timeout.ms", "2000")])?;
        let watch = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for partition in partitions {
            send(&producer, &options.topic, *partition);
        }
        let sender = sender.clone();
        attempts.push(std::thread::spawn(move || {
            let patience = Instant::now() + Duration::from_secs(2);
            while Instant::now() < patience {
                let first = watch
                    .acknowledged_ns
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .values()
                    .min()
                    .copied();
                if let Some(first) = first {
                    let _ = sender.send(first);
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(producer);
        }));
        acknowledged_ns = receiver.recv_timeout(FRESH_INTERVAL).ok();
    }
    for attempt in attempts {
        let _ = attempt.join();
    }
    Ok(receiver.try_iter().chain(acknowledged_ns).min())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_name_the_moment_and_the_partitions() {
        assert_eq!(parse("after 17 3,4").unwrap(), (17, vec![3, 4]));
        for bad in ["", "after", "after 1", "after x 1", "after 1 x", "before 1 2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_sent_before_the_failure_does_not_count() {
        let watch = Watch { sent_from_ns: 100, acknowledged_ns: Arc::default() };
        watch.note(0, 99);
        assert_eq!(watch.waited(0, &[0], 1).first_ms, None);
        watch.note(0, 100);
        assert!(watch.waited(0, &[0], 1).first_ms.is_some());
    }

    #[test]
    fn a_partition_that_still_waits_leaves_the_whole_unknown() {
        let acknowledged = BTreeMap::from([(0, 3_000_000), (1, 5_000_000), (2, 9_000_000)]);
        let watch = Watch { sent_from_ns: 0, acknowledged_ns: Arc::new(Mutex::new(acknowledged)) };
        let waited = watch.waited(1_000_000, &[1, 0], 3);
        assert_eq!((waited.first_ms, waited.all_ms, waited.topic_ms), (Some(2.0), Some(4.0), Some(8.0)));
        let waited = watch.waited(1_000_000, &[1, 3], 4);
        assert_eq!((waited.first_ms, waited.all_ms, waited.topic_ms), (Some(4.0), None, None));
    }
}
