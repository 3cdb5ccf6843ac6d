//! The controller's shell in one process: a thread that owns the state machine and its store, and the sessions of the
//! brokers that are connected to it.
//!
//! The thread takes whatever has come in, steps the machine once for each input, hands out what it says, and then carries
//! out its writes together, so that all that came in while the disk was flushing shares the next flush. No worker of the
//! async runtime ever waits for the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use taffrail_control::session::{self, BrokerEnd, FromController, LogDirHealth, ToController, TopicWish};
use taffrail_control::topic_config;
use taffrail_controller::directory::Directory;
use taffrail_controller::message::{Input, Output, SessionId};
use taffrail_controller::store::{AskStore, StoreNews, StoreOutcome, StoreRequest};
use taffrail_controller::{Controller, Policy, Summary, Surroundings};
use taffrail_protocol::Uuid;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::file_store::{FileStore, OpenStoreError};

/// Inputs that may wait for the controller before sessions have to.
const INBOX: usize = 1024;
/// Inputs that are taken before their writes are carried out.
const INPUTS_PER_ROUND: usize = 512;
/// Messages that may wait for one broker. A broker that lets more pile up loses its session and gets a snapshot in the
/// next one.
const OUTBOX: usize = 8192;
/// How often the controller looks at the time.
const TICK: Duration = Duration::from_millis(500);
/// How long a store is left alone that answers at once and could not write.
const STORE_REST: Duration = Duration::from_secs(1);

/// What holds for the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterDefaults {
    /// Kafka's `num.partitions`.
    pub num_partitions: i32,
    /// Kafka's `default.replication.factor`.
    pub default_replication_factor: i16,
    /// Kafka's `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// Kafka's `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
    /// Kafka's `auto.leader.rebalance.enable`.
    pub auto_leader_rebalance: bool,
    /// Kafka's `leader.imbalance.check.interval.seconds`, in milliseconds.
    pub leader_imbalance_check_ms: u64,
    /// Kafka's `broker.session.timeout.ms`.
    pub session_timeout_ms: u64,
}

impl Default for ClusterDefaults {
    fn default() -> Self {
        Self {
            num_partitions: 1,
            default_replication_factor: 1,
            min_insync_replicas: 1,
            unclean_leader_election: false,
            auto_leader_rebalance: true,
            leader_imbalance_check_ms: 300_000,
            session_timeout_ms: 3_000,
        }
    }
}

impl ClusterDefaults {
    fn policy(self, store: &impl AskStore) -> Policy {
        Policy {
            default_partitions: self.num_partitions,
            default_replication_factor: self.default_replication_factor,
            min_insync_replicas: self.min_insync_replicas,
            unclean_leader_election: self.unclean_leader_election,
            auto_leader_rebalance: self.auto_leader_rebalance,
            leader_imbalance_check_ms: self.leader_imbalance_check_ms,
            session_timeout_ms: self.session_timeout_ms,
            isr_coalesce_ms: store.isr_coalesce_ms(),
            check_config: |_, config| {
                let settings = config.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())));
                topic_config::validate_topic(settings).map_err(|error| error.to_string())
            },
            ..Policy::default()
        }
    }
}

/// A controller that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartControllerError {
    /// Its store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// The operating system gives no random bytes.
    #[error("cannot open /dev/urandom, which topic and cluster ids are drawn from: {0}")]
    Random(io::Error),
    /// The operating system gives no thread.
    #[error("cannot start the controller's thread: {0}")]
    Thread(io::Error),
}

/// Whose a session is.
#[derive(Clone, Copy)]
enum Visitor {
    /// A broker's.
    Broker,
    /// Somebody's who sees all of the cluster.
    Watcher,
    /// Somebody's who asks for something.
    Attendant,
}

/// What reaches the controller's thread.
enum Arrival {
    /// A new session: where its messages go, and what ends when it does.
    Connected {
        session: SessionId,
        outbox: mpsc::Sender<FromController>,
        ended: oneshot::Sender<()>,
        visitor: Visitor,
    },
    /// What holds for the whole cluster has changed.
    Configured(ClusterDefaults),
    /// What is known of brokers better than by themselves.
    Directory(Directory),
    /// Another controller is the active one; its address, if it is known.
    Deposed(Option<String>),
    /// It is to be remembered which object wishes for a topic.
    Wished { topic: String, topic_id: Uuid, wish: Option<TopicWish> },
    /// A broker says something.
    Said { session: SessionId, message: Box<ToController> },
    /// A broker hung up.
    HungUp { session: SessionId },
    /// The store says something.
    News(StoreNews),
    /// Time passed.
    Tick,
    /// Somebody wants to see the cluster in numbers.
    Summarize(oneshot::Sender<Summary>),
    /// Somebody wants to know how large topics are.
    TopicSizes(oneshot::Sender<BTreeMap<Uuid, u64>>),
    /// No more inputs are to be taken.
    Stop,
}

/// The log directories that take no writes, by broker.
pub type LogDirs = BTreeMap<i32, Vec<LogDirHealth>>;

/// A controller that runs in this process.
#[derive(Debug)]
pub struct LocalController {
    handle: ControllerHandle,
    ticking: tokio::task::JoinHandle<()>,
    stopped: oneshot::Receiver<()>,
}

/// The way to a controller. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ControllerHandle {
    inbox: mpsc::Sender<Arrival>,
    next_session: Arc<AtomicU64>,
    runtime: Handle,
    log_dirs: watch::Receiver<LogDirs>,
}

impl LocalController {
    /// Starts a controller over the file store in `directory`. Called within an async runtime, which carries the
    /// sessions.
    ///
    /// # Errors
    ///
    /// If the store cannot be opened, or the operating system refuses a thread or random bytes.
    pub fn open(directory: &Path, defaults: ClusterDefaults) -> Result<Self, StartControllerError> {
        // This store has nothing to say that it was not asked.
        let (_, news) = mpsc::channel(1);
        Self::start(FileStore::open(directory)?, news, defaults)
    }

    /// Starts a controller over any store, which says in `news` what it does not answer at once. Called within an async
    /// runtime, which carries the sessions.
    ///
    /// # Errors
    ///
    /// If the operating system refuses a thread or random bytes.
    pub fn start<S: AskStore>(
        store: S,
        news: mpsc::Receiver<StoreNews>,
        defaults: ClusterDefaults,
    ) -> Result<Self, StartControllerError> {
        let urandom = File::open("/dev/urandom").map_err(StartControllerError::Random)?;
        let (inbox, arrivals) = mpsc::channel(INBOX);
        let (stopped_sender, stopped) = oneshot::channel();
        let machine = Controller::new(defaults.policy(&store));
        let runtime = Handle::current();
        let alarm = Alarm { inbox: inbox.downgrade(), runtime: runtime.clone() };
        let (brokers, summaries) = (BTreeMap::new(), Vec::new());
        let (told_dirs, log_dirs) = watch::channel(LogDirs::new());
        let shell = Shell { machine, store, unanswered: 0, urandom, alarm, brokers, summaries, told_dirs };
        let span = tracing::Span::current();
        std::thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || {
                // Which of several controllers it is that logs.
                let _within = span.enter();
                shell.run(arrivals);
                // Nobody may be waiting for this any more.
                let _ = stopped_sender.send(());
            })
            .map_err(StartControllerError::Thread)?;
        runtime.spawn(carry_news(news, inbox.downgrade()));
        let ticking = runtime.spawn(tick(inbox.clone()));
        let handle = ControllerHandle { inbox, next_session: Arc::default(), runtime, log_dirs };
        Ok(Self { handle, ticking, stopped })
    }

    /// The way to it.
    pub fn handle(&self) -> ControllerHandle {
        self.handle.clone()
    }

    /// Stops it: what has come in is still decided, sessions end, the store is closed.
    pub async fn shutdown(self) {
        self.ticking.abort();
        // If the thread is gone already, there is nothing to stop.
        let _ = self.handle.inbox.send(Arrival::Stop).await;
        let _ = self.stopped.await;
    }
}

impl ControllerHandle {
    /// The cluster in numbers, as soon as the store has been read; `None` if the controller has stopped.
    pub async fn summary(&self) -> Option<Summary> {
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(Arrival::Summarize(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// The bytes of one copy of each topic, as far as they are known: to a controller that has just started, or is not the
    /// active one, of none. `None` if it has stopped.
    pub async fn topic_sizes(&self) -> Option<BTreeMap<Uuid, u64>> {
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(Arrival::TopicSizes(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// The log directories that take no writes, as brokers last said, and each change of that.
    pub fn log_dirs(&self) -> watch::Receiver<LogDirs> {
        self.log_dirs.clone()
    }

    /// Changes what holds for the whole cluster. A controller that has stopped has no use for it.
    pub async fn configure(&self, defaults: ClusterDefaults) {
        let _ = self.inbox.send(Arrival::Configured(defaults)).await;
    }

    /// Has it remembered which object wishes for a topic. Who watches sees what came of it: nothing, where there is no such
    /// topic or the controller is not the active one.
    pub async fn wish(&self, topic: String, topic_id: Uuid, wish: Option<TopicWish>) {
        // A controller that has stopped is asked for nothing.
        let _ = self.inbox.send(Arrival::Wished { topic, topic_id, wish }).await;
    }

    /// Says what is known of brokers better than by themselves. A controller that has stopped has no use for it.
    pub async fn inform(&self, directory: Directory) {
        let _ = self.inbox.send(Arrival::Directory(directory)).await;
    }

    /// Another controller is the active one: brokers are sent there, and nothing is decided here any more (rule 32).
    pub async fn depose(&self, active: Option<String>) {
        let _ = self.inbox.send(Arrival::Deposed(active)).await;
    }

    /// Opens a broker's session. If the controller has stopped, the session is over at once.
    pub fn connect(&self) -> BrokerEnd {
        self.open(Visitor::Broker)
    }

    /// Opens a session for somebody who is no broker: told a snapshot and then every update, and answered as a broker is.
    /// It is over at once if the controller has stopped or has not read its store yet, and when it is the active one no
    /// more; then another may be opened.
    pub fn watch(&self) -> BrokerEnd {
        self.open(Visitor::Watcher)
    }

    /// As [`ControllerHandle::watch`], for somebody who asks for something and sees the cluster elsewhere: told the version that
    /// it has, and then every update.
    pub fn attend(&self) -> BrokerEnd {
        self.open(Visitor::Attendant)
    }

    fn open(&self, visitor: Visitor) -> BrokerEnd {
        let (broker_end, controller_end) = session::session();
        let session = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let (outbox, mut messages) = mpsc::channel(OUTBOX);
        let (ended_sender, mut ended) = oneshot::channel::<()>();
        let inbox = self.inbox.clone();
        let session::SessionEnd { sender, receiver: mut said } = controller_end;
        self.runtime.spawn(async move {
            while let Some(message) = messages.recv().await {
                if sender.send(message).await.is_err() {
                    break;
                }
            }
        });
        self.runtime.spawn(async move {
            let connected = Arrival::Connected { session, outbox, ended: ended_sender, visitor };
            if inbox.send(connected).await.is_err() {
                return;
            }
            loop {
                let message = tokio::select! {
                    message = said.recv() => message,
                    _ = &mut ended => None,
                };
                let Some(message) = message else { break };
                if inbox.send(Arrival::Said { session, message: Box::new(message) }).await.is_err() {
                    return;
                }
            }
            // If the controller has stopped, it need not be told.
            let _ = inbox.send(Arrival::HungUp { session }).await;
        });
        broker_end
    }
}

async fn tick(inbox: mpsc::Sender<Arrival>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        if inbox.send(Arrival::Tick).await.is_err() {
            return;
        }
    }
}

/// Brings what the store says to the controller, until either is gone. Does not keep its inbox open.
async fn carry_news(mut news: mpsc::Receiver<StoreNews>, inbox: mpsc::WeakSender<Arrival>) {
    while let Some(news) = news.recv().await {
        let Some(inbox) = inbox.upgrade() else { return };
        if inbox.send(Arrival::News(news)).await.is_err() {
            return;
        }
    }
}

/// Wakes the controller when it asked for it. Does not keep its inbox open.
struct Alarm {
    inbox: mpsc::WeakSender<Arrival>,
    runtime: Handle,
}

impl Alarm {
    fn set(&self, after_ms: u64) {
        let inbox = self.inbox.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            if let Some(inbox) = inbox.upgrade() {
                // If the controller has stopped, it need not be woken.
                let _ = inbox.send(Arrival::Tick).await;
            }
        });
    }
}

/// A connected broker.
struct Connected {
    outbox: mpsc::Sender<FromController>,
    /// Dropped with the session; the task that listens to the broker then ends.
    _ended: oneshot::Sender<()>,
}

/// What the controller's thread owns.
struct Shell<S> {
    machine: Controller,
    store: S,
    /// Requests whose answers are to come.
    unanswered: usize,
    urandom: File,
    alarm: Alarm,
    brokers: BTreeMap<SessionId, Connected>,
    /// Who waits for the cluster in numbers.
    summaries: Vec<oneshot::Sender<Summary>>,
    told_dirs: watch::Sender<LogDirs>,
}

impl<S: AskStore> Shell<S> {
    fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>) {
        let mut requests = Vec::new();
        self.step(Input::Start, &mut requests);
        // What a store answers at once is read before anybody is heard. Whoever comes before another store has answered is
        // sent away by the machine, to come again.
        while !self.machine.is_ready() && self.unanswered == 0 {
            if !self.carry_out(&mut requests) {
                std::thread::sleep(STORE_REST);
                self.step(Input::Tick, &mut requests);
            }
        }
        let mut running = true;
        while running {
            // With writes waiting the thread does not wait for inputs.
            let first = if requests.is_empty() {
                let Some(first) = arrivals.blocking_recv() else { break };
                Some(first)
            } else {
                arrivals.try_recv().ok()
            };
            let more = std::iter::from_fn(|| arrivals.try_recv().ok());
            for arrival in first.into_iter().chain(more).take(INPUTS_PER_ROUND) {
                running &= self.arrive(arrival, &mut requests);
            }
            if !self.carry_out(&mut requests) {
                std::thread::sleep(STORE_REST);
            }
            self.tell_summaries();
            self.tell_log_dirs();
        }
        // What was decided goes to the store before it is closed; what follows from it is for the next start.
        self.carry_out(&mut requests);
        self.brokers.clear();
        while self.unanswered > 0 {
            match arrivals.blocking_recv() {
                Some(Arrival::News(StoreNews::Answered(_))) => self.unanswered -= 1,
                Some(_) => {}
                None => break,
            }
        }
        tracing::debug!("the controller has stopped");
    }

    /// Takes one arrival; whether to go on.
    fn arrive(&mut self, arrival: Arrival, requests: &mut Vec<StoreRequest>) -> bool {
        let input = match arrival {
            Arrival::Stop => return false,
            Arrival::Connected { session, outbox, ended, visitor } => {
                self.brokers.insert(session, Connected { outbox, _ended: ended });
                match visitor {
                    Visitor::Broker => return true,
                    Visitor::Watcher => Input::Watch { session },
                    Visitor::Attendant => Input::Attend { session },
                }
            }
            Arrival::Wished { topic, topic_id, wish } => Input::Wished { topic, topic_id, wish },
            Arrival::Configured(defaults) => Input::Configured(defaults.policy(&self.store)),
            Arrival::Directory(directory) => Input::Directory(directory),
            Arrival::Deposed(active) => Input::Deposed { active },
            Arrival::Tick => Input::Tick,
            Arrival::Summarize(asker) => {
                self.summaries.retain(|asker| !asker.is_closed());
                self.summaries.push(asker);
                return true;
            }
            Arrival::TopicSizes(asker) => {
                // The asker may have gone away.
                let _ = asker.send(self.machine.topic_sizes());
                return true;
            }
            Arrival::News(StoreNews::Answered(answer)) => {
                debug_assert!(self.unanswered > 0, "the store answers each request once");
                self.unanswered = self.unanswered.saturating_sub(1);
                Input::Store(answer)
            }
            Arrival::News(StoreNews::Changed { key, version }) => Input::Changed { key, version },
            Arrival::HungUp { session } => {
                self.brokers.remove(&session);
                Input::SessionEnded { session }
            }
            Arrival::Said { session, .. } if !self.brokers.contains_key(&session) => return true,
            Arrival::Said { session, message } => Input::Said { session, message: *message },
        };
        self.step(input, requests);
        true
    }

    /// Steps the machine and does what it says; questions to the store are kept in `requests`.
    fn step(&mut self, input: Input, requests: &mut Vec<StoreRequest>) {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let urandom = &mut self.urandom;
        let mut random = || {
            let mut bytes = [0; 16];
            if let Err(error) = urandom.read_exact(&mut bytes) {
                // Ids that are not unique would mix up topics.
                panic!("cannot read /dev/urandom: {error}");
            }
            bytes
        };
        let mut lost = Vec::new();
        for output in self.machine.step(input, &mut Surroundings { now_ms, random: &mut random }) {
            match output {
                Output::Store(request) => requests.push(request),
                Output::Send { session, message } => {
                    if !self.send(session, message) {
                        lost.push(session);
                    }
                }
                Output::Close { session } => drop(self.brokers.remove(&session)),
                Output::WakeIn { after_ms } => self.alarm.set(after_ms),
                Output::Event(event) if event.is_warning() => tracing::warn!("{event}"),
                Output::Event(event) => tracing::info!("{event}"),
            }
        }
        for session in lost {
            self.step(Input::SessionEnded { session }, requests);
        }
    }

    /// Puts a message into a broker's outbox; `false` if that ends the session.
    fn send(&mut self, session: SessionId, message: FromController) -> bool {
        let Some(broker) = self.brokers.get(&session) else { return true };
        match broker.outbox.try_send(message) {
            Ok(()) => true,
            Err(error) => {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    tracing::warn!("a broker has not read {OUTBOX} messages; its session is ended");
                }
                self.brokers.remove(&session);
                false
            }
        }
    }

    /// Gives the cluster in numbers to who waits for it, once the store has been read.
    fn tell_summaries(&mut self) {
        if self.machine.is_ready() {
            for asker in std::mem::take(&mut self.summaries) {
                // The asker may have gone away.
                let _ = asker.send(self.machine.summary());
            }
        }
    }

    /// Tells who watches for it which log directories take no writes, if that is something else than before.
    fn tell_log_dirs(&self) {
        let now = self.machine.health().log_dirs();
        self.told_dirs.send_if_modified(|told| {
            let differs = told != now;
            if differs {
                told.clone_from(now);
            }
            differs
        });
    }

    /// Asks the store all that is to be asked, as one batch, and steps the machine with what it answers at once; the
    /// questions that follow are left in `requests`. `false` if the store had no answer to something.
    fn carry_out(&mut self, requests: &mut Vec<StoreRequest>) -> bool {
        if requests.is_empty() {
            return true;
        }
        let asked = requests.len();
        let answers = self.store.ask(std::mem::take(requests));
        self.unanswered += asked - answers.len();
        let answered = answers.iter().all(|answer| answer.outcome != StoreOutcome::Unknown);
        for answer in answers {
            self.step(Input::Store(answer), requests);
        }
        answered
    }
}
