//! `taffrail dev`: a whole cluster in one process. The controller runs over a local file, the brokers beside it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use taffrail_control::broker_config::ConfigError;
use taffrail_control::session::Endpoint;
use taffrail_controller_service::LocalController;
use taffrail_log::{FileStorage, inspect};
use tokio::task::JoinSet;

use crate::admin::{AdminServer, Readiness};
use crate::config::cli::{DevOptions, HostPort};
use crate::config::cluster_options::DEFAULT_LISTENER;
use crate::config::{BrokerConfig, dev_settings};
use crate::controller_address::ControllerAddress;
use crate::lifecycle::{BrokerListener, BrokerSetup, StartError};
use crate::metrics::Metrics;
use crate::node::{self, Node, StopSignals};

/// Where in the data directory the controller's file is.
const CONTROLLER_DIR: &str = "controller";
/// Where in the data directory each broker has a directory, named by its id, for its logs.
const BROKERS_DIR: &str = "brokers";

/// The configuration that the options make, for each of the brokers.
///
/// # Errors
/// [`ConfigError`] for a setting that is not taken: a usage error.
pub fn configure(options: &DevOptions) -> Result<BrokerConfig, ConfigError> {
    let defaults = dev_settings(options.brokers);
    let defaults = defaults.iter().map(|(key, value)| (*key, value.as_str()));
    let mut config = BrokerConfig::from_settings(defaults.chain(options.settings()))?;
    config.fit_into_and_tell(options.memory_bytes() / u64::from(options.brokers));
    Ok(config)
}

/// Serves until SIGTERM, SIGINT or Ctrl-C.
///
/// # Errors
/// A sentence about what kept it from starting, or why it could not go on.
pub async fn run(options: DevOptions, config: BrokerConfig) -> anyhow::Result<()> {
    let mut signals = StopSignals::catch()?;
    inspect(&FileStorage::default(), &options.data_dir)?;
    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("cannot make the data directory {}", options.data_dir.display()))?;
    let mut bound = Vec::new();
    for id in 0..options.brokers {
        bound.push(Bound::bind(&options, id).await?);
    }
    let controller =
        LocalController::open(&options.data_dir.join(CONTROLLER_DIR), config.cluster_defaults())?;
    let address = ControllerAddress::in_process(controller.handle());
    let addresses: Vec<_> = bound.iter().map(Addresses::of).collect();
    let plans = bound.into_iter().map(|bound| bound.plan(&options, config.clone(), address.clone()));
    let started = tokio::select! {
        started = start_all(plans.collect()) => started,
        () = signals.received() => return Ok(()),
    };
    let nodes = started?;
    print_banner(&options.data_dir, &addresses);
    let refused = tokio::select! {
        () = signals.received() => None,
        refused = first_refused(&nodes) => Some(refused),
    };
    let outcome = match refused {
        None => {
            stop_all(nodes).await;
            Ok(())
        }
        Some(reason) => {
            for node in nodes {
                node.stop_at_once().await;
            }
            Err(reason)
        }
    };
    controller.shutdown().await;
    outcome
}

/// The ports of one broker.
struct Bound {
    id: u16,
    listener: BrokerListener,
    address: SocketAddr,
    admin: AdminServer,
    admin_address: SocketAddr,
}

/// Where one broker is found, for people.
struct Addresses {
    listen: SocketAddr,
    advertised: HostPort,
    admin: SocketAddr,
}

impl Addresses {
    fn of(bound: &Bound) -> Self {
        let Endpoint { host, port, .. } = bound.listener.advertised.clone();
        Self { listen: bound.address, advertised: HostPort { host, port }, admin: bound.admin_address }
    }
}

impl Bound {
    async fn bind(options: &DevOptions, id: u16) -> anyhow::Result<Self> {
        let port_of = |option| format!("there is no port for {option} of broker {id}");
        let listen = options.listen.nth(id).with_context(|| port_of("--listen"))?;
        let advertise = options.advertise.as_ref().map(|address| address.nth(id)).transpose();
        let advertise = advertise.with_context(|| port_of("--advertise"))?;
        let admin = options.admin.nth(id).with_context(|| port_of("--admin"))?;
        let listener = node::listen(DEFAULT_LISTENER, &listen, advertise.as_ref()).await?;
        let address = listener.socket.local_addr().context("cannot tell the address of --listen")?;
        let admin = AdminServer::bind(&admin).await?;
        let admin_address = admin.local_address().context("cannot tell the address of --admin")?;
        Ok(Self { id, listener, address, admin, admin_address })
    }

    fn plan(
        self,
        options: &DevOptions,
        config: BrokerConfig,
        controller: ControllerAddress,
    ) -> (BrokerSetup, AdminServer) {
        let setup = BrokerSetup {
            id: self.id.into(),
            config,
            log_dirs: vec![options.data_dir.join(BROKERS_DIR).join(self.id.to_string())],
            listeners: vec![self.listener],
            peer_address: node::peer_address(self.address, Ipv4Addr::LOCALHOST.into()),
            controller,
            readiness: Arc::new(Readiness::of_broker()),
            metrics: Arc::new(Metrics::new()),
        };
        (setup, self.admin)
    }
}

/// Starts all brokers side by side; they come back in the order of their ids.
async fn start_all(plans: Vec<(BrokerSetup, AdminServer)>) -> Result<Vec<Node>, StartError> {
    // If one cannot start, or a signal comes first, the others are given up where they are.
    let mut starting = JoinSet::new();
    for (setup, admin) in plans {
        starting.spawn(Node::start(setup, admin));
    }
    let mut nodes = Vec::new();
    while let Some(started) = starting.join_next().await {
        // A panic was told of where it happened; the process is of no use without that broker.
        nodes.push(started.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?);
    }
    nodes.sort_unstable_by_key(|node| node.running.broker.id);
    Ok(nodes)
}

/// Completes when the controller does not want one of the brokers any more, with the reason.
async fn first_refused(nodes: &[Node]) -> anyhow::Error {
    let mut refused = JoinSet::new();
    for node in nodes {
        let (id, reason) = (node.running.broker.id, node.running.refused());
        refused.spawn(async move { anyhow::anyhow!("broker {id} has to stop: {}", reason.await) });
    }
    match refused.join_next().await {
        Some(Ok(reason)) => reason,
        _ => std::future::pending().await,
    }
}

/// One broker after the other gives what it leads to those that are left, the last keeps it; then all stop.
async fn stop_all(mut nodes: Vec<Node>) {
    for node in nodes.iter_mut().rev() {
        node.hand_over().await;
    }
    let mut stopping = JoinSet::new();
    for node in nodes {
        stopping.spawn(node.stop());
    }
    while stopping.join_next().await.is_some() {}
}

/// Says where everything is and what to type next.
fn print_banner(data_dir: &Path, addresses: &[Addresses]) {
    let version = env!("CARGO_PKG_VERSION");
    let list = |of: &dyn Fn(&Addresses) -> String, separator: &str| {
        addresses.iter().map(of).collect::<Vec<_>>().join(separator)
    };
    let listening = list(&|at| at.listen.to_string(), ", ");
    let bootstrap = list(&|at| at.advertised.to_string(), ",");
    let admin = list(
        &|Addresses { admin, .. }| format!("http://{admin}/readyz  http://{admin}/metrics"),
        "\n          ",
    );
    let data_dir = data_dir.display();
    let banner = format!(
        "\
Taffrail {version} is listening on {listening}
  data    {data_dir}
  admin   {admin}

Try it from another terminal:
  echo hello | kcat -b {bootstrap} -P -t greetings
  kcat -b {bootstrap} -C -t greetings -e
  kafka-console-consumer.sh --bootstrap-server {bootstrap} --topic greetings --from-beginning

Ctrl-C stops it; the data stays.
"
    );
    node::print(&banner);
}
