//! Writes and reads while the cluster is broken, and accounts for every record in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::check::{Findings, History, check};
use crate::reader::{Group, Records, read_all};
use crate::writer::Writers;

/// How long the group may take to see the last records.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);

/// What to write and read.
#[derive(clap::Args)]
pub struct Options {
    /// The brokers, as HOST:PORT,…
    #[arg(long)]
    pub bootstrap: String,
    /// The topic that idempotent producers write to. It exists and has --partitions partitions.
    #[arg(long, value_name = "TOPIC")]
    pub idempotent: String,
    /// The topic that other producers write to. It exists and has --partitions partitions.
    #[arg(long, value_name = "TOPIC")]
    pub plain: String,
    /// The partitions of each topic.
    #[arg(long, default_value_t = 6)]
    pub partitions: u16,
    /// The producers of each topic.
    #[arg(long, default_value_t = 2)]
    pub producers: u16,
    /// The consumers of the one group that reads both.
    #[arg(long, default_value_t = 2)]
    pub consumers: u16,
    /// Records per second and producer.
    #[arg(long, default_value_t = 300)]
    pub rate: u32,
    /// The size of a record's value.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
}

/// A topic and how it is written to.
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Whether its producers are idempotent.
    pub idempotent: bool,
}

#[derive(Serialize)]
struct Status {
    acknowledged: u64,
    failed: u64,
    seen: u64,
    /// The partition that waits longest for an acknowledgement has waited since then, by CLOCK_MONOTONIC.
    oldest_ns: u64,
}

#[derive(Serialize)]
struct Gap {
    /// The longest time that any partition acknowledged nothing since the last such order.
    longest_ms: f64,
}

#[derive(Serialize)]
struct Verdict {
    sound: bool,
    idempotent: Findings,
    plain: Findings,
}

/// Follows the orders until `verify` was answered.
pub fn run(options: &Options, orders: &mut impl Iterator<Item = Result<String>>) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let group = Group::start(options, &[&options.idempotent, &options.plain])?;
    let topic = |name: &String, idempotent| Topic { name: name.clone(), idempotent };
    let mut writers = [
        Writers::start(options, topic(&options.idempotent, true), &stop)?,
        Writers::start(options, topic(&options.plain, false), &stop)?,
    ];
    crate::answer(&status(&writers, &group))?;
    for order in orders {
        match order?.as_str() {
            "status" => crate::answer(&status(&writers, &group))?,
            "gap" => {
                let longest_ns = writers.iter().map(Writers::take_longest_ns).max().unwrap_or(0);
                crate::answer(&Gap { longest_ms: longest_ns as f64 / 1e6 })?;
            }
            "quiesce" => {
                stop.store(true, Ordering::Relaxed);
                writers.iter_mut().for_each(Writers::join);
                crate::answer(&status(&writers, &group))?;
            }
            "verify" => {
                let log = read_all(options, &[&options.idempotent, &options.plain])?;
                let deadline = Instant::now() + CATCH_UP_LIMIT;
                while !group.seen.covers(&log) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(100));
                }
                let verdict = verdict(options, &writers, &group, log);
                group.stop();
                return crate::answer(&verdict);
            }
            other => bail!("unknown order {other:?}: there are status, gap, quiesce and verify"),
        }
    }
    bail!("the orders ended before verify")
}

fn status(writers: &[Writers], group: &Group) -> Status {
    let mut status = Status {
        acknowledged: 0,
        failed: 0,
        seen: group.seen.count(),
        oldest_ns: writers.iter().map(Writers::oldest_ns).min().unwrap_or(0),
    };
    for (acknowledged, failed) in writers.iter().map(Writers::counts) {
        status.acknowledged += acknowledged;
        status.failed += failed;
    }
    status
}

fn verdict(options: &Options, writers: &[Writers; 2], group: &Group, mut log: Records) -> Verdict {
    let [mut idempotent, plain] = writers.each_ref().map(|writers| {
        let mut found = Findings { fatal: writers.fatal(), ..Findings::default() };
        for partition in 0..options.partitions {
            let name = writers.topic.name.clone();
            found += check(&History {
                partition,
                idempotent: writers.topic.idempotent,
                sent: writers.sent(partition),
                seen: group.seen.partition(&name, partition),
                log: log.remove(&(name, partition.into())).unwrap_or_default(),
            });
        }
        found
    });
    idempotent.changed += group.seen.changed();
    Verdict { sound: idempotent.sound() && plain.sound(), idempotent, plain }
}
