//! A broker whose controller is played by the test, message by message.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use taffrail_control::session::{
    BrokerEnd, BrokerRecord, CONTROLLER_FEATURES, ClusterUpdate, ControllerEnd, Endpoint, FromController,
    Member, PartitionRecord, Registration, ToController, TopicRecord, session,
};
use taffrail_protocol::Uuid;
use taffrail_server::admin::Readiness;
use taffrail_server::cluster::Replica;
use taffrail_server::config::BrokerConfig;
use taffrail_server::controller_address::{ControllerAddress, LocalSessions};
use taffrail_server::lifecycle::{BrokerListener, BrokerSetup, RunningBroker, StartError};
use taffrail_server::metrics::Metrics;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::PATIENCE;

/// The broker.
pub const ME: Member = Member { broker_id: 1, incarnation: 7 };
/// Another one, which never speaks.
pub const OTHER: Member = Member { broker_id: 2, incarnation: 4 };
/// What it shows when it connects.
pub const OTHERS_TOKEN: Uuid = Uuid([8; 16]);
/// The only topic, named `t`.
pub const TOPIC: Uuid = Uuid([5; 16]);
/// The cluster's id.
pub const CLUSTER: &str = "cluster";
/// The listener of all brokers here.
const LISTENER: &str = "PLAINTEXT";

/// Hands the controller's ends of the broker's sessions to the test.
#[derive(Debug)]
struct Sessions(mpsc::UnboundedSender<ControllerEnd>);

impl LocalSessions for Sessions {
    fn connect(&self) -> BrokerEnd {
        let (broker, controller) = session();
        // The test may have ended.
        let _ = self.0.send(controller);
        broker
    }
}

/// A broker that has registered, and the test's end of its session.
pub struct Scripted {
    runtime: Runtime,
    dir: TempDir,
    config: BrokerConfig,
    sender: mpsc::UnboundedSender<ControllerEnd>,
    sessions: mpsc::UnboundedReceiver<ControllerEnd>,
    session: ControllerEnd,
    version: u64,
    broker: Option<RunningBroker>,
    pub address: SocketAddr,
}

impl Scripted {
    /// Starts it with these settings; the first snapshot has what `snapshot` has, and both brokers.
    pub fn start(settings: &[(&str, &str)], snapshot: ClusterUpdate) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = TempDir::new().unwrap();
        let mut config = BrokerConfig::from_settings(settings.iter().copied()).unwrap();
        config.fit_into(256 << 20);
        let (sender, sessions) = mpsc::unbounded_channel();
        let (_, session) = session();
        let address = ([127, 0, 0, 1], 0).into();
        let mut scripted =
            Self { runtime, dir, config, sender, sessions, session, version: 0, broker: None, address };
        let (starting, registration) = scripted.start_process();
        scripted.answer(&registration, registration.rack.as_deref(), "controller");
        scripted.snapshot(&registration, snapshot);
        let running = scripted.runtime.block_on(starting).unwrap().unwrap();
        scripted.broker = Some(running);
        scripted
    }

    /// Begins to start a broker on the data, and returns what it registers with.
    fn start_process(&mut self) -> (JoinHandle<Result<RunningBroker, StartError>>, Registration) {
        let socket = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        self.address = socket.local_addr().unwrap();
        let (listener, port) = (LISTENER.to_owned(), self.address.port());
        let advertised = Endpoint { listener, host: "flag".to_owned(), port };
        let setup = BrokerSetup {
            id: ME.broker_id,
            config: self.config.clone(),
            log_dirs: vec![self.data_dir()],
            listeners: vec![BrokerListener { socket, advertised }],
            peer_address: self.address,
            controller: ControllerAddress::in_process(Sessions(self.sender.clone())),
            readiness: Arc::new(Readiness::of_broker()),
            metrics: Arc::new(Metrics::new()),
        };
        let starting = self.runtime.spawn(RunningBroker::start(setup));
        self.session = self.runtime.block_on(next_session(&mut self.sessions));
        (starting, self.registration())
    }

    /// Starts a broker on the data that is stopped before it is registered. Returns what it would have registered with.
    pub fn start_in_vain(&mut self) -> Registration {
        let (starting, registration) = self.start_process();
        starting.abort();
        assert!(self.runtime.block_on(starting).is_err_and(|error| error.is_cancelled()));
        registration
    }

    /// The broker's replica of a partition.
    pub fn replica(&self, partition: i32) -> Arc<Replica> {
        let broker = &self.broker.as_ref().unwrap().broker;
        broker.cluster.replica((TOPIC, partition)).unwrap()
    }

    /// The broker finds that the other one is gone.
    pub fn lose_other(&self) {
        let broker = &self.broker.as_ref().unwrap().broker;
        broker.cluster.note_lost(OTHER.broker_id);
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Ends the session, waits for the next one and returns what the broker registers with.
    pub fn break_session(&mut self) -> Registration {
        let next = self.runtime.block_on(async {
            let (_, ended) = session();
            drop(std::mem::replace(&mut self.session, ended));
            next_session(&mut self.sessions).await
        });
        self.session = next;
        self.registration()
    }

    fn registration(&mut self) -> Registration {
        self.hears(|message| match message {
            ToController::Register(registration) => Some(registration),
            _ => None,
        })
    }

    /// Answers the registration: the broker has this rack, and is reached at `host`.
    pub fn answer(&mut self, registration: &Registration, rack: Option<&str>, host: &str) {
        let endpoints = record(registration, host).endpoints;
        self.say(FromController::Registered {
            cluster_id: CLUSTER.to_owned(),
            incarnation: ME.incarnation,
            rack: rack.map(ToOwned::to_owned),
            endpoints,
            features: CONTROLLER_FEATURES.map(str::to_owned).to_vec(),
        });
    }

    /// A snapshot with both brokers, and what else there is.
    pub fn snapshot(&mut self, registration: &Registration, more: ClusterUpdate) {
        let brokers = vec![record(registration, "controller"), other()];
        self.update(ClusterUpdate { snapshot: true, brokers, ..more });
    }

    pub fn update(&mut self, update: ClusterUpdate) {
        self.version += 1;
        self.say(FromController::Update(Arc::new(ClusterUpdate { version: self.version, ..update })));
    }

    pub fn say(&mut self, message: FromController) {
        self.runtime.block_on(self.session.sender.send(message)).unwrap();
    }

    /// The next message that `wanted` takes; others are skipped.
    pub fn hears<T>(&mut self, mut wanted: impl FnMut(ToController) -> Option<T>) -> T {
        let receiver = &mut self.session.receiver;
        let found = async {
            loop {
                let message = receiver.recv().await.expect("the session goes on");
                if let Some(found) = wanted(message) {
                    return found;
                }
            }
        };
        self.runtime.block_on(async { timeout(PATIENCE, found).await }).expect("the broker says it in time")
    }

    /// Begins to stop the broker, and returns the rest of it.
    pub fn begin_stop(&mut self) -> JoinHandle<()> {
        let mut broker = self.broker.take().unwrap();
        self.runtime.spawn(async move {
            broker.hand_over().await;
            broker.stop().await;
        })
    }

    pub fn finish<T>(&self, task: JoinHandle<T>) -> T {
        self.runtime.block_on(async { timeout(PATIENCE, task).await }).unwrap().unwrap()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            self.runtime.block_on(broker.stop_at_once());
        }
    }
}

async fn next_session(sessions: &mut mpsc::UnboundedReceiver<ControllerEnd>) -> ControllerEnd {
    timeout(PATIENCE, sessions.recv()).await.expect("the broker opens a session in time").unwrap()
}

/// The broker's record, where it is reached at `host`.
pub fn record(registration: &Registration, host: &str) -> BrokerRecord {
    let told = |endpoint: &Endpoint| Endpoint { host: host.to_owned(), ..endpoint.clone() };
    BrokerRecord {
        broker_id: ME.broker_id,
        incarnation: ME.incarnation,
        endpoints: registration.endpoints.iter().map(told).collect(),
        rack: registration.rack.clone(),
        fenced: false,
        peer_address: registration.peer_address,
        peer_token: Some(registration.peer_token),
    }
}

fn other() -> BrokerRecord {
    BrokerRecord {
        broker_id: OTHER.broker_id,
        incarnation: OTHER.incarnation,
        endpoints: Vec::new(),
        rack: None,
        fenced: false,
        peer_address: None,
        peer_token: Some(OTHERS_TOKEN),
    }
}

/// The topic, with these settings.
pub fn topic(config: &[(&str, &str)], partitions: Vec<PartitionRecord>) -> ClusterUpdate {
    let config: BTreeMap<_, _> =
        config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let partition_count = i32::try_from(partitions.len()).unwrap();
    let topic = TopicRecord { name: "t".into(), topic_id: TOPIC, creation: 1, config, partition_count };
    ClusterUpdate { topics: vec![topic], partitions, ..ClusterUpdate::default() }
}

/// A partition that the broker leads, with these replicas, all in sync.
pub fn led(partition: i32, replicas: &[Member]) -> PartitionRecord {
    PartitionRecord {
        topic_id: TOPIC,
        partition,
        creation: 1,
        replicas: replicas.iter().map(|member| member.broker_id).collect(),
        leader: Some(ME),
        leader_epoch: 0,
        partition_epoch: 0,
        isr: replicas.to_vec(),
        elr: Vec::new(),
        min_isr: 1,
        adding: Vec::new(),
        removing: Vec::new(),
        unclean_epoch: None,
    }
}

/// Renames a partition's directory: what its log does next with a file fails.
pub fn break_log(data_dir: &Path, partition: i32) {
    std::fs::rename(data_dir.join(format!("t-{partition}")), data_dir.join("elsewhere")).unwrap();
}
