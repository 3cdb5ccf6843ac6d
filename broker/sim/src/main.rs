//! Plays seeds, and prints those that break an invariant with the command to play them again.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use taffrail_sim::mutation::Mutation;
use taffrail_sim::scenario::Promise;
use taffrail_sim::{Outcome, Play, play};

/// Plays a whole cluster under seeds, with faults, and checks every invariant at each step.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds to play.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Play each seed twice and demand the same.
    #[arg(long)]
    twice: bool,
    /// Break the protocol in this way.
    #[arg(long)]
    mutation: Option<Mutation>,
    /// What must survive, instead of what each seed draws.
    #[arg(long)]
    promise: Option<Promise>,
    /// Threads to play on; 0 takes all processors.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn command(seed: u64, what: Play) -> String {
    let name = |value: Option<clap::builder::PossibleValue>, option: &str| {
        value.map_or_else(String::new, |value| format!(" --{option} {}", value.get_name()))
    };
    let mutation = name(what.mutation.and_then(|mutation| mutation.to_possible_value()), "mutation");
    let promise = name(what.promise.and_then(|promise| promise.to_possible_value()), "promise");
    format!("cargo sim --seed {seed} --trace{mutation}{promise}")
}

thread_local! {
    static SEED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn main() -> ExitCode {
    let options = Options::parse();
    let what = Play { mutation: options.mutation, promise: options.promise, print: options.trace };
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        eprintln!("seed {} ended in this panic: {}", SEED.get(), command(SEED.get(), what));
    }));
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let (begun, next) = (Instant::now(), AtomicU64::new(options.seed));
    let end = options.seed.saturating_add(options.seeds);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| work(what, options.twice, &next, end))).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    report(&options, &outcomes, begun)
}

fn work(what: Play, twice: bool, next: &AtomicU64, end: u64) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return outcomes;
        }
        SEED.set(seed);
        let outcome = play(seed, what);
        if let Some(violation) = &outcome.violation {
            println!(
                "seed {seed} broke {}: {}\n    {}",
                violation.invariant,
                violation.text,
                command(seed, what)
            );
        }
        if twice && play(seed, Play { print: false, ..what }) != outcome {
            println!("seed {seed} played otherwise the second time: {}", command(seed, what));
        }
        outcomes.push(outcome);
    }
}

fn report(options: &Options, outcomes: &[Outcome], begun: Instant) -> ExitCode {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for outcome in outcomes {
        outcome.counts.iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
    let broken: BTreeMap<&str, usize> = outcomes
        .iter()
        .filter_map(|outcome| outcome.violation.as_ref())
        .fold(BTreeMap::new(), |mut broken, violation| {
            *broken.entry(violation.invariant).or_default() += 1;
            broken
        });
    let events: u64 = outcomes.iter().map(|outcome| outcome.events).sum();
    let acknowledged: usize = outcomes.iter().map(|outcome| outcome.acknowledged).sum();
    let lasted_ms: u64 = outcomes.iter().map(|outcome| outcome.lasted_ms).sum();
    println!(
        "{} of {} seeds in {:.1} s: {events} events, {} s of cluster time, {acknowledged} records acknowledged, {counts:?}",
        outcomes.len(),
        options.seeds,
        begun.elapsed().as_secs_f64(),
        lasted_ms / 1_000,
    );
    if options.seeds == 1 {
        outcomes.iter().for_each(|outcome| println!("trace {:016x}", outcome.hash));
    }
    if broken.is_empty() && outcomes.len() as u64 == options.seeds {
        println!("no violation");
        return ExitCode::SUCCESS;
    }
    println!("violations: {broken:?}");
    ExitCode::FAILURE
}
