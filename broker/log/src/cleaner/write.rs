//! Batches on their way into a segment that is written anew.

use std::io;

use taffrail_protocol::record_batch::BatchHeader;

use super::filter::Scratch;
use super::{Pace, Stopped};
use crate::config::LogConfig;
use crate::segment::{Home, Segment};
use crate::storage::Storage;

/// Batches on their way into a file. The buffer is used again.
pub(super) struct Output {
    io_bytes: usize,
    pub scratch: Scratch,
    pub bytes: Vec<u8>,
    /// Those of the batches in `bytes`.
    pub headers: Vec<BatchHeader>,
}

/// Why a segment could not be written.
pub(super) enum WriteError {
    Io(io::Error),
    Stopped,
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Stopped> for WriteError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Output {
    pub fn new(io_bytes: usize) -> Self {
        let io_bytes = io_bytes.max(1);
        Self { io_bytes, scratch: Scratch::default(), bytes: Vec::new(), headers: Vec::new() }
    }

    /// Whether it is time to write.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= self.io_bytes
    }

    /// Appends what has gathered to a segment.
    pub fn write<S: Storage>(
        &mut self,
        segment: &mut Segment<S>,
        home: &Home<S>,
        config: &LogConfig,
        pace: &mut impl Pace,
    ) -> Result<(), WriteError> {
        pace.spend(self.bytes.len() as u64)?;
        segment.append(home, &self.bytes, self.headers.drain(..), config)?;
        self.bytes.clear();
        Ok(())
    }

    /// Forgets what has gathered, and gives memory back that only a large batch needed.
    pub fn reset(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(2 * self.io_bytes);
        self.headers.clear();
    }
}
