//! One client connection: frames in, answers out in the order of the requests.
//!
//! A single task owns everything. It goes on reading and handling requests while earlier ones wait (for followers, for
//! data, for a group to assemble), up to [`MAX_IN_FLIGHT`]; a client that does not take its answers is not read from.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BufMut;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use super::memory::{BudgetError, MemoryBudget, Reservation};
use super::outbox::{FileRange, Outbox, Response, Sent};
use super::parked::{Answer, DoorBell, Parked, RequestNumber, Waiter};

/// Requests of one connection that may wait for their answers at once.
const MAX_IN_FLIGHT: usize = 128;
/// Unsent answers of one connection, in bytes of memory, above which no further request is read.
const MAX_UNSENT_BYTES: usize = 1024 * 1024;
/// What a read takes beyond the frame it is after: enough for many small requests in one system call, little enough
/// that moving the rest to the front of the buffer costs nothing.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// A connection's buffer before its first large frame.
const FIRST_BUFFER_BYTES: usize = 4 * 1024;
/// A connection without traffic for this long gives its buffers back.
const SHRINK_AFTER: Duration = Duration::from_secs(10);
/// How long a frame may wait for memory that other requests hold.
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);
/// The length prefix of a frame.
const LENGTH_BYTES: usize = 4;

/// What handles the requests of one connection.
pub trait Service: Send {
    /// Handles one frame (without its length prefix) that came in on `socket`. The frame's bytes may be changed in place:
    /// a batch gets its offset there.
    fn handle(&mut self, frame: &mut [u8], waiter: Waiter, socket: BorrowedFd<'_>) -> Answer;

    /// A segment that an answer names cannot be read; the connection is about to end for it.
    fn cannot_read(&mut self, file: BorrowedFd<'_>, error: &std::io::Error);
}

/// Limits of one connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The longest frame accepted, in bytes (`socket.request.max.bytes`).
    pub max_frame_bytes: usize,
    /// A connection without a request for this long is closed (`connections.max.idle.ms`).
    pub max_idle: Duration,
}

/// Why a connection ended, where it was not the client's orderly end.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Socket(#[from] std::io::Error),
    /// A length prefix that no Kafka client sends.
    #[error("a frame of {length} bytes was announced, {limit} are allowed (socket.request.max.bytes)")]
    FrameTooLong {
        /// The prefix as it stood on the wire.
        length: i32,
        /// The most that is allowed.
        limit: usize,
    },
    /// The client left in the middle of a frame.
    #[error("the client left in the middle of a frame: {got} of {wanted} bytes had arrived")]
    Truncated {
        /// Bytes that arrived, the length prefix included.
        got: usize,
        /// Bytes that were announced; 0 while the length prefix itself is incomplete.
        wanted: usize,
    },
    /// The protocol has no other answer than to close.
    #[error("{0}")]
    Protocol(String),
    /// The broker's memory for requests is used up.
    #[error("no memory for the next request: {0}")]
    Memory(#[from] BudgetError),
}

enum Slot {
    Ready(Response),
    Waiting(Box<dyn Parked>),
}

/// The read side: bytes that arrived and are not handled yet.
struct Inbox {
    buffer: Vec<u8>,
    /// Bytes before this are handled.
    start: usize,
    reservation: Reservation,
    max_frame_bytes: usize,
}

/// Where the next frame stands in the inbox.
enum NextFrame {
    /// Complete at this range, without its length prefix.
    Complete(std::ops::Range<usize>),
    /// This many bytes are missing until it is complete, or until its length is known.
    Missing(usize),
}

impl Inbox {
    fn new(budget: &Arc<MemoryBudget>, max_frame_bytes: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, reservation: budget.reservation(), max_frame_bytes }
    }

    fn next_frame(&self) -> Result<NextFrame, ConnectionError> {
        let unread = &self.buffer[self.start..];
        let Some(prefix) = unread.first_chunk::<LENGTH_BYTES>() else {
            return Ok(NextFrame::Missing(LENGTH_BYTES - unread.len()));
        };
        let length = i32::from_be_bytes(*prefix);
        let limit = self.max_frame_bytes;
        let body = usize::try_from(length)
            .ok()
            .filter(|body| *body <= limit)
            .ok_or(ConnectionError::FrameTooLong { length, limit })?;
        if unread.len() < LENGTH_BYTES + body {
            return Ok(NextFrame::Missing(LENGTH_BYTES + body - unread.len()));
        }
        let from = self.start + LENGTH_BYTES;
        Ok(NextFrame::Complete(from..from + body))
    }

    /// Moves unhandled bytes to the front, so that the next read has room behind them.
    fn compact(&mut self) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    /// Makes room for a read of what is `missing` and takes memory for it. The buffer grows as bytes arrive (it
    /// doubles), never by what a client merely announced.
    async fn make_room(&mut self, missing: usize) -> Result<(), ConnectionError> {
        self.compact();
        let (held, capacity) = (self.buffer.len(), self.buffer.capacity());
        if capacity - held >= missing.min(READ_AHEAD_BYTES) && capacity > held {
            return Ok(());
        }
        let wanted = (capacity * 2).clamp(FIRST_BUFFER_BYTES, (held + missing).max(READ_AHEAD_BYTES));
        self.reservation.grow(wanted, MEMORY_PATIENCE).await?;
        self.buffer.reserve_exact(wanted - held);
        Ok(())
    }

    /// What one read may take, so that a large frame leaves little of the next one to move.
    fn read_limit(&self, missing: usize) -> usize {
        missing.max(READ_AHEAD_BYTES).min(self.buffer.capacity() - self.buffer.len())
    }

    fn shrink(&mut self) {
        self.compact();
        self.buffer.shrink_to_fit();
        self.reservation.shrink(self.buffer.capacity());
    }
}

/// The runtime's clock, which tests can move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Serves one connection until the client leaves, breaks the protocol, goes idle, or the broker stops.
///
/// # Errors
/// [`ConnectionError`] when it ended in any other way than by the client's orderly close, idleness or the broker's
/// stop.
pub async fn serve(
    mut stream: TcpStream,
    service: impl Service,
    limits: ConnectionLimits,
    budget: Arc<MemoryBudget>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let (mut read_half, write_half) = stream.split();
    let mut connection = Connection {
        service,
        bell: Arc::new(DoorBell::default()),
        inbox: Inbox::new(&budget, limits.max_frame_bytes),
        slots: VecDeque::new(),
        first_slot: 0,
        woken: Vec::new(),
        outbox: Outbox::default(),
        reading_ahead: None,
        ending: None,
        unsent: budget.reservation(),
        waiting_memory: 0,
        last_traffic: now(),
        housekeeping_at: now() + SHRINK_AFTER.min(limits.max_idle),
    };
    let mut timer_at = connection.housekeeping_at;
    let timer = tokio::time::sleep_until(timer_at.into());
    tokio::pin!(timer);
    let mut timer_fired = false;
    loop {
        // A client that always has a next request ready would keep the wait below from coming to the stop.
        if stop.has_changed().unwrap_or(true) {
            return Ok(());
        }
        let missing = connection.handle_frames(write_half.as_ref().as_fd())?;
        connection.collect_answers()?;
        let blocked = connection.flush(write_half.as_ref())?;
        if connection.slots.is_empty()
            && connection.outbox.is_empty()
            && let Some(reason) = connection.ending.take()
        {
            return Err(ConnectionError::Protocol(reason));
        }
        // Answers that left may have made room for requests that are already here.
        if missing.is_none() && !connection.is_full() {
            continue;
        }
        // A timer that fires too early only has the deadlines looked at again: cheaper than moving it back each time.
        let wake_at = connection.next_deadline();
        if timer_fired || wake_at < timer_at {
            timer.as_mut().reset(wake_at.into());
            timer_at = wake_at;
            timer_fired = false;
        }
        tokio::select! {
            biased;
            () = connection.bell.rung() => connection.poll_woken(),
            ready = write_half.ready(Interest::WRITABLE), if blocked => { ready?; }
            ahead = read_ahead(&mut connection.reading_ahead), if connection.reading_ahead.is_some() => {
                connection.reading_ahead = None;
                // The runtime may be stopping.
                if let Ok((ahead, read)) = ahead {
                    if let Err(error) = read {
                        connection.service.cannot_read(ahead.file.as_fd(), &error);
                    }
                    connection.outbox.cached(&ahead);
                }
            }
            read = read_more(&mut connection.inbox, &mut read_half, missing), if missing.is_some() => {
                if read? == 0 {
                    return connection.end_of_stream();
                }
                connection.last_traffic = now();
            }
            () = &mut timer => {
                timer_fired = true;
                if connection.on_timer(limits.max_idle) {
                    return Ok(());
                }
            }
            _ = stop.changed() => return Ok(()),
        }
    }
}

async fn read_ahead(
    reading: &mut Option<JoinHandle<(FileRange, std::io::Result<()>)>>,
) -> Result<(FileRange, std::io::Result<()>), JoinError> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

async fn read_more(
    inbox: &mut Inbox,
    stream: &mut ReadHalf<'_>,
    missing: Option<usize>,
) -> Result<usize, ConnectionError> {
    let missing = missing.unwrap_or(LENGTH_BYTES);
    inbox.make_room(missing).await?;
    let limit = inbox.read_limit(missing);
    Ok(stream.read_buf(&mut (&mut inbox.buffer).limit(limit)).await?)
}

struct Connection<S> {
    service: S,
    bell: Arc<DoorBell>,
    inbox: Inbox,
    /// Requests that were handled and not answered, in order of arrival.
    slots: VecDeque<Slot>,
    /// The number of the request in the first slot.
    first_slot: RequestNumber,
    woken: Vec<RequestNumber>,
    outbox: Outbox,
    /// A range of the outbox that is on its way into the page cache.
    reading_ahead: Option<JoinHandle<(FileRange, std::io::Result<()>)>>,
    /// The last request was answered: the connection ends when everything has left, for this reason.
    ending: Option<String>,
    unsent: Reservation,
    /// Memory of the answers in `slots` that are ready but wait for an earlier one, in bytes.
    waiting_memory: usize,
    last_traffic: Instant,
    /// When idleness is looked at next.
    housekeeping_at: Instant,
}

impl<S: Service> Connection<S> {
    fn is_full(&self) -> bool {
        self.ending.is_some()
            || self.slots.len() >= MAX_IN_FLIGHT
            || self.outbox.memory() + self.waiting_memory >= MAX_UNSENT_BYTES
    }

    /// Handles the frames that have arrived. Returns how many bytes the next one lacks, or `None` while the
    /// connection takes no further request.
    fn handle_frames(&mut self, socket: BorrowedFd<'_>) -> Result<Option<usize>, ConnectionError> {
        while !self.is_full() {
            let range = match self.inbox.next_frame()? {
                NextFrame::Missing(missing) => return Ok(Some(missing)),
                NextFrame::Complete(range) => range,
            };
            self.inbox.start = range.end;
            let number = self.first_slot + self.slots.len() as RequestNumber;
            let waiter = Waiter::new(Arc::clone(&self.bell), number);
            match self.service.handle(&mut self.inbox.buffer[range], waiter, socket) {
                Answer::Now(response) if self.slots.is_empty() => {
                    self.first_slot += 1;
                    self.send(response)?;
                }
                Answer::Now(response) => self.push_ready(response),
                Answer::Nothing => self.push_ready(Response::default()),
                Answer::Later(parked) => self.slots.push_back(Slot::Waiting(parked)),
                Answer::Close(reason) => return Err(ConnectionError::Protocol(reason)),
                Answer::Last(response, reason) => {
                    self.push_ready(response);
                    self.ending = Some(reason);
                }
            }
            if self.inbox.start == self.inbox.buffer.len() {
                self.inbox.buffer.clear();
                self.inbox.start = 0;
            }
        }
        Ok(None)
    }

    fn push_ready(&mut self, response: Response) {
        self.waiting_memory += response.memory();
        self.slots.push_back(Slot::Ready(response));
    }

    /// Looks again at the requests whose bell was rung.
    fn poll_woken(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        self.bell.take(&mut woken);
        let at = now();
        for number in woken.drain(..) {
            // A number below the first slot was answered by its deadline meanwhile.
            let Some(index) = number.checked_sub(self.first_slot) else { continue };
            if let Some(slot) = self.slots.get_mut(index as usize) {
                self.waiting_memory += slot.poll(at);
            }
        }
        self.woken = woken;
    }

    fn poll_expired(&mut self, at: Instant) {
        for slot in &mut self.slots {
            if slot.deadline().is_some_and(|deadline| deadline <= at) {
                self.waiting_memory += slot.poll(at);
            }
        }
    }

    /// Moves the answers at the head of the line into the outbox.
    fn collect_answers(&mut self) -> Result<(), ConnectionError> {
        while let Some(Slot::Ready(response)) = self.slots.pop_front_if(|slot| matches!(slot, Slot::Ready(_)))
        {
            self.first_slot += 1;
            self.waiting_memory -= response.memory();
            self.send(response)?;
        }
        Ok(())
    }

    fn send(&mut self, response: Response) -> Result<(), ConnectionError> {
        match response.fatal {
            Some(reason) => return Err(ConnectionError::Protocol(reason)),
            None if response.bytes.is_empty() => {}
            None => self.outbox.push(response),
        }
        Ok(())
    }

    /// Sends what the socket takes; true when it takes no more and something is left.
    fn flush(&mut self, stream: &TcpStream) -> Result<bool, ConnectionError> {
        if self.outbox.is_empty() || self.reading_ahead.is_some() {
            return Ok(false);
        }
        let outbox = &mut self.outbox;
        let sent = stream.try_io(Interest::WRITABLE, || match outbox.send(stream.as_fd())? {
            // Tells the runtime that the socket is not writable any more.
            Sent::Blocked => Err(std::io::ErrorKind::WouldBlock.into()),
            sent => Ok(sent),
        });
        let blocked = match sent {
            Ok(Sent::Cold(range)) => {
                self.reading_ahead = Some(tokio::task::spawn_blocking(move || {
                    let read = range.read_ahead();
                    (range, read)
                }));
                false
            }
            Ok(_all) => false,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => true,
            Err(error) => return Err(error.into()),
        };
        let memory = self.outbox.memory();
        self.unsent.shrink(memory);
        if !self.unsent.try_grow(memory) {
            return Err(ConnectionError::Protocol(format!(
                "the client does not read its answers, and {memory} bytes of them do not fit into the memory that is \
                 left"
            )));
        }
        Ok(blocked)
    }

    fn next_deadline(&self) -> Instant {
        self.slots.iter().filter_map(Slot::deadline).fold(self.housekeeping_at, Instant::min)
    }

    /// Answers what is due and looks after idleness. True when the connection has been idle for too long.
    fn on_timer(&mut self, max_idle: Duration) -> bool {
        let at = now();
        self.poll_expired(at);
        if at < self.housekeeping_at {
            return false;
        }
        let quiet = at.saturating_duration_since(self.last_traffic);
        if quiet >= max_idle && self.slots.is_empty() {
            return true;
        }
        self.housekeeping_at = if quiet >= SHRINK_AFTER {
            self.inbox.shrink();
            self.outbox.release_spare();
            (self.last_traffic + max_idle).max(at + SHRINK_AFTER)
        } else {
            self.last_traffic + SHRINK_AFTER.min(max_idle)
        };
        false
    }

    fn end_of_stream(&self) -> Result<(), ConnectionError> {
        let got = self.inbox.buffer.len() - self.inbox.start;
        match self.inbox.next_frame()? {
            NextFrame::Missing(missing) if got >= LENGTH_BYTES => {
                Err(ConnectionError::Truncated { got, wanted: got + missing })
            }
            _ if got > 0 => Err(ConnectionError::Truncated { got, wanted: 0 }),
            _ => Ok(()),
        }
    }
}

impl Slot {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Ready(_) => None,
            Self::Waiting(parked) => parked.deadline(),
        }
    }

    /// Looks at a waiting request again. Returns the memory of the answer if there is one now, in bytes.
    fn poll(&mut self, now: Instant) -> usize {
        if let Self::Waiting(parked) = self
            && let Some(response) = parked.poll(now)
        {
            let memory = response.memory();
            *self = Self::Ready(response);
            return memory;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use parking_lot::Mutex;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    use super::super::parked::{AwaitDelivery, Delivery};
    use super::*;

    type Deliveries = Arc<Mutex<VecDeque<Delivery<u8>>>>;

    /// Answers each frame with its bytes; a frame that begins with `l` is answered later, one with `x` ends the
    /// connection, one with `n` gets no answer, one with `b` a big one.
    struct Echo {
        deliveries: Deliveries,
        handled: mpsc::UnboundedSender<u8>,
    }

    fn echo(bytes: &[u8]) -> Response {
        let mut framed = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        framed.extend_from_slice(bytes);
        Response { bytes: framed, ..Response::default() }
    }

    impl Service for Echo {
        fn handle(&mut self, frame: &mut [u8], waiter: Waiter, _: BorrowedFd<'_>) -> Answer {
            let kind = frame.first().copied().unwrap_or(b' ');
            let _ = self.handled.send(kind);
            match kind {
                b'l' => {
                    let delivery = Delivery::new(waiter);
                    self.deliveries.lock().push_back(delivery.clone());
                    Answer::Later(Box::new(AwaitDelivery::new(delivery, |byte| echo(&[byte]))))
                }
                b'n' => Answer::Nothing,
                b'x' => Answer::Close("x was sent".to_owned()),
                b'b' => Answer::Now(echo(&vec![b'b'; 256 * 1024])),
                _ => Answer::Now(echo(frame)),
            }
        }

        fn cannot_read(&mut self, _: BorrowedFd<'_>, error: &std::io::Error) {
            panic!("no files are sent: {error}")
        }
    }

    struct Bench {
        client: TcpStream,
        deliveries: Deliveries,
        handled: mpsc::UnboundedReceiver<u8>,
        served: JoinHandle<Result<(), ConnectionError>>,
        budget: Arc<MemoryBudget>,
        stop: watch::Sender<bool>,
    }

    async fn bench(max_idle: Duration) -> Bench {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let deliveries = Deliveries::default();
        let (sender, handled) = mpsc::unbounded_channel();
        let service = Echo { deliveries: Arc::clone(&deliveries), handled: sender };
        let budget = MemoryBudget::new(4 * 1024 * 1024);
        let limits = ConnectionLimits { max_frame_bytes: 1024 * 1024, max_idle };
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(serve(stream, service, limits, Arc::clone(&budget), stopped));
        Bench { client, deliveries, handled, served, budget, stop }
    }

    async fn send(client: &mut TcpStream, body: &[u8]) {
        client.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes()).await.unwrap();
        client.write_all(body).await.unwrap();
    }

    async fn receive(client: &mut TcpStream) -> Vec<u8> {
        let length = client.read_u32().await.unwrap();
        let mut body = vec![0; length as usize];
        client.read_exact(&mut body).await.unwrap();
        body
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn answers_leave_in_the_order_of_requests_while_later_ones_are_handled() {
        let mut bench = bench(LONG).await;
        for body in [b"l1", b"n2", b"l3", b"a4"] {
            send(&mut bench.client, body).await;
        }
        for expected in *b"lnla" {
            assert_eq!(bench.handled.recv().await, Some(expected), "all are handled before any is answered");
        }
        let [first, third] = [0, 1].map(|at| bench.deliveries.lock()[at].clone());
        third.deliver(b'3');
        first.deliver(b'1');
        assert_eq!(receive(&mut bench.client).await, b"1");
        assert_eq!(receive(&mut bench.client).await, b"3");
        assert_eq!(receive(&mut bench.client).await, b"a4");
        drop(bench.client);
        assert!(bench.served.await.unwrap().is_ok(), "a client that closes between frames is orderly");
        assert_eq!(bench.budget.used(), 0, "all memory is given back");
    }

    #[tokio::test]
    async fn a_large_frame_arrives_whole_and_its_neighbours_too() {
        let mut bench = bench(LONG).await;
        let large: Vec<u8> = b"a".iter().copied().chain((0..900_000).map(|n| (n % 251) as u8)).collect();
        for _ in 0..3 {
            send(&mut bench.client, b"small").await;
            send(&mut bench.client, &large).await;
            assert_eq!(receive(&mut bench.client).await, b"small");
            assert_eq!(receive(&mut bench.client).await, large);
        }
    }

    #[tokio::test]
    async fn a_frame_longer_than_allowed_ends_the_connection() {
        for length in [1024 * 1024 + 1, u32::MAX, 0x8000_0000] {
            let mut bench = bench(LONG).await;
            bench.client.write_u32(length).await.unwrap();
            let error = bench.served.await.unwrap().unwrap_err();
            assert!(matches!(error, ConnectionError::FrameTooLong { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_within_a_frame_is_told_apart() {
        let mut bench = bench(LONG).await;
        bench.client.write_all(&[0, 0, 0, 10, 1, 2, 3]).await.unwrap();
        drop(bench.client);
        let error = bench.served.await.unwrap().unwrap_err();
        assert!(matches!(error, ConnectionError::Truncated { got: 7, wanted: 14 }), "{error}");
    }

    #[tokio::test]
    async fn a_request_without_an_answer_in_the_protocol_closes_after_what_was_asked_before() {
        let mut bench = bench(LONG).await;
        send(&mut bench.client, b"x").await;
        let error = bench.served.await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "x was sent");
    }

    #[tokio::test]
    async fn a_client_that_never_reads_is_not_read_from_either() {
        let mut bench = bench(LONG).await;
        let mut sent = 0;
        // Far more than socket buffers and the bound on unsent answers hold.
        let full = loop {
            let frame = [0, 0, 0, 1, b'b'];
            match tokio::time::timeout(Duration::from_millis(500), bench.client.write_all(&frame)).await {
                Ok(written) => written.unwrap(),
                Err(_elapsed) => break true,
            }
            sent += 1;
            if sent > 10_000_000 {
                break false;
            }
        };
        assert!(full, "the broker stopped reading");
        assert!(bench.budget.used() <= 2 * MAX_UNSENT_BYTES, "unsent answers are bounded");
        bench.stop.send(true).unwrap();
        assert!(bench.served.await.unwrap().is_ok(), "a blocked connection still stops");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_and_gives_its_memory_back_before() {
        let mut bench = bench(Duration::from_secs(60)).await;
        let opened = tokio::time::Instant::now();
        send(&mut bench.client, b"hello").await;
        assert_eq!(receive(&mut bench.client).await, b"hello");
        let mut byte = [0];
        let end = bench.client.read(&mut byte).await;
        assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        assert!(opened.elapsed() >= Duration::from_secs(60));
        assert!(bench.served.await.unwrap().is_ok());
        assert_eq!(bench.budget.used(), 0);
    }
}
