//! The two brokers under test as child processes: how each is started, found and stopped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::kafka_cluster;
use crate::process::{Process, Processes};

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

/// A broker, or several that make a cluster, accepting connections.
pub struct Broker {
    /// The program's name.
    pub name: &'static str,
    /// The addresses for clients.
    pub bootstrap: String,
    /// Its processes.
    pub processes: Processes,
    /// The moment its program was started.
    pub started: Instant,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Replicas of each partition: as many as there are brokers.
    pub replicas: i32,
}

impl Broker {
    /// Starts `count` brokers of `program` on `dir`, which may hold data of an earlier run, and waits until they accept
    /// connections.
    pub fn start(program: &Program, dir: &Path, count: u16) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let started = Instant::now();
        let (processes, addresses) = match (program, count) {
            (Program::Taffrail { binary, set }, 1) => start_taffrail_dev(binary, set, dir)?,
            (Program::Taffrail { binary, set }, _) => start_taffrail_cluster(binary, set, dir, count)?,
            (Program::Kafka { scripts }, 1) => start_kafka(scripts, dir)?,
            (Program::Kafka { scripts }, _) => kafka_cluster::start(scripts, dir, count)?,
        };
        Ok(Self {
            name: program.name(),
            bootstrap: addresses.join(","),
            processes: Processes::new(processes),
            started,
            data_dir: dir.to_owned(),
            replicas: i32::from(count),
        })
    }
}

/// Processes and the addresses for clients.
type Started = (Vec<Process>, Vec<String>);

fn start_taffrail_dev(binary: &Path, set: &[String], dir: &Path) -> Result<Started> {
    let mut command = Command::new(binary);
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(dir.join("data"));
    let (process, address) = start_taffrail(command, set, &dir.join("stderr.log"))?;
    Ok((vec![process], vec![address]))
}

/// A controller and `count` brokers, each a process of its own.
fn start_taffrail_cluster(binary: &Path, set: &[String], dir: &Path, count: u16) -> Result<Started> {
    let mut command = Command::new(binary);
    command
        .args(["controller", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(dir.join("controller"));
    let in_sync = [format!("min.insync.replicas={}", in_sync(count))];
    let (controller, address) = start_taffrail(command, &in_sync, &dir.join("controller.log"))?;
    let (mut processes, mut addresses) = (vec![controller], Vec::new());
    for id in 0..count {
        let mut command = Command::new(binary);
        command
            .args(["broker", "--id", &id.to_string(), "--controller", &format!("http://{address}")])
            .args(["--listen", "PLAINTEXT://127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
            .arg(dir.join(format!("broker-{id}")));
        let (process, address) = start_taffrail(command, set, &dir.join(format!("broker-{id}.log")))?;
        processes.push(process);
        addresses.push(address);
    }
    Ok((processes, addresses))
}

/// `min.insync.replicas` for that many replicas: all but one.
pub fn in_sync(count: u16) -> u16 {
    count.saturating_sub(1).max(1)
}

/// Starts one process and waits for the address that it prints.
fn start_taffrail(mut command: Command, set: &[String], log: &Path) -> Result<(Process, String)> {
    for key_value in set {
        command.args(["--set", key_value]);
    }
    let stderr = File::options().create(true).append(true).open(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
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
    let address = receiver
        .recv_timeout(START_LIMIT)
        .with_context(|| format!("taffrail printed no listening address; see {}", log.display()))?;
    Ok((process, address))
}

fn start_kafka(scripts: &Path, dir: &Path) -> Result<Started> {
    let port = free_ports(2)?;
    let log = File::options().create(true).append(true).open(dir.join("server.log"))?;
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
    let address = format!("127.0.0.1:{port}");
    await_listening(&mut process, &address, &dir.join("server.log"))?;
    Ok((vec![process], vec![address]))
}

/// Waits until something accepts connections at `address`.
pub fn await_listening(process: &mut Process, address: &str, log: &Path) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.ended()? {
            bail!("Kafka ended with {status}; see {}", log.display());
        }
        if begun.elapsed() > START_LIMIT {
            bail!("Kafka did not listen within {START_LIMIT:?}; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The address in a line of the start banner that says where clients connect.
fn listening_address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let address = rest.split_ascii_whitespace().next()?.trim_end_matches([',', '.', ';']);
    address.rsplit_once(':')?.1.parse::<u16>().ok()?;
    Some(address.to_owned())
}

/// The first of `count` neighbouring ports that are free.
pub fn free_ports(count: u16) -> Result<u16> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?;
        let port = first.local_addr()?.port();
        let is_free = |offset| {
            port.checked_add(offset).is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        };
        if (1..count).all(is_free) {
            return Ok(port);
        }
    }
    bail!("found no {count} neighbouring free ports")
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
