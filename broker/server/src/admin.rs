//! The admin port: `/livez`, `/readyz` and `/metrics` over HTTP.
//!
//! It must answer whatever strangers do to it: a connection serves one request, has to send the request's head within
//! two seconds and be done within ten, and there are so many at a time and no more.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::config::cli::HostPort;
use crate::metrics::Scrape;
use crate::recovery::Recoveries;

/// Connections served at a time; others wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes; also what a connection buffers.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most header lines of a request.
const MAX_HEADERS: usize = 64;
/// The wait after an `accept` that failed, which happens when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What has to be done before a process can do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The controller has registered this broker.
    Registered,
    /// The logs that were on disk are open and recovered.
    LogsRecovered,
    /// The listeners for clients accept connections.
    ListenersOpen,
    /// The controller has read its store.
    StoreRead,
}

impl Step {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Steps, and what is said of each while it is not done.
type Steps = &'static [(Step, &'static str)];

/// The steps of a broker.
const BROKER_STEPS: Steps = &[
    (Step::Registered, "not registered with the controller"),
    (Step::LogsRecovered, "logs not recovered"),
    (Step::ListenersOpen, "listeners not open"),
];
/// The steps of a controller.
const CONTROLLER_STEPS: Steps = &[(Step::StoreRead, "the cluster's state has not been read")];

/// Set while the process stops.
const STOPPING: u8 = 1 << 7;

/// How far a process has come. Shared by the one who does the steps and the admin port, which tells.
#[derive(Debug)]
pub struct Readiness {
    steps: Steps,
    done: AtomicU8,
    recoveries: Arc<Recoveries>,
}

impl Readiness {
    fn new(steps: Steps) -> Self {
        Self { steps, done: AtomicU8::new(0), recoveries: Arc::default() }
    }

    /// How far the recovery of the logs has come.
    pub fn recoveries(&self) -> &Arc<Recoveries> {
        &self.recoveries
    }

    /// A broker of which nothing is done.
    pub fn of_broker() -> Self {
        Self::new(BROKER_STEPS)
    }

    /// A controller of which nothing is done.
    pub fn of_controller() -> Self {
        Self::new(CONTROLLER_STEPS)
    }

    /// `step` is done.
    pub fn done(&self, step: Step) {
        self.done.fetch_or(step.bit(), Ordering::Release);
    }

    fn is_done(&self, step: Step) -> bool {
        self.done.load(Ordering::Acquire) & step.bit() != 0
    }

    /// The process is about to stop and is not ready from now on.
    pub fn stopping(&self) {
        self.done.fetch_or(STOPPING, Ordering::Release);
    }

    /// Whether the process does its work.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    /// What stands between the process and being ready, in words.
    pub fn missing(&self) -> Vec<&'static str> {
        let done = self.done.load(Ordering::Acquire);
        let stopping = (done & STOPPING != 0).then_some("stopping");
        let steps = self.steps.iter().filter(|(step, _)| done & step.bit() == 0).map(|(_, missing)| *missing);
        stopping.into_iter().chain(steps).collect()
    }
}

/// The admin port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for the admin port: {error}. Choose another address with --admin")]
pub struct BindAdminError {
    address: HostPort,
    error: io::Error,
}

/// What the admin port tells about.
#[derive(Clone)]
pub struct AdminState {
    /// How far the process has come.
    pub readiness: Arc<Readiness>,
    /// What a scrape shows.
    pub scrape: Arc<dyn Scrape>,
}

/// The admin port, open and not yet served.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
}

impl AdminServer {
    /// Opens the port. Port 0 takes a free one; [`AdminServer::local_address`] tells which.
    ///
    /// # Errors
    /// [`BindAdminError`] when the address is taken, not this machine's, or not allowed.
    pub async fn bind(address: &HostPort) -> Result<Self, BindAdminError> {
        match TcpListener::bind((address.host.as_str(), address.port)).await {
            Ok(listener) => Ok(Self { listener }),
            Err(error) => Err(BindAdminError { address: address.clone(), error }),
        }
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn serve(self, state: AdminState) -> Infallible {
        let routes = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(state);
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed; a slot is always there sooner or later.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve_connection(stream, routes.clone(), slot))),
                Err(error) => {
                    tracing::warn!("the admin port cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, routes: Router, slot: Option<OwnedSemaphorePermit>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // Errors are the client's, who is gone or talks nonsense and has been told so; too slow is no different.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
    drop(slot);
}

async fn readyz(State(state): State<AdminState>) -> impl IntoResponse {
    let readiness = &state.readiness;
    let missing = readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let mut text = format!("not ready: {}\n", missing.join(", "));
    if !readiness.is_done(Step::LogsRecovered)
        && let Some(sentence) = readiness.recoveries().sentence()
    {
        text.push_str(&format!("recovering logs: {sentence}\n"));
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn metrics(State(state): State<AdminState>) -> impl IntoResponse {
    let ready = state.readiness.is_ready();
    // Reads /proc and takes the locks of partitions, so it runs where waiting is allowed.
    let rendered = tokio::task::spawn_blocking(move || state.scrape.render(ready)).await;
    match rendered {
        Ok(text) => {
            (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
        }
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("the metrics cannot be written: {error}\n"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{Example, read};
    use crate::metrics::{BrokerScrape, Metrics};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn start() -> (SocketAddr, Arc<Readiness>) {
        let server = AdminServer::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.local_address().unwrap();
        let readiness = Arc::new(Readiness::of_broker());
        let state = AdminState {
            readiness: Arc::clone(&readiness),
            scrape: Arc::new(BrokerScrape {
                metrics: Arc::new(Metrics::new()),
                source: Arc::new(Example),
                recoveries: Arc::clone(readiness.recoveries()),
            }),
        };
        tokio::spawn(server.serve(state));
        (address, readiness)
    }

    /// Sends `request` and reads until the server closes.
    async fn send(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that refuses may close before all is written.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let answer = send(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn it_is_alive_at_once_and_ready_when_every_step_is_done() {
        let (address, readiness) = start().await;
        assert_eq!(get(address, "/livez").await, (200, "ok\n".to_owned()));
        let missing =
            "not ready: not registered with the controller, logs not recovered, listeners not open\n";
        assert_eq!(get(address, "/readyz").await, (503, missing.to_owned()));
        readiness.done(Step::Registered);
        readiness.done(Step::ListenersOpen);
        assert_eq!(get(address, "/readyz").await, (503, "not ready: logs not recovered\n".to_owned()));
        readiness.done(Step::LogsRecovered);
        assert_eq!(get(address, "/readyz").await, (200, "ready\n".to_owned()));
        readiness.stopping();
        assert_eq!(get(address, "/readyz").await, (503, "not ready: stopping\n".to_owned()));
    }

    #[tokio::test]
    async fn metrics_are_served_as_text_that_reads_back() {
        let (address, readiness) = start().await;
        readiness.done(Step::Registered);
        let (status, body) = get(address, "/metrics").await;
        assert_eq!(status, 200);
        assert_eq!(read(&body).get("taffrail_ready"), Some(&0.0));
        assert!(body.contains("\n# TYPE taffrail_remaining_logs_to_recover gauge\n"), "{body}");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let (address, _) = start().await;
        assert_eq!(get(address, "/").await.0, 404);
        let answer = send(address, b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }

    #[tokio::test]
    async fn garbage_and_endless_heads_are_cut_off() {
        let (address, _) = start().await;
        let answer = send(address, b"\0\0\0\x12\0\x12\0\x04 not HTTP at all\r\n\r\n").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let mut endless = b"GET /livez HTTP/1.1\r\nX: ".to_vec();
        endless.resize(4 * MAX_HEAD_BYTES, b'x');
        let answer = send(address, &endless).await;
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(get(address, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn connections_that_say_nothing_are_closed_and_others_get_their_turn() {
        let (address, _) = start().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        // Every slot is taken; this one is served once the silent ones have run out of time.
        assert_eq!(get(address, "/livez").await.0, 200);
        let mut answer = Vec::new();
        let _ = silent.remove(0).read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn an_address_in_use_is_refused_with_a_sentence() {
        let (address, _) = start().await;
        let error = AdminServer::bind(&address.to_string().parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address} for the admin port: ")), "{error}");
        assert!(error.ends_with("Choose another address with --admin"), "{error}");
    }
}
