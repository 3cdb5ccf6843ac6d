//! The load of the cluster tests, and the judge of what came of it. Whoever starts and breaks the cluster gives the
//! orders, one word or line each on standard input, and reads the answers, one line of JSON each, on standard output.

mod check;
mod clock;
mod first;
mod probe;
mod reader;
mod record;
mod verify;
mod writer;

use std::io::BufRead;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// Loads a cluster that somebody else breaks, and says what was lost or how long writes had to wait.
#[derive(Parser)]
#[command(name = "chaos")]
struct Options {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Write and read records that can be told from each other, and account for every one in the end.
    ///
    /// Orders: `status`; `gap`, the longest wait for an acknowledgement since the last `gap`; `quiesce`, which ends the writing; `verify`, which reads everything and ends the program.
    Verify(verify::Options),
    /// Write steadily, and tell how long after a broker's failure its partitions take writes again.
    ///
    /// Orders: `after NANOSECONDS PARTITION,…`: when the leader of these partitions failed, by CLOCK_MONOTONIC.
    Probe(probe::Options),
    /// Write one record as soon as the cluster takes it, read it back, and tell how long each took.
    First(first::Options),
    /// Do nothing, so that the others can be run in the same container.
    Wait,
}

fn main() -> Result<()> {
    match Options::parse().job {
        Job::Verify(options) => verify::run(&options, &mut orders()),
        Job::Probe(options) => probe::run(&options, &mut orders()),
        Job::First(options) => first::run(&options),
        Job::Wait => loop {
            std::thread::park();
        },
    }
}

/// The orders, as they come.
fn orders() -> impl Iterator<Item = Result<String>> {
    std::io::stdin().lock().lines().map(|line| line.context("reading the orders"))
}

/// Answers an order, or says that the first may come.
fn answer(answer: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

/// A client of `bootstrap` with `properties` beside librdkafka's defaults.
fn client(bootstrap: &str, properties: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set_log_level(RDKafkaLogLevel::Critical);
    for (key, value) in properties {
        config.set(*key, *value);
    }
    config
}
