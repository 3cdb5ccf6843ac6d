//! A child process and what it costs: processor time, memory, and its end.

use std::fs;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A running child. It is killed when dropped.
pub struct Process {
    child: Child,
    name: &'static str,
}

impl Process {
    /// Takes charge of `child`; `name` is for messages.
    pub fn new(name: &'static str, child: Child) -> Self {
        Self { child, name }
    }

    /// User and system time of all threads, those that have ended included. Counted in clock ticks (10 ms).
    pub fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        // The second field, the program's name, may itself hold blanks and brackets.
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok());
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            bail!("{path} has no utime and stime");
        };
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64((user + system) as f64 / per_second as f64))
    }

    /// Time on a processor of all threads alive now, in nanoseconds: for an idle process, where a tick is too coarse.
    pub fn fine_cpu(&self) -> Result<Duration> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut total_ns = 0u64;
        for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
            // A thread may end between the listing and the look.
            let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            total_ns += stat.split_ascii_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total_ns))
    }

    /// The most memory this process ever had resident, in bytes.
    pub fn peak_rss(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Memory resident now, in bytes.
    pub fn rss(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|value| value.split_ascii_whitespace().next())
            .and_then(|kib| kib.parse::<u64>().ok())
            .map(|kib| kib * 1024)
            .with_context(|| format!("{path} has no {field}"))
    }

    /// Whether the process has ended by itself.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end with SIGTERM and waits for that.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} did not end within a minute of SIGTERM", self.name);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already: neither failure matters then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes of one cluster, counted together.
pub struct Processes(Vec<Process>);

impl Processes {
    /// Takes charge of `processes`.
    pub fn new(processes: Vec<Process>) -> Self {
        Self(processes)
    }

    /// See [`Process::cpu`].
    pub fn cpu(&self) -> Result<Duration> {
        self.0.iter().map(Process::cpu).sum()
    }

    /// See [`Process::fine_cpu`].
    pub fn fine_cpu(&self) -> Result<Duration> {
        self.0.iter().map(Process::fine_cpu).sum()
    }

    /// The sum of each one's peak: see [`Process::peak_rss`].
    pub fn peak_rss(&self) -> Result<u64> {
        self.0.iter().map(Process::peak_rss).sum()
    }

    /// See [`Process::rss`].
    pub fn rss(&self) -> Result<u64> {
        self.0.iter().map(Process::rss).sum()
    }

    /// Ends one after the other with SIGTERM, the last one started first.
    pub fn terminate(self) -> Result<()> {
        self.0.into_iter().rev().try_for_each(|process| process.terminate().map(|_status| ()))
    }
}

/// Whether a file or directory under `dir` has a name that `is_it`.
pub fn has_entry(dir: &Path, is_it: &dyn Fn(&str) -> bool) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        is_it(&entry.file_name().to_string_lossy())
            || (entry.file_type().is_ok_and(|t| t.is_dir()) && has_entry(&entry.path(), is_it))
    })
}
