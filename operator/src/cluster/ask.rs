//! Asking a cluster's controller for something, as a broker would.

use std::time::Duration;

use taffrail_control::session::{
    ApiError, ControllerRequest, ControllerResponse, FromController, Reassignment, ToController,
};
use taffrail_controller_service::ControllerHandle;

/// How long the controller may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What was asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no controller that would answer.
    #[error("the controller does not answer; it is asked again")]
    NoAnswer,
    /// It said no.
    #[error("the controller refuses to {what}: {}", error.message)]
    Refused {
        /// What it was to do.
        what: &'static str,
        /// Why not.
        error: ApiError,
    },
}

/// Asks for `request`. `what` stands after "refuses to".
///
/// # Errors
///
/// If it is refused, in whole or in part, or not answered.
pub async fn ask(
    handle: &ControllerHandle,
    what: &'static str,
    request: ControllerRequest,
) -> Result<(), AskError> {
    let answered = tokio::time::timeout(DEADLINE, exchange(handle, request)).await;
    let refused = match answered.ok().flatten().ok_or(AskError::NoAnswer)? {
        ControllerResponse::Failed(error) => Some(error),
        ControllerResponse::Configs(parts) => parts.into_iter().find_map(Result::err),
        ControllerResponse::Partitions(parts) => parts.into_iter().find_map(|part| part.result.err()),
        ControllerResponse::Topics(parts) => parts.into_iter().find_map(Result::err),
        ControllerResponse::ProducerIds { .. } | ControllerResponse::Done => None,
    };
    refused.map_or(Ok(()), |error| Err(AskError::Refused { what, error }))
}

async fn exchange(handle: &ControllerHandle, request: ControllerRequest) -> Option<ControllerResponse> {
    let mut session = handle.attend();
    session.sender.send(ToController::Request { request_id: 1, request }).await.ok()?;
    loop {
        if let FromController::Response { response, .. } = session.receiver.recv().await? {
            return Some(response);
        }
    }
}

/// Asks for partitions to be moved, none of which gets more or fewer replicas.
///
/// # Errors
///
/// See [`ask`].
pub async fn reassign(handle: &ControllerHandle, partitions: Vec<Reassignment>) -> Result<(), AskError> {
    let request =
        ControllerRequest::AlterReassignments { partitions, allow_replication_factor_change: false };
    ask(handle, "move partitions", request).await
}
