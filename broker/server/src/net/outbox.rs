//! Answers on their way out: encoded bytes, interleaved with ranges of segment files that go out by `sendfile`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::net::SendFlags;
use taffrail_log::DiskFile;

/// Small answers are gathered into one buffer up to this many bytes, so that a pipelined burst costs one system call.
const GATHER_BYTES: usize = 64 * 1024;

/// A range of a segment file that is sent as it is.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The segment's file. It stays readable while it is held, even when the segment is deleted.
    pub file: Arc<DiskFile>,
    /// Where the range begins in the file, in bytes.
    pub position: u64,
    /// Its length in bytes.
    pub len: u32,
}

/// One encoded answer: bytes beginning with the length prefix, and file ranges to be inserted into them.
#[derive(Debug, Default)]
pub struct Response {
    /// The encoded frame without the ranges' bytes.
    pub bytes: Vec<u8>,
    /// File ranges by the position in `bytes` before which they go, ascending.
    pub ranges: Vec<(usize, FileRange)>,
    /// There is no answer: the connection ends, with this reason in the log.
    pub fatal: Option<String>,
}

impl Response {
    /// No answer is possible; the connection ends with `reason` in the log.
    pub fn fatal(reason: String) -> Self {
        Self { fatal: Some(reason), ..Self::default() }
    }

    /// Bytes of memory this answer holds.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.ranges.capacity() * size_of::<(usize, FileRange)>()
    }

    /// Bytes that go out on the wire.
    pub fn wire_len(&self) -> u64 {
        self.bytes.len() as u64 + self.ranges.iter().map(|(_, range)| u64::from(range.len)).sum::<u64>()
    }
}

#[derive(Debug)]
enum Chunk {
    Bytes { bytes: Vec<u8>, sent: usize },
    File(FileRange),
}

/// What is left to send on one connection, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// A sent buffer kept for the next answers, at most [`GATHER_BYTES`] large.
    spare: Vec<u8>,
}

/// How far [`Outbox::send`] came.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything is with the kernel.
    All,
    /// The socket takes no more for now.
    Blocked,
}

impl Outbox {
    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes of memory that unsent answers hold. File ranges hold none.
    pub fn memory(&self) -> usize {
        self.chunks
            .iter()
            .map(|chunk| match chunk {
                Chunk::Bytes { bytes, .. } => bytes.capacity(),
                Chunk::File(_) => 0,
            })
            .sum()
    }

    /// Queues an answer behind those already queued.
    pub fn push(&mut self, response: Response) {
        let Response { bytes, ranges, fatal: _ } = response;
        if ranges.is_empty() {
            self.push_bytes(bytes);
            return;
        }
        let mut from = 0;
        for (at, range) in ranges {
            self.extend_bytes(&bytes[from..at]);
            from = at;
            if range.len > 0 {
                self.chunks.push_back(Chunk::File(range));
            }
        }
        self.extend_bytes(&bytes[from..]);
    }

    fn push_bytes(&mut self, bytes: Vec<u8>) {
        let gathers =
            bytes.len() < GATHER_BYTES / 4 || matches!(self.chunks.back(), Some(Chunk::Bytes { .. }));
        if gathers && bytes.len() <= GATHER_BYTES {
            self.extend_bytes(&bytes);
        } else {
            self.chunks.push_back(Chunk::Bytes { bytes, sent: 0 });
        }
    }

    fn extend_bytes(&mut self, more: &[u8]) {
        if more.is_empty() {
            return;
        }
        if let Some(Chunk::Bytes { bytes, .. }) = self.chunks.back_mut()
            && bytes.len() + more.len() <= GATHER_BYTES
        {
            bytes.extend_from_slice(more);
            return;
        }
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.extend_from_slice(more);
        self.chunks.push_back(Chunk::Bytes { bytes, sent: 0 });
    }

    /// Sends until everything is with the kernel or the socket takes no more.
    ///
    /// # Errors
    /// The socket's error, or `UnexpectedEof` when a file ended before its range did (the segment was truncated):
    /// the frame's length is already out, so the connection has to end.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<Sent> {
        loop {
            let more = self.chunks.len() > 1;
            let Some(chunk) = self.chunks.front_mut() else { return Ok(Sent::All) };
            let done = match chunk {
                Chunk::Bytes { bytes, sent } => send_bytes(socket, bytes, sent, more)?,
                Chunk::File(range) => send_file(socket, range)?,
            };
            if !done {
                return Ok(Sent::Blocked);
            }
            if let Some(Chunk::Bytes { mut bytes, .. }) = self.chunks.pop_front()
                && bytes.capacity() <= GATHER_BYTES
            {
                bytes.clear();
                self.spare = bytes;
            }
        }
    }

    /// Gives the buffer kept for later answers back; for a connection that has gone idle.
    pub fn release_spare(&mut self) {
        self.spare = Vec::new();
    }
}

/// True when all of it was sent, false when the socket takes no more.
fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], sent: &mut usize, more: bool) -> io::Result<bool> {
    // A header that a file range follows must not leave as a packet of its own.
    let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
    while *sent < bytes.len() {
        match rustix::net::send(socket, &bytes[*sent..], flags) {
            Ok(n) => *sent += n,
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

/// True when the whole range was sent, false when the socket takes no more.
fn send_file(socket: BorrowedFd<'_>, range: &mut FileRange) -> io::Result<bool> {
    while range.len > 0 {
        let mut position = range.position;
        match rustix::fs::sendfile(socket, range.file.as_fd(), Some(&mut position), range.len as usize) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the segment ended {} bytes before the range that was promised", range.len),
                ));
            }
            Ok(n) => {
                range.position = position;
                range.len -= u32::try_from(n).unwrap_or(range.len).min(range.len);
            }
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}
