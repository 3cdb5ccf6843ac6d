//! One request on its way through a handler: who asked, and how the answer is encoded and counted.

use std::sync::Arc;
use std::time::Instant;

use taffrail_protocol::frame::write_response;
use taffrail_protocol::{ApiKey, ApiMessage, Decode, DecodeError, ErrorCode, Reader, Writer};
use tokio::task::AbortHandle;

use crate::broker::Broker;
use crate::net::outbox::{FileRange, Response};
use crate::net::parked::{Answer, AwaitDelivery, Delivery, Parked, Waiter};
use crate::request::RequestContext;

/// What is reserved for an answer: most of them fit.
const ANSWER_BYTES: usize = 128;

/// A request without its body. It moves to wherever the answer is made.
pub struct Call {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Who asks.
    pub context: RequestContext,
    /// Which API.
    pub api: ApiKey,
    /// Wakes the connection for this request.
    pub waiter: Waiter,
    /// When the request's last byte had been read.
    pub started: Instant,
}

impl Call {
    /// The version of the API that the request is in.
    pub fn version(&self) -> i16 {
        self.context.api_version
    }

    /// Reads the request's body. Bytes after it are passed over, as Apache Kafka does: librdkafka 2.12 leaves three
    /// after a flexible Metadata request for all topics.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong and where. A request that would take more memory than one may is an error too.
    pub fn decode<'a, M: ApiMessage + Decode<'a>>(&self, body: &'a [u8]) -> Result<M, DecodeError> {
        M::read(&mut Reader::with_memory_limit(body, self.broker.decoded_limit_bytes), self.version())
    }

    /// Ends the connection for a body that cannot be read.
    pub fn unreadable(&self, error: &DecodeError) -> Answer {
        Answer::Close(format!("a request of {} version {} cannot be read: {error}", self.api, self.version()))
    }

    /// Encodes the answer and counts the request as done.
    pub fn encode<M: ApiMessage>(&self, message: &M) -> Response {
        self.encode_with_ranges(message, Vec::new())
    }

    /// As [`Call::encode`], for an answer with splices: `ranges` are the files' ranges by splice id.
    pub fn encode_with_ranges<M: ApiMessage>(&self, message: &M, ranges: Vec<FileRange>) -> Response {
        let mut writer = Writer::with_capacity(ANSWER_BYTES);
        let written = write_response(&mut writer, self.context.correlation_id, message, self.version());
        let response = match written {
            Ok(()) => place_ranges(writer, ranges),
            Err(error) => Response::fatal(format!("the answer to {} cannot be encoded: {error}", self.api)),
        };
        self.broker.metrics.request_done(self.api, self.started.elapsed(), response.wire_len());
        response
    }

    /// Counts a request that gets no answer as done.
    pub fn done_without_answer(&self) {
        self.broker.metrics.request_done(self.api, self.started.elapsed(), 0);
    }

    /// Answers now.
    pub fn answer<M: ApiMessage>(&self, message: &M) -> Answer {
        Answer::Now(self.encode(message))
    }

    /// Ends the connection for something that a mistake in the broker led to.
    pub fn impossible(&self, what: &str) -> Response {
        Response::fatal(format!("{} version {} has no answer: {what}", self.api, self.version()))
    }

    /// Counts an error that the answer carries.
    pub fn note_error(&self, code: ErrorCode) {
        if code != ErrorCode::NONE {
            self.broker.metrics.request_error(self.api, code);
        }
    }

    /// Answers when `work`, which may wait, is done.
    pub fn answer_later<M, W>(self, work: impl FnOnce(Arc<Broker>) -> W) -> Answer
    where
        M: ApiMessage + Send + 'static,
        W: Future<Output = M> + Send + 'static,
    {
        let delivery = Delivery::new(self.waiter.clone());
        let work = work(Arc::clone(&self.broker));
        let place = delivery.clone();
        tokio::spawn(async move { place.deliver(work.await) });
        self.answer_delivery(delivery)
    }

    /// As [`Call::answer_later`], for work that is of use to this client alone: it ends with the connection.
    pub fn answer_while_connected<M, W>(self, work: impl FnOnce(Arc<Broker>) -> W) -> Answer
    where
        M: ApiMessage + Send + 'static,
        W: Future<Output = M> + Send + 'static,
    {
        let delivery = Delivery::new(self.waiter.clone());
        let work = work(Arc::clone(&self.broker));
        let place = delivery.clone();
        let task = tokio::spawn(async move { place.deliver(work.await) }).abort_handle();
        let encode = move |message: M| self.encode(&message);
        Answer::Later(Box::new(AwaitTask { task, awaited: AwaitDelivery::new(delivery, encode) }))
    }

    /// Answers when `work`, which may block on the disk, is done on a thread that may.
    pub fn answer_blocking<M>(self, work: impl FnOnce(&Broker) -> M + Send + 'static) -> Answer
    where
        M: ApiMessage + Send + 'static,
    {
        let delivery = Delivery::new(self.waiter.clone());
        let (place, broker) = (delivery.clone(), Arc::clone(&self.broker));
        tokio::task::spawn_blocking(move || place.deliver(work(&broker)));
        self.answer_delivery(delivery)
    }

    /// Answers with what arrives at `delivery`.
    pub fn answer_delivery<M: ApiMessage + Send + 'static>(self, delivery: Delivery<M>) -> Answer {
        Answer::Later(Box::new(AwaitDelivery::new(delivery, move |message: M| self.encode(&message))))
    }
}

/// A request whose answer a task makes that ends with it.
struct AwaitTask<P> {
    task: AbortHandle,
    awaited: P,
}

impl<P: Parked> Parked for AwaitTask<P> {
    fn deadline(&self) -> Option<Instant> {
        self.awaited.deadline()
    }

    fn poll(&mut self, now: Instant) -> Option<Response> {
        self.awaited.poll(now)
    }
}

impl<P> Drop for AwaitTask<P> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Puts the files' ranges in the places of the splices.
fn place_ranges(writer: Writer, ranges: Vec<FileRange>) -> Response {
    let mut files: Vec<Option<FileRange>> = ranges.into_iter().map(Some).collect();
    let placed = writer.splices.iter().map(|splice| {
        let file = files.get_mut(splice.id as usize).and_then(Option::take);
        file.map(|range| (splice.at, range))
    });
    match placed.collect() {
        Some(ranges) => Response { bytes: writer.buf, ranges, fatal: None },
        None => Response::fatal("an answer was encoded with a splice that has no file".to_owned()),
    }
}
