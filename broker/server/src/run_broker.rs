//! `taffrail broker`: one broker of a cluster whose controller is another process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use taffrail_control::broker_config::ConfigError;
use taffrail_control::grpc::client::{ControllerUrl, RemoteController};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::admin::{AdminServer, Readiness};
use crate::config::BrokerConfig;
use crate::config::cluster_options::{BrokerOptions, ListenerAddress};
use crate::config::file::{self, ConfigFileError};
use crate::controller_address::ControllerAddress;
use crate::lifecycle::{BrokerListener, BrokerSetup};
use crate::metrics::Metrics;
use crate::node::{self, Node, StopSignals};

/// The key that `--rack` is short for.
const RACK: &str = "broker.rack";
/// How long the controller's name may take to be resolved when this machine's own address is looked for.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(2);
/// Keys that do nothing here: the controller decides by its own.
const CONTROLLERS_KEYS: [&str; 4] = [
    "auto.leader.rebalance.enable",
    "default.replication.factor",
    "leader.imbalance.check.interval.seconds",
    "num.partitions",
];

/// Options or settings that are not valid: a usage error.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A setting is not taken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] ConfigFileError),
    /// Two listeners have one name.
    #[error("{option} names listener {name} twice; give each listener a name of its own")]
    Twice {
        /// The option.
        option: &'static str,
        /// The name.
        name: String,
    },
    /// No listener has that name.
    #[error("{what} names listener {name}, and --listen has only {known}")]
    NoListener {
        /// The option or the key.
        what: &'static str,
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
}

/// The configuration that the options make.
///
/// # Errors
/// [`ConfigureError`] says which option or setting is not valid.
pub fn configure(options: &BrokerOptions) -> Result<BrokerConfig, ConfigureError> {
    let from_file = options.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
    let from_file = from_file.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let rack = options.rack.iter().map(|rack| (RACK, rack.as_str()));
    let settings: BTreeMap<&str, &str> = from_file.chain(options.settings()).chain(rack).collect();
    let mut config = BrokerConfig::from_settings(&settings)?;
    for key in CONTROLLERS_KEYS.iter().filter(|key| settings.contains_key(*key)) {
        tracing::warn!(
            "{key} does nothing on a broker: the controller decides by its own (taffrail controller --set)"
        );
    }
    let known = unique("--listen", &options.listen)?;
    let advertised = unique("--advertise", &options.advertise)?;
    let advertised = advertised.into_iter().map(|name| ("--advertise", name));
    let peers = config.inter_broker_listener_name.as_deref().map(|name| ("inter.broker.listener.name", name));
    if let Some((what, name)) = advertised.chain(peers).find(|(_, name)| !known.contains(name)) {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(ConfigureError::NoListener { what, name: name.to_owned(), known });
    }
    config.fit_into_and_tell(options.memory.bytes());
    Ok(config)
}

fn unique<'a>(
    option: &'static str,
    listeners: &'a [ListenerAddress],
) -> Result<BTreeSet<&'a str>, ConfigureError> {
    let mut names = BTreeSet::new();
    match listeners.iter().find(|listener| !names.insert(listener.name.as_str())) {
        Some(listener) => Err(ConfigureError::Twice { option, name: listener.name.clone() }),
        None => Ok(names),
    }
}

/// Serves until SIGTERM, SIGINT or Ctrl-C, or until the controller does not want this broker any more.
///
/// # Errors
/// A sentence about what kept it from starting, or why it could not go on.
pub async fn run(options: BrokerOptions, config: BrokerConfig) -> anyhow::Result<()> {
    let mut signals = StopSignals::catch()?;
    let mut listeners = Vec::new();
    for listener in &options.listen {
        let advertised = options.advertise.iter().find(|advertised| advertised.name == listener.name);
        let advertised = advertised.map(|advertised| &advertised.address);
        listeners.push(node::listen(&listener.name, &listener.address, advertised).await?);
    }
    let admin = AdminServer::bind(&options.admin).await?;
    let admin_address = admin.local_address().context("cannot tell the address of --admin")?;
    let bound = addresses(&listeners)?;
    let controller = RemoteController {
        addresses: options.controller.clone(),
        address_file: options.controller_address_file.clone(),
        ca_file: options.controller_ca_file.clone(),
        token_file: options.controller_token_file.clone(),
    };
    // A file that is not there yet may be when a session is opened.
    let controllers = controller.addresses().unwrap_or_default();
    let peer_address = peer_address(&bound, &config, &controllers).await;
    let data_dirs = options.data_dirs();
    print_banner(&options, &controllers, &data_dirs, &bound, admin_address);
    let setup = BrokerSetup {
        id: options.id,
        config,
        log_dirs: data_dirs,
        listeners,
        peer_address,
        controller: ControllerAddress::Remote(controller),
        readiness: Arc::new(Readiness::of_broker()),
        metrics: Arc::new(Metrics::new()),
    };
    let started = tokio::select! {
        started = Node::start(setup, admin) => started,
        () = signals.received() => return Ok(()),
    };
    let mut node = started?;
    tokio::select! {
        () = signals.received() => {
            node.hand_over().await;
            node.stop().await;
            Ok(())
        }
        refused = node.running.refused() => {
            tracing::error!("broker {} stops, as the controller does not want it any more: {refused}", options.id);
            node.stop_at_once().await;
            Err(refused.into())
        }
    }
}

/// The name and the address of each listener.
fn addresses(listeners: &[BrokerListener]) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let address = |listener: &BrokerListener| {
        let address = listener.socket.local_addr().context("cannot tell the address of --listen")?;
        Ok((listener.advertised.listener.clone(), address))
    };
    listeners.iter().map(address).collect()
}

/// Where other brokers reach this one: at an address, as replication never asks the DNS.
async fn peer_address(
    bound: &[(String, SocketAddr)],
    config: &BrokerConfig,
    controllers: &[ControllerUrl],
) -> SocketAddr {
    let wanted = config.inter_broker_listener_name.as_deref();
    let listener = bound.iter().find(|(name, _)| wanted.is_none_or(|wanted| wanted == name));
    // The configuration was checked: there is such a listener.
    let address = listener.map_or((Ipv4Addr::LOCALHOST, 0).into(), |(_, address)| *address);
    if !address.ip().is_unspecified() {
        return address;
    }
    let own = own_address(controllers).await;
    tracing::info!("other brokers are told to reach this one at {}", SocketAddr::new(own, address.port()));
    node::peer_address(address, own)
}

/// The address of this machine from which it would speak to the controller, else to the outside, else to itself. A UDP
/// socket knows it as soon as it is told whom it will speak to; nothing is sent.
async fn own_address(controllers: &[ControllerUrl]) -> IpAddr {
    let mut towards: Vec<SocketAddr> = Vec::new();
    for url in controllers {
        if let Ok(Ok(found)) = timeout(RESOLVE_PATIENCE, lookup_host((&*url.host, url.port))).await {
            towards.extend(found);
        }
    }
    // Addresses for documentation (RFC 5737, RFC 3849): whatever the default route is, it is taken for them.
    towards.push((Ipv4Addr::new(192, 0, 2, 1), 9).into());
    towards.push((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into());
    for target in towards {
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        if let Ok(socket) = UdpSocket::bind(any).await
            && socket.connect(target).await.is_ok()
            && let Ok(own) = socket.local_addr()
        {
            return own.ip();
        }
    }
    Ipv4Addr::LOCALHOST.into()
}

/// Says where everything is.
fn print_banner(
    options: &BrokerOptions,
    controllers: &[ControllerUrl],
    data_dirs: &[PathBuf],
    bound: &[(String, SocketAddr)],
    admin: SocketAddr,
) {
    let version = env!("CARGO_PKG_VERSION");
    let id = options.id;
    let listening: Vec<_> = bound.iter().map(|(_, address)| address.to_string()).collect();
    let controllers: Vec<_> = controllers.iter().map(ToString::to_string).collect();
    let data_dirs: Vec<_> = data_dirs.iter().map(|dir| dir.display().to_string()).collect();
    node::print(&format!(
        "\
Taffrail {version} broker {id} is listening on {}
  controller  {}
  data        {}
  admin       http://{admin}/readyz  http://{admin}/metrics

It serves once the controller has registered it. Ctrl-C stops it; the data stays.
",
        listening.join(", "),
        controllers.join(", "),
        data_dirs.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::cli::{Cli, Command};

    fn configured(arguments: &[&str]) -> Result<BrokerConfig, String> {
        let all = [&["taffrail", "broker", "--id", "1"], arguments].concat();
        match Cli::try_parse_from(all).unwrap().command {
            Command::Broker(options) => configure(&options).map_err(|error| error.to_string()),
            _ => unreachable!("broker was asked for"),
        }
    }

    #[test]
    fn the_options_come_after_the_file_and_the_listeners_have_to_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.yaml");
        std::fs::write(&path, "broker.rack: a\nmessage.max.bytes: 2000\nfetch.max.bytes: 5000\n").unwrap();
        let file = ["--config", path.to_str().unwrap()];
        let config = configured(&[&file[..], &["--set", "message.max.bytes=3000", "--rack", "b"]].concat());
        let config = config.unwrap();
        assert_eq!(config.broker_rack.as_deref(), Some("b"));
        assert_eq!((config.message_max_bytes, config.fetch_max_bytes), (3000, 5000));
        let refused = |arguments: &[&str]| configured(arguments).unwrap_err();
        assert_eq!(
            refused(&["--listen", "A://h:1,A://h:2"]),
            "--listen names listener A twice; give each listener a name of its own"
        );
        assert_eq!(
            refused(&["--listen", "A://h:1,B://h:2", "--advertise", "C://h:1"]),
            "--advertise names listener C, and --listen has only A, B"
        );
        assert_eq!(
            refused(&["--set", "inter.broker.listener.name=PEERS"]),
            "inter.broker.listener.name names listener PEERS, and --listen has only PLAINTEXT"
        );
    }

    #[tokio::test]
    async fn a_listener_on_every_address_is_reached_at_the_one_that_faces_the_controller() {
        let controllers = ["http://127.0.0.1:9190".parse().unwrap()];
        let bound = |address: &str| vec![("A".to_owned(), address.parse().unwrap())];
        let config = configured(&["--listen", "A://127.0.0.1:1"]).unwrap();
        let told = peer_address(&bound("0.0.0.0:9092"), &config, &controllers).await;
        assert_eq!(told, "127.0.0.1:9092".parse().unwrap());
        let told = peer_address(&bound("10.1.2.3:9092"), &config, &controllers).await;
        assert_eq!(told, "10.1.2.3:9092".parse().unwrap());
    }
}
