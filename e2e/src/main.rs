//! Scenarios on whole systems: what cannot be shown without a real Kubernetes.

mod api;
mod command;
mod images;
mod kind;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Runs scenarios on whole systems.
#[derive(Debug, Parser)]
#[command(name = "cargo e2e", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// On a real control plane (etcd and kube-apiserver) without nodes
    Api(api::Options),
    /// Build the images of broker and operator from release binaries
    Images(images::Options),
    /// On kind, with real pods
    Kind(kind::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    // What goes wrong on purpose need not be told, unless somebody asks for it with RUST_LOG.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match Cli::parse().command {
        Command::Api(options) => api::run(options).await,
        Command::Images(options) => images::run(&options).await.map(|()| true),
        Command::Kind(options) => kind::run(options).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
