//! Connections to the Kubernetes API for calls that are answered soon or not at all, and sent once.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use parking_lot::Mutex;

use crate::counting;
use crate::metrics::Metrics;

/// How long a connection may take to come about.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// A call was not answered within its deadline. It may have happened, may still happen, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Kubernetes API did not answer within {} s", .after.as_secs_f32())]
pub(crate) struct NoAnswer {
    pub(crate) after: Duration,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    config: Config,
    deadline: Duration,
    metrics: Option<Arc<Metrics>>,
    /// Replaced, with its connections, when it did not answer: one that is dead would be asked again otherwise.
    client: Mutex<Connected>,
}

#[derive(Clone)]
struct Connected {
    client: Client,
    generation: u64,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Connection {
    /// `config` is used but for what must be so here. Nothing is sent twice: a write that is sent again after it was
    /// carried out would be answered with the conflict that it made itself.
    pub(crate) fn new(
        config: &Config,
        deadline: Duration,
        metrics: Option<Arc<Metrics>>,
    ) -> Result<Self, kube::Error> {
        let mut config = config.clone();
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_DEADLINE.min(deadline));
        let client = Mutex::new(Connected {
            client: counting::client(config.clone(), metrics.as_ref())?,
            generation: 0,
        });
        Ok(Self { config, deadline, metrics, client })
    }

    /// How long a call may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Does what `call` does, within the deadline.
    pub(crate) async fn within<T>(
        &self,
        call: impl AsyncFnOnce(Client) -> Result<T, kube::Error>,
    ) -> Result<Result<T, kube::Error>, NoAnswer> {
        let Connected { client, generation } = self.connected();
        match tokio::time::timeout(self.deadline, call(client)).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.leave(generation);
                Err(NoAnswer { after: self.deadline })
            }
        }
    }

    fn connected(&self) -> Connected {
        self.client.lock().clone()
    }

    /// Leaves the connections of a client that did not answer, unless somebody has.
    fn leave(&self, generation: u64) {
        let mut connected = self.client.lock();
        if connected.generation != generation {
            return;
        }
        match counting::client(self.config.clone(), self.metrics.as_ref()) {
            Ok(client) => *connected = Connected { client, generation: generation + 1 },
            Err(error) => tracing::warn!("cannot open new connections to the Kubernetes API: {error}"),
        }
    }
}
