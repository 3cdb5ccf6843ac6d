//! Answers on their way out: encoded bytes, interleaved with ranges of segment files that go out by `sendfile`.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::ReadWriteFlags;
use rustix::net::SendFlags;
use taffrail_log::{DiskFile, StorageFile};

/// Small answers are gathered into one buffer up to this many bytes, so that a pipelined burst costs one system call.
const GATHER_BYTES: usize = 64 * 1024;

/// How much of a file range is looked for in the page cache at once.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// The kernel reads ahead by this much; so it is the distance between probes.
const PROBE_BYTES: u64 = 128 * 1024;

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

impl FileRange {
    /// Reads the range through the page cache, so that sending it will not wait for the disk. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read. Sending it will fail, too.
    pub fn read_ahead(&self) -> io::Result<()> {
        let mut scratch = vec![0; PROBE_BYTES as usize];
        let end = self.position + u64::from(self.len);
        let mut position = self.position;
        while position < end {
            match self.file.read_at(&mut scratch, position)? {
                // It was cut off meanwhile, which sending it tells.
                0 => break,
                read => position += read as u64,
            }
        }
        Ok(())
    }

    /// Whether the range is in the page cache, as far as a probe every [`PROBE_BYTES`] tells. A file system that cannot
    /// tell counts as fast.
    fn is_cached(&self) -> bool {
        let end = self.position + u64::from(self.len);
        let last = end.saturating_sub(1);
        let step = PROBE_BYTES as usize;
        (self.position..end).step_by(step).chain([last]).all(|position| {
            let mut byte = [0];
            let into = &mut [IoSliceMut::new(&mut byte)];
            let probed = rustix::io::preadv2(self.file.as_fd(), into, position, ReadWriteFlags::NOWAIT);
            probed != Err(rustix::io::Errno::AGAIN)
        })
    }
}

#[derive(Debug)]
enum Chunk {
    Bytes {
        bytes: Vec<u8>,
        sent: usize,
    },
    File {
        range: FileRange,
        /// Up to this position in the file it is known to be in the page cache.
        cached_to: u64,
    },
}

/// What is left to send on one connection, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// A sent buffer kept for the next answers, at most [`GATHER_BYTES`] large.
    spare: Vec<u8>,
}

/// How far [`Outbox::send`] came.
#[derive(Debug)]
pub enum Sent {
    /// Everything is with the kernel.
    All,
    /// The socket takes no more for now.
    Blocked,
    /// The next bytes are not in the page cache: to be read ahead on a thread that may wait for the disk, and then told
    /// with [`Outbox::cached`].
    Cold(FileRange),
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
                Chunk::File { .. } => 0,
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
                self.chunks.push_back(Chunk::File { cached_to: range.position, range });
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
            let sent = match chunk {
                Chunk::Bytes { bytes, sent } => send_bytes(socket, bytes, sent, more)?,
                Chunk::File { range, cached_to } => send_file(socket, range, cached_to)?,
            };
            if !matches!(sent, Sent::All) {
                return Ok(sent);
            }
            if let Some(Chunk::Bytes { mut bytes, .. }) = self.chunks.pop_front()
                && bytes.capacity() <= GATHER_BYTES
            {
                bytes.clear();
                self.spare = bytes;
            }
        }
    }

    /// A range that was [`Sent::Cold`] has been read ahead.
    pub fn cached(&mut self, ahead: &FileRange) {
        if let Some(Chunk::File { range, cached_to }) = self.chunks.front_mut()
            && range.position == ahead.position
        {
            *cached_to = ahead.position + u64::from(ahead.len);
        }
    }

    /// Gives the buffer kept for later answers back; for a connection that has gone idle.
    pub fn release_spare(&mut self) {
        self.spare = Vec::new();
    }
}

fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], sent: &mut usize, more: bool) -> io::Result<Sent> {
    // A header that a file range follows must not leave as a packet of its own.
    let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
    while *sent < bytes.len() {
        match rustix::net::send(socket, &bytes[*sent..], flags) {
            Ok(n) => *sent += n,
            Err(rustix::io::Errno::AGAIN) => return Ok(Sent::Blocked),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Sent::All)
}

fn send_file(socket: BorrowedFd<'_>, range: &mut FileRange, cached_to: &mut u64) -> io::Result<Sent> {
    while range.len > 0 {
        if range.position >= *cached_to {
            let window = FileRange { len: range.len.min(WINDOW_BYTES), ..range.clone() };
            if !window.is_cached() {
                return Ok(Sent::Cold(window));
            }
            *cached_to = window.position + u64::from(window.len);
        }
        let mut position = range.position;
        let len = (*cached_to - position).min(u64::from(range.len)) as usize;
        match rustix::fs::sendfile(socket, range.file.as_fd(), Some(&mut position), len) {
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
            Err(rustix::io::Errno::AGAIN) => return Ok(Sent::Blocked),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Sent::All)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use rustix::fs::{Advice, fadvise};
    use taffrail_log::storage::{Access, FileStorage, Storage};

    use super::*;

    #[test]
    fn files_and_bytes_leave_in_order_whether_the_page_cache_has_them_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let file = FileStorage::default().open(&path, Access::Write).unwrap();
        file.write_all_at(&content, 0).unwrap();
        file.sync().unwrap();
        // Where the file system heeds it, the range is cold now.
        fadvise(file.as_fd(), 0, None, Advice::DontNeed).unwrap();
        let range = FileRange { file: Arc::new(file), position: 1_000, len: 2_500_000 };
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            far.read_to_end(&mut received).unwrap();
            received
        });
        let mut outbox = Outbox::default();
        outbox.push(Response { bytes: b"headtail".to_vec(), ranges: vec![(4, range)], fatal: None });
        outbox.push(Response { bytes: b"next".to_vec(), ..Response::default() });
        loop {
            match outbox.send(near.as_fd()).unwrap() {
                Sent::All => break,
                Sent::Blocked => std::thread::yield_now(),
                Sent::Cold(window) => {
                    window.read_ahead().unwrap();
                    outbox.cached(&window);
                }
            }
        }
        assert!(outbox.is_empty());
        drop(near);
        let mut expected = b"head".to_vec();
        expected.extend_from_slice(&content[1_000..2_501_000]);
        expected.extend_from_slice(b"tailnext");
        assert!(reader.join().unwrap() == expected, "the bytes are those that were promised");
    }

    #[test]
    fn a_file_that_ended_early_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileStorage::default().open(&dir.path().join("segment"), Access::Write).unwrap();
        file.write_all_at(b"short", 0).unwrap();
        let range = FileRange { file: Arc::new(file), position: 0, len: 6 };
        let (near, _far) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        outbox.push(Response { bytes: b"x".to_vec(), ranges: vec![(1, range)], fatal: None });
        let error = outbox.send(near.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
