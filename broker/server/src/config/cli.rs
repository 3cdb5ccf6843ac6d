//! The command line of `taffrail`: what can be asked for, its help, and its errors.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use super::cluster_options::{BrokerOptions, ControllerOptions};
use super::log_options::LogCommand;
use super::memory;
use super::size::ByteSize;

/// More brokers are of no use in one process.
const MOST_BROKERS: i64 = 99;
/// The least that a broker can be made to live in.
const SMALLEST_MEMORY: ByteSize = ByteSize(16 << 20);

/// What `--set` takes, in the help of the commands that serve brokers.
macro_rules! broker_settings {
    () => {
        "\
Settings are Kafka's broker configuration keys with Kafka's meanings, and Kafka's defaults but for \
broker.session.timeout.ms (3000) and broker.heartbeat.interval.ms (500). One that Taffrail does not act on yet is refused \
unless its value is the default. One key is not Kafka's: log.stray.retention.ms (604800000), for how long the log of a \
partition that was moved to other brokers is kept aside. From the environment, TAFFRAIL_SET takes one KEY=VALUE per line.

"
    };
}

/// How the commands that serve end.
macro_rules! exit_status {
    () => {
        "Exit status: 0 after a clean stop, 1 after a failure, 2 for options or settings that are not valid."
    };
}

/// What was asked for on the command line. Usage errors exit with 2, before anything is done.
#[derive(Debug, Parser)]
#[command(
    name = "taffrail",
    version,
    about = "A replicated commit log that speaks the Apache Kafka protocol",
    after_help = "\
Start here:
  taffrail dev
  echo hello | kcat -b 127.0.0.1:9092 -t greetings -P
  kcat -b 127.0.0.1:9092 -t greetings -C -e
  taffrail dev --brokers 3",
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// What `taffrail` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a whole cluster from this one process
    #[command(
        long_about = "\
Serve a whole cluster from this one process: a controller and one broker or several, over a directory.

Any Kafka client can connect to the address given by --listen. With --brokers 3 there are three brokers on ports that \
follow one another, and every topic is kept on all three of them unless its maker says otherwise. Everything is kept in the data directory and is there \
again after a restart, also of a process that was killed; delete the directory to begin anew. Ctrl-C or SIGTERM stops \
cleanly.",
        after_long_help = concat!(
            "\
Examples:
  A cluster on the usual port, kept in ./taffrail-data:
      taffrail dev

  Three brokers, on ports 9092, 9093 and 9094. From three on, default.replication.factor and
  offsets.topic.replication.factor are 3 and min.insync.replicas is 2, unless --set says otherwise:
      taffrail dev --brokers 3

  Reachable from other machines, which have to be told a name that they can resolve:
      taffrail dev --listen 0.0.0.0:9092 --advertise kafka.example.org:9092

  For a test: any free port, which is printed, and no wait before a new group starts:
      taffrail dev --listen 127.0.0.1:0 --admin 127.0.0.1:0 --data-dir \"$(mktemp -d)\" \\
          --set group.initial.rebalance.delay.ms=0

  Topics of twelve partitions unless their maker says otherwise, in small segments:
      taffrail dev --set num.partitions=12 --set log.segment.bytes=1048576

",
            broker_settings!(),
            exit_status!()
        )
    )]
    Dev(DevOptions),
    /// Serve the controller of a cluster
    #[command(
        long_about = "\
Serve the controller of a cluster whose brokers are processes of their own: it decides which broker leads and holds which \
partition, and keeps that in a file. While it is away, brokers go on serving what they have; what needs a decision waits.",
        after_long_help = concat!(
            "\
Settings that the controller acts on, with Kafka's meanings; all others are the brokers':
  auto.leader.rebalance.enable, broker.session.timeout.ms, default.replication.factor,
  leader.imbalance.check.interval.seconds, min.insync.replicas, num.partitions,
  unclean.leader.election.enable
Defaults are Kafka's too, but for broker.session.timeout.ms (3000): a broker that dies silently is missed sooner.

Examples:
  For brokers on this machine:
      taffrail controller

  For brokers on other machines, which have to show a token; three replicas unless a topic's maker says otherwise:
      taffrail controller --listen 0.0.0.0:9190 --controller-token-file /etc/taffrail/token \\
          --set default.replication.factor=3 --set min.insync.replicas=2

",
            exit_status!()
        )
    )]
    Controller(ControllerOptions),
    /// Serve one broker of a cluster
    #[command(
        long_about = "\
Serve one broker of a cluster that a controller (taffrail controller) decides for. The broker waits for the controller at \
its first start, and goes on serving what it has whenever the controller is away later on.",
        after_long_help = concat!(
            "\
Examples:
  A cluster of three brokers on a laptop, each command in a terminal of its own:
      taffrail controller --set default.replication.factor=3 --set min.insync.replicas=2
      taffrail broker --id 0 --listen 127.0.0.1:9092 --admin 127.0.0.1:9644
      taffrail broker --id 1 --listen 127.0.0.1:9093 --admin 127.0.0.1:9645
      taffrail broker --id 2 --listen 127.0.0.1:9094 --admin 127.0.0.1:9646

  A listener for clients and another for the other brokers:
      taffrail broker --id 0 --controller http://10.0.0.9:9190 \\
          --controller-token-file /etc/taffrail/token \\
          --listen CLIENTS://0.0.0.0:9092,PEERS://10.0.0.1:9093 \\
          --advertise CLIENTS://kafka.example.org:9092 --set inter.broker.listener.name=PEERS

",
            broker_settings!(),
            exit_status!()
        )
    )]
    Broker(Box<BrokerOptions>),
    /// Print what is in files of a Kafka log directory
    #[command(
        long_about = "\
Print what is in files of a Kafka log directory, written by Taffrail or by Apache Kafka. The files are only read.

The name's ending says what a file is: .log (record batches and records), .index, .timeindex, .txnindex or .snapshot.",
        after_long_help = "\
Examples:
  taffrail dump-log taffrail-data/brokers/0/greetings-0/00000000000000000000.log
  taffrail dump-log --json taffrail-data/brokers/0/greetings-0/*.log | jq .offset

Exit status: 0 if all files are sound, 1 if one cannot be read or is damaged, 2 for options that are not valid."
    )]
    DumpLog(DumpLogOptions),
    /// Check, list and mend the logs in a data directory
    #[command(
        subcommand,
        long_about = "\
Check, list and mend the logs in a data directory, for the person who looks after a broker. All of it works on the files \
themselves and needs no running broker."
    )]
    Log(LogCommand),
}

/// The options of `taffrail dev`.
#[derive(Debug, Clone, Args)]
pub struct DevOptions {
    /// Where everything is kept; made if it is not there
    #[arg(
        long,
        value_name = "DIR",
        env = "TAFFRAIL_DATA_DIR",
        hide_env_values = true,
        default_value = "./taffrail-data"
    )]
    pub data_dir: PathBuf,

    /// How many brokers there are; each further one has the ports after those of --listen, --admin and --advertise
    #[arg(
        long,
        value_name = "N",
        env = "TAFFRAIL_BROKERS",
        hide_env_values = true,
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=MOST_BROKERS)
    )]
    pub brokers: u16,

    /// Where clients connect; port 0 takes a free one and prints it
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TAFFRAIL_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:9092"
    )]
    pub listen: HostPort,

    /// Where /livez, /readyz and /metrics are served over HTTP; port 0 takes a free one and prints it
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TAFFRAIL_ADMIN",
        hide_env_values = true,
        default_value = "127.0.0.1:9644"
    )]
    pub admin: HostPort,

    /// The address that clients are told to connect to [default: the one of --listen]
    #[arg(long, value_name = "HOST:PORT", env = "TAFFRAIL_ADVERTISE", hide_env_values = true, value_parser = parse_advertised)]
    pub advertise: Option<HostPort>,

    /// A Kafka broker configuration key and its value; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE", env = "TAFFRAIL_SET", hide_env_values = true)]
    set: Vec<Settings>,

    /// How much memory all brokers together stay within.
    #[command(flatten)]
    memory: MemoryOption,

    /// What is logged: error, warn, info, debug or trace, or filters such as info,taffrail_log=debug
    #[arg(long, value_name = "FILTER", env = "TAFFRAIL_LOG", hide_env_values = true, default_value = "info")]
    pub log_level: LogFilter,
}

impl DevOptions {
    /// The settings of all `--set` options, in order.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        Settings::pairs(&self.set)
    }

    /// The bytes of memory to stay within: `--memory` or its default.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.bytes()
    }
}

/// The option `--memory`.
#[derive(Debug, Clone, Args)]
pub struct MemoryOption {
    /// Memory for the whole process to stay within, such as 512MiB [default: half of the cgroup's limit, or of the
    /// machine's memory]
    #[arg(long, value_name = "SIZE", env = "TAFFRAIL_MEMORY", hide_env_values = true, value_parser = parse_memory)]
    memory: Option<ByteSize>,
}

impl MemoryOption {
    /// The bytes of memory to stay within: `--memory` or its default.
    pub fn bytes(&self) -> u64 {
        match self.memory {
            Some(ByteSize(bytes)) => bytes,
            None => memory::default_budget_bytes().max(SMALLEST_MEMORY.0),
        }
    }
}

/// The options of `taffrail dump-log`.
#[derive(Debug, Clone, Args)]
pub struct DumpLogOptions {
    /// Files to print
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port; 0 lets the operating system choose one.
    pub port: u16,
}

/// The text is not `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseHostPortError {
    /// There is no colon.
    #[error("the port is missing; expected HOST:PORT, such as 127.0.0.1:9092")]
    NoPort,
    /// What follows the colon is not a port.
    #[error("{0:?} is not a port; expected a number from 0 to 65535 after the last colon")]
    BadPort(String),
    /// What stands before the colon is not a host.
    #[error(
        "{0:?} is not a host; expected a name, an IPv4 address or an IPv6 address in brackets, such as [::1]:9092"
    )]
    BadHost(String),
    /// Clients cannot be told this address.
    #[error(
        "clients cannot connect to {0}; expected a HOST:PORT that they can reach, such as localhost:9092"
    )]
    NotReachable(String),
}

impl FromStr for HostPort {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.trim().rsplit_once(':').ok_or(ParseHostPortError::NoPort)?;
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|_| is_number)
            .ok_or_else(|| ParseHostPortError::BadPort(port.into()))?;
        let bad_host = || ParseHostPortError::BadHost(host.to_owned());
        let host = match host.strip_prefix('[') {
            Some(bracketed) => {
                let address = bracketed.strip_suffix(']').ok_or_else(bad_host)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host())?;
                address
            }
            None => host,
        };
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // Kafka's protocol has room for names of 255 bytes, as DNS has.
        let is_name = !host.is_empty() && host.len() <= 255 && host.chars().all(in_name);
        if is_name || host.contains(':') && text.trim().starts_with('[') {
            Ok(Self { host: host.to_owned(), port })
        } else {
            Err(bad_host())
        }
    }
}

impl HostPort {
    /// The address for the broker of this number: its port is so many after the first. Port 0 is one for each anyway.
    ///
    /// # Errors
    /// If there is no such port.
    pub fn nth(&self, number: u16) -> Result<Self, ParseHostPortError> {
        let port = match self.port {
            0 => Some(0),
            port => port.checked_add(number),
        };
        let bad = || ParseHostPortError::BadPort((u32::from(self.port) + u32::from(number)).to_string());
        Ok(Self { host: self.host.clone(), port: port.ok_or_else(bad)? })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An address that clients can be told.
pub(super) fn parse_advertised(text: &str) -> Result<HostPort, ParseHostPortError> {
    let address: HostPort = text.parse()?;
    let unspecified = address.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    if unspecified || address.port == 0 {
        return Err(ParseHostPortError::NotReachable(address.to_string()));
    }
    Ok(address)
}

fn parse_memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error: super::size::ParseByteSizeError| error.to_string())?;
    if size < SMALLEST_MEMORY {
        return Err(format!("a broker needs at least {SMALLEST_MEMORY}"));
    }
    Ok(size)
}

/// `KEY=VALUE`, or several of them on a line each, as an environment variable holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings(Vec<(String, String)>);

impl Settings {
    /// The settings of several options, in order.
    pub(super) fn pairs(all: &[Self]) -> impl Iterator<Item = (&str, &str)> {
        all.iter().flat_map(|settings| &settings.0).map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl FromStr for Settings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let settings: Result<Vec<_>, _> = lines
            .map(|line| match line.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    Ok((key.trim().to_owned(), value.trim().to_owned()))
                }
                _ => Err("expected KEY=VALUE, such as num.partitions=3".to_owned()),
            })
            .collect();
        settings.map(Self)
    }
}

/// What is logged, as `tracing-subscriber` writes it: a level, or `target=level` pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter's text, which was checked.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A bare word that is no level would be taken for a target's name, and everything else be silenced.
        let known_words = text.split(',').all(|part| {
            part.contains(['=', '[', ':', '_'])
                || part.trim().parse::<tracing::level_filters::LevelFilter>().is_ok()
        });
        let filter = tracing_subscriber::EnvFilter::builder().parse(text);
        match filter {
            Ok(_) if known_words && !text.trim().is_empty() => Ok(Self(text.trim().to_owned())),
            _ => Err(
                "expected off, error, warn, info, debug or trace, or filters such as info,taffrail_log=debug"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn dev(arguments: &[&str]) -> Result<DevOptions, clap::Error> {
        let all = ["taffrail", "dev"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Command::Dev(options) => Ok(options),
            _ => unreachable!("dev was asked for"),
        }
    }

    /// The first line of the message that `arguments` are refused with.
    fn refusal(arguments: &[&str]) -> String {
        let error = dev(arguments).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string().lines().next().unwrap().to_owned()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_a_default_that_works_on_a_laptop() {
        let options = dev(&[]).unwrap();
        assert_eq!(options.data_dir, PathBuf::from("./taffrail-data"));
        assert_eq!(options.listen.to_string(), "127.0.0.1:9092");
        assert_eq!(options.admin.to_string(), "127.0.0.1:9644");
        assert_eq!(options.advertise, None);
        assert_eq!(options.settings().count(), 0);
        assert!(options.memory_bytes() >= SMALLEST_MEMORY.0);
        assert_eq!(options.log_level.as_str(), "info");
    }

    #[test]
    fn settings_keep_their_order_and_may_come_by_lines() {
        let options = dev(&["--set", "a=1", "--set", "b = x=y\nc=\n\n"]).unwrap();
        assert_eq!(options.settings().collect::<Vec<_>>(), [("a", "1"), ("b", "x=y"), ("c", "")]);
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        let read = |text: &str| text.parse::<HostPort>().map(|address| (address.host, address.port));
        assert_eq!(read("localhost:0"), Ok(("localhost".to_owned(), 0)));
        assert_eq!(read("[::1]:9092"), Ok(("::1".to_owned(), 9092)));
        assert_eq!("[::1]:9092".parse::<HostPort>().unwrap().to_string(), "[::1]:9092");
        for bad in [
            "9092",
            "::1:9092",
            ":9092",
            "host:",
            "host:+1",
            "host:65536",
            "a b:1",
            "[::1:9",
            "[x]:9",
            "[a.b]:9",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_the_option_the_value_and_what_would_be_accepted() {
        assert_eq!(
            refusal(&["--listen", "9092"]),
            "error: invalid value '9092' for '--listen <HOST:PORT>': \
             the port is missing; expected HOST:PORT, such as 127.0.0.1:9092"
        );
        assert_eq!(
            refusal(&["--listen", "localhost:http"]),
            "error: invalid value 'localhost:http' for '--listen <HOST:PORT>': \
             \"http\" is not a port; expected a number from 0 to 65535 after the last colon"
        );
        assert_eq!(
            refusal(&["--advertise", "0.0.0.0:9092"]),
            "error: invalid value '0.0.0.0:9092' for '--advertise <HOST:PORT>': \
             clients cannot connect to 0.0.0.0:9092; expected a HOST:PORT that they can reach, such as localhost:9092"
        );
        assert_eq!(
            refusal(&["--set", "num.partitions"]),
            "error: invalid value 'num.partitions' for '--set <KEY=VALUE>': \
             expected KEY=VALUE, such as num.partitions=3"
        );
        assert_eq!(
            refusal(&["--memory", "1MiB"]),
            "error: invalid value '1MiB' for '--memory <SIZE>': a broker needs at least 16MiB"
        );
        assert_eq!(
            refusal(&["--memory", "lots"]),
            "error: invalid value 'lots' for '--memory <SIZE>': expected a number of bytes with an optional unit of \
             KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as 512MiB"
        );
        assert_eq!(
            refusal(&["--log-level", "loud"]),
            "error: invalid value 'loud' for '--log-level <FILTER>': \
             expected off, error, warn, info, debug or trace, or filters such as info,taffrail_log=debug"
        );
    }

    #[test]
    fn log_filters_are_levels_or_targets_with_levels() {
        for good in ["debug", "off", "info,taffrail_log=debug", "taffrail_server=trace"] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for bad in ["", "verbose", "info,loud", "a=b=c"] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_option_or_subcommand_is_refused_with_the_nearest() {
        let error = dev(&["--data-dri", "x"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument);
        assert!(error.to_string().contains("'--data-dir'"), "{error}");
        let error = Cli::try_parse_from(["taffrail", "dumplog"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
        assert!(error.to_string().contains("'dump-log'"), "{error}");
        assert_eq!(Cli::try_parse_from(["taffrail", "dump-log"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn help_shows_examples_and_every_variable() {
        let error = Cli::try_parse_from(["taffrail", "dev", "--help"]).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::DisplayHelp, 0));
        let help = error.to_string();
        let variables = ["BROKERS", "DATA_DIR", "LISTEN", "ADMIN", "ADVERTISE", "SET", "MEMORY", "LOG"];
        for variable in variables {
            assert!(help.contains(&format!("TAFFRAIL_{variable}")), "{variable}: {help}");
        }
        assert!(help.contains("--set group.initial.rebalance.delay.ms=0"), "{help}");
    }
}
