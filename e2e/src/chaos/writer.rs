//! Producers that keep account of what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::check::{Outcome, Sent};
use crate::clock::monotonic_ns;
use crate::record::Identity;
use crate::verify::{Options, Topic};

/// How long the last records may take. Longer than any request and every backoff.
const FLUSH_LIMIT: Duration = Duration::from_secs(180);

/// What one producer sent to one partition.
#[derive(Clone)]
struct Page {
    /// By number.
    sent: Vec<Sent>,
    /// The highest offset acknowledged; -1 before the first.
    acknowledged: i64,
}

/// How steadily one partition takes records, of all producers.
#[derive(Default)]
struct Pace {
    /// When it last took one, by CLOCK_MONOTONIC; 0 before the first.
    latest_ns: AtomicU64,
    /// The longest time between two since somebody asked.
    longest_ns: AtomicU64,
}

impl Pace {
    fn took_one(&self, now_ns: u64) {
        let before_ns = self.latest_ns.fetch_max(now_ns, Ordering::Relaxed);
        if before_ns > 0 {
            self.longest_ns.fetch_max(now_ns.saturating_sub(before_ns), Ordering::Relaxed);
        }
    }

    /// The longest time without a record since this was last asked, that which still lasts included.
    fn take_longest_ns(&self, now_ns: u64) -> u64 {
        let lasting_ns = now_ns.saturating_sub(self.latest_ns.load(Ordering::Relaxed));
        self.longest_ns.swap(0, Ordering::Relaxed).max(lasting_ns)
    }
}

/// What one producer was told.
pub struct Ledger {
    /// By partition.
    pages: Mutex<Vec<Page>>,
    pace: Arc<[Pace]>,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    fatal: AtomicBool,
}

impl Ledger {
    fn note(&self, partition: i32, number: u64, offset: i64) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let page = &mut pages[partition as usize];
        page.sent[number as usize].outcome = Outcome::Acknowledged(offset);
        page.acknowledged = page.acknowledged.max(offset);
        self.pace[partition as usize].took_one(monotonic_ns());
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Enters a record that is about to be sent, and returns its number.
    fn enter(&self, partition: usize) -> u64 {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let page = &mut pages[partition];
        page.sent.push(Sent { behind: page.acknowledged, outcome: Outcome::InDoubt });
        page.sent.len() as u64 - 1
    }
}

impl ClientContext for Ledger {}

impl ProducerContext for Ledger {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => match message.payload().and_then(Identity::of) {
                Some(record) => self.note(message.partition(), record.number, message.offset()),
                None => self.fatal.store(true, Ordering::Relaxed),
            },
            Err(_in_doubt) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The producers of one topic, each on its thread.
pub struct Writers {
    /// The topic.
    pub topic: Topic,
    pace: Arc<[Pace]>,
    ledgers: Vec<Arc<BaseProducer<Ledger>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts the producers of `topic`, which go on until `stop`.
    pub fn start(options: &Options, topic: Topic, stop: &Arc<AtomicBool>) -> Result<Self> {
        let pace: Arc<[Pace]> = (0..options.partitions).map(|_| Pace::default()).collect();
        let mut ledgers = Vec::new();
        let mut threads = Vec::new();
        for id in 0..options.producers {
            let ledger = Ledger {
                pages: Mutex::new(vec![
                    Page { sent: Vec::new(), acknowledged: -1 };
                    usize::from(options.partitions)
                ]),
                pace: Arc::clone(&pace),
                acknowledged: AtomicU64::new(0),
                failed: AtomicU64::new(0),
                fatal: AtomicBool::new(false),
            };
            let producer = Arc::new(producer(options, &topic, ledger)?);
            ledgers.push(Arc::clone(&producer));
            let feed = Feed {
                producer,
                topic: topic.name.clone(),
                id,
                partitions: options.partitions,
                value_bytes: options.value_bytes,
                interval: Duration::from_secs(1) / options.rate.max(1),
                stop: Arc::clone(stop),
            };
            threads.push(std::thread::spawn(move || feed.run()));
        }
        Ok(Self { topic, pace, ledgers, threads })
    }

    /// Waits for the threads to end, which they do after `stop`.
    pub fn join(&mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }

    /// Since when every partition has taken no record, by CLOCK_MONOTONIC: of the partition that waits longest.
    pub fn oldest_ns(&self) -> u64 {
        self.pace.iter().map(|pace| pace.latest_ns.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// The longest time that a partition took no record since this was last asked, in nanoseconds.
    pub fn take_longest_ns(&self) -> u64 {
        let now_ns = monotonic_ns();
        self.pace.iter().map(|pace| pace.take_longest_ns(now_ns)).max().unwrap_or(0)
    }

    /// How many records were acknowledged, and how many will not be.
    pub fn counts(&self) -> (u64, u64) {
        self.ledgers.iter().map(|producer| producer.context()).fold(
            (0, 0),
            |(acknowledged, failed), ledger| {
                (
                    acknowledged + ledger.acknowledged.load(Ordering::Relaxed),
                    failed + ledger.failed.load(Ordering::Relaxed),
                )
            },
        )
    }

    /// How many producers gave up.
    pub fn fatal(&self) -> u64 {
        self.ledgers.iter().filter(|producer| producer.context().fatal.load(Ordering::Relaxed)).count() as u64
    }

    /// What each producer was told of its records for `partition`.
    pub fn sent(&self, partition: u16) -> BTreeMap<u16, Vec<Sent>> {
        let sent = |producer: &Arc<BaseProducer<Ledger>>| {
            let pages = producer.context().pages.lock().unwrap_or_else(PoisonError::into_inner);
            pages[usize::from(partition)].sent.clone()
        };
        (0..).zip(self.ledgers.iter().map(sent)).collect()
    }
}

fn producer(options: &Options, topic: &Topic, ledger: Ledger) -> Result<BaseProducer<Ledger>> {
    let mut config = crate::client(
        &options.bootstrap,
        &[
            ("acks", "all"),
            ("linger.ms", "5"),
            ("message.timeout.ms", "300000"),
            // A broker that was stopped answers nothing: shorter than the minute that is librdkafka's default.
            ("socket.timeout.ms", "5000"),
            ("request.timeout.ms", "5000"),
            ("reconnect.backoff.ms", "10"),
            ("reconnect.backoff.max.ms", "500"),
            ("retry.backoff.ms", "20"),
            ("retry.backoff.max.ms", "500"),
        ],
    );
    if topic.idempotent {
        config.set("enable.idempotence", "true");
    } else {
        // Without idempotence only one request at a time keeps the order when it is sent again to the same broker.
        config.set("max.in.flight.requests.per.connection", "1");
    }
    config.create_with_context(ledger).with_context(|| format!("making a producer for {}", topic.name))
}

/// What one producer's thread does.
struct Feed {
    producer: Arc<BaseProducer<Ledger>>,
    topic: String,
    id: u16,
    partitions: u16,
    value_bytes: usize,
    interval: Duration,
    stop: Arc<AtomicBool>,
}

impl Feed {
    fn run(self) {
        let mut due = Instant::now();
        let mut partition = self.id % self.partitions;
        while !self.stop.load(Ordering::Relaxed) {
            let wait = due.saturating_duration_since(Instant::now());
            self.producer.poll(wait.min(Duration::from_millis(10)));
            if Instant::now() < due {
                continue;
            }
            if !self.send(partition) {
                return;
            }
            partition = (partition + 1) % self.partitions;
            due += self.interval;
        }
        if self.producer.flush(FLUSH_LIMIT).is_err() {
            // What is not known by now stays in doubt.
            self.producer
                .context()
                .failed
                .fetch_add(self.producer.in_flight_count() as u64, Ordering::Relaxed);
        }
    }

    /// Says whether the producer still works.
    fn send(&self, partition: u16) -> bool {
        let ledger = self.producer.context();
        let number = ledger.enter(usize::from(partition));
        let value = Identity { producer: self.id, partition, number }.value(self.value_bytes);
        let mut record = BaseRecord::<(), [u8]>::to(&self.topic).partition(partition.into()).payload(&value);
        while let Err((error, same)) = self.producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                eprintln!("producer {} of {} gives up: {error}", self.id, self.topic);
                ledger.fatal.store(true, Ordering::Relaxed);
                return false;
            }
            self.producer.poll(Duration::from_millis(10));
            record = same;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn the_longest_time_without_a_record_is_told_once_and_a_lasting_one_again() {
        let pace = Pace::default();
        for now_ns in [1_000, 1_010, 1_050, 1_060] {
            pace.took_one(now_ns);
        }
        assert_eq!(pace.take_longest_ns(1_061), 40);
        assert_eq!(pace.take_longest_ns(1_065), 5);
        pace.took_one(1_100);
        assert_eq!(pace.take_longest_ns(1_101), 40);
    }
}
