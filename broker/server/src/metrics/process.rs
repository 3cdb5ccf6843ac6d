//! The process as the kernel sees it, under the names that Prometheus' client libraries use.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::text::{Kind, TextWriter};

/// Writes what the kernel tells; what it does not tell is left out.
pub(super) fn render(text: &mut TextWriter, started: SystemTime) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    text.single(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time used, in user and kernel mode together.",
        cpu_seconds,
    );
    if let Some(bytes) = resident_bytes() {
        text.single("process_resident_memory_bytes", Kind::Gauge, "Memory that the process occupies.", bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        let open = open.count().saturating_sub(1);
        text.single("process_open_fds", Kind::Gauge, "File descriptors that are open.", open);
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        text.single("process_max_fds", Kind::Gauge, "File descriptors that may be open.", max);
    }
    if let Ok(since_epoch) = started.duration_since(UNIX_EPOCH) {
        text.single(
            "process_start_time_seconds",
            Kind::Gauge,
            "When the process started, in seconds since 1970.",
            since_epoch.as_secs_f64(),
        );
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
