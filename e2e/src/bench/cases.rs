//! The cases of the comparison: what is loaded, and which figures come of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use crate::broker::{Broker, Program};
use crate::floor::Floor;
use crate::load::{self, Cost, Load};
use crate::report::Report;

const GIB: f64 = (1u64 << 30) as f64;
const MIB: f64 = (1u64 << 20) as f64;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Values of 1 KiB: MB/s, and the broker's CPU seconds per GiB.
    #[value(name = "produce-1k")]
    Produce1k,
    /// Values of 100 bytes: CPU seconds per GiB.
    #[value(name = "produce-100b")]
    Produce100b,
    /// One record a request, many requests in flight: records/s.
    Unbatched,
    /// Into 200 partitions in turn: records/s.
    #[value(name = "partitions-200")]
    Partitions200,
    /// Consume values of 1 KiB: CPU seconds per GiB.
    #[value(name = "consume-1k")]
    Consume1k,
    /// Acknowledgement at 2,000 records/s, each counted from when it was due: p50, p99, p99.9.
    Latency,
    /// The same while a log of 10 GiB is compacted, and before: p50, p99 and how much p99 rises. One pair, as it takes long.
    Compacting,
    /// From the program's start on an empty directory to the first acknowledged record, and memory when idle.
    Start,
    /// From the program's start after a clean stop, with 1,000 partitions, to the first acknowledged record.
    Restart,
    /// Processor use without clients.
    Idle,
}

impl Case {
    /// All of them, in the order they run; idling last, on a broker that has worked.
    pub const ALL: [Self; 10] = [
        Self::Start,
        Self::Restart,
        // Before the loads: a minute after each of them its topic's files are removed.
        Self::Idle,
        Self::Produce1k,
        Self::Produce100b,
        Self::Unbatched,
        Self::Partitions200,
        Self::Consume1k,
        Self::Latency,
        Self::Compacting,
    ];

    /// As `--case` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce1k => "produce-1k",
            Self::Produce100b => "produce-100b",
            Self::Unbatched => "unbatched",
            Self::Partitions200 => "partitions-200",
            Self::Consume1k => "consume-1k",
            Self::Latency => "latency",
            Self::Compacting => "compacting",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Idle => "idle",
        }
    }

    /// Whether the case starts brokers of its own instead of loading those that run throughout.
    pub fn starts_its_own(self) -> bool {
        matches!(self, Self::Start | Self::Restart)
    }

    /// The load, for the cases that are one. `shrink` divides the number of records.
    fn load(self, shrink: u64) -> Load {
        match self {
            Self::Produce100b => Load {
                records: (512 << 20) / 100 / shrink,
                value_bytes: 100,
                partitions: PARTITIONS,
                properties: &[],
            },
            Self::Unbatched => Load {
                records: 60_000 / shrink,
                value_bytes: 1024,
                partitions: 1,
                properties: &[("batch.num.messages", "1"), ("linger.ms", "0")],
            },
            // The queue holds few records a partition, so that batches stay as small as spreading makes them.
            Self::Partitions200 => Load {
                records: 300_000 / shrink,
                value_bytes: 1024,
                partitions: 200,
                properties: &[("queue.buffering.max.messages", "4000")],
            },
            _ => Load {
                records: (1 << 20) / shrink,
                value_bytes: 1024,
                partitions: PARTITIONS,
                properties: &[],
            },
        }
    }
}

/// Partitions of a topic where their number is not the point.
const PARTITIONS: i32 = 4;

/// Measures `case` once on a broker that runs throughout. `topic` is fresh and deleted afterwards.
pub fn measure(
    case: Case,
    broker: &Broker,
    topic: &str,
    shrink: u64,
    mut add: impl FnMut(&'static str, usize, f64),
) -> Result<()> {
    if case == Case::Idle {
        let length = Duration::from_secs(20 / shrink.min(4));
        let (cpu, start) = (broker.processes.fine_cpu()?, Instant::now());
        std::thread::sleep(length);
        let used = broker.processes.fine_cpu()?.saturating_sub(cpu);
        add("% of a core", 3, 100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64());
        return Ok(());
    }
    if case == Case::Compacting {
        return measure_compacting(broker, topic, shrink, add);
    }
    let load = case.load(shrink);
    load::create_topic(broker, topic, load.partitions)?;
    let records_per_second = |cost: Cost| load.records as f64 / cost.wall.as_secs_f64();
    match case {
        Case::Latency => {
            let took = load::latencies(broker, topic, PARTITIONS, 2_000, latency_length(shrink))?;
            for (name, quantile) in [("p50 ms", 0.5), ("p99 ms", 0.99), ("p99.9 ms", 0.999)] {
                add(name, 2, took.value_at_quantile(quantile) as f64 / 1000.0);
            }
        }
        Case::Consume1k => {
            load::produce(broker, topic, &load)?;
            let cost = load::consume(broker, topic, &load)?;
            throughput(&load, cost, &mut add);
        }
        Case::Unbatched | Case::Partitions200 => {
            let cost = load::produce(broker, topic, &load)?;
            add("records/s", 0, records_per_second(cost));
            add("CPU µs/record", 1, cost.cpu.as_secs_f64() * 1e6 / load.records as f64);
        }
        _ => throughput(&load, load::produce(broker, topic, &load)?, &mut add),
    }
    load::delete_topic(broker, topic)
}

/// For how long latencies are measured.
fn latency_length(shrink: u64) -> Duration {
    Duration::from_secs((15 / shrink).max(3))
}

/// Produces to one topic before and while another one is compacted.
fn measure_compacting(
    broker: &Broker,
    topic: &str,
    shrink: u64,
    mut add: impl FnMut(&'static str, usize, f64),
) -> Result<()> {
    let (compacted, length) = (format!("{topic}-compacted"), latency_length(shrink));
    load::create_topic(broker, topic, PARTITIONS)?;
    load::create_topic(broker, &compacted, 1)?;
    let p99 = |took: &load::Took| took.value_at_quantile(0.99) as f64 / 1000.0;
    let before = load::latencies(broker, topic, PARTITIONS, 2_000, length)?;
    // Ten values of each key. What the kernel has yet to write of them shall not be taken for the compaction's work.
    load::produce_keyed(broker, &compacted, (1 << 20) / shrink, (1 << 20) / shrink / 10, 10 << 10)?;
    rustix::fs::sync();
    load::compact(broker, &compacted)?;
    let meanwhile = load::latencies(broker, topic, PARTITIONS, 2_000, length)?;
    add("p50 ms before", 2, before.value_at_quantile(0.5) as f64 / 1000.0);
    add("p50 ms meanwhile", 2, meanwhile.value_at_quantile(0.5) as f64 / 1000.0);
    add("p99 ms before", 2, p99(&before));
    add("p99 ms meanwhile", 2, p99(&meanwhile));
    add("p99 rises to, of 1", 2, p99(&meanwhile) / p99(&before));
    load::delete_topic(broker, &compacted)?;
    load::delete_topic(broker, topic)
}

/// What moving the bytes of `case` costs by itself, where that is a question of bytes.
pub fn measure_floor(
    case: Case,
    floor: &Floor,
    shrink: u64,
    mut add: impl FnMut(&'static str, usize, f64),
) -> Result<()> {
    let load = case.load(shrink);
    match case {
        Case::Produce1k | Case::Produce100b => {
            throughput(&load, floor.write(load.log_bytes())?, &mut add);
        }
        Case::Consume1k => {
            floor.write(load.log_bytes())?;
            throughput(&load, floor.send(load.log_bytes())?, &mut add);
        }
        _ => {}
    }
    Ok(())
}

fn throughput(load: &Load, cost: Cost, add: &mut impl FnMut(&'static str, usize, f64)) {
    let bytes = load.value_bytes_total() as f64;
    add("MB/s", 0, bytes / 1e6 / cost.wall.as_secs_f64());
    add("CPU s/GiB", 2, cost.cpu.as_secs_f64() / (bytes / GIB));
}

/// Measures a case that needs a broker of its own, in the empty directory `dir`.
pub fn measure_start(
    case: Case,
    program: &Program,
    dir: &Path,
    mut add: impl FnMut(&'static str, usize, f64),
) -> Result<()> {
    let broker = Broker::start(program, dir, 1)?;
    if case == Case::Start {
        load::first_record(&broker, "first", 0)?;
        add("first acknowledged record ms", 0, broker.started.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_secs(2));
        add("resident MiB when idle", 1, broker.processes.rss()? as f64 / MIB);
        return Ok(());
    }
    let load = Load { records: 10_000, value_bytes: 100, partitions: 1_000, properties: &[] };
    load::create_topic(&broker, "restart", load.partitions)?;
    load::produce(&broker, "restart", &load)?;
    broker.processes.terminate()?;
    let broker = Broker::start(program, dir, 1)?;
    load::first_record(&broker, "restart", load.partitions - 1)?;
    add("first acknowledged record ms", 0, broker.started.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

/// The most memory `broker` has had over all it was asked to do.
pub fn add_peak_memory(report: &mut Report, broker: &Broker) -> Result<()> {
    report.add("all", "peak resident MiB", 0, broker.name, broker.processes.peak_rss()? as f64 / MIB);
    Ok(())
}
