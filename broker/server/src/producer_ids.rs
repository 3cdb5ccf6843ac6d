//! Producer ids for idempotent producers, handed out from blocks that the controller reserves.

use taffrail_control::session::{ApiError, ControllerRequest, ControllerResponse};
use taffrail_protocol::ErrorCode;
use tokio::sync::Mutex;

use crate::controller_link::ControllerLink;

/// The block in use. Ids of a block that was not used up when the broker stopped are lost, which is harmless.
#[derive(Debug, Default)]
pub struct ProducerIds {
    /// Held across the request for the next block, so that a burst of producers asks for one block and not for many.
    block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    next: i64,
    left: i32,
}

impl ProducerIds {
    /// An id that no other producer of the cluster has.
    ///
    /// # Errors
    /// The controller's refusal when it had no block to give.
    pub async fn next(&self, controller: &ControllerLink) -> Result<i64, ApiError> {
        let mut block = self.block.lock().await;
        if block.left <= 0 {
            match controller.request(ControllerRequest::AllocateProducerIds).await {
                ControllerResponse::ProducerIds { first, count } => {
                    *block = Block { next: first, left: count }
                }
                ControllerResponse::Failed(error) => return Err(error),
                _ => {
                    return Err(ApiError {
                        code: ErrorCode::UNKNOWN_SERVER_ERROR,
                        message: "the controller answered a request for producer ids with something else"
                            .to_owned(),
                    });
                }
            }
        }
        let id = block.next;
        block.next += 1;
        block.left -= 1;
        Ok(id)
    }
}
