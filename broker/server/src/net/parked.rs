//! Requests that wait: how something elsewhere wakes the connection that holds them.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::outbox::Response;

/// The number of a request on its connection, counted from 0 in the order of arrival.
pub type RequestNumber = u64;

/// A request that cannot be answered yet. It lives on its connection and dies with it.
pub trait Parked: Send {
    /// When it has to be answered even if nothing happens.
    fn deadline(&self) -> Option<Instant>;

    /// Called when it was woken or its deadline has passed; answers or goes on waiting. At or after its deadline it
    /// has to answer.
    fn poll(&mut self, now: Instant) -> Option<Response>;
}

/// What a handler says to a request.
pub enum Answer {
    /// The answer is there.
    Now(Response),
    /// The protocol wants none (a produce request with `acks=0`).
    Nothing,
    /// The answer comes later; requests behind it go on being handled meanwhile.
    Later(Box<dyn Parked>),
    /// The protocol has no answer for this: the connection ends, with the reason in the log.
    Close(String),
    /// The connection ends when this answer has left, with the reason in the log.
    Last(Response, String),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(response) => f.debug_tuple("Now").field(response).finish(),
            Self::Nothing => f.write_str("Nothing"),
            Self::Later(_) => f.write_str("Later"),
            Self::Close(reason) => f.debug_tuple("Close").field(reason).finish(),
            Self::Last(response, reason) => f.debug_tuple("Last").field(response).field(reason).finish(),
        }
    }
}

/// A connection's door bell: whoever completes something rings it with the request's number.
#[derive(Debug, Default)]
pub struct DoorBell {
    rung: Mutex<Vec<RequestNumber>>,
    notify: Notify,
}

impl DoorBell {
    /// Wakes the connection for one of its requests.
    pub fn ring(&self, request: RequestNumber) {
        let mut rung = self.rung.lock();
        // The list is as long as the connection has parked requests at most.
        if !rung.contains(&request) {
            rung.push(request);
        }
        drop(rung);
        self.notify.notify_one();
    }

    /// Completes when it was rung since the last call of [`DoorBell::take`].
    pub async fn rung(&self) {
        self.notify.notified().await;
    }

    /// Moves the numbers of the woken requests into `into`.
    pub fn take(&self, into: &mut Vec<RequestNumber>) {
        into.append(&mut self.rung.lock());
    }
}

/// The way back to one parked request: rings its connection's bell.
#[derive(Debug, Clone)]
pub struct Waiter {
    bell: Arc<DoorBell>,
    request: RequestNumber,
}

impl Waiter {
    /// The way to request number `request` of the connection with `bell`.
    pub fn new(bell: Arc<DoorBell>, request: RequestNumber) -> Self {
        Self { bell, request }
    }

    /// Has the request looked at again.
    pub fn wake(&self) {
        self.bell.ring(self.request);
    }
}

/// A place for one value that another task or thread delivers.
#[derive(Debug)]
pub struct Delivery<V> {
    value: Arc<Mutex<Option<V>>>,
    waiter: Waiter,
}

impl<V> Clone for Delivery<V> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), waiter: self.waiter.clone() }
    }
}

impl<V> Delivery<V> {
    /// A place whose arrival wakes `waiter`.
    pub fn new(waiter: Waiter) -> Self {
        Self { value: Arc::new(Mutex::new(None)), waiter }
    }

    /// Puts the value there. The first one counts.
    pub fn deliver(&self, value: V) {
        self.value.lock().get_or_insert(value);
        self.waiter.wake();
    }

    /// Takes the value if it has arrived.
    pub fn take(&self) -> Option<V> {
        self.value.lock().take()
    }
}

/// A request whose whole answer somebody else delivers.
pub struct AwaitDelivery<V, F> {
    delivery: Delivery<V>,
    encode: Option<F>,
}

impl<V, F> AwaitDelivery<V, F>
where
    F: FnOnce(V) -> Response + Send,
{
    /// Waits for `delivery` and turns what arrives into the answer.
    pub fn new(delivery: Delivery<V>, encode: F) -> Self {
        Self { delivery, encode: Some(encode) }
    }
}

impl<V, F> Parked for AwaitDelivery<V, F>
where
    V: Send,
    F: FnOnce(V) -> Response + Send,
{
    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn poll(&mut self, _now: Instant) -> Option<Response> {
        let value = self.delivery.take()?;
        self.encode.take().map(|encode| encode(value))
    }
}
