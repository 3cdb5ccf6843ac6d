//! librdkafka as these tests use it.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::{Cluster, PATIENCE};

pub fn client<T: FromClientConfig>(cluster: &Cluster, properties: &[(&str, &str)]) -> T {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set_log_level(RDKafkaLogLevel::Emerg);
    config.set("reconnect.backoff.max.ms", "100").set("retry.backoff.ms", "10");
    config.set("topic.metadata.refresh.fast.interval.ms", "20");
    for (key, value) in properties {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Makes a topic with three replicas of each partition.
pub fn create_topic(cluster: &Cluster, topic: &str, partitions: i32, config: &[(&str, &str)]) {
    create_topic_of(cluster, topic, partitions, 3, config);
}

/// Makes a topic with so many replicas of each partition.
pub fn create_topic_of(
    cluster: &Cluster,
    topic: &str,
    partitions: i32,
    replicas: i32,
    config: &[(&str, &str)],
) {
    let admin: AdminClient<DefaultClientContext> = client(cluster, &[]);
    let new = config
        .iter()
        .fold(NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas)), |new, (k, v)| {
            new.set(k, v)
        });
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    block_on(admin.create_topics([&new], &options)).unwrap().remove(0).unwrap();
}

/// A producer that waits for all in-sync replicas and repeats nothing.
pub fn producer(cluster: &Cluster) -> FutureProducer {
    client(cluster, &[("acks", "all"), ("enable.idempotence", "true"), ("message.timeout.ms", "60000")])
}

/// Produces `values` to partition 0 and waits for each. Returns those that were acknowledged.
pub fn produce(producer: &FutureProducer, topic: &str, values: &[String]) -> Result<(), KafkaError> {
    let records = values.iter().map(|value| FutureRecord::<(), _>::to(topic).partition(0).payload(value));
    let queued: Vec<_> =
        records.map(|record| producer.send_result(record).map_err(|(error, _)| error).unwrap()).collect();
    producer.flush(PATIENCE)?;
    queued.into_iter().try_for_each(|delivery| match block_on(delivery) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_canceled) => Err(KafkaError::Canceled),
    })
}

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// All values of partition 0 of `topic`, in the order of their offsets.
pub fn consume(cluster: &Cluster, topic: &str, properties: &[(&str, &str)]) -> Vec<String> {
    let mut all = vec![("group.id", "reader"), ("check.crcs", "true")];
    all.extend(properties);
    let consumer: BaseConsumer = client(cluster, &all);
    let (low, high) = consumer.fetch_watermarks(topic, 0, PATIENCE).unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Offset(low)).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut found = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while found.len() < usize::try_from(high - low).unwrap() {
        assert!(Instant::now() < deadline, "{} of {} records were read", found.len(), high - low);
        let Some(Ok(message)) = consumer.poll(std::time::Duration::from_millis(100)) else { continue };
        found.insert(message.offset(), String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
    }
    found.into_values().collect()
}
