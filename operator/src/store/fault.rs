//! Why the store could not do what it was asked, and where that is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use taffrail_controller::model::DecodeObjectError;
use taffrail_controller::store::ObjectKind;
use tokio::sync::watch;

use crate::connection::NoAnswer;

/// What the store wanted to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    /// To read one object or all of a kind.
    Read,
    /// To write an object.
    Write,
    /// To be told of changes.
    Watch,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Watch => "watch",
        })
    }
}

/// What could not be done: an attempt on an object, or on all objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The attempt.
    pub attempt: Attempt,
    /// The kind.
    pub kind: ObjectKind,
    /// As `kubectl` names it: `topicslice/orders-topics-7 -n shop`, or `topicslices -n shop`.
    pub object: String,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant says in its sentence what its fields are")]
pub enum Cause {
    #[error("the Kubernetes API did not answer within {} s", .after.as_secs())]
    NoAnswer { after: Duration },
    #[error("the Kubernetes API cannot be reached: {problem}")]
    Unreachable { problem: String },
    #[error("the Kubernetes API is not able to just now ({code}): {message}")]
    Unavailable { code: u16, message: String },
    #[error(
        "it is too large for the Kubernetes API, at {bytes} bytes ({message}); delete topics or configuration that are not \
         needed, or raise --max-request-bytes of etcd"
    )]
    TooLarge { bytes: usize, message: String },
    #[error(
        "the operator may not ({code}): {message}; give its ServiceAccount the verbs get, list, watch, create and update on \
         the kind, as the Helm chart does"
    )]
    Forbidden { code: u16, message: String },
    #[error(
        "the Kubernetes API does not know the kind; install the custom resource definitions of this release"
    )]
    UnknownKind,
    #[error("the Kubernetes API refuses it ({code} {reason}): {message}")]
    Refused { code: u16, reason: String, message: String },
    #[error("the answer of the Kubernetes API cannot be read: {problem}")]
    Unreadable { problem: String },
    #[error(
        "its resourceVersion is \"{found}\", which is not a number above 0; only an API server that numbers versions, as all \
         over etcd do, can be a controller's memory"
    )]
    NoVersion { found: String },
    #[error("{problem}")]
    HigherFormat { problem: String },
    #[error("{problem}; the controller decides nothing on it; bring it back from a backup")]
    Damaged { problem: String },
    #[error("it cannot be written as JSON: {problem}")]
    Unwritable { problem: String },
    #[error("another object was written by a later release ({object}); use that release")]
    Withheld { object: String },
}

impl Cause {
    /// Whether waiting may help, and nobody has to do anything.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Unreachable { .. } | Self::Unavailable { .. })
    }
}

impl From<NoAnswer> for Cause {
    fn from(NoAnswer { after }: NoAnswer) -> Self {
        Self::NoAnswer { after }
    }
}

impl From<DecodeObjectError> for Cause {
    fn from(error: DecodeObjectError) -> Self {
        let problem = error.to_string();
        match error {
            DecodeObjectError::HigherFormat { .. } | DecodeObjectError::UnknownKey { .. } => {
                Self::HigherFormat { problem }
            }
            DecodeObjectError::Malformed { .. } => Self::Damaged { problem },
        }
    }
}

/// What the store cannot do at present; empty if all is well.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreHealth {
    /// By what could not be done, why not.
    pub faults: BTreeMap<Site, Cause>,
}

impl StoreHealth {
    /// The first object that a later release wrote. While there is one, nothing is written.
    pub fn later_release(&self) -> Option<&str> {
        let mut faults = self.faults.iter();
        let (site, _) = faults.find(|(_, cause)| matches!(cause, Cause::HigherFormat { .. }))?;
        Some(&site.object)
    }

    /// One sentence for each fault.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(|(site, cause)| sentence(site, cause))
    }
}

fn sentence(Site { attempt, object, .. }: &Site, cause: &Cause) -> String {
    format!("cannot {attempt} {object}: {cause}")
}

/// Keeps the [`StoreHealth`] that everybody looks at, and logs what is new in it.
#[derive(Debug)]
pub(super) struct Reporter {
    health: watch::Sender<StoreHealth>,
}

impl Reporter {
    pub(super) fn new() -> Self {
        Self { health: watch::Sender::new(StoreHealth::default()) }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<StoreHealth> {
        self.health.subscribe()
    }

    pub(super) fn later_release(&self) -> Option<String> {
        self.health.borrow().later_release().map(str::to_owned)
    }

    /// Something could not be done. An API server that is away is told of once, and not for each object.
    pub(super) fn raise(&self, site: Site, cause: Cause) {
        self.health.send_if_modified(|health| {
            if health.faults.get(&site) == Some(&cause) {
                return false;
            }
            if !cause.is_passing() {
                tracing::error!("{}", sentence(&site, &cause));
            } else if !health.faults.values().any(Cause::is_passing) {
                tracing::warn!("{}", sentence(&site, &cause));
            }
            health.faults.insert(site, cause);
            true
        });
    }

    /// Something could be done.
    pub(super) fn clear(&self, site: &Site) {
        self.clear_all(|other| other == site);
    }

    /// All objects of a kind could be read.
    pub(super) fn clear_reads(&self, kind: ObjectKind) {
        self.clear_all(|site| site.attempt == Attempt::Read && site.kind == kind);
    }

    fn clear_all(&self, is_over: impl Fn(&Site) -> bool) {
        self.health.send_if_modified(|health| {
            let mut passed = false;
            let over: Vec<_> = health.faults.extract_if(.., |site, _| is_over(site)).collect();
            for (site, cause) in &over {
                passed |= cause.is_passing();
                if !cause.is_passing() {
                    tracing::info!("can {} {} again", site.attempt, site.object);
                }
            }
            if passed && !health.faults.values().any(Cause::is_passing) {
                tracing::info!("the Kubernetes API answers again");
            }
            !over.is_empty()
        });
    }
}
