//! librdkafka as the tests use it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::producer::future_producer::{Delivery, DeliveryFuture};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{Broker, PATIENCE};

/// A client of librdkafka with its defaults and `properties`. It is quiet: brokers are killed under it.
pub fn client<T: FromClientConfig>(broker: &Broker, properties: &[(&str, &str)]) -> T {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.address).set_log_level(RDKafkaLogLevel::Emerg);
    // So that a restarted broker is found at once.
    config.set("reconnect.backoff.max.ms", "200");
    for (key, value) in properties {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

/// Runs a future to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The administrative client.
pub fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    client(broker, &[])
}

/// Options with a time limit that fits a loaded machine.
pub fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Creates a topic with `config` and returns the broker's word on it.
pub fn try_create_topic(
    broker: &Broker,
    topic: &str,
    partitions: i32,
    config: &[(&str, &str)],
) -> Result<(), RDKafkaErrorCode> {
    let new = config
        .iter()
        .fold(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)), |new, (k, v)| new.set(k, v));
    let mut answers = block_on(admin(broker).create_topics([&new], &options())).unwrap();
    answers.remove(0).map(|_| ()).map_err(|(_, code)| code)
}

/// Creates a topic that must not be refused.
pub fn create_topic(broker: &Broker, topic: &str, partitions: i32) {
    try_create_topic(broker, topic, partitions, &[]).unwrap();
}

/// Queues all `records`, waits for all, and returns where each came to lie.
pub fn produce<'a>(
    producer: &FutureProducer,
    records: impl IntoIterator<Item = FutureRecord<'a, [u8], [u8]>>,
) -> Vec<Delivery> {
    try_produce(producer, records).into_iter().map(|result| result.unwrap()).collect()
}

/// The same where refusals are expected.
pub fn try_produce<'a>(
    producer: &FutureProducer,
    records: impl IntoIterator<Item = FutureRecord<'a, [u8], [u8]>>,
) -> Vec<Result<Delivery, KafkaError>> {
    let queued: Vec<_> =
        records.into_iter().map(|record| producer.send_result(record).map_err(|(error, _)| error)).collect();
    // What lingers, goes now.
    producer.flush(PATIENCE).unwrap();
    let wait = |future: DeliveryFuture| block_on(future).unwrap().map_err(|(error, _)| error);
    queued.into_iter().map(|queued| queued.and_then(wait)).collect()
}

/// Produces `count` values (`0`, `1`, …) to partition 0 of `topic`, in one batch if they fit.
pub fn produce_numbers(broker: &Broker, topic: &str, count: usize) -> Vec<Delivery> {
    let producer: FutureProducer = client(broker, &[("linger.ms", "1000")]);
    let values: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    produce(
        &producer,
        values.iter().map(|value| FutureRecord::to(topic).partition(0).payload(value.as_bytes())),
    )
}

/// Everything in `topic`, partition by partition in the order of offsets, up to the high watermarks of this moment.
pub fn consume_all(broker: &Broker, topic: &str) -> BTreeMap<i32, Vec<OwnedMessage>> {
    let consumer: BaseConsumer = client(broker, &[("group.id", "consume-all"), ("check.crcs", "true")]);
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut assignment = TopicPartitionList::new();
    let (mut found, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE).unwrap();
        assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low)).unwrap();
        found.insert(partition.id(), Vec::new());
        if high > low {
            ends.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !ends.is_empty() {
        assert!(Instant::now() < deadline, "partitions not read to their ends: {ends:?}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        if ends.get(&message.partition()) == Some(&(message.offset() + 1)) {
            ends.remove(&message.partition());
        }
        found.get_mut(&message.partition()).unwrap().push(message.detach());
    }
    found
}

/// The values of `topic`'s partition 0 as text.
pub fn texts(broker: &Broker, topic: &str) -> Vec<String> {
    let found = consume_all(broker, topic);
    found[&0].iter().map(|m| String::from_utf8(m.payload().unwrap().to_vec()).unwrap()).collect()
}

/// A message's headers, in their order.
pub fn headers(message: &OwnedMessage) -> Vec<(String, Option<Vec<u8>>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
}
