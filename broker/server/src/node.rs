//! One broker of this process with its admin port, as the commands start it; and the signals that stop it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use taffrail_control::session::Endpoint;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::admin::{AdminServer, AdminState, Readiness};
use crate::config::cli::HostPort;
use crate::lifecycle::{BrokerListener, BrokerSetup, RunningBroker, StartError};
use crate::metrics::{BrokerScrape, MetricsSource, StartingBroker};

/// Listens for clients at `address`, on the listener `name`. They are told to connect to `advertised`, or to where is
/// listened.
///
/// # Errors
/// A sentence that names the address.
pub async fn listen(
    name: &str,
    address: &HostPort,
    advertised: Option<&HostPort>,
) -> anyhow::Result<BrokerListener> {
    let socket = TcpListener::bind((address.host.as_str(), address.port)).await.with_context(|| {
        format!("cannot listen on {address} for clients; choose another address with --listen")
    })?;
    let bound = socket.local_addr().context("cannot tell the address of --listen")?;
    let (host, port) = match advertised {
        Some(address) => (address.host.clone(), address.port),
        // Nobody can connect to "any address"; whoever listens on it without saying more means this machine.
        None if bound.ip().is_unspecified() => ("localhost".to_owned(), bound.port()),
        None => (address.host.clone(), bound.port()),
    };
    Ok(BrokerListener { socket, advertised: Endpoint { listener: name.to_owned(), host, port } })
}

/// Where other brokers reach a listener that is bound to `bound`. One that listens on every address is reached at `own`.
pub fn peer_address(bound: SocketAddr, own: IpAddr) -> SocketAddr {
    if bound.ip().is_unspecified() { SocketAddr::new(own, bound.port()) } else { bound }
}

/// Prints a banner. Standard output going away is no reason to stop.
pub fn print(banner: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(banner.as_bytes()).and_then(|()| out.flush());
}

/// A broker that serves, and its admin port.
pub struct Node {
    /// The broker.
    pub running: RunningBroker,
    readiness: Arc<Readiness>,
    admin: JoinHandle<()>,
}

impl Node {
    /// Serves the admin port and starts the broker. The port is served from before recovery on: a broker that checks its
    /// logs for minutes is alive.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub async fn start(setup: BrokerSetup, admin: AdminServer) -> Result<Self, StartError> {
        let readiness = Arc::clone(&setup.readiness);
        let source = Arc::new(StartingBroker::default());
        let state = AdminState {
            readiness: Arc::clone(&readiness),
            scrape: Arc::new(BrokerScrape {
                metrics: Arc::clone(&setup.metrics),
                source: Arc::clone(&source) as Arc<dyn MetricsSource>,
                recoveries: Arc::clone(readiness.recoveries()),
            }),
        };
        let admin = tokio::spawn(async move { match admin.serve(state).await {} });
        let running = RunningBroker::start(setup).await?;
        source.started(&running.broker);
        Ok(Self { running, readiness, admin })
    }

    /// Is not ready from now on, and gives what it leads to others.
    pub async fn hand_over(&mut self) {
        self.readiness.stopping();
        self.running.hand_over().await;
    }

    /// Stops in good order.
    pub async fn stop(self) {
        self.running.stop().await;
        self.admin.abort();
    }

    /// Stops a broker that the controller does not want any more.
    pub async fn stop_at_once(self) {
        self.readiness.stopping();
        self.running.stop_at_once().await;
        self.admin.abort();
    }
}

/// The signals that stop the process.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Catches them from now on. A signal while logs are recovered is a stop too, so this comes first.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn catch() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// Completes with the first signal.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => tracing::info!("interrupted: stopping"),
        }
    }
}
