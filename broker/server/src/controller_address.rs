//! Where the controller is, and how a session with it is opened.

use std::fmt::Debug;
use std::sync::Arc;

use taffrail_control::grpc::client::{ConnectError, RemoteController};
use taffrail_control::session::{BrokerEnd, Registration};
use taffrail_controller_service::ControllerHandle;

/// Where the controller is.
#[derive(Debug, Clone)]
pub enum ControllerAddress {
    /// In this process.
    InProcess(Arc<dyn LocalSessions>),
    /// Reached over the network.
    Remote(RemoteController),
}

/// Whoever opens sessions within this process.
pub trait LocalSessions: Debug + Send + Sync + 'static {
    /// Opens a session. One that cannot be had is over at once.
    fn connect(&self) -> BrokerEnd;
}

impl LocalSessions for ControllerHandle {
    fn connect(&self) -> BrokerEnd {
        Self::connect(self)
    }
}

impl ControllerAddress {
    /// A controller in this process.
    pub fn in_process(controller: impl LocalSessions) -> Self {
        Self::InProcess(Arc::new(controller))
    }

    /// Opens a session with the active controller, for the broker that is about to register; nothing has been said in it
    /// yet.
    ///
    /// # Errors
    /// [`ConnectError`] when there is none.
    pub async fn connect(&self, registration: &Registration) -> Result<BrokerEnd, ConnectError> {
        match self {
            Self::InProcess(controller) => Ok(controller.connect()),
            Self::Remote(remote) => {
                remote.connect(registration.cluster_id.as_deref(), registration.broker_id).await
            }
        }
    }
}
