//! A connection to another broker, which proves at its start who it is.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::BufMut;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};
use taffrail_protocol::frame::{PREFIX_LEN, frame_length, read_response, write_request};
use taffrail_protocol::header::RequestHeader;
use taffrail_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use taffrail_protocol::{ApiMessage, Decode, DecodeError, EncodeError, ErrorCode, Message, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proof::{MECHANISM, PeerProof};

/// The version of SaslHandshake after which SaslAuthenticate follows (KIP-152).
const HANDSHAKE_VERSION: i16 = 1;
const AUTHENTICATE_VERSION: i16 = 2;
/// What the buffer begins with, and keeps while answers are small.
const SMALL_BUFFER_BYTES: usize = 64 * 1024;
/// What the arrays of one answer may take once they are decoded: those of some 200,000 partitions.
const DECODED_LIMIT: usize = 64 * 1024 * 1024;

/// The lowest descriptor of a connection to another broker, where the process may have twice as many: above those of
/// clients.
const FIRST_DESCRIPTOR: i32 = 1 << 16;

/// Why a connection to a broker did not come about or broke.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The socket failed or ended.
    #[error("the connection failed: {0}")]
    Socket(#[from] io::Error),
    /// It took too long.
    #[error("no answer within {} ms (replica.socket.timeout.ms)", .0.as_millis())]
    TimedOut(Duration),
    /// The other side does not know this broker (yet).
    #[error("the broker refused the connection: {0}")]
    Refused(String),
    /// An answer that cannot be read, or answers something else.
    #[error("an answer cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// A request that cannot be written.
    #[error("a request cannot be written: {0}")]
    Unwritable(#[from] EncodeError),
}

impl PeerError {
    /// Whether the other side's process has ended: its operating system closed the connection, or knows of nobody who would
    /// take one. Silence says nothing.
    pub fn is_certain_end(&self) -> bool {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof,
        };
        let Self::Socket(error) = self else { return false };
        let kinds = [BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof];
        kinds.contains(&error.kind())
    }
}

/// An answer that has arrived whole: the frame without its length.
pub struct Answer<'a> {
    frame: &'a [u8],
    correlation_id: i32,
}

impl<'a> Answer<'a> {
    /// Reads it; what it holds is borrowed from the connection's buffer.
    ///
    /// # Errors
    /// [`PeerError`] when it is the answer to something else, or cannot be read.
    pub fn read<M: ApiMessage + Decode<'a>>(self, version: i16) -> Result<M, PeerError> {
        Ok(read_response(self.frame, self.correlation_id, version, DECODED_LIMIT)?)
    }
}

/// An open connection. Requests may be sent before earlier ones are answered; answers come in their order.
pub struct PeerConnection {
    stream: TcpStream,
    client_id: String,
    writer: Writer,
    buffer: Vec<u8>,
    /// The frame at the front of the buffer has been handed out, up to here.
    handed_out: usize,
    next_id: i32,
    /// The id that the next answer carries.
    awaited_id: i32,
    max_frame_bytes: usize,
}

impl PeerConnection {
    /// Connects and proves who this broker is, within `timeout`.
    ///
    /// # Errors
    /// [`PeerError`] says what failed.
    pub async fn open(
        address: SocketAddr,
        proof: &PeerProof<'_>,
        timeout: Duration,
        max_frame_bytes: usize,
    ) -> Result<Self, PeerError> {
        let opening = async {
            let stream = TcpStream::connect(address).await?.into_std()?;
            let stream = TcpStream::from_std(closed_early(&stream)?.into())?;
            stream.set_nodelay(true)?;
            let mut connection = Self {
                stream,
                client_id: format!("broker-{}", proof.member.broker_id),
                writer: Writer::new(),
                buffer: Vec::new(),
                handed_out: 0,
                next_id: 0,
                awaited_id: 0,
                max_frame_bytes,
            };
            connection.authenticate(proof).await?;
            Ok(connection)
        };
        tokio::time::timeout(timeout, opening).await.map_err(|_elapsed| PeerError::TimedOut(timeout))?
    }

    /// Another descriptor of the socket.
    ///
    /// # Errors
    /// When the process has no more descriptors.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        closed_early(&self.stream)
    }

    async fn authenticate(&mut self, proof: &PeerProof<'_>) -> Result<(), PeerError> {
        let request = SaslHandshakeRequest { mechanism: MECHANISM.into() };
        self.send(&request, HANDSHAKE_VERSION).await?;
        let response: SaslHandshakeResponse<'_> = self.receive().await?.read(HANDSHAKE_VERSION)?;
        if response.error_code != ErrorCode::NONE {
            return Err(PeerError::Refused(response.error_code.to_string()));
        }
        let request = SaslAuthenticateRequest { auth_bytes: proof.encode()?.into() };
        self.send(&request, AUTHENTICATE_VERSION).await?;
        let response: SaslAuthenticateResponse<'_> = self.receive().await?.read(AUTHENTICATE_VERSION)?;
        match (response.error_code, response.error_message) {
            (ErrorCode::NONE, _) => Ok(()),
            (_, Some(message)) => Err(PeerError::Refused(message.into_owned())),
            (code, None) => Err(PeerError::Refused(code.to_string())),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When it cannot be written; the connection is of no further use then.
    pub async fn send<M: ApiMessage + Message>(
        &mut self,
        request: &M,
        version: i16,
    ) -> Result<(), PeerError> {
        let header = RequestHeader {
            correlation_id: self.next_id,
            client_id: Some(self.client_id.as_str().into()),
            ..RequestHeader::default()
        };
        self.next_id = self.next_id.wrapping_add(1);
        self.writer.clear();
        write_request(&mut self.writer, &header, request, version)?;
        self.stream.write_all(&self.writer.buf).await?;
        if self.writer.buf.capacity() > SMALL_BUFFER_BYTES {
            self.writer.buf.shrink_to(SMALL_BUFFER_BYTES);
        }
        Ok(())
    }

    /// Waits for the next answer. Cancelled, it has lost nothing.
    ///
    /// # Errors
    /// When the connection failed, ended, or announces a frame that is too long.
    pub async fn receive(&mut self) -> Result<Answer<'_>, PeerError> {
        self.drop_handed_out();
        loop {
            if let Some(prefix) = self.buffer.first_chunk::<PREFIX_LEN>() {
                let end = PREFIX_LEN + frame_length(*prefix, self.max_frame_bytes)?;
                if self.buffer.len() >= end {
                    self.handed_out = end;
                    let correlation_id = self.awaited_id;
                    self.awaited_id = self.awaited_id.wrapping_add(1);
                    return Ok(Answer { frame: &self.buffer[PREFIX_LEN..end], correlation_id });
                }
                self.make_room(end);
            } else {
                self.make_room(PREFIX_LEN);
            }
            let room = self.buffer.capacity() - self.buffer.len();
            if self.stream.read_buf(&mut (&mut self.buffer).limit(room)).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn drop_handed_out(&mut self) {
        self.buffer.drain(..self.handed_out);
        // After a stretch of large answers their memory goes back with the first small one.
        if self.handed_out < SMALL_BUFFER_BYTES && self.buffer.len() < SMALL_BUFFER_BYTES {
            self.buffer.shrink_to(SMALL_BUFFER_BYTES);
        }
        self.handed_out = 0;
    }

    /// The buffer grows as bytes arrive (it doubles), never by what was merely announced.
    fn make_room(&mut self, end: usize) {
        let (held, capacity) = (self.buffer.len(), self.buffer.capacity());
        if capacity > held {
            return;
        }
        let wanted = (capacity * 2).clamp(SMALL_BUFFER_BYTES, end.max(SMALL_BUFFER_BYTES));
        self.buffer.reserve_exact(wanted.max(held + 1) - held);
    }
}

/// The socket under a high descriptor. When a process dies, Linux closes its descriptors from the highest on. So the
/// connections that it made to other brokers end before those of its clients, and a client that asks another broker for
/// the leader finds it informed.
fn closed_early(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| i32::try_from(limit).ok());
    let first = limit.map_or(FIRST_DESCRIPTOR, |limit| (limit / 2).min(FIRST_DESCRIPTOR));
    // If all of those are in use, any will do.
    fcntl_dupfd_cloexec(socket, first).or_else(|_| socket.as_fd().try_clone_to_owned())
}
