//! The way to the controller: what the broker asks and tells it, over however many sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use taffrail_control::session::{ApiError, ControllerRequest, ControllerResponse, ToController};
use taffrail_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot, watch};

/// The way to ask the controller. It outlives sessions: between two of them what is told is dropped, and what is asked
/// waits. Cheap to clone.
#[derive(Clone)]
pub struct ControllerLink {
    inner: Arc<Inner>,
}

/// A session that there is.
#[derive(Clone)]
struct Attached {
    sender: mpsc::Sender<ToController>,
    /// What the controller can do beyond the contract's version.
    features: Arc<[String]>,
}

struct Inner {
    session: watch::Sender<Option<Attached>>,
    request_timeout: Duration,
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<ControllerResponse>>>,
}

impl ControllerLink {
    /// A link without a session. The controller may take `request_timeout` for one request before the client is told to
    /// try again.
    pub fn new(request_timeout: Duration) -> Self {
        let session = watch::Sender::new(None);
        let inner = Inner { session, request_timeout, next_id: AtomicU64::new(1), waiting: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// From now on messages go into this session, to a controller with these features.
    pub fn attach(&self, sender: mpsc::Sender<ToController>, features: Vec<String>) {
        self.inner.session.send_replace(Some(Attached { sender, features: features.into() }));
    }

    /// The session has ended. Whoever waits for an answer from it is told to try again: whether the request was carried
    /// out is not known.
    pub fn detach(&self) {
        self.inner.session.send_replace(None);
        self.inner.waiting.lock().clear();
    }

    /// Asks the controller and waits for its answer. When the answer is there, the update that the request caused
    /// has been applied here.
    pub async fn request(&self, request: ControllerRequest) -> ControllerResponse {
        let request_id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let asked = tokio::time::timeout(self.inner.request_timeout, self.ask(request_id, request)).await;
        self.inner.waiting.lock().remove(&request_id);
        match asked {
            Ok(Some(response)) => response,
            Ok(None) => unavailable("the session with the controller ended before it answered; try again"),
            Err(_elapsed) => unavailable("the controller did not answer in time; try again"),
        }
    }

    async fn ask(&self, request_id: u64, request: ControllerRequest) -> Option<ControllerResponse> {
        let session = self.session().await?;
        let (sender, receiver) = oneshot::channel();
        self.inner.waiting.lock().insert(request_id, sender);
        session.send(ToController::Request { request_id, request }).await.ok()?;
        receiver.await.ok()
    }

    /// Hands a response to whoever asked. One that came too late is dropped.
    pub fn respond(&self, request_id: u64, response: ControllerResponse) {
        if let Some(sender) = self.inner.waiting.lock().remove(&request_id) {
            // The asker may have given up in this moment.
            let _ = sender.send(response);
        }
    }

    /// Sends a message in this session, or, while there is none, in the next.
    pub async fn tell_in_session(&self, message: ToController) {
        if let Some(session) = self.session().await {
            // A session that has ended takes nothing.
            let _ = session.send(message).await;
        }
    }

    /// The session that there is, or the next.
    async fn session(&self) -> Option<mpsc::Sender<ToController>> {
        let mut sessions = self.inner.session.subscribe();
        sessions.wait_for(Option::is_some).await.ok()?.as_ref().map(|session| session.sender.clone())
    }

    /// Sends a message that has no answer of its own; waits while the session's queue is full. False if there is no
    /// session: the message is dropped.
    pub async fn tell(&self, message: ToController) -> bool {
        let session = self.inner.session.borrow().clone();
        match session {
            Some(session) => session.sender.send(message).await.is_ok(),
            None => false,
        }
    }

    /// As [`Self::tell`], to a controller that has said that it knows `feature`; for any other the message is dropped too.
    pub async fn tell_if_known(&self, feature: &str, message: ToController) -> bool {
        let session = self.inner.session.borrow().clone();
        match session.filter(|session| session.features.iter().any(|known| known == feature)) {
            Some(session) => session.sender.send(message).await.is_ok(),
            None => false,
        }
    }
}

fn unavailable(message: &str) -> ControllerResponse {
    ControllerResponse::Failed(ApiError { code: ErrorCode::REQUEST_TIMED_OUT, message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use taffrail_control::session::PARTITION_SIZES;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn code(response: &ControllerResponse) -> ErrorCode {
        match response {
            ControllerResponse::Failed(error) => error.code,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_the_next_session_and_is_answered_there() {
        let link = ControllerLink::new(TIMEOUT);
        assert!(!link.tell(ToController::ControlledShutdown { incarnation: 1 }).await);
        let (sender, mut receiver) = mpsc::channel(1);
        let controller = async {
            tokio::task::yield_now().await;
            link.attach(sender, Vec::new());
            let Some(ToController::Request { request_id, .. }) = receiver.recv().await else {
                panic!("nothing was asked");
            };
            link.respond(request_id, ControllerResponse::Done);
        };
        let request = link.request(ControllerRequest::AllocateProducerIds);
        let (response, ()) = tokio::join!(request, controller);
        assert_eq!(response, ControllerResponse::Done);
        assert!(link.tell(ToController::ControlledShutdown { incarnation: 1 }).await);
    }

    #[tokio::test]
    async fn what_is_new_is_told_only_to_a_controller_that_knows_it() {
        let link = ControllerLink::new(TIMEOUT);
        let message = || ToController::PartitionSizes { incarnation: 1, partitions: Vec::new() };
        assert!(!link.tell_if_known(PARTITION_SIZES, message()).await);
        let (sender, mut receiver) = mpsc::channel(1);
        link.attach(sender.clone(), vec!["other".to_owned()]);
        assert!(!link.tell_if_known(PARTITION_SIZES, message()).await);
        assert!(receiver.try_recv().is_err());
        link.attach(sender, vec!["other".to_owned(), PARTITION_SIZES.to_owned()]);
        assert!(link.tell_if_known(PARTITION_SIZES, message()).await);
        assert_eq!(receiver.try_recv(), Ok(message()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_when_the_session_ends_is_told_to_try_again_at_once() {
        let link = ControllerLink::new(TIMEOUT);
        let (sender, mut receiver) = mpsc::channel(1);
        link.attach(sender, Vec::new());
        let controller = async {
            receiver.recv().await.unwrap();
            link.detach();
        };
        let began = tokio::time::Instant::now();
        let (response, ()) = tokio::join!(link.request(ControllerRequest::AllocateProducerIds), controller);
        assert_eq!(code(&response), ErrorCode::REQUEST_TIMED_OUT);
        assert!(began.elapsed() < TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_session_a_request_times_out() {
        let link = ControllerLink::new(TIMEOUT);
        let response = link.request(ControllerRequest::AllocateProducerIds).await;
        assert_eq!(code(&response), ErrorCode::REQUEST_TIMED_OUT);
        assert!(link.inner.waiting.lock().is_empty());
    }
}
