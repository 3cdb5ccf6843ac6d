//! The cluster: a controller, and brokers that are stopped and started again on their data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taffrail_control::session::Endpoint;
use taffrail_controller_service::{ClusterDefaults, LocalController};
use taffrail_protocol::Uuid;
use taffrail_replication::partition::RoleKind;
use taffrail_server::admin::Readiness;
use taffrail_server::cluster::Replica;
use taffrail_server::config::BrokerConfig;
use taffrail_server::controller_address::ControllerAddress;
use taffrail_server::lifecycle::{BrokerListener, BrokerSetup, RunningBroker, StartError};
use taffrail_server::metrics::Metrics;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Nothing that works takes as long; it only ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    runtime: Runtime,
    dir: TempDir,
    controller: LocalController,
    brokers: Vec<Option<RunningBroker>>,
    settings: Vec<(&'static str, String)>,
    /// How many data directories each broker has.
    log_dirs: usize,
}

/// Settings of all brokers of these tests: nothing waits without need.
const SETTINGS: [(&str, &str); 4] = [
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "4"),
    ("min.insync.replicas", "2"),
    ("default.replication.factor", "3"),
];

impl Cluster {
    /// Three brokers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further settings; `broker.rack` is `rack-` and the broker's id.
    pub fn start_with(settings: &[(&'static str, &str)]) -> Self {
        Self::start_on(1, settings)
    }

    /// The same with so many data directories for each broker.
    pub fn start_on(log_dirs: usize, settings: &[(&'static str, &str)]) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = TempDir::new().unwrap();
        let controller = runtime.block_on(async {
            let defaults = ClusterDefaults { min_insync_replicas: 2, ..ClusterDefaults::default() };
            LocalController::open(&dir.path().join("controller"), defaults).unwrap()
        });
        let settings =
            SETTINGS.iter().chain(settings).map(|(key, value)| (*key, (*value).to_owned())).collect();
        let mut cluster =
            Self { runtime, dir, controller, brokers: vec![None, None, None], settings, log_dirs };
        (0..3).for_each(|id| cluster.start_broker(id));
        for id in 0..3 {
            cluster.eventually("all brokers are known to each other", || {
                cluster.broker(id).broker.cluster.brokers().iter().filter(|broker| !broker.fenced).count()
                    == 3
            });
        }
        cluster
    }

    /// Starts a broker on its data.
    pub fn start_broker(&mut self, id: usize) {
        self.try_to_start(id).unwrap();
    }

    /// Where a broker's data is, in one of its directories.
    pub fn log_dir(&self, id: usize, number: usize) -> PathBuf {
        self.dir.path().join(format!("broker-{id}-{number}"))
    }

    /// Starts a broker on its data, if that can be.
    pub fn try_to_start(&mut self, id: usize) -> Result<(), StartError> {
        let rack = ("broker.rack", format!("rack-{id}"));
        let settings = self.settings.iter().chain([&rack]).map(|(key, value)| (*key, value.as_str()));
        let mut config = BrokerConfig::from_settings(settings).unwrap();
        config.fit_into(256 << 20);
        let controller = ControllerAddress::in_process(self.controller.handle());
        let log_dirs = (0..self.log_dirs).map(|number| self.log_dir(id, number)).collect();
        let running = self.runtime.block_on(async {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            let advertised = Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: address.ip().to_string(),
                port: address.port(),
            };
            let setup = BrokerSetup {
                id: id as i32,
                config,
                log_dirs,
                listeners: vec![BrokerListener { socket, advertised }],
                peer_address: address,
                controller,
                readiness: Arc::new(Readiness::of_broker()),
                metrics: Arc::new(Metrics::new()),
            };
            RunningBroker::start(setup).await
        });
        self.brokers[id] = Some(running?);
        Ok(())
    }

    /// Stops a broker in good order.
    pub fn stop_broker(&mut self, id: usize) {
        let mut broker = self.brokers[id].take().unwrap();
        self.runtime.block_on(async {
            broker.hand_over().await;
            broker.stop().await;
        });
    }

    /// Stops a broker without a word to the controller.
    pub fn lose_broker(&mut self, id: usize) {
        let broker = self.brokers[id].take().unwrap();
        self.runtime.block_on(broker.stop_at_once());
    }

    pub fn broker(&self, id: usize) -> &RunningBroker {
        self.brokers[id].as_ref().unwrap()
    }

    fn running(&self) -> impl Iterator<Item = &RunningBroker> {
        self.brokers.iter().flatten()
    }

    /// The addresses of the brokers that run.
    pub fn bootstrap(&self) -> String {
        let addresses = self.running().map(|broker| self.address(broker.broker.id).to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Where a broker is reached.
    pub fn address(&self, id: i32) -> SocketAddr {
        let broker = self.running().next().unwrap().broker.cluster.broker(id).unwrap();
        broker.peer_address.unwrap()
    }

    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.running().find_map(|broker| broker.broker.cluster.topic(topic)).unwrap().id
    }

    /// The log directories that take no writes, as the controller was told: by broker, how many.
    pub fn told_dirs(&self) -> BTreeMap<i32, usize> {
        let told = self.controller.handle().log_dirs();
        told.borrow().iter().map(|(id, dirs)| (*id, dirs.len())).collect()
    }

    /// A broker's replica of a partition.
    pub fn replica(&self, id: usize, topic: &str, partition: i32) -> Option<Arc<Replica>> {
        let topic = self.brokers[id].as_ref()?.broker.cluster.topic(topic)?;
        topic.partition(partition)?.replica.clone()
    }

    /// The running broker that leads a partition, once there is one.
    pub fn leader(&self, topic: &str, partition: i32) -> usize {
        let leads = |id: &usize| {
            let replica = self.replica(*id, topic, partition);
            replica.is_some_and(|replica| replica.lock().role() == RoleKind::Leader)
        };
        let mut leader = None;
        self.eventually("somebody leads", || {
            leader = (0..3).find(leads);
            leader.is_some()
        });
        leader.unwrap()
    }

    /// Waits until all running brokers' replicas of a partition are in sync and know everything to be committed.
    pub fn in_sync(&self, topic: &str, partition: i32) {
        let running: Vec<usize> = (0..3).filter(|id| self.brokers[*id].is_some()).collect();
        self.eventually("all replicas are in sync", || {
            let positions: Vec<_> = running
                .iter()
                .filter_map(|id| self.replica(*id, topic, partition))
                .map(|replica| {
                    let replica = replica.lock();
                    let end = replica.log().log_end_offset();
                    (replica.record().isr.len(), end, replica.high_watermark())
                })
                .collect();
            let end = positions.first().map_or(0, |(_, end, _)| *end);
            positions.len() == running.len()
                && positions.iter().all(|position| *position == (running.len(), end, end))
        });
    }

    /// Looks until `is_so`.
    pub fn eventually(&self, what: &str, is_so: impl FnMut() -> bool) {
        eventually(what, is_so);
    }
}

/// Looks until `is_so`.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for broker in self.brokers.iter_mut().filter_map(Option::take) {
            self.runtime.block_on(broker.stop_at_once());
        }
    }
}
