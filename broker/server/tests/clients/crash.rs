//! `kill -9` and clean stops: nothing that was acknowledged is missing, and order is kept.

use std::collections::BTreeMap;
use std::sync::mpsc;

use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rustix::process::Signal;

use crate::broker::Broker;
use crate::client::{block_on, client, consume_all, create_topic, produce_numbers, texts};

const PARTITIONS: usize = 4;
const RECORDS: usize = 20_000;

/// Produces while the broker is killed and started again, twice; the same producer goes on. Returns per record its
/// partition and the offset that was acknowledged.
fn produce_through_kills(
    broker: &mut Broker,
    topic: &'static str,
    properties: &[(&str, &str)],
) -> Vec<(i32, i64)> {
    let mut all = vec![("linger.ms", "1"), ("batch.num.messages", "50"), ("acks", "all")];
    all.extend(properties);
    let producer: FutureProducer = client(broker, &all);
    let (acknowledged, acknowledgements) = mpsc::channel();
    let sender = std::thread::spawn(move || {
        let mut deliveries = Vec::new();
        for number in 0..RECORDS {
            let (value, partition) = (number.to_string(), (number % PARTITIONS) as i32);
            let record = FutureRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value.as_bytes());
            deliveries.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
            // A report each thousand: while one is read and the broker killed, the next thousand is on its way.
            if number % 1_000 == 999 {
                let waits = deliveries.drain(..).map(|d| block_on(d).unwrap().unwrap());
                let done: Vec<_> = waits.map(|delivery| (delivery.partition, delivery.offset)).collect();
                acknowledged.send(done).unwrap();
            }
        }
    });
    let mut offsets = Vec::new();
    for (batch, done) in acknowledgements.iter().enumerate() {
        offsets.extend(done);
        if batch == 4 || batch == 11 {
            broker.kill();
            broker.start_again();
        }
    }
    sender.join().unwrap();
    offsets
}

fn values(broker: &Broker, topic: &str) -> BTreeMap<i32, Vec<usize>> {
    let number = |value: &[u8]| std::str::from_utf8(value).unwrap().parse().unwrap();
    let read = |(partition, messages): (i32, Vec<_>)| {
        let numbers = messages.iter().map(|m: &rdkafka::message::OwnedMessage| number(m.payload().unwrap()));
        (partition, numbers.collect())
    };
    consume_all(broker, topic).into_iter().map(read).collect()
}

#[test]
fn an_idempotent_producer_survives_kills_with_each_record_once_and_in_order() {
    let mut broker = Broker::start();
    create_topic(&broker, "idempotent", PARTITIONS as i32);
    let offsets = produce_through_kills(&mut broker, "idempotent", &[("enable.idempotence", "true")]);
    let found = values(&broker, "idempotent");
    for (partition, numbers) in &found {
        let wanted = (0..RECORDS).filter(|n| n % PARTITIONS == *partition as usize);
        assert!(numbers.iter().copied().eq(wanted), "partition {partition}: {} records", numbers.len());
    }
    for (number, (partition, offset)) in offsets.into_iter().enumerate() {
        assert_eq!(found[&partition][offset as usize], number, "where {number} was acknowledged");
    }
}

#[test]
fn a_plain_producer_loses_nothing_acknowledged_to_kills() {
    let mut broker = Broker::start();
    create_topic(&broker, "plain", PARTITIONS as i32);
    let one_at_a_time = [("max.in.flight.requests.per.connection", "1")];
    let offsets = produce_through_kills(&mut broker, "plain", &one_at_a_time);
    let found = values(&broker, "plain");
    for (number, (partition, offset)) in offsets.iter().enumerate() {
        assert_eq!(found[partition][*offset as usize], number, "where {number} was acknowledged");
    }
    // A batch whose acknowledgement was lost may be there twice, but nothing new comes before something older.
    for numbers in found.values() {
        let mut firsts = Vec::new();
        for number in numbers {
            if firsts.last().is_none_or(|last| number > last) {
                firsts.push(*number);
            }
        }
        assert_eq!(firsts.len(), RECORDS / PARTITIONS);
    }
}

#[test]
fn everything_is_there_after_a_clean_stop() {
    let mut broker = Broker::start();
    create_topic(&broker, "kept", 1);
    produce_numbers(&broker, "kept", 1_000);
    broker.stop();
    broker.start_again();
    assert_eq!(texts(&broker, "kept"), (0..1_000).map(|n: i32| n.to_string()).collect::<Vec<_>>());
    assert_eq!(produce_numbers(&broker, "kept", 1)[0].offset, 1_000);
}

#[test]
fn an_interrupt_from_the_keyboard_is_a_clean_stop() {
    let mut broker = Broker::start();
    create_topic(&broker, "interrupted", 1);
    assert_eq!(broker.signal_and_wait(Signal::INT), Some(0));
}

#[test]
fn a_torn_last_batch_is_cut_off_and_the_log_goes_on() {
    let mut broker = Broker::start();
    create_topic(&broker, "torn", 1);
    produce_numbers(&broker, "torn", 10);
    produce_numbers(&broker, "torn", 10);
    broker.kill();
    let segment = broker.log_dir().join("torn-0/00000000000000000000.log");
    let length = std::fs::metadata(&segment).unwrap().len();
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(length - 1).unwrap();
    broker.start_again();
    assert_eq!(texts(&broker, "torn").len(), 10);
    assert_eq!(produce_numbers(&broker, "torn", 1)[0].offset, 10);
}
