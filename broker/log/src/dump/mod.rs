//! Prints the files of a log for people and for programs, and says what is damaged in them.
//!
//! One module per kind of file; each prints through [`output::Output`], either a line of text or a JSON object a line.
//! Memory stays bounded whatever a file holds: a batch at a time, and only as large as [`DumpOptions`] allows.

mod checkpoints;
mod entries;
mod escape;
mod offset_index;
mod output;
mod producer_snapshot;
mod record;
mod segment;
mod time_index;
mod transaction_index;
mod when;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::names::{self, PartitionFile, SegmentFile};
use crate::storage::{Access, DiskFile, FileStorage, Storage};
use output::Output;
pub use when::When;

/// How files are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpOptions {
    /// Print one JSON object a line instead of text.
    pub json: bool,
    /// Print the records of each batch, not only the batches.
    pub records: bool,
    /// Records of a batch are printed if it has no more bytes than this, as it is and decompressed.
    pub max_batch_bytes: usize,
}

impl Default for DumpOptions {
    fn default() -> Self {
        Self { json: false, records: true, max_batch_bytes: 256 * 1024 * 1024 }
    }
}

/// What was found while a file was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DumpReport {
    /// Batches, index entries, producers or lines that were printed.
    pub entries: u64,
    /// Damaged places, each of which was printed where it is.
    pub damaged: u64,
}

impl DumpReport {
    /// Whether anything is wrong with the file.
    pub fn is_damaged(&self) -> bool {
        self.damaged > 0
    }
}

/// A file could not be printed.
#[derive(Debug, Error)]
pub enum DumpError {
    /// Its name is none that a log directory has.
    #[error(
        "cannot print {}: its name tells no kind of file; there are NNN.log, .index, .timeindex, .txnindex and .snapshot \
         (NNN: 20 digits), leader-epoch-checkpoint, the offset checkpoints, partition.metadata, meta.properties and \
         .kafka_cleanshutdown",
        path.display()
    )]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// Opening or reading it failed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing what it holds failed.
    #[error("cannot write the content of {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Which side of a dump failed, before the file's name is put to it.
enum Failure {
    Read(io::Error),
    Write(io::Error),
}

/// Prints the file at `path`, whose name tells its kind, to `out`. Indexes are checked against the segment beside
/// them. The file is only read, and may be one that a broker is writing: then its end may look torn.
///
/// # Errors
/// [`DumpError`] when the file cannot be read, or `out` cannot be written. Damage inside of it is no error: it is
/// printed and counted.
pub fn dump(path: &Path, options: &DumpOptions, out: &mut dyn Write) -> Result<DumpReport, DumpError> {
    let mut output = Output::new(out, options.json);
    let printed = print(path, options, &mut output);
    match printed {
        Some(Ok(())) => Ok(output.report()),
        Some(Err(Failure::Read(source))) => Err(DumpError::Read { path: path.to_owned(), source }),
        Some(Err(Failure::Write(source))) => Err(DumpError::Write { path: path.to_owned(), source }),
        None => Err(DumpError::UnknownKind { path: path.to_owned() }),
    }
}

fn print(path: &Path, options: &DumpOptions, output: &mut Output<'_>) -> Option<Result<(), Failure>> {
    let name = path.file_name()?.to_str()?;
    let kind = match PartitionFile::parse(name) {
        PartitionFile::Live(kind, offset)
        | PartitionFile::Swap(kind, offset)
        | PartitionFile::Cleaned(kind, offset)
        | PartitionFile::Deleted(kind, offset) => (kind, offset),
        PartitionFile::Temporary | PartitionFile::Other => return checkpoints::print(path, name, output),
    };
    Some(match kind {
        (SegmentFile::Log, _) => segment::print(path, options, output),
        (SegmentFile::OffsetIndex, offset) => offset_index::print(path, offset, output),
        (SegmentFile::TimeIndex, offset) => time_index::print(path, offset, output),
        (SegmentFile::TransactionIndex, offset) => transaction_index::print(path, offset, output),
        (SegmentFile::ProducerSnapshot, _) => producer_snapshot::print(path, output),
    })
}

fn open(path: &Path) -> Result<DiskFile, Failure> {
    FileStorage::new(1).open(path, Access::Read).map_err(Failure::Read)
}

/// All bytes of a file that can be meant to have no more than `limit`.
fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    match FileStorage::new(1).read_small(path, limit) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Failure::Read(io::ErrorKind::NotFound.into())),
        Err(error) => Err(Failure::Read(error)),
    }
}

/// The segment that the index at `path` belongs to, when it is there: the file with the same stem and ending.
fn segment_of(path: &Path, index: SegmentFile) -> Result<Option<DiskFile>, Failure> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let segment = path.with_file_name(name.replacen(index.suffix(), SegmentFile::Log.suffix(), 1));
    match open(&segment) {
        Ok(file) => Ok(Some(file)),
        Err(Failure::Read(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests;
