//! Brokers and their controller as processes of their own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::broker::{PATIENCE, Process, eventually, own_host};
use crate::client::block_on;

/// The body of `path` on the admin port, once it answers at all.
fn get(admin: &str, path: &str) -> String {
    let address = admin.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A controller and brokers, each with a directory and a loopback address of its own.
struct Cluster {
    dir: TempDir,
    controller: Process,
    brokers: Vec<Process>,
}

impl Cluster {
    fn start(brokers: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let controller = controller(dir.path(), &format!("{}:0", own_host()), &[]);
        let brokers = (0..brokers).map(|id| broker(dir.path(), id, &controller.address, &[])).collect();
        let cluster = Self { dir, controller, brokers };
        eventually("all brokers are ready", || {
            cluster.brokers.iter().all(|broker| get(&broker.admin(), "/readyz") == "ready\n")
        });
        cluster
    }

    fn client<T: FromClientConfig>(&self, broker: usize) -> T {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers[broker].address).set_log_level(RDKafkaLogLevel::Emerg);
        config.set("reconnect.backoff.max.ms", "200").set("message.timeout.ms", "60000");
        config.create().unwrap()
    }

    fn create(&self, name: &str, replicas: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client(0);
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let new = NewTopic::new(name, 6, TopicReplication::Fixed(replicas));
        block_on(admin.create_topics([&new], &options)).unwrap().remove(0).unwrap();
    }

    fn produce(&self, topic: &str) {
        let producer: FutureProducer = self.client(0);
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).payload(b"record");
        block_on(producer.send_result(record).map_err(|(error, _)| error).unwrap()).unwrap().unwrap();
    }

    /// Of each partition of `topic`: the leader and the replicas.
    fn partitions(&self, topic: &str) -> Vec<(i32, BTreeSet<i32>)> {
        let consumer: BaseConsumer = self.client(0);
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions();
        partitions.iter().map(|p| (p.leader(), p.replicas().iter().copied().collect())).collect()
    }
}

fn token(dir: &Path) -> PathBuf {
    let path = dir.join("token");
    fs::write(&path, "secret\n").unwrap();
    path
}

fn controller(dir: &Path, listen: &str, more: &[&str]) -> Process {
    let (data, token) = (dir.join("controller"), token(dir));
    let args = ["controller", "--admin", "127.0.0.1:0", "--listen", listen];
    let files = ["--data-dir", data.to_str().unwrap(), "--controller-token-file", token.to_str().unwrap()];
    Process::start(&[&args[..], &files, more].concat())
}

fn broker(dir: &Path, id: usize, controller: &str, more: &[&str]) -> Process {
    let (id, controller) = (id.to_string(), format!("http://{controller}"));
    let (data, token) = (dir.join(&id), token(dir));
    let listen = format!("PLAINTEXT://{}:0", own_host());
    let args =
        ["broker", "--id", &id, "--controller", &controller, "--admin", "127.0.0.1:0", "--listen", &listen];
    let files = ["--data-dir", data.to_str().unwrap(), "--controller-token-file", token.to_str().unwrap()];
    let settings =
        ["--set", "group.initial.rebalance.delay.ms=0", "--set", "offsets.topic.replication.factor=1"];
    Process::start(&[&args[..], &files, &settings, more].concat())
}

#[test]
fn brokers_serve_on_without_the_controller_and_find_it_again() {
    let mut cluster = Cluster::start(3);
    cluster.create("three", 3);
    let placed = cluster.partitions("three");
    assert!(placed.iter().all(|(_, replicas)| *replicas == BTreeSet::from([0, 1, 2])), "{placed:?}");
    let leaders: BTreeSet<i32> = placed.iter().map(|(leader, _)| *leader).collect();
    assert_eq!(leaders, BTreeSet::from([0, 1, 2]));
    cluster.produce("three");
    let metrics = get(&cluster.controller.admin(), "/metrics");
    for line in ["taffrail_controller_sessions 3", "taffrail_controller_partitions 6", "taffrail_ready 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }

    cluster.controller.kill();
    eventually("every broker has noticed", || {
        let noticed = |broker: &Process| broker.log().contains("serving on with the last known state");
        cluster.brokers.iter().all(noticed)
    });
    cluster.produce("three");
    assert!(cluster.brokers.iter().all(|broker| get(&broker.admin(), "/readyz") == "ready\n"));

    let address = cluster.controller.address.clone();
    cluster.controller = controller(cluster.dir.path(), &address, &[]);
    eventually("every broker is back", || {
        get(&cluster.controller.admin(), "/metrics").contains("taffrail_controller_sessions 3\n")
    });
    cluster.create("more", 3);
    cluster.produce("more");
    assert_eq!(cluster.partitions("three"), placed, "nothing was elected for nothing");
    for process in cluster.brokers.iter_mut().chain([&mut cluster.controller]) {
        assert_eq!(process.signal_and_wait(Signal::TERM), Some(0), "{}", process.log());
    }
}

#[test]
fn a_broker_waits_for_its_first_controller_and_says_so() {
    let dir = TempDir::new().unwrap();
    let controller_at = {
        let held = std::net::TcpListener::bind((own_host(), 0)).unwrap();
        held.local_addr().unwrap().to_string()
    };
    let waiting = broker(dir.path(), 4, &controller_at, &[]);
    eventually("it says that there is no controller", || {
        waiting.log().contains("no session with the controller: http://")
    });
    let readyz = get(&waiting.admin(), "/readyz");
    assert!(readyz.starts_with("not ready: not registered with the controller"), "{readyz}");
    let _controller = controller(dir.path(), &controller_at, &[]);
    eventually("it is ready", || get(&waiting.admin(), "/readyz") == "ready\n");
    let told = waiting.log().matches("no session with the controller").count();
    assert!(told <= 3, "it is not told with each attempt: {}", waiting.log());
}

#[test]
fn of_two_brokers_with_one_id_the_older_stops_and_says_why() {
    let mut cluster = Cluster::start(1);
    let elsewhere = TempDir::new().unwrap();
    let _newer = broker(elsewhere.path(), 0, &cluster.controller.address, &[]);
    let older = &mut cluster.brokers[0];
    assert_eq!(older.wait(), Some(1));
    assert!(older.log().contains("another process has registered as broker 0"), "{}", older.log());
}

#[test]
fn disks_of_another_broker_or_another_cluster_are_refused_with_the_reason() {
    let mut cluster = Cluster::start(1);
    let dir = cluster.dir.path().to_owned();
    assert_eq!(cluster.brokers[0].signal_and_wait(Signal::TERM), Some(0));
    fs::rename(dir.join("0"), dir.join("1")).unwrap();
    let mut other_id = broker(&dir, 1, &cluster.controller.address, &[]);
    assert_eq!(other_id.wait(), Some(1));
    assert!(other_id.log().contains("belongs to node.id 0, and this is node.id 1"), "{}", other_id.log());
    fs::rename(dir.join("1"), dir.join("0")).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let another = controller(elsewhere.path(), &format!("{}:0", own_host()), &[]);
    let mut first = broker(elsewhere.path(), 7, &another.address, &[]);
    eventually("the other cluster has an id", || get(&first.admin(), "/readyz") == "ready\n");
    assert_eq!(first.signal_and_wait(Signal::TERM), Some(0));
    let mut other_cluster = broker(&dir, 0, &another.address, &[]);
    assert_eq!(other_cluster.wait(), Some(1));
    let log = other_cluster.log();
    assert!(log.contains("the disks of broker 0 belong to cluster"), "{log}");
}

#[test]
fn a_damaged_state_stops_the_controller_and_is_left_as_it_is() {
    let mut cluster = Cluster::start(1);
    cluster.create("one", 1);
    cluster.create("two", 1);
    cluster.controller.kill();
    let journal = cluster.dir.path().join("controller/controller.journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[40] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let mut damaged = controller(cluster.dir.path(), &format!("{}:0", own_host()), &[]);
    assert_eq!(damaged.wait(), Some(1));
    let log = damaged.log();
    assert!(log.contains("controller.journal is damaged at byte 16"), "{log}");
    assert_eq!(fs::read(&journal).unwrap(), bytes);
    cluster.produce("one");
}

#[test]
fn options_that_would_do_harm_or_nothing_are_refused() {
    let dir = TempDir::new().unwrap();
    let refused = |args: &[&str], status: i32, says: &str| {
        let output = crate::broker::run(args, &dir.path().join("data"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
        assert!(said.contains(says), "{says:?} is missing in: {said}");
        assert!(!dir.path().join("data").exists());
    };
    refused(&["controller", "--listen", "0.0.0.0:0", "--admin", "127.0.0.1:0"], 1, "--controller-token-file");
    refused(
        &["controller", "--set", "log.segment.bytes=1048576"],
        2,
        "is the brokers' and not the controller's",
    );
    refused(&["broker", "--id", "1", "--controller", "localhost:9190"], 2, "expected http://HOST:PORT");
    refused(
        &["broker", "--id", "1", "--listen", "A://127.0.0.1:0,A://127.0.0.1:0"],
        2,
        "names listener A twice",
    );
    refused(&["broker", "--id", "1", "--config", "/nowhere.yaml"], 2, "/nowhere.yaml");
}
