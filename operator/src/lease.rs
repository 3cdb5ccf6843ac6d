//! Who of several operators is the active one: the holder of a Lease.
//!
//! The lease keeps two operators from working against each other; it is no fence. Each write of the controller's memory is a
//! compare-and-swap, and one who lost the lease and does not know yet fails with it, or does what the other would have done.
//!
//! The holder writes once in a second that it is there still, and where brokers reach it. The others look at the Lease as
//! often, and watch it: one that was released is taken at once, one whose holder says no more after its term
//! ([`candidate`]). While the API server is away the holder remains the active one.

mod candidate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams, WatchParams};
use kube::{Client, Config};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use crate::connection::Connection;
use candidate::{Action, Candidate, Record};

/// Where the holder's controllers are reached.
const ADDRESS: &str = "taffrail.dev/controller-address";

/// How long the API server keeps up one watch.
const WATCH: Duration = Duration::from_secs(60);

/// What a candidate is told.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Who the candidate is: the pod's name.
    pub identity: String,
    /// Where brokers reach its controllers while it is the active one: `https://IP:PORT`.
    pub address: String,
    /// How long the others wait for its word before they take the lease; a whole number of seconds.
    pub duration: Duration,
    /// How often it gives its word, and looks for that of others.
    pub renew: Duration,
}

impl LeaseOptions {
    /// A lease that is taken over within five seconds of its holder's death.
    pub fn new(namespace: &str, name: &str, identity: &str, address: &str) -> Self {
        let [namespace, name, identity, address] = [namespace, name, identity, address].map(str::to_owned);
        let (duration, renew) = (Duration::from_secs(4), Duration::from_secs(1));
        Self { namespace, name, identity, address, duration, renew }
    }
}

/// Whether this operator is the active one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// The Lease could not be read yet.
    Unknown,
    /// It is.
    Active {
        /// Grows each time the lease changes hands.
        term: u64,
    },
    /// Another is, or will be.
    Standby {
        /// Who holds the lease; `None` if nobody does.
        holder: Option<String>,
        /// Where the holder's controllers are reached.
        address: Option<String>,
    },
}

/// A candidate that runs. If it is dropped the candidate is gone as if it had died, and the lease is taken after its term.
#[derive(Debug)]
pub struct Candidacy {
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl Candidacy {
    /// Ends the candidacy. If the lease is held it is given back, so that another takes it at once.
    pub async fn release(mut self) {
        // If the task is gone already, there is nothing to give back.
        let _ = self.stop.send(());
        self.tasks.join_next().await;
    }
}

/// Runs for the lease from now on. Called within an async runtime.
///
/// # Errors
///
/// If `config` does not allow for a client.
pub fn run(
    config: &Config,
    options: LeaseOptions,
) -> Result<(watch::Receiver<Leadership>, Candidacy), kube::Error> {
    // Shorter than what is left of a term after a renewal that failed.
    let connection = Arc::new(Connection::new(config, 2 * options.renew, None)?);
    let candidate = Candidate::new(options.identity.clone(), options.renew, Instant::now());
    let (leadership, receiver) = watch::channel(Leadership::Unknown);
    let (stop, stopped) = oneshot::channel();
    let stirred = Arc::new(Notify::new());
    let watcher = tell_of_changes(Arc::clone(&connection), options.clone(), Arc::clone(&stirred));
    let runner =
        Runner { connection, options, candidate, lease: Lease::default(), leadership, ailing: false };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut watching = JoinSet::new();
        watching.spawn(watcher);
        runner.run(stopped, &stirred).await;
    });
    Ok((receiver, Candidacy { stop, tasks }))
}

/// What became of a call.
enum Answer {
    /// The Lease as it is now.
    Lease(Box<Lease>),
    /// There is none.
    Absent,
    /// It is another than the one that was to be written over.
    Conflict,
    /// Nothing is known; a sentence says why.
    Failed(String),
}

struct Runner {
    connection: Arc<Connection>,
    options: LeaseOptions,
    candidate: Candidate,
    /// As it was read or written last: what others wrote into it stays.
    lease: Lease,
    leadership: watch::Sender<Leadership>,
    /// Whether the last call failed.
    ailing: bool,
}

impl Runner {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>, stirred: &Notify) {
        loop {
            let action = self.candidate.decide(Instant::now());
            let Action::Wait { until } = action else {
                self.carry_out(action).await;
                self.publish();
                continue;
            };
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = tokio::time::sleep_until(until.into()) => {}
                () = stirred.notified() => self.candidate.stir(Instant::now()),
            }
        }
        self.release().await;
    }

    async fn carry_out(&mut self, action: Action) {
        let asked = Instant::now();
        let (answer, is_write) = match action {
            Action::Read => (self.read().await, false),
            Action::Make { term } => {
                self.lease = Lease::default();
                (self.write(term, true).await, true)
            }
            Action::Take { term } | Action::Renew { term } => (self.write(term, true).await, true),
            Action::Wait { .. } => return,
        };
        let now = Instant::now();
        if !matches!(answer, Answer::Failed(_)) && std::mem::take(&mut self.ailing) {
            tracing::info!("the lease {} can be read and written again", self.options.name);
        }
        match answer {
            Answer::Lease(lease) => {
                let record = record_of(&lease, self.options.duration);
                self.lease = *lease;
                if is_write {
                    self.candidate.wrote(record, asked, now);
                } else {
                    self.candidate.saw(Some(record), asked, now);
                }
            }
            Answer::Absent => self.candidate.saw(None, asked, now),
            Answer::Conflict => self.candidate.overtaken(now),
            Answer::Failed(problem) => {
                if !std::mem::replace(&mut self.ailing, true) {
                    let LeaseOptions { namespace, name, .. } = &self.options;
                    let what = if is_write { "write" } else { "read" };
                    tracing::warn!("cannot {what} lease/{name} -n {namespace}: {problem}");
                }
                self.candidate.failed(asked);
            }
        }
    }

    /// Tells who is the active one, if it is another than before. While nothing is known what was known last holds.
    fn publish(&self) {
        let now = match (self.candidate.active(), self.candidate.holder()) {
            (Some(term), _) => Leadership::Active { term },
            (None, Some(record)) => {
                Leadership::Standby { holder: record.holder.clone(), address: record.address.clone() }
            }
            (None, None) => return,
        };
        self.leadership.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                tracing::info!("{}", sentence(&now, &self.options));
                *before = now;
            }
            changed
        });
    }

    /// Gives the lease back. If somebody else wrote into the Lease meanwhile it is read, and tried once more.
    async fn release(&mut self) {
        for _ in 0..2 {
            let Some(term) = self.candidate.active() else { return };
            match self.write(term, false).await {
                Answer::Lease(_) => {
                    self.leadership.send_replace(Leadership::Standby { holder: None, address: None });
                    tracing::info!("the lease {} was given back", self.options.name);
                    return;
                }
                Answer::Conflict => self.carry_out(Action::Read).await,
                Answer::Absent => return,
                Answer::Failed(problem) => {
                    tracing::warn!("the lease {} was not given back: {problem}", self.options.name);
                    return;
                }
            }
        }
    }

    async fn read(&self) -> Answer {
        let name = &self.options.name;
        let read = self.call(async |leases| leases.get_opt(name).await).await;
        match read {
            Ok(Some(lease)) => Answer::Lease(Box::new(lease)),
            Ok(None) => Answer::Absent,
            Err(answer) => answer,
        }
    }

    /// Writes this candidate into the Lease that was seen last, or takes it out.
    async fn write(&self, term: u64, holds: bool) -> Answer {
        let lease = self.written(term, holds);
        let is_new = lease.metadata.resource_version.is_none();
        let (name, params) = (&self.options.name, PostParams::default());
        let written = self
            .call(async |leases| match is_new {
                true => leases.create(&params, &lease).await,
                false => leases.replace(name, &params, &lease).await,
            })
            .await;
        match written {
            Ok(lease) => Answer::Lease(Box::new(lease)),
            Err(Answer::Absent) if is_new => {
                Answer::Failed(format!("there is no namespace {}", self.options.namespace))
            }
            Err(answer) => answer,
        }
    }

    async fn call<T>(&self, call: impl AsyncFnOnce(Api<Lease>) -> kube::Result<T>) -> Result<T, Answer> {
        let namespace = &self.options.namespace;
        let called =
            self.connection.within(async |client: Client| call(Api::namespaced(client, namespace)).await);
        match called.await {
            Ok(Ok(answer)) => Ok(answer),
            // One that was deleted is made again.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                Err(if status.code == 404 { Answer::Absent } else { Answer::Conflict })
            }
            Ok(Err(error)) => Err(Answer::Failed(error.to_string())),
            Err(no_answer) => Err(Answer::Failed(no_answer.to_string())),
        }
    }

    fn written(&self, term: u64, holds: bool) -> Lease {
        let mut lease = self.lease.clone();
        let (metadata, options) = (&mut lease.metadata, &self.options);
        metadata.name = Some(options.name.clone());
        metadata.namespace = Some(options.namespace.clone());
        metadata.managed_fields = None;
        let annotations = metadata.annotations.get_or_insert_default();
        if holds {
            annotations.insert(ADDRESS.to_owned(), options.address.clone());
        } else {
            annotations.remove(ADDRESS);
        }
        let now = MicroTime(Timestamp::now());
        let is_renewal = self.candidate.active() == Some(term);
        let acquired = lease.spec.take().and_then(|spec| spec.acquire_time).filter(|_| is_renewal);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(if holds { options.identity.clone() } else { String::new() }),
            lease_duration_seconds: i32::try_from(options.duration.as_secs().max(1)).ok(),
            lease_transitions: i32::try_from(term).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            ..LeaseSpec::default()
        });
        lease
    }
}

/// What counts of a Lease. `duration` is for one that does not say.
fn record_of(lease: &Lease, duration: Duration) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        address: lease.metadata.annotations.as_ref().and_then(|all| all.get(ADDRESS)).cloned(),
        term: spec.lease_transitions.and_then(|term| u64::try_from(term).ok()).unwrap_or(0),
        renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        duration: seconds.map_or(duration, Duration::from_secs),
    }
}

fn sentence(leadership: &Leadership, options: &LeaseOptions) -> String {
    let LeaseOptions { name, identity, .. } = options;
    match leadership {
        Leadership::Active { term } => format!("{identity} is the active operator, in term {term}"),
        Leadership::Standby { holder: Some(holder), .. } => {
            format!("{identity} stands by; {holder} is the active operator")
        }
        Leadership::Standby { holder: None, .. } | Leadership::Unknown => {
            format!("{identity} stands by; nobody holds the lease {name}")
        }
    }
}

/// Notifies whenever the Lease may have changed, until it is dropped. What is missed is found by looking.
async fn tell_of_changes(connection: Arc<Connection>, options: LeaseOptions, stirred: Arc<Notify>) {
    let params = WatchParams::default().fields(&format!("metadata.name={}", options.name));
    let params = params.timeout(WATCH.as_secs() as u32);
    loop {
        let watch = async |client: Client| {
            let leases: Api<Lease> = Api::namespaced(client, &options.namespace);
            leases.watch(&params, "0").await
        };
        if let Ok(Ok(events)) = connection.within(watch).await {
            let mut events = std::pin::pin!(events);
            let patience = WATCH + connection.deadline();
            while let Ok(Ok(Some(_))) = tokio::time::timeout(patience, events.try_next()).await {
                stirred.notify_one();
            }
        }
        tokio::time::sleep(options.renew).await;
    }
}
