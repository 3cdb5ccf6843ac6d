//! A `taffrail dev` process: started, found by its banner, killed, stopped, started again on the same data.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nothing that works takes this long, even on a loaded machine; it only ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker and its data directory. Killed when dropped.
pub struct Broker {
    child: Child,
    dir: Arc<TempDir>,
    /// Where clients connect.
    pub address: String,
    args: Vec<String>,
    log: Arc<Mutex<String>>,
    banner: Arc<Mutex<String>>,
}

impl Broker {
    /// On an empty directory, with groups that start without waiting for further members.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further `--set` values.
    pub fn start_with(settings: &[&str]) -> Self {
        let mut args = vec!["--set".to_owned(), "group.initial.rebalance.delay.ms=0".to_owned()];
        for setting in settings {
            args.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        Self::spawn(Arc::new(TempDir::new().unwrap()), format!("{}:0", own_host()), args)
    }

    /// Several brokers in one process; [`Self::address`] is that of the first.
    pub fn start_brokers(brokers: u32) -> Self {
        let args = vec!["--brokers".to_owned(), brokers.to_string()];
        Self::spawn(Arc::new(TempDir::new().unwrap()), format!("{}:0", own_host()), args)
    }

    fn spawn(dir: Arc<TempDir>, listen: String, args: Vec<String>) -> Self {
        let mut child = taffrail()
            .args(["dev", "--admin", "127.0.0.1:0", "--listen", &listen, "--data-dir"])
            .arg(dir.path().join("data"))
            .args(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (banner, addresses) = collect(child.stdout.take().unwrap());
        let (log, _) = collect(child.stderr.take().unwrap());
        let address = match addresses.recv_timeout(PATIENCE) {
            Ok(address) => address,
            Err(error) => {
                let _ = child.kill();
                panic!("no address in the banner ({error}): {:?}, log: {:?}", text(&banner), text(&log));
            }
        };
        Self { child, dir, address, args, log, banner }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit status must be 0.
    pub fn stop(&mut self) {
        let status = self.signal_and_wait(Signal::TERM);
        assert_eq!(status, Some(0), "after SIGTERM; log: {}", self.log());
    }

    /// Sends `signal` and returns the exit status.
    pub fn signal_and_wait(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Starts again over the same data and at the same address, after [`Self::kill`] or [`Self::stop`].
    pub fn start_again(&mut self) {
        *self = Self::spawn(Arc::clone(&self.dir), self.address.clone(), self.args.clone());
    }

    /// Standard error so far.
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Standard output so far.
    pub fn banner(&self) -> String {
        text(&self.banner)
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where the directories of its partitions are.
    pub fn log_dir(&self) -> PathBuf {
        self.data_dir().join("brokers/0")
    }

    /// Resident memory, in bytes.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Asserts that the process has not ended.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the broker ended with {ended:?}; log: {}", self.log());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the broker at {}:\n{}", self.address, self.log());
        }
    }
}

/// Any process of the binary that serves and prints a banner. Killed when dropped.
pub struct Process {
    child: Child,
    /// Where it listens first.
    pub address: String,
    log: Arc<Mutex<String>>,
    banner: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it and waits for its banner, or its end.
    pub fn start(args: &[&str]) -> Self {
        let mut command = taffrail();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (banner, addresses) = collect(child.stdout.take().unwrap());
        let (log, _) = collect(child.stderr.take().unwrap());
        // There is none if the process ends before.
        let address = match addresses.recv_timeout(PATIENCE) {
            Ok(address) => address,
            Err(RecvTimeoutError::Disconnected) => String::new(),
            Err(RecvTimeoutError::Timeout) => panic!("no banner: {}", text(&log)),
        };
        Self { child, address, log, banner }
    }

    /// `http://…` of its admin port.
    pub fn admin(&self) -> String {
        let mut found = None;
        // The address of the first port comes first; the rest of the banner may still be on its way.
        eventually("the banner names the admin port", || {
            let banner = text(&self.banner);
            let line = banner.lines().find_map(|line| line.trim().strip_prefix("admin ").map(str::to_owned));
            found = line.filter(|_| banner.ends_with('\n'));
            found.is_some()
        });
        found.unwrap().split_ascii_whitespace().next().unwrap().to_owned()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends `signal` and returns the exit status.
    pub fn signal_and_wait(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.wait()
    }

    /// The exit status, once it has ended by itself.
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Standard error so far.
    pub fn log(&self) -> String {
        text(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the process at {:?}:\n{}", self.address, self.log());
        }
    }
}

/// The binary under test, without settings from the environment.
pub fn taffrail() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("TAFFRAIL_")) {
        command.env_remove(key);
    }
    command
}

/// Runs the binary to its end, which must come by itself.
pub fn run(args: &[&str], data_dir: &Path) -> Output {
    let child = taffrail()
        .args(args)
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let (done, ended) = mpsc::channel::<()>();
    // A binary that serves instead of refusing would be waited for without end.
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watch.join().unwrap();
    output
}

/// Looks again and again until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A loopback address that no other broker uses, so that a port freed by a killed broker is taken by nobody before it
/// starts again.
pub fn own_host() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (number, pid) = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
    format!("127.{}.{}.{}", 1 + number % 250, 1 + (pid / 250) % 250, 1 + pid % 250)
}

fn collect(from: impl Read + Send + 'static) -> (Arc<Mutex<String>>, Receiver<String>) {
    let kept = Arc::new(Mutex::new(String::new()));
    let (sender, receiver) = mpsc::channel();
    let into = Arc::clone(&kept);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.lock().unwrap().push_str(&format!("{line}\n"));
            if let Some((_, rest)) = line.split_once("listening on ") {
                let word = rest.split_ascii_whitespace().next().unwrap_or_default();
                let _ = sender.send(word.trim_end_matches([',', '.', ';']).to_owned());
            }
        }
    });
    (kept, receiver)
}

fn text(kept: &Mutex<String>) -> String {
    kept.lock().unwrap().clone()
}
