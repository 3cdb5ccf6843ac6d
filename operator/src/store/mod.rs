//! The controller's memory in Kubernetes: one object for the cluster and one for each slice.
//!
//! What the store keeps to:
//!
//! * An object is made with a POST and changed with a PUT that names the version it must have. Nothing is ever applied or
//!   patched, so that each write is the compare-and-swap that was asked for, or none.
//! * A call is sent once and answered within its deadline. What is not known then is said to be [`StoreOutcome::Unknown`];
//!   the watch tells if it happened after all.
//! * An object is absent only if the API server says so of that object by name. A kind that is not there is no empty store.
//! * Lists are read from etcd, as is everything else; they are told apart by name and not by label, which anybody may take
//!   off an object.
//! * While any object is known to have been written by a later release, nothing is written at all.
//!
//! Requests go out at once and side by side, those of one object in their order. The number of those that wait is that of
//! the objects: the controller asks one thing of each at a time.

mod api;
mod fault;
mod objects;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use parking_lot::{Mutex, MutexGuard};
use taffrail_controller::model::{Object, ObjectKey};
use taffrail_controller::store::{
    AskStore, ObjectKind, StoreAction, StoreAnswer, StoreNews, StoreOutcome, StoreRequest, Version,
};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch as latest};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::metrics::Metrics;
pub(crate) use api::chain;
use api::{Calls, Put};
pub use fault::{Attempt, Cause, Site, StoreHealth};
use objects::{KINDS, Place};

/// Calls that are out at the same time.
const IN_FLIGHT: usize = 16;

/// How long a call may take before its outcome is not known.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long the answer to a put that failed is held back, the first time and after many: what follows it at once is the
/// next attempt.
const REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long proposals of in-sync replicas may wait for others of their slice: each write stores all of it, and etcd keeps
/// what was written in the last five minutes.
const ISR_COALESCE_MS: u64 = 150;

/// With whom what is written from now on goes; it may change while the store is open.
pub type Owner = Arc<Mutex<Option<OwnerReference>>>;

/// Whose memory it is, and who writes it.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The LogCluster's namespace.
    pub namespace: String,
    /// The LogCluster's name.
    pub cluster: String,
    /// The LogCluster, if the objects are to go with it.
    pub owner: Owner,
    /// Who writes, for people who read the objects: the pod's name.
    pub writer: String,
    /// How long one call of the API may take.
    pub deadline: Duration,
    /// Who counts calls and writes.
    pub metrics: Option<Arc<Metrics>>,
}

impl StoreOptions {
    /// For the LogCluster `cluster` in `namespace`.
    pub fn new(namespace: impl Into<String>, cluster: impl Into<String>, writer: impl Into<String>) -> Self {
        let (namespace, cluster, writer) = (namespace.into(), cluster.into(), writer.into());
        Self { namespace, cluster, owner: Owner::default(), writer, deadline: DEADLINE, metrics: None }
    }
}

/// See the module.
#[derive(Debug)]
pub struct KubeStore {
    inner: Arc<Inner>,
    runtime: Handle,
    /// They end with the store.
    _watches: JoinSet<()>,
}

/// What all tasks of a store share.
#[derive(Debug)]
struct Inner {
    calls: Calls,
    news: mpsc::Sender<StoreNews>,
    reporter: fault::Reporter,
    in_flight: Semaphore,
    state: Mutex<State>,
    /// With what every write is signed: the writer, when it began, and a number.
    writer: String,
    writes: AtomicU64,
}

/// What is asked in one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Object(ObjectKey),
    List(ObjectKind),
}

#[derive(Debug, Default)]
struct State {
    /// What waits behind a request that is out, by lane; a lane is here as long as one is.
    lanes: BTreeMap<Lane, VecDeque<StoreRequest>>,
    /// How often in a row puts of an object failed.
    failures: BTreeMap<ObjectKey, u32>,
    /// The highest versions that were seen, by which a list tells what was deleted.
    seen: BTreeMap<ObjectKey, Version>,
}

impl KubeStore {
    /// Opens the store, which reads nothing yet, and begins to watch. Answers and changes go to `news`. Called within an async
    /// runtime, which carries the calls.
    ///
    /// # Errors
    ///
    /// If `config` does not allow for a client.
    pub fn open(
        config: &kube::Config,
        options: StoreOptions,
        news: mpsc::Sender<StoreNews>,
    ) -> Result<Self, kube::Error> {
        let StoreOptions { namespace, cluster, owner, writer, deadline, metrics } = options;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let inner = Arc::new(Inner {
            calls: Calls::new(config, Place { namespace, cluster, owner }, deadline, metrics)?,
            news,
            reporter: fault::Reporter::new(),
            in_flight: Semaphore::new(IN_FLIGHT),
            state: Mutex::default(),
            writer: format!("{writer}-{since}"),
            writes: AtomicU64::new(0),
        });
        let mut watches = JoinSet::new();
        for kind in KINDS {
            watches.spawn(watch::watch(Arc::clone(&inner), kind));
        }
        Ok(Self { inner, runtime: Handle::current(), _watches: watches })
    }

    /// What the store cannot do, at present and from now on.
    pub fn health(&self) -> latest::Receiver<StoreHealth> {
        self.inner.reporter.subscribe()
    }
}

impl AskStore for KubeStore {
    fn ask(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer> {
        for request in batch {
            let lane = match &request.action {
                StoreAction::List(kind) => Lane::List(*kind),
                StoreAction::Load(key) | StoreAction::Put { key, .. } => Lane::Object(*key),
            };
            let mut state = self.inner.state();
            if let Some(waiting) = state.lanes.get_mut(&lane) {
                waiting.push_back(request);
            } else {
                state.lanes.insert(lane, VecDeque::new());
                self.runtime.spawn(Arc::clone(&self.inner).work(lane, request));
            }
        }
        Vec::new()
    }

    fn isr_coalesce_ms(&self) -> u64 {
        ISR_COALESCE_MS
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Carries out a request, and what waits behind it.
    async fn work(self: Arc<Self>, lane: Lane, mut request: StoreRequest) {
        loop {
            let answer = self.answer(request).await;
            // If nobody listens any more, what waits need not be asked.
            if self.news.send(StoreNews::Answered(answer)).await.is_err() {
                return;
            }
            let mut state = self.state();
            match state.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
                Some(next) => request = next,
                None => {
                    state.lanes.remove(&lane);
                    return;
                }
            }
        }
    }

    async fn answer(&self, StoreRequest { id, action }: StoreRequest) -> StoreAnswer {
        // Closed by nobody.
        let permit = self.in_flight.acquire().await;
        let begun = Instant::now();
        let outcome = match action {
            StoreAction::List(kind) => self.list(kind).await,
            StoreAction::Load(key) => self.load(key).await,
            StoreAction::Put { key, expected, object } => {
                let outcome = self.put(key, expected, &object).await;
                drop(permit);
                let rest = self.rest_after(key, outcome == StoreOutcome::Unknown);
                tokio::time::sleep(rest.saturating_sub(begun.elapsed())).await;
                outcome
            }
        };
        StoreAnswer { id, outcome }
    }

    async fn list(&self, kind: ObjectKind) -> StoreOutcome {
        match self.calls.list(kind).await {
            Ok(listed) => {
                self.reporter.clear_reads(kind);
                listed.iter().for_each(|stored| self.note(stored.key, stored.version));
                StoreOutcome::Listed(listed)
            }
            Err((key, cause)) => {
                let site = match key {
                    Some(key) => self.site(Attempt::Read, key),
                    None => self.site_of_kind(Attempt::Read, kind),
                };
                self.reporter.raise(site, cause);
                StoreOutcome::Unknown
            }
        }
    }

    async fn load(&self, key: ObjectKey) -> StoreOutcome {
        let site = self.site(Attempt::Read, key);
        match self.calls.load(key).await {
            Ok(stored) => {
                self.reporter.clear(&site);
                if let Some(stored) = &stored {
                    self.note(key, stored.version);
                }
                StoreOutcome::Loaded(stored)
            }
            Err(cause) => {
                self.reporter.raise(site, cause);
                StoreOutcome::Unknown
            }
        }
    }

    async fn put(&self, key: ObjectKey, expected: Version, object: &Object) -> StoreOutcome {
        let site = self.site(Attempt::Write, key);
        let outcome = match self.reporter.later_release() {
            Some(object) => Err(Cause::Withheld { object }),
            None => {
                let written_by = format!("{}-{}", self.writer, self.writes.fetch_add(1, Ordering::Relaxed));
                self.calls.put(key, expected, object, &written_by).await
            }
        };
        match outcome {
            Ok(put) => {
                self.reporter.clear(&site);
                match put {
                    Put::Conflict => StoreOutcome::Conflict,
                    Put::Done(version) => {
                        self.note(key, version);
                        StoreOutcome::Done(version)
                    }
                }
            }
            Err(cause) => {
                self.reporter.raise(site, cause);
                StoreOutcome::Unknown
            }
        }
    }

    /// How long after a put began its answer is given.
    fn rest_after(&self, key: ObjectKey, failed: bool) -> Duration {
        let mut state = self.state();
        if !failed {
            state.failures.remove(&key);
            return Duration::ZERO;
        }
        let failures = state.failures.entry(key).or_default();
        let rest = REST.0.saturating_mul(1 << (*failures).min(16)).min(REST.1);
        *failures = failures.saturating_add(1);
        rest
    }

    /// An object was seen in this version.
    fn note(&self, key: ObjectKey, version: Version) {
        let mut state = self.state();
        let seen = state.seen.entry(key).or_insert(version);
        *seen = version.max(*seen);
    }

    /// An object was deleted at this version.
    fn forget(&self, key: ObjectKey, version: Version) {
        let mut state = self.state();
        if state.seen.get(&key).is_some_and(|seen| *seen <= version) {
            state.seen.remove(&key);
        }
    }

    /// What was seen before a list was taken, and is not on it: it was deleted. It is forgotten.
    fn missing(&self, kind: ObjectKind, present: &[(ObjectKey, Version)], taken: Version) -> Vec<ObjectKey> {
        let present: BTreeSet<ObjectKey> = present.iter().map(|(key, _)| *key).collect();
        let mut state = self.state();
        let is_missing = |key: &ObjectKey, seen: &mut Version| {
            key.kind() == kind && *seen <= taken && !present.contains(key)
        };
        state.seen.extract_if(.., is_missing).map(|(key, _)| key).collect()
    }

    /// As `kubectl` names an object.
    fn site(&self, attempt: Attempt, key: ObjectKey) -> Site {
        let (place, kind) = (&self.calls.place, key.kind());
        let object =
            format!("{}/{} -n {}", place.kind(kind).kind.to_lowercase(), place.name(key), place.namespace);
        Site { attempt, kind, object }
    }

    fn site_of_kind(&self, attempt: Attempt, kind: ObjectKind) -> Site {
        let place = &self.calls.place;
        Site { attempt, kind, object: format!("{} -n {}", place.kind(kind).plural, place.namespace) }
    }
}

#[cfg(test)]
mod tests;
