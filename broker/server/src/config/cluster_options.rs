//! The options of `taffrail controller` and `taffrail broker`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use taffrail_control::grpc::client::ControllerUrl;

use super::cli::{HostPort, LogFilter, MemoryOption, ParseHostPortError, Settings, parse_advertised};

/// The options of `taffrail controller`.
#[derive(Debug, Clone, Args)]
pub struct ControllerOptions {
    /// Where the cluster's state is kept; made if it is not there
    #[arg(
        long,
        value_name = "DIR",
        env = "TAFFRAIL_DATA_DIR",
        hide_env_values = true,
        default_value = "./taffrail-data/controller"
    )]
    pub data_dir: PathBuf,

    /// Where brokers connect; port 0 takes a free one and prints it
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TAFFRAIL_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:9190"
    )]
    pub listen: HostPort,

    /// Where /livez, /readyz and /metrics are served over HTTP; port 0 takes a free one and prints it
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TAFFRAIL_ADMIN",
        hide_env_values = true,
        default_value = "127.0.0.1:9643"
    )]
    pub admin: HostPort,

    /// The file with the token that brokers have to show; needed unless --listen is a loopback address. It is read again
    /// for each session
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_CONTROLLER_TOKEN_FILE", hide_env_values = true)]
    pub controller_token_file: Option<PathBuf>,

    /// One of the keys below and its value; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE", env = "TAFFRAIL_SET", hide_env_values = true)]
    pub(super) set: Vec<Settings>,

    /// What is logged: error, warn, info, debug or trace, or filters such as info,taffrail_controller=debug
    #[arg(long, value_name = "FILTER", env = "TAFFRAIL_LOG", hide_env_values = true, default_value = "info")]
    pub log_level: LogFilter,
}

impl ControllerOptions {
    /// The settings of all `--set` options, in order.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        Settings::pairs(&self.set)
    }
}

/// The options of `taffrail broker`.
#[derive(Debug, Clone, Args)]
pub struct BrokerOptions {
    /// The broker's id, which no other broker of the cluster has
    #[arg(
        long,
        value_name = "N",
        env = "TAFFRAIL_ID",
        hide_env_values = true,
        value_parser = clap::value_parser!(i32).range(0..)
    )]
    pub id: i32,

    /// Where the controllers are; all are tried at once, and the active one is taken
    #[arg(
        long,
        value_name = "http[s]://HOST:PORT[,…]",
        env = "TAFFRAIL_CONTROLLER",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9190"
    )]
    pub controller: Vec<ControllerUrl>,

    /// A file with such addresses, which hold instead of --controller. It is read again for each session
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_CONTROLLER_ADDRESS_FILE", hide_env_values = true)]
    pub controller_address_file: Option<PathBuf>,

    /// The file with the certificates (PEM) of the authority that signs the controllers' own, for https://. It is read
    /// again for each session
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_CONTROLLER_CA_FILE", hide_env_values = true)]
    pub controller_ca_file: Option<PathBuf>,

    /// The file with the token to show to the controller. It is read again for each session
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_CONTROLLER_TOKEN_FILE", hide_env_values = true)]
    pub controller_token_file: Option<PathBuf>,

    /// Where the logs are kept; made if it is not there. With several directories, best on disks of their own, a new replica
    /// goes where the fewest are, and when a disk fails the others serve on [default: ./taffrail-data/brokers/N]
    #[arg(
        long,
        value_name = "DIR[,…]",
        env = "TAFFRAIL_DATA_DIR",
        hide_env_values = true,
        value_delimiter = ','
    )]
    data_dir: Vec<PathBuf>,

    /// Where clients and other brokers connect: one or several listeners, each with a name of its own. Without a name it
    /// is PLAINTEXT; port 0 takes a free one and prints it
    #[arg(
        long,
        value_name = "NAME://HOST:PORT[,…]",
        env = "TAFFRAIL_LISTEN",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "PLAINTEXT://127.0.0.1:9092"
    )]
    pub listen: Vec<ListenerAddress>,

    /// The addresses that clients are told to connect to, by listener [default: those of --listen]
    #[arg(
        long,
        value_name = "NAME://HOST:PORT[,…]",
        env = "TAFFRAIL_ADVERTISE",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = parse_advertised_listener
    )]
    pub advertise: Vec<ListenerAddress>,

    /// The failure domain; replicas of a partition are spread over failure domains (broker.rack)
    #[arg(long, value_name = "RACK", env = "TAFFRAIL_RACK", hide_env_values = true)]
    pub rack: Option<String>,

    /// Where /livez, /readyz and /metrics are served over HTTP; port 0 takes a free one and prints it
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TAFFRAIL_ADMIN",
        hide_env_values = true,
        default_value = "127.0.0.1:9644"
    )]
    pub admin: HostPort,

    /// A YAML file of Kafka broker configuration keys and their values; --set comes after it
    #[arg(long, value_name = "FILE", env = "TAFFRAIL_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// A Kafka broker configuration key and its value; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE", env = "TAFFRAIL_SET", hide_env_values = true)]
    pub(super) set: Vec<Settings>,

    /// How much memory the broker stays within.
    #[command(flatten)]
    pub memory: MemoryOption,

    /// What is logged: error, warn, info, debug or trace, or filters such as info,taffrail_log=debug
    #[arg(long, value_name = "FILTER", env = "TAFFRAIL_LOG", hide_env_values = true, default_value = "info")]
    pub log_level: LogFilter,
}

impl BrokerOptions {
    /// The settings of all `--set` options, in order.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        Settings::pairs(&self.set)
    }

    /// Where the logs are kept.
    pub fn data_dirs(&self) -> Vec<PathBuf> {
        if self.data_dir.is_empty() {
            return vec![PathBuf::from("./taffrail-data/brokers").join(self.id.to_string())];
        }
        self.data_dir.clone()
    }
}

/// The name of a listener that is given without one.
pub const DEFAULT_LISTENER: &str = "PLAINTEXT";

/// Where one listener is: `NAME://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerAddress {
    /// The listener's name.
    pub name: String,
    /// Where it listens, or what clients are told.
    pub address: HostPort,
}

/// The text is not `NAME://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseListenerError {
    /// What stands before `://` is not a name.
    #[error("{0:?} is not a listener's name; expected letters, digits, '-', '_' and '.', such as PLAINTEXT")]
    Name(String),
    /// What the name stands for in Apache Kafka is not there yet.
    #[error(
        "listener {0} would speak TLS or ask clients to sign in, which is not there yet; use another name"
    )]
    NotYet(String),
    /// What stands behind it is not an address.
    #[error(transparent)]
    Address(#[from] ParseHostPortError),
}

impl FromStr for ListenerAddress {
    type Err = ParseListenerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, address) = text.trim().split_once("://").unwrap_or((DEFAULT_LISTENER, text));
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 249 || !name.chars().all(in_name) {
            return Err(ParseListenerError::Name(name.to_owned()));
        }
        // Apache Kafka takes these names for the security protocols that they are.
        if ["SSL", "SASL_SSL", "SASL_PLAINTEXT"].contains(&name.to_ascii_uppercase().as_str()) {
            return Err(ParseListenerError::NotYet(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), address: address.parse()? })
    }
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.address)
    }
}

fn parse_advertised_listener(text: &str) -> Result<ListenerAddress, ParseListenerError> {
    let listener: ListenerAddress = text.parse()?;
    let address = parse_advertised(&listener.address.to_string())?;
    Ok(ListenerAddress { address, ..listener })
}

#[cfg(test)]
mod tests {
    use super::super::cli::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn broker(arguments: &[&str]) -> Result<BrokerOptions, clap::Error> {
        let all = ["taffrail", "broker"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Command::Broker(options) => Ok(*options),
            _ => unreachable!("broker was asked for"),
        }
    }

    fn refusal(arguments: &[&str]) -> String {
        let error = broker(&[&["--id", "1"], arguments].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string().lines().next().unwrap().to_owned()
    }

    #[test]
    fn a_broker_needs_an_id_and_the_rest_has_defaults_that_work_on_a_laptop() {
        assert!(broker(&[]).unwrap_err().to_string().contains("--id <N>"));
        let options = broker(&["--id", "7"]).unwrap();
        assert_eq!(options.data_dirs(), [PathBuf::from("./taffrail-data/brokers/7")]);
        let several = broker(&["--id", "7", "--data-dir", "/disk1,/disk2"]).unwrap();
        assert_eq!(several.data_dirs(), [PathBuf::from("/disk1"), PathBuf::from("/disk2")]);
        assert_eq!(options.listen[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
        assert_eq!(options.controller[0].to_string(), "http://127.0.0.1:9190");
        let Command::Controller(options) = Cli::try_parse_from(["taffrail", "controller"]).unwrap().command
        else {
            unreachable!("controller was asked for")
        };
        assert_eq!(options.listen.to_string(), "127.0.0.1:9190");
        assert_eq!(options.data_dir, PathBuf::from("./taffrail-data/controller"));
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let options = broker(&[
            "--id=1",
            "--controller=http://a:1,http://b:2",
            "--listen=CLIENTS://0.0.0.0:9092,PEERS://10.0.0.1:9093",
            "--advertise=CLIENTS://kafka.example:9092",
        ]);
        let options = options.unwrap();
        assert_eq!(options.controller.len(), 2);
        let names: Vec<_> = options.listen.iter().map(|listener| listener.name.as_str()).collect();
        assert_eq!(names, ["CLIENTS", "PEERS"]);
        assert_eq!(options.advertise[0].address.host, "kafka.example");
    }

    #[test]
    fn errors_name_the_option_the_value_and_what_would_be_accepted() {
        assert_eq!(
            refusal(&["--controller", "localhost:9190"]),
            "error: invalid value 'localhost:9190' for '--controller <http[s]://HOST:PORT[,…]>': \"localhost:9190\" is not a \
             controller's address; expected http://HOST:PORT, such as http://127.0.0.1:9190, or https:// where it speaks TLS"
        );
        assert_eq!(
            refusal(&["--listen", "SSL://127.0.0.1:9092"]),
            "error: invalid value 'SSL://127.0.0.1:9092' for '--listen <NAME://HOST:PORT[,…]>': listener SSL would speak \
             TLS or ask clients to sign in, which is not there yet; use another name"
        );
        assert!(refusal(&["--listen", "A B://127.0.0.1:1"]).contains("is not a listener's name"));
        assert!(refusal(&["--advertise", "PLAINTEXT://0.0.0.0:9092"]).contains("clients cannot connect to"));
        assert!(broker(&["--id", "-1"]).is_err());
    }
}
