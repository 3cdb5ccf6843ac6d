//! A broker's life: data directory, registration, recovery, listeners, and the way back.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use taffrail_control::session::{CONTRACT_VERSION, Endpoint, Member, Registration};
use taffrail_log::{FileStorage, LogDirError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{Readiness, Step};
use crate::advertised::Advertised;
use crate::boot::BootError;
use crate::broker::Broker;
use crate::cleaner;
use crate::config::BrokerConfig;
use crate::controller_address::ControllerAddress;
use crate::controller_link::ControllerLink;
use crate::controller_session::{self, RefusedError, SessionKeeper, SessionState};
use crate::data_dirs::{DataDirs, TakenDirs};
use crate::disk_watch;
use crate::dispatch::Dispatcher;
use crate::log_dir_moves;
use crate::maintenance;
use crate::metrics::{Metrics, RefusedConnection};
use crate::net::connection::{self, ConnectionError, ConnectionLimits};
use crate::net::listener::{AcceptLimits, Admission, Refusal, accept_loop};
use crate::random;
use crate::replicas::Replicas;
use crate::replication;
use crate::retention;
use crate::updates::Updates;
use crate::waiter::carry_out;
use taffrail_replication::disk::DiskError;
use taffrail_replication::disk::logs::LogsStartError;
use taffrail_replication::partition::Effects;

/// How long a stopping broker waits for its leadership to be taken over.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a stopping broker waits for its connections to end.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);
/// The most segments' files that stay open.
const MAX_OPEN_SEGMENTS: usize = 1024;
/// What a broker needs to start.
pub struct BrokerSetup {
    /// The broker's id.
    pub id: i32,
    /// The configuration, fitted into memory.
    pub config: BrokerConfig,
    /// Where the logs are: at least one directory.
    pub log_dirs: Vec<PathBuf>,
    /// The ports for clients and other brokers.
    pub listeners: Vec<BrokerListener>,
    /// Where other brokers reach this one: the address of one of the listeners.
    pub peer_address: SocketAddr,
    /// Where the controller is.
    pub controller: ControllerAddress,
    /// Told how far the broker has come.
    pub readiness: Arc<Readiness>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// A task that tells of something as long as this is there.
struct Told(JoinHandle<()>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A port, bound and not yet accepting.
pub struct BrokerListener {
    /// The port.
    pub socket: TcpListener,
    /// The listener's name, and what those who connect through it are told to connect to.
    pub advertised: Endpoint,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is not fit for use.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// What became of the disk cannot be found out.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The note beside the logs cannot be kept.
    #[error(transparent)]
    Note(#[from] DiskError),
    /// There is nowhere to keep logs.
    #[error("none of the {all} data directories can be used: {first}")]
    NoLogDir {
        /// How many there are.
        all: usize,
        /// What is in the way of the first.
        first: Box<StartError>,
    },
    /// What else is noted beside the logs cannot be kept.
    #[error(transparent)]
    Notes(#[from] LogsStartError),
    /// The controller does not want the broker.
    #[error("the controller refused broker {id}: {reason}")]
    Refused {
        /// The broker's id.
        id: i32,
        /// The controller's sentence.
        reason: RefusedError,
    },
}

/// A broker that serves.
pub struct RunningBroker {
    /// What its requests share.
    pub broker: Arc<Broker>,
    replicas: Arc<Replicas>,
    incarnation: u64,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    session: JoinHandle<()>,
    state: watch::Receiver<SessionState>,
    stopping: watch::Sender<bool>,
}

impl RunningBroker {
    /// Starts a broker: when this returns, clients are served. A controller that cannot be reached is waited for.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub async fn start(setup: BrokerSetup) -> Result<Self, StartError> {
        let BrokerSetup { id, config, log_dirs, listeners, peer_address, controller, readiness, metrics } =
            setup;
        let storage = FileStorage::new(open_segments());
        let threads = usize::try_from(config.num_recovery_threads_per_data_dir).unwrap_or(1);
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        let recoveries = Arc::clone(readiness.recoveries());
        // Ends with this call, whatever comes of it.
        let _told = Told(tokio::spawn(Arc::clone(&recoveries).tell()));
        let look = {
            let (storage, config) = (storage.clone(), config.clone());
            move || DataDirs::look_at(&storage, &log_dirs, id, &config, threads, &recoveries)
        };
        let found = in_background(look).await?;
        let claim = found.claim();
        let peer_token = random::uuid();
        let mut registration = Registration {
            contract_version: CONTRACT_VERSION,
            cluster_id: found.cluster_id(),
            broker_id: id,
            process_id: random::uuid(),
            claim: claim.claim,
            last_incarnation: claim.last_incarnation,
            endpoints: listeners.iter().map(|listener| listener.advertised.clone()).collect(),
            rack: config.broker_rack.clone(),
            log_dirs: found.ids(),
            features: Vec::new(),
            peer_address: Some(peer_address),
            peer_token,
            resumes: None,
            slices: Vec::new(),
        };
        let session = controller_session::open(&controller, &registration).await;
        let session = session.map_err(|reason| StartError::Refused { id, reason })?;
        let (cluster_id, incarnation) = (session.cluster_id.clone(), session.incarnation);
        registration.cluster_id = Some(cluster_id.clone());
        registration.resumes = Some(incarnation);
        let of_cluster = cluster_id.clone();
        let TakenDirs { dirs, log_dirs } =
            in_background(move || found.take_over(id, &of_cluster, incarnation)).await?;
        tracing::info!("broker {id} is registered in cluster {cluster_id} as incarnation {incarnation}");
        readiness.done(Step::Registered);

        let (queue, requests) = maintenance::sync_queue();
        let link = ControllerLink::new(millis(config.request_timeout_ms));
        let heartbeat_interval = millis(config.broker_heartbeat_interval_ms);
        let openers = threads.saturating_mul(NonZeroUsize::new(dirs.len()).unwrap_or(NonZeroUsize::MIN));
        let broker = Broker::new(id, log_dirs, config, &cluster_id, link.clone(), queue, metrics);
        let broker = Arc::new(broker);
        let me = Member { broker_id: id, incarnation };
        let replicas = Arc::new(Replicas::new(storage, dirs, me, claim.claim, &broker)?);
        let advertised = Advertised::asked_for(&registration);
        let updates =
            Arc::new(Updates::new(Arc::clone(&broker), Arc::clone(&replicas), me, openers, advertised));
        let (stop, stopped) = watch::channel(false);
        let watched = disk_watch::run(
            Arc::clone(&broker),
            Arc::clone(&replicas),
            Arc::clone(&updates),
            stopped.clone(),
        );
        let mut tasks = vec![tokio::spawn(watched)];
        let (state_sender, mut state) = watch::channel(SessionState::default());
        let (stopping, is_stopping) = watch::channel(false);
        let keeper = SessionKeeper {
            address: controller,
            registration,
            events: Arc::new(updates),
            link,
            heartbeat_interval,
            state: state_sender,
            stopping: is_stopping,
        };
        let session = tokio::spawn(keeper.run(session));
        // The keeper ends with a refusal only.
        let reached = state.wait_for(|state| state.caught_up || state.refused.is_some()).await;
        if let Some(reason) = reached.ok().and_then(|state| state.refused.clone()) {
            return Err(StartError::Refused { id, reason });
        }
        readiness.done(Step::LogsRecovered);
        readiness.recoveries().end();

        let accepting = |listener| tokio::spawn(accept(listener, Arc::clone(&broker), stopped.clone()));
        tasks.extend(listeners.into_iter().map(accepting));
        tasks.push(tokio::spawn(Arc::clone(&broker.groups).run_clock(stopped.clone())));
        let (upkept, session_state) = (Arc::clone(&replicas), state.clone());
        let upkeep = maintenance::run(Arc::clone(&broker), upkept, requests, session_state, stopped.clone());
        tasks.push(tokio::spawn(upkeep));
        tasks.push(tokio::spawn(retention::run(Arc::clone(&broker), Arc::clone(&replicas), stopped.clone())));
        tasks.push(tokio::spawn(cleaner::run(Arc::clone(&broker), Arc::clone(&replicas), stopped.clone())));
        let moves = log_dir_moves::run(Arc::clone(&broker), Arc::clone(&replicas), stopped.clone());
        tasks.push(tokio::spawn(moves));
        tasks.extend(replication::start(&broker, &replicas, me, peer_token, &stopped));
        readiness.done(Step::ListenersOpen);
        Ok(Self { broker, replicas, incarnation, stop, tasks, session, state, stopping })
    }

    /// Completes when the controller does not want this broker any more: another process has its id, say.
    pub fn refused(&self) -> impl Future<Output = RefusedError> + Send + 'static {
        let mut state = self.state.clone();
        async move {
            let refused = state.wait_for(|state| state.refused.is_some()).await;
            match refused.ok().and_then(|state| state.refused.clone()) {
                Some(refused) => refused,
                // The keeper is gone without a word, as when the runtime ends.
                None => std::future::pending().await,
            }
        }
    }

    /// Asks the controller that others take over what this broker leads, and waits for it. Should the session break
    /// meanwhile, the next one is asked.
    pub async fn hand_over(&mut self) {
        self.stopping.send_replace(true);
        // An error: the keeper is gone, as the broker was refused.
        let granted = self.state.wait_for(|state| state.shutdown_granted);
        if !matches!(tokio::time::timeout(HANDOVER_PATIENCE, granted).await, Ok(Ok(_))) {
            tracing::warn!("the controller did not take over leadership in time; stopping all the same");
        }
    }

    /// Stops in good order: connections end, logs are synced and closed, and the marker says so.
    pub async fn stop(self) {
        self.session.abort();
        // Nobody listens any more if all tasks have ended, which is as well.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        if tokio::time::timeout(FAREWELL_PATIENCE, self.broker.admission.closed()).await.is_err() {
            tracing::warn!("{} connections did not end in time", self.broker.admission.open());
        }
        let (broker, replicas, incarnation) = (self.broker, self.replicas, self.incarnation);
        let id = broker.id;
        let closed = tokio::task::spawn_blocking(move || {
            // Whoever is late may not append to a log that is marked as closed in good order.
            resign(&broker);
            replicas.close(&broker.cluster.replicas(), incarnation);
        });
        if closed.await.is_ok() {
            tracing::info!("broker {id} has stopped");
        }
    }

    /// Stops a broker that is not wanted any more: whatever it leads is led by others, or has to be, so it answers for
    /// none of it from this moment on (rule 12).
    pub async fn stop_at_once(self) {
        let broker = Arc::clone(&self.broker);
        // A panic in there was told of.
        let _ = tokio::task::spawn_blocking(move || resign(&broker)).await;
        self.stop().await;
    }
}

/// Gives up leading whatever is led. Blocks on partitions that are being written.
fn resign(broker: &Broker) {
    let mut effects = Effects::new();
    for (_, replica) in broker.cluster.replicas() {
        replica.lock().resign(&mut effects);
    }
    carry_out(&mut effects);
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

/// Runs what blocks on the disk.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// How many files of segments stay open: half of what the process may have, as connections and recovery need the rest.
fn open_segments() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(MAX_OPEN_SEGMENTS, |limit| (limit / 2).min(MAX_OPEN_SEGMENTS))
}

/// Accepts clients until `stop` changes.
async fn accept(listener: BrokerListener, broker: Arc<Broker>, stop: watch::Receiver<bool>) {
    let BrokerListener { socket, advertised } = listener;
    let name: Arc<str> = advertised.listener.into();
    let stop_connections = stop.clone();
    let admission = Arc::clone(&broker.admission);
    let metrics = Arc::clone(&broker.metrics);
    let refused = move |refusal: &Refusal| {
        metrics.connection_refused(match refusal {
            Refusal::Total { .. } => RefusedConnection::TooMany,
            Refusal::PerIp { .. } => RefusedConnection::TooManyFromAddress,
        });
    };
    let limits = ConnectionLimits {
        max_frame_bytes: usize::try_from(broker.config.socket_request_max_bytes).unwrap_or(0),
        max_idle: Duration::from_millis(
            u64::try_from(broker.config.connections_max_idle_ms).unwrap_or(u64::MAX),
        ),
    };
    accept_loop(socket, admission, stop, refused, move |stream, address, admitted| {
        let broker = Arc::clone(&broker);
        let (name, stop) = (Arc::clone(&name), stop_connections.clone());
        tokio::spawn(async move {
            let _admitted = admitted;
            let _open = broker.metrics.connection_opened();
            let budget = Arc::clone(&broker.request_memory);
            let dispatcher = Dispatcher::new(Arc::clone(&broker), name, address);
            if let Err(error) = connection::serve(stream, dispatcher, limits, budget, stop).await {
                tell_end(&broker, address, &error);
            }
        });
    })
    .await;
}

/// One line for a connection that did not end in order. A client that vanished is everyday business.
fn tell_end(broker: &Broker, client: SocketAddr, error: &ConnectionError) {
    match error {
        ConnectionError::Socket(_) => tracing::debug!("connection from {client} ended: {error}"),
        _ => {
            broker.metrics.bad_request();
            tracing::warn!("connection from {client} closed: {error}");
        }
    }
}

/// The limits on connections from the configuration.
pub fn accept_limits(config: &BrokerConfig) -> AcceptLimits {
    let limit = |value: i32| usize::try_from(value).unwrap_or(0);
    AcceptLimits { total: limit(config.max_connections), per_ip: limit(config.max_connections_per_ip) }
}

/// Admission for a broker with this configuration.
pub fn admission(config: &BrokerConfig) -> Arc<Admission> {
    Admission::new(accept_limits(config))
}
