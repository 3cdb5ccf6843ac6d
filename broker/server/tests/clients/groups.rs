//! Consumer groups of librdkafka: sharing, handing over, and committed offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{Broker, PATIENCE, eventually};
use crate::client::{admin, block_on, client, create_topic, options, produce, produce_numbers};

/// A member that consumes on its own thread until told to leave.
struct Member {
    assigned: Arc<Mutex<BTreeSet<i32>>>,
    got: Arc<Mutex<Vec<OwnedMessage>>>,
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    fn join(broker: &Broker, topic: &'static str, properties: &[(&str, &str)]) -> Self {
        let mut all = vec![("group.id", "sharers"), ("auto.offset.reset", "earliest")];
        all.extend(properties);
        let consumer: BaseConsumer = client(broker, &all);
        consumer.subscribe(&[topic]).unwrap();
        let mut member = Self {
            assigned: Arc::default(),
            got: Arc::default(),
            leave: Arc::new(AtomicBool::new(false)),
            thread: None,
        };
        let (assigned, got, leave) = (member.assigned.clone(), member.got.clone(), member.leave.clone());
        member.thread = Some(std::thread::spawn(move || {
            while !leave.load(Ordering::Relaxed) {
                // Errors of a moment, such as a broker that restarts, are librdkafka's to overcome.
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) {
                    got.lock().unwrap().push(message.detach());
                }
                let now = consumer.assignment().unwrap();
                *assigned.lock().unwrap() = now.elements().iter().map(|e| e.partition()).collect();
            }
        }));
        member
    }

    fn assigned(&self) -> BTreeSet<i32> {
        self.assigned.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    fn leave(mut self) -> Vec<OwnedMessage> {
        self.leave.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.got.lock().unwrap())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
    }
}

fn shared_evenly(members: &[Member], partitions: i32) -> bool {
    let shares: Vec<_> = members.iter().map(Member::assigned).collect();
    let all: BTreeSet<i32> = shares.iter().flatten().copied().collect();
    all.len() == partitions as usize && shares.iter().all(|s| s.len() == partitions as usize / members.len())
}

/// Records with a key of 31 and a number each, which rises per key.
fn produce_keyed(broker: &Broker, topic: &'static str, numbers: std::ops::Range<usize>) {
    let producer: FutureProducer = client(broker, &[]);
    let records: Vec<_> = numbers.map(|n| (format!("key-{}", n % 31), n.to_string())).collect();

    produce(&producer, records.iter().map(|(key, value)| keyed(topic, key, value)));
}

fn keyed<'a>(topic: &'a str, key: &'a str, value: &'a str) -> FutureRecord<'a, [u8], [u8]> {
    FutureRecord::to(topic).key(key.as_bytes()).payload(value.as_bytes())
}

/// Every number once, and per key in rising order within what each member saw.
fn assert_each_once_in_order(seen: &[Vec<OwnedMessage>], count: usize) {
    let mut numbers = BTreeSet::new();
    for messages in seen {
        let mut last_of_key = BTreeMap::new();
        for message in messages {
            let number: usize = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
            let before = last_of_key.insert(message.key().unwrap().to_vec(), number);
            assert!(before < Some(number), "{before:?} before {number}");
            assert!(numbers.insert(number), "{number} came twice");
        }
    }
    assert_eq!(numbers.len(), count);
}

fn three_members_share(strategy: &str) {
    let broker = Broker::start();
    create_topic(&broker, "shared", 6);
    let properties = [("partition.assignment.strategy", strategy)];
    let mut members: Vec<_> = (0..3).map(|_| Member::join(&broker, "shared", &properties)).collect();
    eventually("each of three members has two partitions", || shared_evenly(&members, 6));
    produce_keyed(&broker, "shared", 0..3_000);
    eventually("all records came", || members.iter().map(Member::count).sum::<usize>() == 3_000);

    // One leaves and commits as it goes; the two others take over where it stood.
    let mut seen = vec![members.remove(0).leave()];
    eventually("each of two members has three partitions", || shared_evenly(&members, 6));
    produce_keyed(&broker, "shared", 3_000..4_000);
    eventually("all records came", || {
        seen[0].len() + members.iter().map(Member::count).sum::<usize>() == 4_000
    });
    seen.extend(members.into_iter().map(Member::leave));
    assert_each_once_in_order(&seen, 4_000);
}

#[test]
fn three_members_share_a_topic_and_take_over_from_one_that_leaves() {
    three_members_share("range");
}

#[test]
fn three_members_share_a_topic_cooperatively() {
    three_members_share("cooperative-sticky");
}

#[test]
fn a_static_member_finds_its_partitions_again() {
    let broker = Broker::start();
    create_topic(&broker, "static", 4);
    let join = |name| Member::join(&broker, "static", &[("group.instance.id", name)]);
    let (first, second) = (join("first"), join("second"));
    eventually("both have two partitions", || first.assigned().len() == 2 && second.assigned().len() == 2);
    let (had, kept) = (first.assigned(), second.assigned());
    first.leave();
    let first = join("first");
    eventually("the member has partitions", || !first.assigned().is_empty());
    assert_eq!((first.assigned(), second.assigned()), (had, kept));
}

fn committed(broker: &Broker, topic: &str) -> Vec<(i32, Offset, String)> {
    let consumer: BaseConsumer = client(broker, &[("group.id", "committer")]);
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, 2);
    let found = consumer.committed_offsets(asked, PATIENCE).unwrap();
    found.elements().iter().map(|e| (e.partition(), e.offset(), e.metadata().to_owned())).collect()
}

#[test]
fn committed_offsets_survive_a_clean_stop_and_a_kill() {
    let mut broker = Broker::start();
    create_topic(&broker, "committed", 3);
    produce_numbers(&broker, "committed", 50);
    let commit = |broker: &Broker, partition, offset, metadata: &str| {
        let consumer: BaseConsumer = client(broker, &[("group.id", "committer")]);
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("committed", partition, Offset::Offset(offset)).unwrap();
        offsets.find_partition("committed", partition).unwrap().set_metadata(metadata);
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
    };
    commit(&broker, 0, 17, "about seventeen");
    broker.stop();
    broker.start_again();
    let none = String::new;
    let (first, last) = ((0, Offset::Offset(17), "about seventeen".to_owned()), (2, Offset::Invalid, none()));
    assert_eq!(committed(&broker, "committed"), [first.clone(), (1, Offset::Invalid, none()), last.clone()]);
    commit(&broker, 1, 0, "");
    broker.kill();
    broker.start_again();
    assert_eq!(committed(&broker, "committed"), [first, (1, Offset::Offset(0), none()), last]);
}

#[test]
fn a_group_is_listed_while_it_lives_and_deleted_when_empty() {
    let broker = Broker::start();
    create_topic(&broker, "listed", 1);
    produce_numbers(&broker, "listed", 1);
    let member = Member::join(&broker, "listed", &[]);
    eventually("the member got the record", || member.count() == 1);
    let observer: BaseConsumer = client(&broker, &[("group.id", "observer")]);
    let state = || {
        let groups = observer.fetch_group_list(Some("sharers"), PATIENCE).unwrap();
        let found = groups.groups().first().map(|g| (g.state().to_owned(), g.members().len()));
        found.unwrap_or_default()
    };
    assert_eq!(state(), ("Stable".to_owned(), 1));
    let admin: AdminClient<DefaultClientContext> = admin(&broker);
    let delete = || block_on(admin.delete_groups(&["sharers"], &options())).unwrap().remove(0);
    assert_eq!(delete().unwrap_err().1, RDKafkaErrorCode::NonEmptyGroup);
    member.leave();
    eventually("the group is empty", || state() == ("Empty".to_owned(), 0));
    delete().unwrap();
    assert!(matches!(state(), (state, 0) if state == "Dead" || state.is_empty()));
}
