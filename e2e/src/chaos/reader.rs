//! A group of consumers that keeps account of what it saw, and a reader of everything there is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::record::Identity;
use crate::verify::Options;

/// How long reading everything may take.
const READ_LIMIT: Duration = Duration::from_secs(180);

/// Records by topic, partition and offset; `None` stands for one that is none of ours.
pub type Records = BTreeMap<(String, i32), BTreeMap<i64, Option<Identity>>>;

/// What a group of consumers saw.
#[derive(Default)]
pub struct Seen {
    records: Mutex<Records>,
    /// How often a record was seen that differs from what was seen at its offset before.
    changed: AtomicU64,
    count: AtomicU64,
}

impl Seen {
    fn note(&self, message: &BorrowedMessage<'_>) {
        let record = message.payload().and_then(Identity::of);
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let partition = records.entry((message.topic().to_owned(), message.partition())).or_default();
        if partition.insert(message.offset(), record).is_some_and(|before| before != record) {
            self.changed.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many records came, those that came again included.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How often a record was another one when it came again.
    pub fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    /// What was seen of one partition.
    pub fn partition(&self, topic: &str, partition: u16) -> BTreeMap<i64, Option<Identity>> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(&(topic.to_owned(), partition.into())).cloned().unwrap_or_default()
    }

    /// Whether all of `log` was seen.
    pub fn covers(&self, log: &Records) -> bool {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().all(|(partition, log)| {
            let seen = records.get(partition);
            log.keys().all(|offset| seen.is_some_and(|seen| seen.contains_key(offset)))
        })
    }
}

/// A group of consumers, each on its thread.
pub struct Group {
    /// What it saw.
    pub seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Group {
    /// Starts a group that reads `topics`.
    pub fn start(options: &Options, topics: &[&str]) -> Result<Self> {
        let seen = Arc::new(Seen::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for _ in 0..options.consumers {
            let consumer: BaseConsumer = crate::client(
                &options.bootstrap,
                &[
                    ("group.id", "chaos"),
                    ("auto.offset.reset", "earliest"),
                    ("auto.commit.interval.ms", "1000"),
                    ("session.timeout.ms", "6000"),
                    ("heartbeat.interval.ms", "1000"),
                    ("socket.timeout.ms", "5000"),
                    ("reconnect.backoff.ms", "10"),
                    ("reconnect.backoff.max.ms", "500"),
                    ("check.crcs", "true"),
                ],
            )
            .create()
            .context("making a consumer")?;
            consumer.subscribe(topics).context("subscribing")?;
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Errors here are brokers that are away: the consumer goes on by itself.
                    if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                        seen.note(&message);
                    }
                }
            }));
        }
        Ok(Self { seen, stop, threads })
    }

    /// Ends the group.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Reads all partitions of `topics` from the beginning to the end.
pub fn read_all(options: &Options, topics: &[&str]) -> Result<Records> {
    let consumer: BaseConsumer = crate::client(
        &options.bootstrap,
        &[
            ("group.id", "chaos-reader"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
            ("check.crcs", "true"),
        ],
    )
    .create()
    .context("making the reader")?;
    let mut assignment = TopicPartitionList::new();
    let mut records = Records::new();
    for topic in topics {
        for partition in 0..i32::from(options.partitions) {
            assignment.add_partition_offset(topic, partition, Offset::Offset(0))?;
            records.insert(((*topic).to_owned(), partition), BTreeMap::new());
        }
    }
    consumer.assign(&assignment)?;
    let mut open = records.len();
    let deadline = Instant::now() + READ_LIMIT;
    while open > 0 {
        if Instant::now() > deadline {
            bail!("{open} partitions could not be read to their ends within {READ_LIMIT:?}");
        }
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let record = message.payload().and_then(Identity::of);
                let of = (message.topic().to_owned(), message.partition());
                records.entry(of).or_default().insert(message.offset(), record);
            }
            // Nothing is written any more, so that each partition ends once.
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(_passing)) => {}
            None => {}
        }
    }
    Ok(records)
}
