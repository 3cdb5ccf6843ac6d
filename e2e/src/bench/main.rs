//! Taffrail beside Apache Kafka, on one machine in one run: librdkafka loads one broker and then the other, in turn,
//! and the ratios of the pairs are what counts. Beside both stands the floor: what moving the bytes costs by itself.

mod broker;
mod cases;
mod floor;
mod kafka_cluster;
mod load;
mod process;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use broker::{Broker, Program};
use cases::Case;
use floor::Floor;
use report::Report;

/// Compares Taffrail with Apache Kafka on this machine.
///
/// Both brokers run throughout; one at a time is loaded, A B A B …, after a warm-up of each. Every case gets a fresh
/// topic per run. All with acks=all and librdkafka's defaults where the case does not say otherwise.
#[derive(Parser)]
#[command(name = "bench")]
struct Options {
    /// The taffrail program. Without this it is built from this workspace.
    #[arg(long, value_name = "FILE")]
    taffrail: Option<PathBuf>,
    /// KEY=VALUE for taffrail's --set; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    taffrail_set: Vec<String>,
    /// The directory of Apache Kafka's scripts (install, single-node, run).
    #[arg(long, value_name = "DIR", env = "KAFKA_DIR", default_value_os_t = default_kafka_dir())]
    kafka_dir: PathBuf,
    /// Measure this broker only.
    #[arg(long)]
    only: Option<Subject>,
    /// Measure these cases only; may be repeated.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<Case>,
    /// Pairs of runs per case.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Brokers of each cluster. With several, each is a process of its own, every partition has a replica on each of them,
    /// and all but one must be in sync; Taffrail's controller is a further process. Cases that start brokers are left out.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    brokers: u16,
    /// An eighth of the records: a look, not a measurement.
    #[arg(long)]
    quick: bool,
    /// Where both brokers keep their data; emptied at the end.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write all samples to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Be the floor's server, over this file.
    #[arg(long, hide = true)]
    floor_server: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    Taffrail,
    Kafka,
}

fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

fn default_kafka_dir() -> PathBuf {
    workspace().join("../shared/kafka")
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(file) = &options.floor_server {
        return floor::serve(file);
    }
    let programs = programs(&options)?;
    let parent = options.dir.clone().unwrap_or_else(|| workspace().join("target"));
    std::fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
    let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent)?;
    let report = compare(&options, &programs, dir.path())?;
    println!("\n{}", report.table());
    if let Some(path) = &options.json {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The programs to compare, ready to be started: Taffrail built, Kafka installed.
fn programs(options: &Options) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    if options.only != Some(Subject::Kafka) {
        let binary = match &options.taffrail {
            Some(binary) => binary.clone(),
            None => build_taffrail()?,
        };
        programs.push(Program::Taffrail { binary, set: options.taffrail_set.clone() });
    }
    if options.only != Some(Subject::Taffrail) {
        let install = options.kafka_dir.join("install");
        let status =
            Command::new(&install).status().with_context(|| format!("running {}", install.display()))?;
        if !status.success() {
            bail!("{} failed: {status}", install.display());
        }
        programs.push(Program::Kafka { scripts: options.kafka_dir.clone() });
    }
    Ok(programs)
}

fn build_taffrail() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "-p", "taffrail-server", "--bin", "taffrail"])
        .current_dir(workspace())
        .status()
        .context("running cargo build")?;
    if !status.success() {
        bail!("building taffrail failed: {status}");
    }
    // Cargo puts it beside this program.
    Ok(std::env::current_exe()?.with_file_name("taffrail"))
}

fn compare(options: &Options, programs: &[Program], dir: &Path) -> Result<Report> {
    let cases: Vec<Case> =
        Case::ALL.into_iter().filter(|c| options.cases.is_empty() || options.cases.contains(c)).collect();
    let shrink = if options.quick { 8 } else { 1 };
    let mut report = Report::default();
    for case in cases.iter().copied().filter(|c| c.starts_its_own() && options.brokers == 1) {
        compare_starts(case, programs, options.pairs, dir, &mut report)?;
    }
    let loads: Vec<Case> = cases.into_iter().filter(|c| !c.starts_its_own()).collect();
    if loads.is_empty() {
        return Ok(report);
    }
    let brokers = programs
        .iter()
        .map(|program| Broker::start(program, &dir.join(program.name()), options.brokers))
        .collect::<Result<Vec<_>>>()?;
    let floor = Floor::start(dir)?;
    for case in loads {
        compare_loads(case, &brokers, &floor, options.pairs, shrink, &mut report)?;
    }
    for broker in &brokers {
        cases::add_peak_memory(&mut report, broker)?;
    }
    Ok(report)
}

fn compare_starts(
    case: Case,
    programs: &[Program],
    pairs: usize,
    dir: &Path,
    report: &mut Report,
) -> Result<()> {
    for pair in 0..pairs {
        for program in programs {
            let dir = dir.join(format!("{}-{}-{pair}", case.name(), program.name()));
            cases::measure_start(case, program, &dir, |name, digits, value| {
                progress(case, program.name(), pair + 1, name, digits, value);
                report.add(case.name(), name, digits, program.name(), value);
            })
            .with_context(|| format!("case {}, {}", case.name(), program.name()))?;
            std::fs::remove_dir_all(&dir)?;
        }
    }
    Ok(())
}

fn compare_loads(
    case: Case,
    brokers: &[Broker],
    floor: &Floor,
    pairs: usize,
    shrink: u64,
    report: &mut Report,
) -> Result<()> {
    // Round 0 is the warm-up: a JVM compiles, page tables and pools fill.
    let first_round = if matches!(case, Case::Idle | Case::Compacting) { 1 } else { 0 };
    let pairs = if case == Case::Compacting { 1 } else { pairs };
    for round in first_round..=pairs {
        let start = Instant::now();
        for broker in brokers {
            let topic = format!("bench-{}-{round}", case.name());
            cases::measure(case, broker, &topic, shrink, |name, digits, value| {
                progress(case, broker.name, round, name, digits, value);
                if round > 0 {
                    report.add(case.name(), name, digits, broker.name, value);
                }
            })
            .with_context(|| format!("case {}, {}", case.name(), broker.name))?;
        }
        cases::measure_floor(case, floor, shrink, |name, digits, value| {
            progress(case, "floor", round, name, digits, value);
            if round > 0 {
                report.add(case.name(), name, digits, "floor", value);
            }
        })
        .with_context(|| format!("case {}, floor", case.name()))?;
        eprintln!("{:<15} round {round} took {:.1} s", case.name(), start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn progress(case: Case, subject: &str, round: usize, name: &str, digits: usize, value: f64) {
    eprintln!("{:<15} round {round}  {subject:<9} {name}: {value:.digits$}", case.name());
}
