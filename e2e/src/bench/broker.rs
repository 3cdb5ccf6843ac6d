//! The two brokers under test as child processes: how each is started, found and stopped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::Process;

/// How long a broker may take until it accepts a connection. A JVM on a loaded machine needs many seconds.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Which broker, and how its program is started.
#[derive(Clone)]
pub enum Program {
    /// The `taffrail` binary, with further `--set` values.
    Taffrail { binary: PathBuf, set: Vec<String> },
    /// Apache Kafka by the directory that holds its `single-node` script.
    Kafka { scripts: PathBuf },
}

impl Program {
    /// The broker's name in tables and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Taffrail { .. } => "taffrail",
            Self::Kafka { .. } => "kafka",
        }
    }
}

/// A broker that accepts connections.
pub struct Broker {
    /// The program's name.
    pub name: &'static str,
    /// Its address for clients.
    pub bootstrap: String,
    /// Its process.
    pub process: Process,
    /// The moment its program was started.
    pub started: Instant,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
}

impl Broker {
    /// Starts `program` on `dir`, which may hold data of an earlier run, and waits until it accepts connections.
    pub fn start(program: &Program, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        match program {
            Program::Taffrail { binary, set } => Self::start_taffrail(binary, set, dir),
            Program::Kafka { scripts } => Self::start_kafka(scripts, dir),
        }
    }

    fn start_taffrail(binary: &Path, set: &[String], dir: &Path) -> Result<Self> {
        let data_dir = dir.join("data");
        let mut command = Command::new(binary);
        command
            .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
            .arg(&data_dir);
        for key_value in set {
            command.args(["--set", key_value]);
        }
        let log = File::options().create(true).append(true).open(dir.join("stderr.log"))?;
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let stdout = child.stdout.take().context("the child has no standard output")?;
        let process = Process::new("taffrail", child);
        let (sender, receiver) = mpsc::channel();
        // The reader stays for as long as the broker prints, so that its pipe never fills.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = listening_address(&line) {
                    let _ = sender.send(address);
                }
            }
        });
        let bootstrap = receiver.recv_timeout(START_LIMIT).with_context(|| {
            format!("taffrail printed no listening address; see {}", dir.join("stderr.log").display())
        })?;
        Ok(Self { name: "taffrail", bootstrap, process, started, data_dir })
    }

    fn start_kafka(scripts: &Path, dir: &Path) -> Result<Self> {
        let port = two_free_ports()?;
        let log = File::options().create(true).append(true).open(dir.join("server.log"))?;
        let started = Instant::now();
        let child = Command::new(scripts.join("single-node"))
            .arg(dir)
            .arg(port.to_string())
            // Deleted topics of a finished run shall not weigh on the next.
            .args(["log.segment.delete.delay.ms=100", "group.initial.rebalance.delay.ms=0"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", scripts.join("single-node").display()))?;
        let mut process = Process::new("kafka", child);
        let bootstrap = format!("127.0.0.1:{port}");
        while TcpStream::connect(&bootstrap).is_err() {
            if let Some(status) = process.ended()? {
                bail!("Kafka ended with {status}; see {}", dir.join("server.log").display());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "Kafka did not listen within {START_LIMIT:?}; see {}",
                    dir.join("server.log").display()
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { name: "kafka", bootstrap, process, started, data_dir: dir.join("data") })
    }
}

/// The address in a line of the start banner that says where clients connect.
fn listening_address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let address = rest.split_ascii_whitespace().next()?.trim_end_matches([',', '.', ';']);
    address.rsplit_once(':')?.1.parse::<u16>().ok()?;
    Some(address.to_owned())
}

/// A port whose successor is free too: Kafka's controller listens there.
fn two_free_ports() -> Result<u16> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?;
        let port = first.local_addr()?.port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
    bail!("found no two neighbouring free ports")
}

#[cfg(test)]
mod tests {
    use super::listening_address;

    #[test]
    fn the_address_is_found_in_the_banner() {
        assert_eq!(listening_address("taffrail: listening on 127.0.0.1:4711"), Some("127.0.0.1:4711".into()));
        assert_eq!(
            listening_address("listening on 127.0.0.1:4711, admin on x"),
            Some("127.0.0.1:4711".into())
        );
        assert_eq!(listening_address("try: kcat -b 127.0.0.1:4711"), None);
    }
}
