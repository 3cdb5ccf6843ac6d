//! Calls of the Kubernetes API, each within a deadline of its own and with a sentence for when it fails.

use kube::runtime::watcher;
use std::time::Duration;

/// How long an answer may take, all attempts that the client makes by itself included.
const DEADLINE: Duration = Duration::from_secs(10);

/// A call that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing is known of what became of it.
    #[error("cannot {what}: the Kubernetes API did not answer within {} s", DEADLINE.as_secs())]
    NoAnswer {
        /// What it was to do.
        what: String,
    },
    /// The API said no, or could not be reached.
    #[error("cannot {what}: {}", words(source))]
    Failed {
        /// What it was to do.
        what: String,
        /// Why.
        source: kube::Error,
    },
}

impl CallError {
    /// The code that the API answered with.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Failed { source: kube::Error::Api(status), .. } => Some(status.code),
            _ => None,
        }
    }
}

/// What the API said, or the error with all that it was caused by.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => crate::store::chain(error),
    }
}

/// What `call` answers, if it does so in time. `what` stands after "cannot".
///
/// # Errors
///
/// If it fails, or does not answer.
pub async fn call<T>(
    what: impl Into<String>,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    within(DEADLINE, what, call).await
}

async fn within<T>(
    deadline: Duration,
    what: impl Into<String>,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(CallError::Failed { what: what.into(), source }),
        Err(_) => Err(CallError::NoAnswer { what: what.into() }),
    }
}

/// Whether a watch only has to list again, as it was away for too long or the API server has forgotten where it was: that is
/// how watches go on.
pub fn is_expired(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_is_not_answered_is_given_up() {
        let never = std::future::pending::<Result<(), kube::Error>>();
        let error = within(Duration::ZERO, "apply Service orders", never).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot apply Service orders: the Kubernetes API did not answer within 10 s"
        );
    }
}
