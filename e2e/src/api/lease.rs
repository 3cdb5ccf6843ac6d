//! Two operators and one lease.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use taffrail_operator::lease::{self, Candidacy, Leadership, LeaseOptions};
use tokio::sync::watch;

use super::Stage;

const NAME: &str = "taffrail-operator";

/// A candidate that runs.
struct Operator {
    leadership: watch::Receiver<Leadership>,
    candidacy: Candidacy,
}

impl Operator {
    fn start(stage: &Stage<'_>, identity: &str) -> Result<Self> {
        let options = LeaseOptions::new(&stage.namespace, NAME, identity, &address(identity));
        let (leadership, candidacy) = lease::run(&stage.plane.config(), options)?;
        Ok(Self { leadership, candidacy })
    }

    /// Waits until what it is fits, and says after which time it did.
    async fn becomes(&mut self, fits: impl Fn(&Leadership) -> bool) -> Result<Duration> {
        let begun = Instant::now();
        let waited = tokio::time::timeout(Duration::from_secs(30), self.leadership.wait_for(fits)).await;
        let waited = waited.map(|leadership| leadership.map(|_| begun.elapsed()));
        waited
            .with_context(|| format!("waited for another state than {:?}", *self.leadership.borrow()))?
            .context("the candidate has ended")
    }

    fn is_active(&self) -> bool {
        is_active(&self.leadership.borrow())
    }
}

fn address(identity: &str) -> String {
    format!("https://{identity}:9190")
}

fn is_active(leadership: &Leadership) -> bool {
    matches!(leadership, Leadership::Active { .. })
}

/// Whether it stands by, and knows where the active one is.
fn follows(identity: &str) -> impl Fn(&Leadership) -> bool {
    let (holder, address) = (Some(identity.to_owned()), Some(address(identity)));
    move |leadership| *leadership == Leadership::Standby { holder: holder.clone(), address: address.clone() }
}

/// One of two is the active one; when it dies the other is within five seconds, when it gives the lease back at once.
pub(crate) async fn handover(stage: Stage<'_>) -> Result<String> {
    let (mut one, mut two) = (Operator::start(&stage, "one")?, Operator::start(&stage, "two")?);
    let first = tokio::select! {
        first = one.becomes(is_active) => first?,
        first = two.becomes(is_active) => first?,
    };
    let (mut active, mut other, names) =
        if one.is_active() { (one, two, ["one", "two"]) } else { (two, one, ["two", "one"]) };
    other.becomes(follows(names[0])).await?;
    let leases: Api<Lease> = Api::namespaced(stage.plane.client()?, &stage.namespace);
    let writes = count_writes(&leases).await?;
    ensure!(!other.is_active() && active.is_active(), "one is active at a time");
    drop(active);
    let died = other.becomes(is_active).await?;
    ensure!(died < Duration::from_secs(5), "the lease of a dead holder was taken after {died:?}");
    active = other;
    other = Operator::start(&stage, names[0])?;
    other.becomes(follows(names[1])).await?;
    let begun = Instant::now();
    active.candidacy.release().await;
    let returned = begun.elapsed();
    other.becomes(is_active).await?;
    let released = begun.elapsed();
    ensure!(released < Duration::from_secs(1), "the lease that was given back was taken after {released:?}");
    ensure!(matches!(*active.leadership.borrow(), Leadership::Standby { holder: None, .. }), "it says so");
    ensure!(*other.leadership.borrow() == Leadership::Active { term: 3 }, "each has a term of its own");
    Ok(format!(
        "first after {} ms, after a death {:.1} s, given back in {} ms and taken after {} ms; {writes} writes in 5 s",
        first.as_millis(),
        died.as_secs_f64(),
        returned.as_millis(),
        released.as_millis()
    ))
}

/// How often the Lease is written while nothing happens.
async fn count_writes(leases: &Api<Lease>) -> Result<usize> {
    let mut writes = 0;
    let mut version = None;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let lease = leases.get(NAME).await?;
        writes += usize::from(
            version
                .replace(lease.metadata.resource_version.clone())
                .is_some_and(|before| before != lease.metadata.resource_version),
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!((4..=6).contains(&writes), "one write for each second, and not {writes} in 5 s");
    Ok(writes)
}

/// While the API server is away the active one stays so and nobody else becomes it; and so it is when it is back.
pub(crate) async fn api_server_away(stage: Stage<'_>) -> Result<String> {
    let mut active = Operator::start(&stage, "active")?;
    active.becomes(is_active).await?;
    let mut standby = Operator::start(&stage, "standby")?;
    standby.becomes(follows("active")).await?;
    let was = active.leadership.borrow_and_update().clone();
    standby.leadership.borrow_and_update();
    let leases: Api<Lease> = Api::namespaced(stage.plane.client()?, &stage.namespace);
    let renewed = |lease: Lease| lease.spec.and_then(|spec| spec.renew_time);
    stage.plane.kill_api_server().await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    stage.plane.start_api_server().await?;
    let back = Instant::now();
    let before = renewed(leases.get(NAME).await?);
    // More than a term.
    tokio::time::sleep(Duration::from_secs(6)).await;
    ensure!(renewed(leases.get(NAME).await?) != before, "the active one writes again");
    for (operator, name) in [(&active, "active"), (&standby, "standby")] {
        let changed = operator.leadership.has_changed().context("the candidate has ended")?;
        ensure!(!changed, "{name} became {:?}", *operator.leadership.borrow());
    }
    ensure!(*active.leadership.borrow() == was, "the term is the same");
    drop(active);
    let died = standby.becomes(is_active).await?;
    ensure!(died < Duration::from_secs(5), "the lease of a dead holder was taken after {died:?}");
    Ok(format!(
        "nothing changed in 10 s without it and {:.0} s after; after a death {:.1} s",
        (back.elapsed() - died).as_secs_f64(),
        died.as_secs_f64()
    ))
}
