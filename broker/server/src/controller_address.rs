//! Where the controller is, and how a session with it is opened.

use taffrail_control::session::BrokerEnd;
use taffrail_controller_service::ControllerHandle;

/// Where the controller is.
#[derive(Debug, Clone)]
pub enum ControllerAddress {
    /// In this process.
    InProcess(ControllerHandle),
}

impl ControllerAddress {
    /// Opens a session with the active controller; nothing has been said in it yet.
    pub async fn connect(&self) -> BrokerEnd {
        match self {
            Self::InProcess(controller) => controller.connect(),
        }
    }
}
