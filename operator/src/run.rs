//! The order in which the operator starts, takes over, hands over and stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::{Client, Config};
use taffrail_controller_service::GrpcServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::authority::Authority;
use crate::access::token_review::TokenReviewer;
use crate::admin::Admin;
use crate::cluster::build::ControllerAccess;
use crate::context::Context as Surroundings;
use crate::fleet::Fleet;
use crate::lease::{self, Leadership, LeaseOptions};
use crate::metrics::Metrics;
use crate::options::OperatorOptions;
use crate::{cluster, counting, topic};

/// How long to wait before the authority is asked for again.
const AUTHORITY_REST: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A sentence about what kept it from starting, or why it could not go on.
pub async fn run(options: OperatorOptions) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let config = Config::infer().await.context(
        "nothing says where the Kubernetes API is: run the operator in a pod, or point KUBECONFIG at a file",
    )?;
    let metrics = Arc::new(Metrics::new()?);
    let client = counting::client(config.clone(), Some(&metrics));
    let client = client.context("cannot make a client of the Kubernetes API")?;
    let admin = Admin::new(Arc::clone(&metrics));
    let admin_listener = bind(options.admin, "--admin").await?;
    let listener = bind(options.listen, "--listen").await?;
    tracing::info!("listening for brokers on {}; admin port {}", options.listen, options.admin);
    let mut serving = JoinSet::new();
    serving.spawn({
        let serve = Arc::clone(&admin).serve(admin_listener);
        async move { serve.await.context("the admin port cannot be served") }
    });
    let stopped = async {
        tokio::select! {
            _ = terminated.recv() => "SIGTERM",
            _ = interrupted.recv() => "SIGINT",
        }
    };
    tokio::pin!(stopped);
    let authority = tokio::select! {
        authority = authority(&client, &options) => authority,
        why = &mut stopped => {
            tracing::info!("stopping on {why}");
            return Ok(());
        }
    };
    let fleet = Fleet::new(config.clone(), options.pod_name.clone(), Some(Arc::clone(&metrics)));
    let server = GrpcServer::new(Arc::new(fleet.clone()), Arc::new(TokenReviewer::new(client.clone())));
    let server = server.with_tls(authority.server_config()?);
    serving.spawn(async move { server.serve(listener).await.context("brokers cannot be served") });
    admin.set_ready(true);

    let access = ControllerAccess {
        address: options.controller_address(),
        ca_certificate: authority.certificate().to_owned(),
    };
    let surroundings = Arc::new(Surroundings::new(client, fleet.clone(), access, metrics, &options));
    let own =
        LeaseOptions::new(&options.namespace, &options.lease_name, &options.pod_name, &options.own_address());
    let (leadership, candidacy) = lease::run(&config, own).context("cannot run for the Lease")?;
    let mut reconcilers = JoinSet::new();
    let served = tokio::select! {
        why = &mut stopped => {
            tracing::info!("stopping on {why}");
            Ok(())
        }
        served = serving.join_next() => served.map_or(Ok(()), |served| served?),
        followed = follow(leadership, &fleet, &surroundings, &mut reconcilers) => followed,
    };
    admin.set_ready(false);
    // Nothing is decided any more when the lease is given back.
    reconcilers.shutdown().await;
    fleet.stand_by(None).await;
    candidacy.release().await;
    tracing::info!("the operator has stopped");
    served
}

/// Takes over and hands over as the Lease says.
async fn follow(
    mut leadership: watch::Receiver<Leadership>,
    fleet: &Fleet,
    surroundings: &Arc<Surroundings>,
    reconcilers: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    loop {
        let now = leadership.borrow_and_update().clone();
        let metrics = &surroundings.metrics;
        match now {
            Leadership::Active { term } if reconcilers.is_empty() => {
                tracing::info!("this operator is the active one, in term {term}");
                metrics.active.set(1);
                metrics.elections.inc();
                fleet.activate();
                reconcilers.spawn(cluster::run(Arc::clone(surroundings)));
                reconcilers.spawn(topic::run(Arc::clone(surroundings)));
            }
            Leadership::Active { .. } | Leadership::Unknown => {}
            Leadership::Standby { holder, address } => {
                metrics.active.set(0);
                if !reconcilers.is_empty() {
                    let holder = holder.as_deref().unwrap_or("nobody");
                    tracing::warn!("this operator is not the active one any more: {holder} holds the Lease");
                }
                // Brokers are told before anything else is done (rule 32).
                fleet.stand_by(address).await;
                reconcilers.shutdown().await;
            }
        }
        tokio::select! {
            changed = leadership.changed() => changed.context("nobody runs for the Lease any more")?,
            ended = reconcilers.join_next(), if !reconcilers.is_empty() => {
                anyhow::bail!("a reconciler has ended: {ended:?}");
            }
        }
    }
}

/// The operator's authority, as soon as the Kubernetes API can be asked for it.
async fn authority(client: &Client, options: &OperatorOptions) -> Authority {
    loop {
        match Authority::load_or_make(client, &options.namespace, &options.ca_secret).await {
            Ok(authority) => return authority,
            Err(error) => tracing::warn!("{error}; trying again"),
        }
        tokio::time::sleep(AUTHORITY_REST).await;
    }
}

async fn bind(address: std::net::SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; choose another address with {option}"))
}
