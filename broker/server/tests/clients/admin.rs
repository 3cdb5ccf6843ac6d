//! Administration with librdkafka's admin client, and the admin port.

use std::io::{Read, Write};
use std::net::TcpStream;

use rdkafka::admin::{ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{Broker, PATIENCE, eventually};
use crate::client::{
    admin, block_on, client, create_topic, options, produce_numbers, texts, try_create_topic,
};

/// Partitions of `topic`, or none if it is not there.
fn partitions(broker: &Broker, topic: &str) -> usize {
    let consumer: BaseConsumer = client(broker, &[("group.id", "observer")]);
    let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
    metadata.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len())
}

#[test]
fn a_topic_is_created_grown_and_deleted() {
    let broker = Broker::start();
    create_topic(&broker, "grown", 2);
    assert_eq!(partitions(&broker, "grown"), 2);
    assert_eq!(try_create_topic(&broker, "grown", 2, &[]), Err(RDKafkaErrorCode::TopicAlreadyExists));
    let grow = |count| {
        let wanted = NewPartitions::new("grown", count);
        block_on(admin(&broker).create_partitions([&wanted], &options())).unwrap().remove(0)
    };
    grow(5).unwrap();
    assert_eq!(partitions(&broker, "grown"), 5);
    assert_eq!(grow(3).unwrap_err().1, RDKafkaErrorCode::InvalidPartitions);
    let delete = || block_on(admin(&broker).delete_topics(&["grown"], &options())).unwrap().remove(0);
    delete().unwrap();
    assert_eq!(partitions(&broker, "grown"), 0);
    assert_eq!(delete().unwrap_err().1, RDKafkaErrorCode::UnknownTopicOrPartition);
}

#[test]
fn a_topic_made_again_under_the_same_name_is_empty() {
    let mut broker = Broker::start();
    create_topic(&broker, "again", 1);
    produce_numbers(&broker, "again", 10);
    block_on(admin(&broker).delete_topics(&["again"], &options())).unwrap().remove(0).unwrap();
    create_topic(&broker, "again", 1);
    assert_eq!(texts(&broker, "again"), Vec::<String>::new());
    assert_eq!(produce_numbers(&broker, "again", 2)[0].offset, 0);
    broker.kill();
    broker.start_again();
    assert_eq!(texts(&broker, "again"), ["0", "1"]);
}

/// Deletes the records of partition 0 before `offset`; where the log starts then.
fn delete_records(broker: &Broker, topic: &str, offset: Offset) -> Result<Offset, KafkaError> {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, offset).unwrap();
    let deleted = block_on(admin(broker).delete_records(&offsets, &options())).unwrap();
    let partition = deleted.find_partition(topic, 0).unwrap();
    partition.error().map(|()| partition.offset())
}

#[test]
fn records_are_deleted_and_a_consumer_goes_on_where_the_log_begins() {
    let broker = Broker::start();
    create_topic(&broker, "deleted", 1);
    produce_numbers(&broker, "deleted", 10);
    assert_eq!(delete_records(&broker, "deleted", Offset::Offset(4)).unwrap(), Offset::Offset(4));
    assert_eq!(texts(&broker, "deleted"), ["4", "5", "6", "7", "8", "9"]);
    let too_far = delete_records(&broker, "deleted", Offset::Offset(11)).unwrap_err();
    assert_eq!(too_far.rdkafka_error_code(), Some(RDKafkaErrorCode::OffsetOutOfRange));

    for (reset, first) in [("earliest", Some("4")), ("error", None)] {
        let consumer: BaseConsumer = client(&broker, &[("group.id", "late"), ("auto.offset.reset", reset)]);
        let mut before = TopicPartitionList::new();
        before.add_partition_offset("deleted", 0, Offset::Offset(1)).unwrap();
        consumer.assign(&before).unwrap();
        let polled = consumer.poll(PATIENCE).expect("a record or an error");
        match polled {
            Ok(message) => assert_eq!(message.payload(), first.map(str::as_bytes)),
            Err(error) => {
                assert_eq!(first, None, "{error}");
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AutoOffsetReset), "{error}");
            }
        }
    }
    assert_eq!(delete_records(&broker, "deleted", Offset::End).unwrap(), Offset::Offset(10));
    assert_eq!(texts(&broker, "deleted"), Vec::<String>::new());
}

#[test]
fn validating_creates_nothing() {
    let broker = Broker::start();
    let validate = |new: NewTopic<'_>| {
        let answer = block_on(admin(&broker).create_topics([&new], &options().validate_only(true)));
        answer.unwrap().remove(0).map_err(|(_, code)| code)
    };
    let new = || NewTopic::new("only-validated", 3, TopicReplication::Fixed(1));
    assert!(validate(new()).is_ok());
    assert_eq!(validate(new().set("retention.ms", "soon")), Err(RDKafkaErrorCode::InvalidConfig));
    assert_eq!(partitions(&broker, "only-validated"), 0);
}

#[test]
fn what_cannot_be_created_is_refused_with_kafkas_error() {
    let broker = Broker::start();
    for name in ["a/b", "..", "", "white space", &"long".repeat(100)] {
        assert_eq!(try_create_topic(&broker, name, 1, &[]), Err(RDKafkaErrorCode::InvalidTopic), "{name:?}");
    }
    let unknown_key = try_create_topic(&broker, "t", 1, &[("no.such.key", "1")]);
    assert_eq!(unknown_key, Err(RDKafkaErrorCode::InvalidConfig));
    let new = NewTopic::new("t", 1, TopicReplication::Fixed(3));
    let answer = block_on(admin(&broker).create_topics([&new], &options())).unwrap().remove(0);
    assert_eq!(answer.unwrap_err().1, RDKafkaErrorCode::InvalidReplicationFactor);
    assert_eq!(partitions(&broker, "t"), 0);
}

#[test]
fn configuration_is_described_with_its_source_and_survives_a_restart() {
    let mut broker = Broker::start();
    try_create_topic(&broker, "described", 1, &[("segment.bytes", "65536")]).unwrap();
    broker.kill();
    broker.start_again();
    let resource = ResourceSpecifier::Topic("described");
    let described =
        block_on(admin(&broker).describe_configs([&resource], &options())).unwrap().remove(0).unwrap();
    let entry = |name: &str| {
        let entry = described.entries.iter().find(|e| e.name == name);
        entry.unwrap_or_else(|| panic!("{name} is not described"))
    };
    let segment = entry("segment.bytes");
    assert_eq!((segment.value.as_deref(), &segment.source), (Some("65536"), &ConfigSource::DynamicTopic));
    assert!(!segment.is_default);
    let compression = entry("compression.type");
    assert_eq!((compression.value.as_deref(), compression.is_default), (Some("producer"), true));
}

#[test]
fn the_admin_port_says_that_the_broker_is_ready_and_what_it_did() {
    let broker = Broker::start();
    create_topic(&broker, "metered", 1);
    produce_numbers(&broker, "metered", 10);
    // The address of the clients' port came first; the rest of the banner may still be on its way.
    eventually("the banner names the admin port", || broker.banner().contains("/metrics"));
    let banner = broker.banner();
    let address =
        banner.split("http://").nth(1).and_then(|rest| rest.split(['/', ' ', '\n']).next()).unwrap();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/livez").starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(get("/metrics").contains("Produce"), "{}", get("/metrics"));
}
