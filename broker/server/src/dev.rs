//! `taffrail dev`: a whole cluster in one process. The controller runs over a local file, the broker beside it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use taffrail_control::session::Endpoint;
use taffrail_controller_service::{ClusterDefaults, LocalController};
use taffrail_log::{FileStorage, inspect};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{AdminServer, AdminState, Readiness};
use crate::config::cli::{DevOptions, HostPort};
use crate::config::{BrokerConfig, ConfigError, DEV_SETTINGS};
use crate::lifecycle::{BrokerSetup, LISTENER, RunningBroker};
use crate::metrics::{Metrics, MetricsSource, StartingBroker};

/// The id of the only broker.
const BROKER_ID: i32 = 0;
/// Where in the data directory the controller's file is.
const CONTROLLER_DIR: &str = "controller";
/// Where in the data directory the broker's logs are.
const BROKER_DIR: &str = "brokers/0";

/// The configuration that the options make.
///
/// # Errors
/// [`ConfigError`] for a setting that is not taken: a usage error.
pub fn configure(options: &DevOptions) -> Result<BrokerConfig, ConfigError> {
    let mut config = BrokerConfig::from_settings(DEV_SETTINGS.into_iter().chain(options.settings()))?;
    for lowered in config.fit_into(options.memory_bytes()) {
        tracing::info!(
            "{} is lowered from {} to {} bytes to stay within the memory there is (--memory)",
            lowered.key,
            lowered.from,
            lowered.to
        );
    }
    Ok(config)
}

/// Serves until SIGTERM, SIGINT or Ctrl-C.
///
/// # Errors
/// A sentence about what kept it from starting.
pub async fn run(options: DevOptions, config: BrokerConfig) -> anyhow::Result<()> {
    // Caught from the first moment on: a signal while logs are recovered is a stop too.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    inspect(&FileStorage::default(), &options.data_dir)?;
    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("cannot make the data directory {}", options.data_dir.display()))?;
    let listener = bind(&options.listen).await?;
    let address = listener.local_addr().context("cannot tell the address of --listen")?;
    let admin = AdminServer::bind(&options.admin).await?;
    let admin_address = admin.local_address().context("cannot tell the address of --admin")?;
    let defaults = ClusterDefaults {
        num_partitions: config.num_partitions,
        default_replication_factor: config.default_replication_factor,
        min_insync_replicas: config.topic(&std::collections::BTreeMap::new()).min_insync_replicas,
    };
    let controller = LocalController::open(&options.data_dir.join(CONTROLLER_DIR), defaults)?;
    let (readiness, metrics) = (Arc::new(Readiness::new()), Arc::new(Metrics::new()));
    // Served from before recovery on: a broker that checks its logs for minutes is alive.
    let source = Arc::new(StartingBroker::default());
    let admin = tokio::spawn(admin.serve(AdminState {
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        source: Arc::clone(&source) as Arc<dyn MetricsSource>,
    }));
    let starting = RunningBroker::start(BrokerSetup {
        id: BROKER_ID,
        config,
        log_dir: options.data_dir.join(BROKER_DIR),
        listener,
        advertised: advertised(&options, address),
        session: controller.handle().connect(),
        readiness: Arc::clone(&readiness),
        metrics,
    });
    let running = tokio::select! {
        started = starting => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    source.started(&running.broker);
    print_banner(&options.data_dir, address, admin_address);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
    }
    readiness.stopping();
    running.stop().await;
    controller.shutdown().await;
    admin.abort();
    Ok(())
}

async fn bind(address: &HostPort) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind((address.host.as_str(), address.port)).await;
    bound.with_context(|| {
        format!("cannot listen on {address} for clients; choose another address with --listen")
    })
}

/// What clients are told to connect to.
fn advertised(options: &DevOptions, bound: SocketAddr) -> Endpoint {
    let (host, port) = match &options.advertise {
        Some(address) => (address.host.clone(), address.port),
        // Nobody can connect to "any address"; whoever listens on it on a laptop means this machine.
        None if bound.ip().is_unspecified() => ("localhost".to_owned(), bound.port()),
        None => (options.listen.host.clone(), bound.port()),
    };
    Endpoint { listener: LISTENER.to_owned(), host, port }
}

/// Says where everything is and what to type next. Standard output going away is no reason to stop.
fn print_banner(data_dir: &Path, address: SocketAddr, admin: SocketAddr) {
    let version = env!("CARGO_PKG_VERSION");
    let data_dir = data_dir.display();
    let banner = format!(
        "\
Taffrail {version} is listening on {address}
  data    {data_dir}
  admin   http://{admin}/readyz  http://{admin}/metrics

Try it from another terminal:
  echo hello | kcat -b {address} -P -t greetings
  kcat -b {address} -C -t greetings -e
  kafka-console-consumer.sh --bootstrap-server {address} --topic greetings --from-beginning

Ctrl-C stops it; the data stays.
"
    );
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(banner.as_bytes()).and_then(|()| out.flush());
}
