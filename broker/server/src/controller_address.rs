//! Where the controller is, and how a session with it is opened.

use taffrail_control::grpc::client::{ConnectError, RemoteController};
use taffrail_control::session::{BrokerEnd, Registration};
use taffrail_controller_service::ControllerHandle;

/// Where the controller is.
#[derive(Debug, Clone)]
pub enum ControllerAddress {
    /// In this process.
    InProcess(ControllerHandle),
    /// Reached over the network.
    Remote(RemoteController),
}

impl ControllerAddress {
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
