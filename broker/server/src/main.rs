//! The `taffrail` binary: a command line around [`taffrail_server`].

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use taffrail_control::broker_config::ConfigError;
use taffrail_log::dump::{self, DumpOptions};
use taffrail_server::config::BrokerConfig;
use taffrail_server::config::cli::{Cli, Command, DumpLogOptions, LogFilter};
use taffrail_server::config::log_options::LogCommand;
use taffrail_server::log_tools::{self, ToolError};
use taffrail_server::{clock, dev, logging, run_broker, run_controller};

/// The exit status for options and settings that are not valid, as clap has it.
const USAGE: u8 = 2;
/// A controller's threads that may wait for something: its admin port needs them.
const CONTROLLER_BLOCKING_THREADS: usize = 4;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Dev(options) => serve(&options.log_level.clone(), || {
            let config = dev::configure(&options)?;
            let threads = Threads::of(&config, options.brokers.into());
            Ok::<_, ConfigError>((threads, dev::run(options, config)))
        }),
        Command::Controller(options) => serve(&options.log_level.clone(), || {
            let defaults = run_controller::configure(&options)?;
            let threads = Threads { workers: cores(), blocking: CONTROLLER_BLOCKING_THREADS };
            Ok::<_, run_controller::ConfigureError>((threads, run_controller::run(options, defaults)))
        }),
        Command::Broker(options) => serve(&options.log_level.clone(), || {
            let config = run_broker::configure(&options)?;
            let threads = Threads::of(&config, 1);
            Ok::<_, run_broker::ConfigureError>((threads, run_broker::run(*options, config)))
        }),
        Command::DumpLog(options) => dump_log(&options),
        Command::Log(command) => log_tool(&command),
    }
}

/// How many threads a process has.
struct Threads {
    workers: usize,
    blocking: usize,
}

impl Threads {
    /// For so many brokers with this configuration.
    fn of(config: &BrokerConfig, brokers: usize) -> Self {
        let network = usize::try_from(config.num_network_threads).unwrap_or(1);
        let io = usize::try_from(config.num_io_threads).unwrap_or(1).max(2);
        Self { workers: network.clamp(1, cores()), blocking: brokers * io }
    }
}

/// Runs what `prepare` makes of the options. An error of its own is one of usage.
fn serve<F, E>(log_level: &LogFilter, prepare: impl FnOnce() -> Result<(Threads, F), E>) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
    E: std::error::Error,
{
    if let Err(error) = logging::init(log_level) {
        return fail(&error.into());
    }
    let (threads, run) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            tell(&error.to_string());
            return ExitCode::from(USAGE);
        }
    };
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.workers)
        .max_blocking_threads(threads.blocking)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run);
            // What still goes on then, such as the recovery of logs that a signal has cut short, nobody waits for.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start threads")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Takes as many file descriptors as are allowed: each connection and each partition that is written to needs one.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(errno) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit on open files cannot be raised: {errno}");
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn dump_log(options: &DumpLogOptions) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let dump_options = DumpOptions { json: options.json, ..DumpOptions::default() };
    let mut sound = true;
    for file in &options.files {
        match dump::dump(file, &dump_options, &mut out) {
            Ok(report) => sound &= !report.is_damaged(),
            Err(error) => {
                tell(&error.to_string());
                sound = false;
            }
        }
    }
    if let Err(error) = out.flush() {
        tell(&format!("cannot write to standard output: {error}"));
        sound = false;
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn log_tool(command: &LogCommand) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let result = log_tools::run(command, clock::now_ms(), &mut out);
    let result = result.and_then(|sound| out.flush().map(|()| sound).map_err(ToolError::Output));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&error.to_string());
            ExitCode::from(error.exit_status())
        }
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    tell(&sentence(error));
    ExitCode::FAILURE
}

/// The error and what caused it, where it does not say so itself.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

fn tell(sentence: &str) {
    // Standard error may be closed, and then there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "taffrail: {sentence}");
}
