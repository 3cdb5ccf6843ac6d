//! The loads that librdkafka puts on a broker. Each measures only the stretch in which the broker works for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::broker::Broker;

/// No single load may take longer: a broker that stopped answering shall not hang the comparison.
const LIMIT: Duration = Duration::from_secs(180);

/// What a load took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// By the clock.
    pub wall: Duration,
    /// Of the broker's processors.
    pub cpu: Duration,
}

/// Records to be produced.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many records.
    pub records: u64,
    /// The size of each value; records have no key.
    pub value_bytes: usize,
    /// Partitions of the topic, filled in turn record by record.
    pub partitions: i32,
    /// librdkafka's settings beside its defaults and `acks=all`.
    pub properties: &'static [(&'static str, &'static str)],
}

impl Load {
    /// Bytes of all values, the size that figures per GiB refer to.
    pub fn value_bytes_total(&self) -> u64 {
        self.records * self.value_bytes as u64
    }

    /// About the bytes that lie in the log: a record of such a size has eight bytes around its value or little more.
    pub fn log_bytes(&self) -> u64 {
        self.records * (self.value_bytes as u64 + 8)
    }
}

fn client(bootstrap: &str, properties: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set_log_level(RDKafkaLogLevel::Critical);
    for (key, value) in properties {
        config.set(*key, *value);
    }
    config
}

fn block_on<F: Future>(future: F) -> Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

fn admin(broker: &Broker) -> Result<AdminClient<DefaultClientContext>> {
    Ok(client(&broker.bootstrap, &[]).create()?)
}

/// Creates `topic` and waits until a client sees a leader for every partition.
pub fn create_topic(broker: &Broker, topic: &str, partitions: i32) -> Result<()> {
    let admin = admin(broker)?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(broker.replicas));
    let answers = block_on(admin.create_topics([&new], &AdminOptions::new()))??;
    for answer in answers {
        answer.map_err(|(name, code)| anyhow::anyhow!("{}: creating {name}: {code}", broker.name))?;
    }
    let deadline = Instant::now() + LIMIT;
    loop {
        let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(10))?;
        let led = metadata
            .topics()
            .iter()
            .filter(|t| t.error().is_none())
            .flat_map(|t| t.partitions())
            .filter(|p| p.leader() >= 0);
        if led.count() == partitions as usize {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{}: {topic} has no leaders after {LIMIT:?}", broker.name);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Deletes `topic` and waits for its files to go, so that their removal does not weigh on the next load. A broker that
/// keeps deleted files for a while is waited for only some seconds.
pub fn delete_topic(broker: &Broker, topic: &str) -> Result<()> {
    let answers = block_on(admin(broker)?.delete_topics(&[topic], &AdminOptions::new()))??;
    for answer in answers {
        answer.map_err(|(name, code)| anyhow::anyhow!("{}: deleting {name}: {code}", broker.name))?;
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let is_of_it = |name: &str| name.starts_with(topic);
    while crate::process::has_entry(&broker.data_dir, &is_of_it) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Counts acknowledgements; keeps the first error.
#[derive(Default)]
struct Acknowledged {
    count: AtomicU64,
    error: Mutex<Option<KafkaError>>,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                if let Ok(mut first) = self.error.lock() {
                    first.get_or_insert(error.clone());
                }
            }
        }
    }
}

/// A producer that keeps librdkafka's queue full, on one thread.
struct Feeder<'a> {
    broker: &'a Broker,
    producer: BaseProducer<Acknowledged>,
    deadline: Instant,
}

impl<'a> Feeder<'a> {
    fn new(broker: &'a Broker, properties: &[(&str, &str)]) -> Result<Self> {
        let producer = client(&broker.bootstrap, properties)
            .set("acks", "all")
            .create_with_context(Acknowledged::default())?;
        Ok(Self { broker, producer, deadline: Instant::now() + LIMIT })
    }

    fn send(&self, topic: &str, partition: i32, value: &[u8]) -> Result<()> {
        self.send_keyed(topic, partition, None, value)
    }

    fn send_keyed(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: &[u8]) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value);
        record.key = key;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                    self.check()?;
                    self.producer.poll(Duration::from_millis(1));
                    record = same;
                }
                Err((error, _)) => return Err(error).context("queueing a record"),
            }
        }
    }

    fn check(&self) -> Result<()> {
        if Instant::now() > self.deadline {
            bail!("{}: the load did not end within {LIMIT:?}", self.broker.name);
        }
        match self.producer.context().error.lock() {
            Ok(mut error) => match error.take() {
                Some(error) => {
                    Err(error).with_context(|| format!("{}: a record was not acknowledged", self.broker.name))
                }
                None => Ok(()),
            },
            Err(_) => bail!("the delivery callback panicked"),
        }
    }

    /// Waits until `records` are acknowledged in all.
    fn wait_for(&self, records: u64) -> Result<()> {
        while self.producer.context().count.load(Ordering::Relaxed) < records {
            self.check()?;
            self.producer.poll(Duration::from_millis(1));
        }
        self.check()
    }
}

/// Produces `load` as fast as the broker acknowledges it.
pub fn produce(broker: &Broker, topic: &str, load: &Load) -> Result<Cost> {
    let feeder = Feeder::new(broker, load.properties)?;
    let values = Values::new(load.value_bytes);
    // Connections and metadata first.
    for partition in 0..load.partitions {
        feeder.send(topic, partition, values.at(0))?;
    }
    feeder.wait_for(load.partitions as u64)?;
    let cpu = broker.processes.cpu()?;
    let start = Instant::now();
    for number in 0..load.records {
        feeder.send(topic, (number % load.partitions as u64) as i32, values.at(number))?;
        if number % 1024 == 0 {
            feeder.producer.poll(Duration::ZERO);
        }
    }
    feeder.wait_for(load.records + load.partitions as u64)?;
    Ok(Cost { wall: start.elapsed(), cpu: broker.processes.cpu()? - cpu })
}

/// Produces so many records to partition 0, the keys in turn.
pub fn produce_keyed(
    broker: &Broker,
    topic: &str,
    records: u64,
    keys: u64,
    value_bytes: usize,
) -> Result<()> {
    let feeder = Feeder::new(broker, &[("linger.ms", "20"), ("batch.size", "1000000")])?;
    let values = Values::new(value_bytes);
    for number in 0..records {
        let key = format!("key-{}", number % keys.max(1));
        feeder.send_keyed(topic, 0, Some(key.as_bytes()), values.at(number))?;
        if number % 1024 == 0 {
            feeder.producer.poll(Duration::ZERO);
        }
    }
    feeder.wait_for(records)
}

/// Has partition 0 of `topic` compacted from now on, and waits until that has begun.
pub fn compact(broker: &Broker, topic: &str) -> Result<()> {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic))
        .set("cleanup.policy", "compact")
        .set("min.cleanable.dirty.ratio", "0.01");
    let answers = block_on(admin(broker)?.alter_configs([&change], &AdminOptions::new()))??;
    for answer in answers {
        answer.map_err(|(_, code)| anyhow::anyhow!("{}: altering {topic}: {code}", broker.name))?;
    }
    let deadline = Instant::now() + LIMIT;
    while !crate::process::has_entry(&broker.data_dir, &|name| name.ends_with(".cleaned")) {
        if Instant::now() > deadline {
            bail!("{}: {topic} is not compacted after {LIMIT:?}", broker.name);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Consumes `load`, produced before, from the beginning of every partition.
pub fn consume(broker: &Broker, topic: &str, load: &Load) -> Result<Cost> {
    let consumer: BaseConsumer =
        client(&broker.bootstrap, &[("group.id", "bench"), ("enable.auto.commit", "false")]).create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..load.partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    let cpu = broker.processes.cpu()?;
    let start = Instant::now();
    consumer.assign(&assignment)?;
    let wanted = load.records + load.partitions as u64;
    let mut got = 0;
    while got < wanted {
        match consumer.poll(Duration::from_millis(500)) {
            Some(record) => {
                let record = record.with_context(|| format!("{}: consuming", broker.name))?;
                if record.payload_len() != load.value_bytes {
                    bail!("{}: a value has {} bytes", broker.name, record.payload_len());
                }
                got += 1;
            }
            None if start.elapsed() > LIMIT => bail!("{}: {got} of {wanted} records came", broker.name),
            None => {}
        }
    }
    Ok(Cost { wall: start.elapsed(), cpu: broker.processes.cpu()? - cpu })
}

/// Keeps the time from the moment a record was due to its acknowledgement.
struct Latencies {
    start: Instant,
    histogram: Mutex<Histogram<u64>>,
    acknowledged: AtomicU64,
}

impl ClientContext for Latencies {}

impl ProducerContext for Latencies {
    /// When the record was due, in microseconds since the start.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due_us: usize) {
        let now_us = self.start.elapsed().as_micros() as u64;
        if let (Ok(_), Ok(mut histogram)) = (result, self.histogram.lock()) {
            histogram.saturating_record(now_us.saturating_sub(due_us as u64));
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Microseconds from when a record was due to its acknowledgement.
pub type Took = Histogram<u64>;

/// Produces `per_second` records of 1 KiB for `length` and returns how long, in microseconds, each took to be
/// acknowledged since it was due: a record that had to wait for its turn has waited (no coordinated omission).
pub fn latencies(
    broker: &Broker,
    topic: &str,
    partitions: i32,
    per_second: u64,
    length: Duration,
) -> Result<Took> {
    let warm_up = per_second;
    let total = warm_up + per_second * length.as_secs();
    let context = Latencies {
        start: Instant::now(),
        histogram: Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
        acknowledged: AtomicU64::new(0),
    };
    let producer: ThreadedProducer<Latencies> = client(&broker.bootstrap, &[("linger.ms", "0")])
        .set("acks", "all")
        .set("socket.nagle.disable", "true")
        .create_with_context(context)?;
    let values = Values::new(1024);
    let origin = Instant::now();
    let clock = producer.context().start;
    for number in 0..total {
        let due = origin + Duration::from_nanos(number * 1_000_000_000 / per_second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if number == warm_up
            && let Ok(mut histogram) = producer.context().histogram.lock()
        {
            histogram.reset();
        }
        let due_us = due.duration_since(clock).as_micros() as usize;
        let record = BaseRecord::<(), [u8], usize>::with_opaque_to(topic, due_us)
            .partition((number % partitions as u64) as i32)
            .payload(values.at(number));
        producer.send(record).map_err(|(error, _)| error).context("queueing a record")?;
    }
    producer.flush(Duration::from_secs(30))?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while producer.context().acknowledged.load(Ordering::Relaxed) < total {
        if Instant::now() > deadline {
            bail!("{}: not every record was acknowledged", broker.name);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    match producer.context().histogram.lock() {
        Ok(histogram) => Ok(histogram.clone()),
        Err(_) => bail!("the delivery callback panicked"),
    }
}

/// Produces one record to `topic`, whether it is there or created by this, with as little waiting in the client as
/// librdkafka can be told to do.
pub fn first_record(broker: &Broker, topic: &str, partition: i32) -> Result<()> {
    let hasty = [
        ("linger.ms", "0"),
        ("reconnect.backoff.ms", "1"),
        ("retry.backoff.ms", "1"),
        ("topic.metadata.refresh.fast.interval.ms", "1"),
    ];
    let feeder = Feeder::new(broker, &hasty)?;
    feeder.send(topic, partition, b"first")?;
    feeder.wait_for(1)
}

/// Values that compress badly and differ from record to record, cut from one block.
struct Values {
    block: Vec<u8>,
    value_bytes: usize,
}

impl Values {
    fn new(value_bytes: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let block = (0..(1 << 20) + value_bytes)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        Self { block, value_bytes }
    }

    fn at(&self, number: u64) -> &[u8] {
        let start = (number as usize).wrapping_mul(61) & ((1 << 20) - 1);
        &self.block[start..start + self.value_bytes]
    }
}
