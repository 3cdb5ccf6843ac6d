//! The broker's session with the controller: registration, what is said in it, and another one when it ends.
//!
//! While there is no session the broker serves on with the last state it knows (rule 11). Each session begins with a
//! registration of the same process, which keeps its incarnation (rule 16). Only a refusal ends the sessions for good:
//! the broker's disks are another cluster's, say, or another process has its id by now.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taffrail_control::session::{BrokerEnd, FromController, Registration, ToController};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::advertised::Advertised;
use crate::controller_address::ControllerAddress;
use crate::controller_link::ControllerLink;
use crate::random;
use crate::session_events::SessionEvents;

/// The wait after the first attempt that failed; it doubles from attempt to attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// The longest wait between two attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// How long the controller may take to answer a registration.
const REGISTRATION_PATIENCE: Duration = Duration::from_secs(10);

/// The controller does not want this broker, and says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RefusedError(String);

/// A session in which the broker is registered.
pub struct OpenSession {
    end: BrokerEnd,
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker's incarnation.
    pub incarnation: u64,
    advertised: Advertised,
    /// What the controller can do beyond the contract's version.
    features: Vec<String>,
}

/// How an attempt to open a session failed.
enum Failure {
    /// Worth another attempt: a sentence that says what happened.
    Passing(String),
    Refused(RefusedError),
}

/// How far the broker has come with the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionState {
    /// A state of after the registration has been applied.
    pub caught_up: bool,
    /// There is a session, and what it began with has been applied: what is known is what the controller knows.
    pub is_current: bool,
    /// The controller said that the broker may stop.
    pub shutdown_granted: bool,
    /// The controller does not want this broker any more: it has to stop.
    pub refused: Option<RefusedError>,
}

/// Opens a session, however long it takes.
///
/// # Errors
/// [`RefusedError`] when the controller does not want this broker.
pub async fn open(
    address: &ControllerAddress,
    registration: &Registration,
) -> Result<OpenSession, RefusedError> {
    let mut backoff = FIRST_BACKOFF;
    let mut told = String::new();
    loop {
        match attempt(address, registration).await {
            Ok(session) => return Ok(session),
            Err(Failure::Refused(refused)) => return Err(refused),
            Err(Failure::Passing(reason)) if reason != told => {
                tracing::warn!("no session with the controller: {reason}; trying on");
                told = reason;
            }
            Err(Failure::Passing(reason)) => tracing::debug!("no session with the controller: {reason}"),
        }
        sleep(shortened(backoff)).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// At random by up to a half, so that brokers that lost their controller together do not come back together.
fn shortened(backoff: Duration) -> Duration {
    let half = backoff / 2;
    let most = i64::try_from(half.as_micros()).unwrap_or(i64::MAX);
    half + Duration::from_micros(u64::try_from(random::below(most.max(1))).unwrap_or(0))
}

async fn attempt(address: &ControllerAddress, registration: &Registration) -> Result<OpenSession, Failure> {
    let ended = || Failure::Passing("it ended before the broker was registered".to_owned());
    let connected = address.connect(registration).await;
    let mut end = connected.map_err(|error| Failure::Passing(error.to_string()))?;
    let register = ToController::Register(registration.clone());
    end.sender.send(register).await.map_err(|_ended| ended())?;
    let answer = timeout(REGISTRATION_PATIENCE, end.receiver.recv()).await;
    let answer =
        answer.map_err(|_| Failure::Passing("the registration was not answered in time".to_owned()))?;
    match answer.ok_or_else(ended)? {
        FromController::Registered { cluster_id, incarnation, rack, endpoints, features } => {
            check(registration, &cluster_id, incarnation).map_err(Failure::Refused)?;
            let advertised = Advertised { rack, endpoints };
            Ok(OpenSession { end, cluster_id, incarnation, advertised, features })
        }
        FromController::Refused { reason } => Err(Failure::Refused(RefusedError(reason))),
        FromController::Redirect { .. } => {
            Err(Failure::Passing("the controller is not the active one".to_owned()))
        }
        other => Err(Failure::Passing(format!("the registration was answered with {other:?}"))),
    }
}

/// Whether the registration's answer fits what this process is already.
fn check(registration: &Registration, cluster_id: &str, incarnation: u64) -> Result<(), RefusedError> {
    if let Some(own) = registration.cluster_id.as_deref().filter(|own| *own != cluster_id) {
        let reason =
            format!("the controller is that of cluster {cluster_id}, and this broker belongs to {own}");
        return Err(RefusedError(reason));
    }
    match registration.resumes.filter(|resumes| *resumes != incarnation) {
        None => Ok(()),
        Some(resumes) => Err(RefusedError(format!(
            "the controller made this process incarnation {incarnation}, and it serves as incarnation {resumes}"
        ))),
    }
}

/// Keeps a session with the controller.
pub struct SessionKeeper {
    /// Where the controller is.
    pub address: ControllerAddress,
    /// What each further session begins with.
    pub registration: Registration,
    /// Who acts on what is said.
    pub events: Arc<dyn SessionEvents>,
    /// Where answers go, and whose messages go into the session.
    pub link: ControllerLink,
    /// How often the controller hears that the broker is alive.
    pub heartbeat_interval: Duration,
    /// Told how far it has come.
    pub state: watch::Sender<SessionState>,
    /// The broker is about to stop. Each session hears of it: the one that heard first may not live to grant it, and a
    /// registration made in the next takes the broker for one that stays.
    pub stopping: watch::Receiver<bool>,
}

impl SessionKeeper {
    /// Serves `session` and those after it, until the controller refuses the broker.
    pub async fn run(mut self, mut session: OpenSession) {
        loop {
            let began = Instant::now();
            let refused = self.serve(session).await;
            self.link.detach();
            self.state.send_modify(|state| state.is_current = false);
            if let Some(refused) = refused {
                return self.refuse(refused);
            }
            tracing::warn!("the session with the controller has ended; serving on with the last known state");
            // The next one is opened at once, as the controller waits for it before it fences this broker; but one that
            // ends as soon as it is open must not be opened again without a pause.
            if began.elapsed() < LONGEST_BACKOFF {
                sleep(shortened(LONGEST_BACKOFF)).await;
            }
            // Nothing is applied until the next session has told something.
            self.registration.slices = self.blocking(|events| events.slices()).await.unwrap_or_default();
            session = match open(&self.address, &self.registration).await {
                Ok(session) => session,
                Err(refused) => return self.refuse(refused),
            };
            tracing::info!("there is a session with the controller again");
        }
    }

    fn refuse(&self, refused: RefusedError) {
        self.state.send_modify(|state| state.refused = Some(refused));
    }

    /// Serves one session to its end; returns why the controller does not want the broker any more, if it does not.
    async fn serve(&self, session: OpenSession) -> Option<RefusedError> {
        let OpenSession { end, incarnation, advertised, features, .. } = session;
        let BrokerEnd { sender, receiver } = end;
        let applied_version = AtomicU64::new(0);
        let listen = async {
            self.blocking(move |events| events.registered(advertised)).await?;
            let partitions = self.blocking(|events| events.held()).await?;
            // An error here shows when the next message is waited for.
            let _ = sender.send(ToController::Held { incarnation, partitions }).await;
            self.link.attach(sender.clone(), features);
            self.listen(receiver, &sender, incarnation, &applied_version).await
        };
        tokio::select! {
            refused = listen => refused,
            never = self.beat(&sender, incarnation, &applied_version) => match never {},
            never = self.ask_to_go(incarnation) => match never {},
        }
    }

    /// Asks once in this session that others take over, when the broker is about to stop.
    async fn ask_to_go(&self, incarnation: u64) -> Infallible {
        let mut stopping = self.stopping.clone();
        if stopping.wait_for(|stopping| *stopping).await.is_ok() {
            self.link.tell_in_session(ToController::ControlledShutdown { incarnation }).await;
        }
        std::future::pending().await
    }

    /// Says again and again that the broker is alive, also while an update takes long to apply.
    async fn beat(
        &self,
        sender: &mpsc::Sender<ToController>,
        incarnation: u64,
        applied_version: &AtomicU64,
    ) -> Infallible {
        let mut interval = tokio::time::interval(self.heartbeat_interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let applied_version = applied_version.load(Ordering::Relaxed);
            let heartbeat = ToController::Heartbeat { incarnation, applied_version };
            // Whether the session has ended is for the one who listens to say: it may be in the middle of an update.
            let _ = sender.send(heartbeat).await;
        }
    }

    async fn listen(
        &self,
        mut receiver: mpsc::Receiver<FromController>,
        sender: &mpsc::Sender<ToController>,
        incarnation: u64,
        applied_version: &AtomicU64,
    ) -> Option<RefusedError> {
        while let Some(message) = receiver.recv().await {
            match message {
                FromController::Update(update) => {
                    let version = update.version;
                    let apply =
                        move |events: &dyn SessionEvents| (events.apply(&update), events.is_caught_up());
                    let (newer, caught_up) = self.blocking(apply).await?;
                    if !newer.is_empty() {
                        let _ = sender.send(ToController::Held { incarnation, partitions: newer }).await;
                    }
                    applied_version.store(version, Ordering::Relaxed);
                    self.state.send_if_modified(|state| {
                        // The first state may be from before the registration; its correction follows at once.
                        let is_news = caught_up && !(state.caught_up && state.is_current);
                        state.caught_up |= caught_up;
                        state.is_current |= caught_up;
                        is_news
                    });
                }
                FromController::Response { request_id, response } => self.link.respond(request_id, response),
                FromController::IsrRefused { refused } => {
                    self.blocking(move |events| events.isr_refused(&refused)).await?;
                }
                FromController::QueryLogEnds { query_id, partitions } => {
                    let ends = self.blocking(move |events| events.log_ends(&partitions)).await?;
                    let _ = sender.send(ToController::LogEnds { incarnation, query_id, ends }).await;
                }
                FromController::ShutdownGranted => {
                    self.state.send_modify(|state| state.shutdown_granted = true);
                }
                FromController::Refused { reason } => return Some(RefusedError(reason)),
                FromController::Redirect { .. } => return None,
                FromController::Registered { .. } => {
                    tracing::warn!("the controller answered a registration twice; the session is ended");
                    return None;
                }
            }
        }
        None
    }

    /// Runs `act` where waiting for the disk is allowed. `None` when it panicked or the runtime ends.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&dyn SessionEvents) -> T + Send + 'static,
    ) -> Option<T> {
        let events = Arc::clone(&self.events);
        tokio::task::spawn_blocking(move || act(&*events)).await.ok()
    }
}
