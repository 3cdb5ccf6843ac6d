//! The store against an API server that misbehaves.

use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use taffrail_controller::model::{ClusterState, PartitionSlice};
use taffrail_controller::store::StoreRequestId;

use super::*;

type Answering = dyn Fn(&Method, &str) -> Option<(u16, Value)> + Send + Sync;

/// An API server that answers what it is told to, or nothing at all.
struct Fake {
    answering: Mutex<Arc<Answering>>,
    /// Requests but for those of the watches.
    asked: Mutex<Vec<(Method, String)>>,
    out: AtomicUsize,
    most_out: AtomicUsize,
}

impl Fake {
    async fn start() -> (Arc<Self>, kube::Config) {
        let fake = Arc::new(Self {
            answering: Mutex::new(Arc::new(|_, _| None)),
            asked: Mutex::default(),
            out: AtomicUsize::new(0),
            most_out: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::clone(&fake);
        let router = Router::new().fallback(move |request| Arc::clone(&state).respond(request));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (fake, kube::Config::new(url.parse().unwrap()))
    }

    async fn respond(self: Arc<Self>, request: Request) -> Response {
        let accepted = request.headers().get(header::ACCEPT).map(|value| value.to_str().unwrap());
        if accepted.is_some_and(|accepted| accepted.contains("PartialObjectMetadata")) {
            return std::future::pending().await;
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        self.asked.lock().push((method.clone(), path.clone()));
        let answering = Arc::clone(&self.answering.lock());
        let out = self.out.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_out.fetch_max(out, Ordering::SeqCst);
        // All that is going to be asked at the same time is.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.out.fetch_sub(1, Ordering::SeqCst);
        match answering(&method, &path) {
            Some((code, Value::String(text))) => (StatusCode::from_u16(code).unwrap(), text).into_response(),
            Some((code, body)) => {
                let status = StatusCode::from_u16(code).unwrap();
                (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
            }
            None => std::future::pending().await,
        }
    }

    fn answer(&self, answering: impl Fn(&Method, &str) -> Option<(u16, Value)> + Send + Sync + 'static) {
        *self.answering.lock() = Arc::new(answering);
    }

    fn asked(&self) -> Vec<(Method, String)> {
        std::mem::take(&mut self.asked.lock())
    }
}

struct Asker {
    store: KubeStore,
    news: mpsc::Receiver<StoreNews>,
    last_id: u64,
}

impl Asker {
    fn open(config: &kube::Config, deadline: Duration) -> Self {
        let (sender, news) = mpsc::channel(64);
        let options = StoreOptions { deadline, ..StoreOptions::new("shop", "orders", "test") };
        Self { store: KubeStore::open(config, options, sender).unwrap(), news, last_id: 0 }
    }

    async fn ask(&mut self, actions: Vec<StoreAction>) -> Vec<StoreOutcome> {
        let first = self.last_id + 1;
        let asked = actions.len();
        let requests =
            (first..).zip(actions).map(|(id, action)| StoreRequest { id: StoreRequestId(id), action });
        self.last_id += asked as u64;
        assert_eq!(self.store.ask(requests.collect()), []);
        let mut outcomes = BTreeMap::new();
        while outcomes.len() < asked {
            if let StoreNews::Answered(answer) = self.news.recv().await.unwrap() {
                outcomes.insert(answer.id, answer.outcome);
            }
        }
        outcomes.into_values().collect()
    }

    async fn ask_one(&mut self, action: StoreAction) -> StoreOutcome {
        self.ask(vec![action]).await.remove(0)
    }

    fn faults(&self) -> Vec<String> {
        self.store
            .health()
            .borrow()
            .sentences()
            .filter(|sentence| !sentence.starts_with("cannot watch"))
            .collect()
    }
}

fn put(key: ObjectKey, expected: u64) -> StoreAction {
    let object = match key {
        ObjectKey::Cluster => Object::Cluster(ClusterState::default()),
        _ => Object::Partitions(PartitionSlice::default()),
    };
    StoreAction::Put { key, expected: Version(expected), object }
}

fn found(name: &str, version: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version}, "spec": spec})
}

fn failure(code: u16, reason: &str, details: Value) -> Option<(u16, Value)> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "as told", "reason": reason, "details": details, "code": code,
    });
    Some((code, status))
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_is_not_answered_in_time_is_unknown_and_not_sent_again() {
    let (fake, config) = Fake::start().await;
    let mut store = Asker::open(&config, Duration::from_millis(200));
    for action in [put(ObjectKey::Cluster, 0), StoreAction::Load(ObjectKey::Cluster)] {
        assert_eq!(store.ask_one(action).await, StoreOutcome::Unknown);
        assert_eq!(fake.asked().len(), 1);
    }
    assert_eq!(store.ask_one(StoreAction::List(ObjectKind::Topics)).await, StoreOutcome::Unknown);
    let faults = store.faults();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(
        faults[0].starts_with("cannot read clusterstate/orders -n shop: the Kubernetes API did not answer"),
        "{faults:?}"
    );
    fake.answer(|_, _| Some((201, found("orders", "7", json!({"format": 1})))));
    assert_eq!(store.ask_one(put(ObjectKey::Cluster, 0)).await, StoreOutcome::Done(Version(7)));
    assert_eq!(store.faults().len(), 2, "what works is no fault any more");
}

#[tokio::test]
async fn an_api_server_that_is_not_able_to_is_asked_once_and_its_answer_says_nothing() {
    let (fake, config) = Fake::start().await;
    let mut store = Asker::open(&config, PATIENT);
    for code in [429, 500, 503, 504] {
        fake.answer(move |_, _| failure(code, "as told", Value::Null));
        assert_eq!(store.ask_one(put(ObjectKey::Cluster, 5)).await, StoreOutcome::Unknown, "{code}");
        assert_eq!(fake.asked().len(), 1, "{code}");
    }
    for (code, says) in [(403, "ServiceAccount"), (413, "too large"), (422, "refuses it"), (401, "may not")] {
        fake.answer(move |_, _| failure(code, "as told", Value::Null));
        assert_eq!(store.ask_one(put(ObjectKey::Cluster, 5)).await, StoreOutcome::Unknown, "{code}");
        assert!(store.faults()[0].contains(says), "{code}: {:?}", store.faults());
    }
}

#[tokio::test]
async fn conflicts_are_told_from_other_refusals() {
    let (fake, config) = Fake::start().await;
    let mut store = Asker::open(&config, PATIENT);
    let key = ObjectKey::Cluster;
    fake.answer(|_, _| failure(409, "AlreadyExists", Value::Null));
    assert_eq!(store.ask_one(put(key, 0)).await, StoreOutcome::Conflict);
    fake.answer(|_, _| failure(409, "Conflict", Value::Null));
    assert_eq!(store.ask_one(put(key, 5)).await, StoreOutcome::Conflict);
    let named = || json!({"name": "orders", "group": "taffrail.dev", "kind": "clusterstates"});
    fake.answer(move |_, _| failure(404, "NotFound", named()));
    assert_eq!(store.ask_one(put(key, 5)).await, StoreOutcome::Conflict);
    assert_eq!(
        store.ask_one(put(key, 0)).await,
        StoreOutcome::Unknown,
        "nothing absent is missed when it is made"
    );
    assert_eq!(
        fake.asked().into_iter().map(|(method, _)| method).collect::<Vec<_>>(),
        [Method::POST, Method::PUT, Method::PUT, Method::POST],
    );
}

#[tokio::test]
async fn an_object_is_absent_only_where_the_answer_names_it() {
    let (fake, config) = Fake::start().await;
    let mut store = Asker::open(&config, PATIENT);
    let load = || StoreAction::Load(ObjectKey::Cluster);
    let named = |name: &str, kind: &str| json!({"name": name, "group": "taffrail.dev", "kind": kind});
    fake.answer(move |_, _| failure(404, "NotFound", named("orders", "clusterstates")));
    assert_eq!(store.ask_one(load()).await, StoreOutcome::Loaded(None));
    fake.answer(|_, _| Some((404, json!("404 page not found"))));
    assert_eq!(store.ask_one(load()).await, StoreOutcome::Unknown);
    assert_eq!(store.ask_one(put(ObjectKey::Cluster, 5)).await, StoreOutcome::Unknown);
    assert_eq!(store.ask_one(StoreAction::List(ObjectKind::Cluster)).await, StoreOutcome::Unknown);
    assert!(store.faults().iter().all(|fault| fault.contains("install the custom resource definitions")));
    fake.answer(move |_, _| failure(404, "NotFound", named("shop", "namespaces")));
    assert_eq!(store.ask_one(load()).await, StoreOutcome::Unknown);
}

#[tokio::test]
async fn nothing_is_written_beside_what_a_later_release_wrote() {
    let (fake, config) = Fake::start().await;
    let mut store = Asker::open(&config, PATIENT);
    let slice = ObjectKey::Partitions(3);
    fake.answer(|_, _| Some((200, found("orders-partitions-3", "9", json!({"format": 2})))));
    assert_eq!(store.ask_one(StoreAction::Load(slice)).await, StoreOutcome::Unknown);
    assert_eq!(fake.asked().len(), 1);
    assert_eq!(store.ask_one(put(ObjectKey::Cluster, 5)).await, StoreOutcome::Unknown);
    assert_eq!(fake.asked(), [], "the put was not sent");
    let health = store.store.health();
    assert_eq!(health.borrow().later_release(), Some("partitionslice/orders-partitions-3 -n shop"));
    assert!(store.faults()[0].contains("has format 2"), "{:?}", store.faults());
    fake.answer(|_, path| {
        let name = path.rsplit('/').next().unwrap();
        Some((200, found(name, "10", json!({"format": 1, "topics": []}))))
    });
    let StoreOutcome::Loaded(Some(stored)) = store.ask_one(StoreAction::Load(slice)).await else { panic!() };
    assert_eq!(stored.version, Version(10));
    assert_eq!(store.ask_one(put(ObjectKey::Cluster, 5)).await, StoreOutcome::Done(Version(10)));
    assert_eq!(store.faults(), [""; 0]);
}

#[tokio::test]
async fn a_list_with_one_object_that_cannot_be_read_is_no_list() {
    let (fake, config) = Fake::start().await;
    let mut store = Asker::open(&config, PATIENT);
    let list = |spec: Value, next: &str| {
        let items =
            [found("other-partitions-1", "8", json!({"format": 7})), found("orders-partitions-1", "9", spec)];
        Some((200, json!({"metadata": {"resourceVersion": "30", "continue": next}, "items": items})))
    };
    let cases = [
        (json!({"format": 2}), "has format 2"),
        (json!({"format": 1, "topics": 5}), "bring it back from a backup"),
        (json!({}), "bring it back from a backup"),
    ];
    for (spec, says) in cases {
        fake.answer(move |_, _| list(spec.clone(), ""));
        assert_eq!(store.ask_one(StoreAction::List(ObjectKind::Partitions)).await, StoreOutcome::Unknown);
        assert!(store.faults()[0].contains(says), "{:?}", store.faults());
    }
    fake.answer(move |_, _| list(json!({"format": 1, "topics": []}), ""));
    let StoreOutcome::Listed(listed) = store.ask_one(StoreAction::List(ObjectKind::Partitions)).await else {
        panic!("{:?}", store.faults())
    };
    assert_eq!(listed.iter().map(|stored| stored.key).collect::<Vec<_>>(), [ObjectKey::Partitions(1)]);
    assert_eq!(store.faults(), [""; 0]);
}

#[tokio::test]
async fn requests_go_out_side_by_side_and_those_of_one_object_in_order() {
    let (fake, config) = Fake::start().await;
    let mut store = Asker::open(&config, PATIENT);
    fake.answer(|method, path| {
        let name = path.rsplit('/').next().unwrap();
        let version = if method == Method::POST { "5" } else { "6" };
        Some((200, found(name, version, json!({"format": 1, "topics": []}))))
    });
    let slices = (0..60).map(ObjectKey::Partitions);
    let actions: Vec<_> = slices.flat_map(|key| [put(key, 0), put(key, 5), StoreAction::Load(key)]).collect();
    let outcomes = store.ask(actions).await;
    assert!(outcomes.iter().step_by(3).all(|outcome| *outcome == StoreOutcome::Done(Version(5))));
    assert_eq!(fake.most_out.load(Ordering::SeqCst), IN_FLIGHT);
    let asked = fake.asked();
    assert_eq!(asked.len(), 180);
    let put_at =
        asked.iter().position(|(method, path)| method == Method::PUT && path.ends_with("-59")).unwrap();
    let load_at =
        asked.iter().position(|(method, path)| method == Method::GET && path.ends_with("-59")).unwrap();
    assert!(put_at < load_at);
    assert!(store.store.inner.state().lanes.is_empty(), "nothing is kept of what was answered");
}
