//! Tells the controller what was written: by itself, by another controller, or by a put whose answer was lost.
//!
//! Each kind is listed, without its content, and then watched from there on. A watch that breaks goes on where it was; where
//! the API server does not know that place any more, all is listed again. What is missing from a list then was deleted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use kube::api::{WatchEvent, WatchParams};
use kube::core::Request;
use taffrail_controller::model::ObjectKey;
use taffrail_controller::store::{ObjectKind, StoreNews, Version};
use tokio::time::Instant;

use super::Inner;
use super::api::cause;
use super::fault::{Attempt, Cause};
use super::objects::{FoundMetadata, Glimpse, version};

/// How long the API server keeps up one watch. A connection that died unnoticed is missed soon after.
const WATCH: Duration = Duration::from_secs(60);

/// How long a watch that broke is left alone, the first time and after many.
const REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why a watch is not gone on with.
enum Broken {
    /// The API server does not know the place any more.
    Expired,
    Fault(Cause),
    /// Nobody listens.
    Unheard,
}

impl From<Cause> for Broken {
    fn from(cause: Cause) -> Self {
        Self::Fault(cause)
    }
}

/// Watches a kind until nobody listens.
pub(super) async fn watch(store: Arc<Inner>, kind: ObjectKind) {
    let mut follower = Follower { store, kind, place: None };
    let site = follower.store.site_of_kind(Attempt::Watch, kind);
    let mut rest = REST.0;
    loop {
        let begun = Instant::now();
        let ended = follower.follow().await;
        match ended {
            Ok(()) => {}
            Err(Broken::Unheard) => return,
            Err(Broken::Expired) => follower.place = None,
            Err(Broken::Fault(cause)) => follower.store.reporter.raise(site.clone(), cause),
        }
        // One that lasted is gone on with at once.
        rest = if begun.elapsed() > REST.1 { REST.0 } else { (rest * 2).min(REST.1) };
        tokio::time::sleep(rest.saturating_sub(begun.elapsed())).await;
    }
}

struct Follower {
    store: Arc<Inner>,
    kind: ObjectKind,
    /// From where the watch goes on.
    place: Option<String>,
}

impl Follower {
    /// One watch, until it ends as it should.
    async fn follow(&mut self) -> Result<(), Broken> {
        let from = match self.place.take() {
            Some(from) => from,
            None => self.list().await?,
        };
        self.place = Some(from.clone());
        let path = self.store.calls.place.kind(self.kind).path;
        let params = WatchParams::default().timeout(WATCH.as_secs() as u32);
        let request = Request::new(path).watch_metadata(&params, &from);
        let request = request.map_err(|error| Cause::Unwritable { problem: error.to_string() })?;
        let events =
            self.store.calls.within(async |client| client.request_events::<Glimpse>(request).await).await?;
        let mut events = std::pin::pin!(events.map_err(broken)?);
        self.store.reporter.clear(&self.store.site_of_kind(Attempt::Watch, self.kind));
        let patience = WATCH + self.store.calls.deadline();
        loop {
            let Ok(event) = tokio::time::timeout(patience, events.try_next()).await else {
                return Err(Cause::NoAnswer { after: patience }.into());
            };
            match event.map_err(broken)? {
                None => return Ok(()),
                Some(WatchEvent::Added(seen) | WatchEvent::Modified(seen)) => {
                    self.changed(seen, false).await?
                }
                Some(WatchEvent::Deleted(seen)) => self.changed(seen, true).await?,
                Some(WatchEvent::Bookmark(mark)) => self.place = Some(mark.metadata.resource_version),
                Some(WatchEvent::Error(status)) => return Err(broken(kube::Error::Api(status))),
            }
        }
    }

    /// Tells of all that there is, and of what is there no more. Answers where the watch begins.
    async fn list(&mut self) -> Result<String, Broken> {
        let (present, taken_at) = self.store.calls.glimpse(self.kind).await?;
        let taken = version(&taken_at)?;
        for key in self.store.missing(self.kind, &present, taken) {
            self.tell(key, taken).await?;
        }
        for (key, version) in present {
            self.store.note(key, version);
            self.tell(key, version).await?;
        }
        Ok(taken_at)
    }

    async fn changed(&mut self, seen: Glimpse, deleted: bool) -> Result<(), Broken> {
        let FoundMetadata { name, resource_version } = seen.metadata;
        if let Some(key) = self.store.calls.place.key(self.kind, &name) {
            // A deletion has a version of its own, above the object's last.
            let version = version(&resource_version)?;
            if deleted {
                self.store.forget(key, version)
            } else {
                self.store.note(key, version)
            }
            self.tell(key, version).await?;
        }
        self.place = Some(resource_version);
        Ok(())
    }

    async fn tell(&self, key: ObjectKey, version: Version) -> Result<(), Broken> {
        let told = self.store.news.send(StoreNews::Changed { key, version }).await;
        told.map_err(|_| Broken::Unheard)
    }
}

fn broken(error: kube::Error) -> Broken {
    match &error {
        kube::Error::Api(status) if status.code == 410 => Broken::Expired,
        _ => Broken::Fault(cause(error, 0)),
    }
}
