//! Single calls of the Kubernetes API: each within a deadline of its own, sent once, and told apart by what its answer
//! means to a compare-and-swap.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{GetParams, ListParams, PostParams};
use kube::core::{Request, Status};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use taffrail_controller::model::{Object, ObjectKey};
use taffrail_controller::store::{ObjectKind, Stored, Version};

use crate::connection::Connection;
use crate::metrics::Metrics;

use super::fault::Cause;
use super::objects::{Found, Glimpse, Kind, Page, Place, version};

/// How many objects are asked for in one page of a list: 5 MB where they are as large as they get.
const PAGE: u32 = 50;

/// What etcd takes in one request, unless it is told otherwise, is 1.5 MiB; the API server adds to what it is sent.
const ETCD_BYTES: usize = 1_500_000;

/// What became of a put that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Done(Version),
    Conflict,
}

/// The calls that the store makes.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) place: Place,
    connection: Connection,
    metrics: Option<Arc<Metrics>>,
}

impl Calls {
    pub(super) fn new(
        config: &Config,
        place: Place,
        deadline: Duration,
        metrics: Option<Arc<Metrics>>,
    ) -> Result<Self, kube::Error> {
        let connection = Connection::new(config, deadline, metrics.clone())?;
        Ok(Self { place, connection, metrics })
    }

    pub(super) fn deadline(&self) -> Duration {
        self.connection.deadline()
    }

    /// Does what `call` does, within the deadline.
    pub(super) async fn within<T>(
        &self,
        call: impl AsyncFnOnce(Client) -> Result<T, kube::Error>,
    ) -> Result<Result<T, kube::Error>, Cause> {
        Ok(self.connection.within(call).await?)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Result<T, kube::Error>, Cause> {
        let request = request.map_err(|error| Cause::Unwritable { problem: error.to_string() })?;
        self.within(async |client| client.request(request).await).await
    }

    /// One object.
    pub(super) async fn load(&self, key: ObjectKey) -> Result<Option<Stored>, Cause> {
        let (kind, name) = (self.place.kind(key.kind()), self.place.name(key));
        let request = Request::new(&kind.path).get(&name, &GetParams::default());
        match self.ask::<Found>(request).await? {
            Ok(found) => self.place.decode(key.kind(), &found),
            Err(error) if is_absent(&error, &kind, &name) => Ok(None),
            Err(error) => Err(cause(error, 0)),
        }
    }

    /// All objects of a kind. What cannot be read is told with its name.
    pub(super) async fn list(&self, kind: ObjectKind) -> Result<Vec<Stored>, (Option<ObjectKey>, Cause)> {
        let path = self.place.kind(kind).path;
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let request = Request::new(&path).list(&page(next));
            let answer = self.ask::<Page<Found>>(request).await.map_err(|cause| (None, cause))?;
            let page = answer.map_err(|error| (None, cause(error, 0)))?;
            for found in page.items.iter().flatten() {
                let key = self.place.key(kind, &found.metadata.name);
                all.extend(self.place.decode(kind, found).map_err(|cause| (key, cause))?);
            }
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// The versions of all objects of a kind, and the version at which the list was taken.
    pub(super) async fn glimpse(
        &self,
        kind: ObjectKind,
    ) -> Result<(Vec<(ObjectKey, Version)>, String), Cause> {
        let path = self.place.kind(kind).path;
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let request = Request::new(&path).list_metadata(&page(next));
            let page: Page<Glimpse> = self.ask(request).await?.map_err(|error| cause(error, 0))?;
            for Glimpse { metadata } in page.items.iter().flatten() {
                if let Some(key) = self.place.key(kind, &metadata.name) {
                    all.push((key, version(&metadata.resource_version)?));
                }
            }
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() {
                return Ok((all, page.metadata.resource_version));
            }
        }
    }

    /// Compares and swaps one object.
    pub(super) async fn put(
        &self,
        key: ObjectKey,
        expected: Version,
        object: &Object,
        written_by: &str,
    ) -> Result<Put, Cause> {
        let (kind, name) = (self.place.kind(key.kind()), self.place.name(key));
        let body = self.place.encode(key, expected, object, written_by)?;
        let bytes = body.len();
        let (request, requests) = (Request::new(&kind.path), PostParams::default());
        let request = if expected == Version::ABSENT {
            request.create(&requests, body)
        } else {
            request.replace(&name, &requests, body)
        };
        match self.ask::<Glimpse>(request).await? {
            Ok(written) => {
                let version = version(&written.metadata.resource_version)?;
                if version <= expected {
                    // The API server was put back to an older state between the two.
                    let problem = format!("version {} was written over by {}", expected.0, version.0);
                    return Err(Cause::Unreadable { problem });
                }
                if let Some(metrics) = &self.metrics {
                    metrics.store_wrote(&kind.kind, bytes);
                }
                Ok(Put::Done(version))
            }
            Err(kube::Error::Api(status)) if is_conflict(&status) => Ok(Put::Conflict),
            Err(error) if expected != Version::ABSENT && is_absent(&error, &kind, &name) => Ok(Put::Conflict),
            Err(error) => Err(cause(error, bytes)),
        }
    }
}

/// No version is asked for, so that what is answered is not older than the question.
fn page(next: Option<String>) -> ListParams {
    ListParams { limit: Some(PAGE), continue_token: next, ..ListParams::default() }
}

fn is_conflict(status: &Status) -> bool {
    status.code == 409 && matches!(status.reason.as_str(), "Conflict" | "AlreadyExists")
}

/// An object is absent only if the answer names it: a kind that is not defined, or a path that an API server does not serve
/// yet, is a 404 as well, and whoever took that for an empty store would begin a new cluster.
fn is_absent(error: &kube::Error, kind: &Kind, name: &str) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let named =
        status.details.as_ref().is_some_and(|details| details.name == name && details.kind == kind.plural);
    status.code == 404 && status.reason == "NotFound" && named
}

/// What an error means. `bytes` is the size of what was sent.
pub(super) fn cause(error: kube::Error, bytes: usize) -> Cause {
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::SerdeError(error) => return Cause::Unreadable { problem: error.to_string() },
        error => return Cause::Unreachable { problem: chain(&error) },
    };
    let Status { code, message, reason, .. } = *status;
    match code {
        413 => Cause::TooLarge { bytes, message },
        // So says an API server whose etcd takes less than it does itself, in words of etcd's or of the way there.
        500 if bytes > ETCD_BYTES => Cause::TooLarge { bytes, message },
        429 | 500.. => Cause::Unavailable { code, message },
        401 | 403 => Cause::Forbidden { code, message },
        404 if reason != "NotFound" || message.starts_with("the server could not find") => Cause::UnknownKind,
        _ => Cause::Refused { code, reason, message },
    }
}

/// An error with all that it was caused by, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}
