//! Scenarios on whole systems: what cannot be shown without a real Kubernetes.

mod api;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Command::Api(options) = Cli::parse().command;
    match api::run(options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
