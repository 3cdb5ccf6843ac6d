//! Topics that keep the latest of each key, on three replicas.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::clients::{client, create_topic, numbers, produce, producer};
use crate::harness::{Cluster, PATIENCE, eventually};

const CLEANERS: [(&str, &str); 2] = [("log.cleaner.backoff.ms", "20"), ("log.cleaner.threads", "2")];
const COMPACTED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "2000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("file.delete.delay.ms", "0"),
];
const KEYS: usize = 10;

fn alter_topic(cluster: &Cluster, config: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client(cluster, &[]);
    let change = config
        .iter()
        .fold(AlterConfig::new(ResourceSpecifier::Topic("t")), |change, (key, value)| change.set(key, value));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let altered = runtime.block_on(admin.alter_configs([&change], &AdminOptions::new()));
    altered.unwrap().remove(0).unwrap();
}

type Latest = BTreeMap<String, Option<String>>;

/// Writes so many values to each key, one after the other; every seventh is a tombstone.
fn update(producer: &FutureProducer, rounds: std::ops::Range<usize>, latest: &mut Latest) {
    let mut queued = Vec::new();
    for round in rounds {
        for number in 0..KEYS {
            let (key, value) = (format!("key-{number}"), format!("value {round} of a record of some length"));
            let value = (!(round + number).is_multiple_of(7)).then_some(value);
            let mut record = FutureRecord::to("t").partition(0).key(&key);
            record.payload = value.as_ref();
            queued.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
            latest.insert(key, value);
        }
        producer.flush(PATIENCE).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for delivery in queued {
        runtime.block_on(delivery).unwrap().unwrap();
    }
}

/// The latest of each key, as a consumer finds them that reads all there is; how many records that was.
fn read(cluster: &Cluster) -> (Latest, usize) {
    let properties = [("group.id", "r"), ("check.crcs", "true"), ("enable.partition.eof", "true")];
    let consumer: BaseConsumer = client(cluster, &properties);
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let (mut latest, mut count, deadline) = (Latest::new(), 0, Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < deadline, "{count} records were read");
        match consumer.poll(std::time::Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                latest.insert(text(message.key().unwrap()), message.payload().map(text));
                count += 1;
            }
            Some(Err(KafkaError::PartitionEOF(0))) => return (latest, count),
            _ => {}
        }
    }
}

fn without_tombstones(latest: &Latest) -> Latest {
    latest
        .iter()
        .filter(|(_, value)| value.is_some())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Whether each replica has compacted all but its active segment.
fn is_compacted(cluster: &Cluster) -> bool {
    (0..3).all(|id| {
        let replica = cluster.replica(id, "t", 0).unwrap();
        let replica = replica.lock();
        let log = replica.log();
        log.segment_count() > 1 && Some(log.cleaned_to()) == log.segment_base_offsets().last()
    })
}

#[test]
fn the_latest_of_each_key_is_kept_while_logs_are_compacted_and_brokers_die() {
    let mut cluster = Cluster::start_with(&CLEANERS);
    create_topic(&cluster, "t", 1, &COMPACTED);
    let (producer, mut latest) = (producer(&cluster), Latest::new());
    for round in 0..4 {
        update(&producer, 30 * round..30 * (round + 1), &mut latest);
        let lost = cluster.leader("t", 0);
        cluster.lose_broker(lost);
        update(&producer, 30 * (round + 1) - 5..30 * (round + 1), &mut latest);
        assert_eq!(without_tombstones(&read(&cluster).0), without_tombstones(&latest));
        cluster.start_broker(lost);
        cluster.in_sync("t", 0);
    }
    cluster.eventually("every replica is compacted", || is_compacted(&cluster));
    let (found, count) = read(&cluster);
    assert_eq!(without_tombstones(&found), without_tombstones(&latest));
    // Each key once, and what is in the active segment.
    assert!(count < 10 * KEYS, "{count} records are left");
}

#[test]
fn a_corrupt_batch_that_a_followers_cleaner_meets_is_mended() {
    let cluster = Cluster::start_with(&CLEANERS);
    create_topic(&cluster, "t", 1, &COMPACTED);
    let (producer, mut latest) = (producer(&cluster), Latest::new());
    update(&producer, 0..30, &mut latest);
    cluster.in_sync("t", 0);
    cluster.eventually("every replica is compacted", || is_compacted(&cluster));
    let follower = (cluster.leader("t", 0) + 1) % 3;
    let replica = cluster.replica(follower, "t", 0).unwrap();
    {
        // The replica is held, so that its cleaner puts nothing else there meanwhile.
        let replica = replica.lock();
        let base_offset = replica.log().segment_base_offsets().next().unwrap();
        let path = replica.log().dir().join(format!("{base_offset:020}.log"));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    update(&producer, 30..60, &mut latest);
    cluster.eventually("every replica is compacted", || is_compacted(&cluster));
    let mut replica = replica.lock();
    for offset in 0..replica.log().log_end_offset() {
        assert_eq!(replica.log_mut().check_batch(offset).unwrap(), None);
    }
    drop(replica);
    assert_eq!(without_tombstones(&read(&cluster).0), without_tombstones(&latest));
}

#[test]
fn a_topic_is_compacted_from_when_it_is_told_to_be() {
    let cluster = Cluster::start_with(&CLEANERS);
    let mut settings = COMPACTED;
    settings[0].1 = "delete";
    create_topic(&cluster, "t", 1, &settings);
    let (producer, mut latest) = (producer(&cluster), Latest::new());
    update(&producer, 0..40, &mut latest);
    assert_eq!(read(&cluster).1, 40 * KEYS);
    alter_topic(&cluster, &COMPACTED);
    cluster.eventually("every replica is compacted", || is_compacted(&cluster));
    let (found, count) = read(&cluster);
    assert_eq!(without_tombstones(&found), without_tombstones(&latest));
    assert!(count < 10 * KEYS, "{count} records are left");
}

#[test]
fn records_without_a_key_are_refused_where_nothing_could_replace_them() {
    let cluster = Cluster::start();
    create_topic(&cluster, "t", 1, &COMPACTED);
    for codec in ["none", "zstd"] {
        let properties = [("compression.type", codec), ("message.timeout.ms", "60000")];
        let producer: FutureProducer = client(&cluster, &properties);
        let refused = produce(&producer, "t", &numbers(0..3)).unwrap_err();
        assert_eq!(refused, KafkaError::MessageProduction(RDKafkaErrorCode::InvalidRecord), "{codec}");
    }
    assert_eq!(read(&cluster).1, 0);
}

#[test]
fn replaced_segments_leave_the_disk() {
    let cluster = Cluster::start_with(&CLEANERS);
    create_topic(&cluster, "t", 1, &COMPACTED);
    update(&producer(&cluster), 0..60, &mut Latest::new());
    cluster.eventually("every replica is compacted", || is_compacted(&cluster));
    eventually("nothing is left of what was replaced", || {
        (0..3).all(|id| {
            let replica = cluster.replica(id, "t", 0).unwrap();
            let dir = replica.lock().log().dir().to_owned();
            let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names = names.map(|name| name.into_string().unwrap());
            !names.any(|name| [".deleted", ".swap", ".cleaned"].iter().any(|end| name.ends_with(end)))
        })
    });
}
