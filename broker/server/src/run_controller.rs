//! `taffrail controller`: the controller alone, over a local file.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use taffrail_control::broker_config::ConfigError;
use taffrail_controller_service::{ClusterDefaults, GrpcServer, LocalController, SharedToken};
use tokio::net::TcpListener;

use crate::admin::{AdminServer, AdminState, Readiness, Step};
use crate::config::BrokerConfig;
use crate::config::cluster_options::ControllerOptions;
use crate::metrics::ControllerScrape;
use crate::node::{self, StopSignals};

/// The keys that a controller acts on.
const KEYS: [&str; 7] = [
    "auto.leader.rebalance.enable",
    "broker.session.timeout.ms",
    "default.replication.factor",
    "leader.imbalance.check.interval.seconds",
    "min.insync.replicas",
    "num.partitions",
    "unclean.leader.election.enable",
];

/// A setting that a controller does not take: a usage error.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// Nobody would.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Brokers would.
    #[error("configuration {key} is the brokers' and not the controller's, which acts on {}", KEYS.join(", "))]
    OfBrokers {
        /// The key.
        key: String,
    },
}

/// The configuration that the options make.
///
/// # Errors
/// [`ConfigureError`] for a setting that is not taken.
pub fn configure(options: &ControllerOptions) -> Result<ClusterDefaults, ConfigureError> {
    let config = BrokerConfig::from_settings(options.settings())?;
    match options.settings().find(|(key, _)| !KEYS.contains(key)) {
        Some((key, _)) => Err(ConfigureError::OfBrokers { key: key.to_owned() }),
        None => Ok(config.cluster_defaults()),
    }
}

/// Serves until SIGTERM, SIGINT or Ctrl-C.
///
/// # Errors
/// A sentence about what kept it from starting, or why it could not go on.
pub async fn run(options: ControllerOptions, defaults: ClusterDefaults) -> anyhow::Result<()> {
    let mut signals = StopSignals::catch()?;
    let listen = &options.listen;
    let bound = TcpListener::bind((listen.host.as_str(), listen.port)).await.and_then(with_address);
    let (listener, address) = bound.with_context(|| {
        format!("cannot listen on {listen} for brokers; choose another address with --listen")
    })?;
    anyhow::ensure!(
        address.ip().is_loopback() || options.controller_token_file.is_some(),
        "--listen {listen} can be reached from other machines, so brokers have to show a token: name the file that holds \
         it with --controller-token-file, or listen on a loopback address"
    );
    let admin = AdminServer::bind(&options.admin).await?;
    let admin_address = admin.local_address().context("cannot tell the address of --admin")?;
    let controller = LocalController::open(&options.data_dir, defaults)?;
    let handle = controller.handle();
    let readiness = Arc::new(Readiness::of_controller());
    let state = AdminState {
        readiness: Arc::clone(&readiness),
        scrape: Arc::new(ControllerScrape::new(handle.clone())),
    };
    let admin = tokio::spawn(admin.serve(state));
    tokio::select! {
        // Answered once the store has been read.
        _ = handle.summary() => readiness.done(Step::StoreRead),
        () = signals.received() => return Ok(()),
    }
    print_banner(&options.data_dir, address, admin_address);
    let doorkeeper = SharedToken { file: options.controller_token_file.clone() };
    let server = GrpcServer::new(Arc::new(handle), Arc::new(doorkeeper));
    let mut serving = tokio::spawn(server.serve(listener));
    let served = tokio::select! {
        () = signals.received() => Ok(()),
        served = &mut serving => served.context("serving brokers failed").and_then(|served| Ok(served?)),
    };
    readiness.stopping();
    // Sessions end, and with them the calls that the port serves.
    controller.shutdown().await;
    serving.abort();
    admin.abort();
    tracing::info!("the controller has stopped");
    served
}

fn with_address(listener: TcpListener) -> io::Result<(TcpListener, SocketAddr)> {
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Says where everything is and what to type next.
fn print_banner(data_dir: &Path, address: SocketAddr, admin: SocketAddr) {
    let version = env!("CARGO_PKG_VERSION");
    let data_dir = data_dir.display();
    node::print(&format!(
        "\
Taffrail {version} controller is listening on {address}
  data    {data_dir}
  admin   http://{admin}/readyz  http://{admin}/metrics

Brokers are started with:
  taffrail broker --id 0 --controller http://{address}

Ctrl-C stops it; brokers go on serving what they have.
"
    ));
}
