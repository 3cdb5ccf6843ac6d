//! The broker's side of its session with the controller: what it asks, and what it does with what it is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::{ApiError, ControllerRequest, ControllerResponse, ToController};
use taffrail_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};

/// How long the controller may take for one request before the client is told to try again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The way to ask the controller. Cheap to clone.
#[derive(Clone)]
pub struct ControllerLink {
    inner: Arc<Inner>,
}

struct Inner {
    sender: mpsc::Sender<ToController>,
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<ControllerResponse>>>,
}

impl ControllerLink {
    /// A link that sends into a session.
    pub fn new(sender: mpsc::Sender<ToController>) -> Self {
        Self { inner: Arc::new(Inner { sender, next_id: AtomicU64::new(1), waiting: Mutex::default() }) }
    }

    /// Asks the controller and waits for its answer. When the answer is there, the update that the request caused
    /// has been applied here.
    pub async fn request(&self, request: ControllerRequest) -> ControllerResponse {
        let request_id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.inner.waiting.lock().insert(request_id, sender);
        let asked = tokio::time::timeout(REQUEST_TIMEOUT, async {
            self.inner.sender.send(ToController::Request { request_id, request }).await.ok()?;
            receiver.await.ok()
        });
        match asked.await {
            Ok(Some(response)) => response,
            Ok(None) => {
                self.inner.waiting.lock().remove(&request_id);
                unavailable("the session with the controller has ended; try again when it is back")
            }
            Err(_elapsed) => {
                self.inner.waiting.lock().remove(&request_id);
                unavailable("the controller did not answer in time; try again")
            }
        }
    }

    /// Hands a response to whoever asked. One that came too late is dropped.
    pub fn respond(&self, request_id: u64, response: ControllerResponse) {
        if let Some(sender) = self.inner.waiting.lock().remove(&request_id) {
            // The asker may have given up in this moment.
            let _ = sender.send(response);
        }
    }

    /// Sends a message that has no answer of its own.
    pub async fn tell(&self, message: ToController) {
        if self.inner.sender.send(message).await.is_err() {
            tracing::debug!("the session with the controller has ended; a message was not sent");
        }
    }
}

fn unavailable(message: &str) -> ControllerResponse {
    ControllerResponse::Failed(ApiError { code: ErrorCode::REQUEST_TIMED_OUT, message: message.to_owned() })
}
