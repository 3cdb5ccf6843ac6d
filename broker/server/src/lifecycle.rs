//! A broker's life: data directory, registration, recovery, listeners, and the way back.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use taffrail_control::session::{
    BrokerEnd, CONTRACT_VERSION, Endpoint, FromController, LogClaim, Member, Registration, ToController,
};
use taffrail_log::meta_properties::MetaProperties;
use taffrail_log::{DirState, FileStorage, LogDir, LogDirError, inspect};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::admin::{Readiness, Step};
use crate::boot::{self, BootError};
use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::controller_link::ControllerLink;
use crate::dispatch::Dispatcher;
use crate::maintenance;
use crate::metrics::{Metrics, RefusedConnection};
use crate::net::connection::{self, ConnectionError, ConnectionLimits};
use crate::net::listener::{AcceptLimits, Admission, Refusal, accept_loop};
use crate::random;
use crate::replicas::{RecoveredDir, Replicas};
use crate::updates::Updates;
use crate::waiter::carry_out;
use taffrail_replication::disk::DiskError;
use taffrail_replication::disk::logs::{LogsStartError, RecoveredLogs};
use taffrail_replication::disk::note::DiskNote;
use taffrail_replication::partition::Effects;

/// How often the controller hears that the broker is alive (`broker.heartbeat.interval.ms`).
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a stopping broker waits for its leadership to be taken over.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a stopping broker waits for its connections to end.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);
/// The most segments' files that stay open.
const MAX_OPEN_SEGMENTS: usize = 1024;
/// The only listener's name.
pub const LISTENER: &str = "PLAINTEXT";

/// What a broker needs to start.
pub struct BrokerSetup {
    /// The broker's id.
    pub id: i32,
    /// The configuration, fitted into memory.
    pub config: BrokerConfig,
    /// Where the logs are.
    pub log_dir: PathBuf,
    /// The port for clients, bound and not yet accepting.
    pub listener: TcpListener,
    /// What clients are told to connect to.
    pub advertised: Endpoint,
    /// The session with the controller, fresh.
    pub session: BrokerEnd,
    /// Told how far the broker has come.
    pub readiness: Arc<Readiness>,
    /// Counters.
    pub metrics: Arc<Metrics>,
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
    /// What else is noted beside the logs cannot be kept.
    #[error(transparent)]
    Notes(#[from] LogsStartError),
    /// The controller refused the registration.
    #[error("the controller refused broker {id}: {reason}")]
    Refused {
        /// The broker's id.
        id: i32,
        /// The controller's sentence.
        reason: String,
    },
    /// The controller went away.
    #[error("the session with the controller ended before broker {id} was registered")]
    SessionEnded {
        /// The broker's id.
        id: i32,
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
    granted: watch::Receiver<bool>,
}

impl RunningBroker {
    /// Starts a broker: when this returns, clients are served.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub async fn start(setup: BrokerSetup) -> Result<Self, StartError> {
        let BrokerSetup { id, config, log_dir, listener, advertised, mut session, readiness, metrics } =
            setup;
        let storage = FileStorage::new(open_segments());
        let threads = usize::try_from(config.num_recovery_threads_per_data_dir).unwrap_or(1);
        let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
        let owned = match inspect(&storage, &log_dir)? {
            DirState::Ours(properties) => {
                let properties = MetaProperties { node_id: id, ..properties };
                let dir = LogDir::open(storage.clone(), log_dir.clone(), properties)?;
                Some(RecoveredDir::new(&storage, dir, &config, threads)?)
            }
            DirState::Fresh => None,
        };
        let directory_id =
            owned.as_ref().map_or_else(random::uuid, |owned| owned.dir.properties().directory_id);
        let claim = owned.as_ref().map_or(LogClaim::Unclean, |owned| owned.claim.claim);
        let registration = Registration {
            contract_version: CONTRACT_VERSION,
            cluster_id: owned.as_ref().map(|owned| owned.dir.properties().cluster_id.clone()),
            broker_id: id,
            process_id: random::uuid(),
            claim,
            last_incarnation: owned.as_ref().and_then(|owned| owned.claim.last_incarnation),
            endpoints: vec![advertised],
            rack: config.broker_rack.clone(),
            log_dirs: vec![directory_id],
            features: Vec::new(),
            peer_address: None,
            peer_token: random::uuid(),
            resumes: None,
        };
        let (cluster_id, incarnation) = register(&mut session, registration).await?;
        let (dir, recovered) = match owned {
            Some(owned) => (owned.dir, owned.logs),
            None => {
                let properties = MetaProperties { cluster_id: cluster_id.clone(), node_id: id, directory_id };
                (LogDir::open(storage.clone(), log_dir.clone(), properties)?, RecoveredLogs::new())
            }
        };
        DiskNote { boot: boot::of(&log_dir)?, incarnation }.write(&storage, &log_dir)?;
        tracing::info!("broker {id} is registered in cluster {cluster_id} as incarnation {incarnation}");
        readiness.done(Step::Registered);

        let (queue, requests) = maintenance::sync_queue();
        let link = ControllerLink::new(session.sender.clone());
        let broker = Arc::new(Broker::new(id, config, &cluster_id, link, queue, metrics));
        let me = Member { broker_id: id, incarnation };
        let replicas = Arc::new(Replicas::new(storage, dir, me, claim, recovered)?);
        broker.controller.tell(ToController::Held { incarnation, partitions: replicas.held() }).await;
        let updates = Updates::new(Arc::clone(&broker), Arc::clone(&replicas), me, threads);
        let (stop, stopped) = watch::channel(false);
        let (grant, granted) = watch::channel(false);
        let (caught_up, recovered) = oneshot::channel();
        let session = tokio::spawn(run_session(session, updates, incarnation, grant, caught_up));
        recovered.await.map_err(|_ended| StartError::SessionEnded { id })?;
        readiness.done(Step::LogsRecovered);

        let tasks = vec![
            tokio::spawn(accept(listener, Arc::clone(&broker), stopped.clone())),
            tokio::spawn(Arc::clone(&broker.groups).run_clock(stopped.clone())),
            tokio::spawn(maintenance::run(Arc::clone(&broker), Arc::clone(&replicas), requests, stopped)),
        ];
        readiness.done(Step::ListenersOpen);
        Ok(Self { broker, replicas, incarnation, stop, tasks, session, granted })
    }

    /// Stops in good order: leadership is handed over, connections end, logs are synced and closed, and the marker
    /// says so.
    pub async fn stop(mut self) {
        let incarnation = self.incarnation;
        self.broker.controller.tell(ToController::ControlledShutdown { incarnation }).await;
        let granted = tokio::time::timeout(HANDOVER_PATIENCE, self.granted.wait_for(|granted| *granted));
        if granted.await.is_err() {
            tracing::warn!("the controller did not take over leadership in time; stopping all the same");
        }
        self.session.abort();
        // Nobody listens any more if all tasks have ended, which is as well.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        if tokio::time::timeout(FAREWELL_PATIENCE, self.broker.admission.closed()).await.is_err() {
            tracing::warn!("{} connections did not end in time", self.broker.admission.open());
        }
        let (broker, replicas) = (self.broker, self.replicas);
        let closed = tokio::task::spawn_blocking(move || {
            let all = broker.cluster.replicas();
            let mut effects = Effects::new();
            // Whoever is late may not append to a log that is marked as closed in good order.
            all.iter().for_each(|(_, replica)| replica.lock().resign(&mut effects));
            carry_out(&mut effects);
            replicas.close(&all, incarnation);
        });
        if closed.await.is_ok() {
            tracing::info!("stopped");
        }
    }
}

/// How many files of segments stay open: half of what the process may have, as connections and recovery need the rest.
fn open_segments() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(MAX_OPEN_SEGMENTS, |limit| (limit / 2).min(MAX_OPEN_SEGMENTS))
}

async fn register(session: &mut BrokerEnd, registration: Registration) -> Result<(String, u64), StartError> {
    let id = registration.broker_id;
    let sent = session.sender.send(ToController::Register(registration)).await;
    sent.map_err(|_ended| StartError::SessionEnded { id })?;
    match session.receiver.recv().await {
        Some(FromController::Registered { cluster_id, incarnation, .. }) => Ok((cluster_id, incarnation)),
        Some(FromController::Refused { reason }) => Err(StartError::Refused { id, reason }),
        Some(_) | None => Err(StartError::SessionEnded { id }),
    }
}

/// Carries messages between the controller and the broker until the session ends.
async fn run_session(
    mut session: BrokerEnd,
    updates: Updates,
    incarnation: u64,
    grant: watch::Sender<bool>,
    caught_up: oneshot::Sender<()>,
) {
    let updates = Arc::new(updates);
    let link = updates.link();
    let mut caught_up = Some(caught_up);
    let mut applied_version = 0;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        let message = tokio::select! {
            message = session.receiver.recv() => message,
            _ = heartbeat.tick() => {
                link.tell(ToController::Heartbeat { incarnation, applied_version }).await;
                continue;
            }
        };
        match message {
            Some(FromController::Update(update)) => {
                applied_version = update.version;
                let updates = Arc::clone(&updates);
                // Opening and making logs blocks.
                let applied = tokio::task::spawn_blocking(move || {
                    updates.apply(&update);
                    updates.names_former_self()
                });
                // The first state may be from before the registration; its correction follows at once.
                if let Ok(false) = applied.await
                    && let Some(caught_up) = caught_up.take()
                {
                    let _ = caught_up.send(());
                }
            }
            Some(FromController::Response { request_id, response }) => link.respond(request_id, response),
            Some(FromController::ShutdownGranted) => drop(grant.send(true)),
            Some(FromController::Refused { reason }) => {
                tracing::error!("the controller ended the session: {reason}");
                return;
            }
            Some(
                FromController::Registered { .. }
                | FromController::Redirect { .. }
                | FromController::IsrRefused { .. }
                | FromController::QueryLogEnds { .. },
            ) => {}
            None => {
                tracing::warn!(
                    "the session with the controller has ended; serving on with the last known state"
                );
                return;
            }
        }
    }
}

/// Accepts clients until `stop` changes.
async fn accept(listener: TcpListener, broker: Arc<Broker>, stop: watch::Receiver<bool>) {
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
    accept_loop(listener, admission, stop, refused, move |stream, address, admitted| {
        let broker = Arc::clone(&broker);
        let stop = stop_connections.clone();
        tokio::spawn(async move {
            let _admitted = admitted;
            let _open = broker.metrics.connection_opened();
            let budget = Arc::clone(&broker.request_memory);
            let dispatcher = Dispatcher::new(Arc::clone(&broker), LISTENER.into(), address);
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
