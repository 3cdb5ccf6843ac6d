//! The table of what recovery may find, and the list of what it did find.

use std::fmt;

/// A state that a partition's files may be in other than closed in good order: the rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Finding {
    /// `.tmp`: a small file that was to take another's place.
    TemporaryFile,
    /// `.deleted`: a segment's file that was to be removed.
    DeletedFile,
    /// `.cleaned`: written by a compaction that did not end.
    CleanedFile,
    /// `.swap` beside a `.cleaned` of a lower or the same offset: the same compaction, and not all of it is there.
    UnfinishedSwap,
    /// `.swap` otherwise: the compaction ended, and its result was being put in place.
    FinishedSwap,
    /// `.index`, `.timeindex` or `.txnindex` of a segment that has no `.log`.
    OrphanIndex,
    /// A segment without `.index` or `.timeindex`.
    MissingIndex,
    /// An index whose size, last entry or position contradicts the segment: cut inside an entry, filled with zeros, or
    /// ahead of the log.
    CorruptIndex,
    /// An index that has nothing of a segment of several batches.
    EmptyIndex,
    /// A `.txnindex` with entries that are cut or do not rise.
    CorruptTransactionIndex,
    /// The last bytes of the log are not a whole sound batch: a torn write, zeros, or a checksum that does not match.
    TornTail,
    /// A segment behind one that was cut off.
    BehindTornTail,
    /// A segment that does not begin where the one before it ends, in a log without compaction, behind what was
    /// synced: records between them are lost.
    GapBetweenSegments,
    /// A segment that begins before the one before it ends.
    OverlappingSegment,
    /// A segment without a batch that is not the last one.
    EmptySegment,
    /// No segment, or all of them end before the log's start.
    EndsBeforeStart,
    /// A producer snapshot of an offset behind the log's end.
    SnapshotAhead,
    /// A producer snapshot of no segment, older than the youngest such.
    StraySnapshot,
    /// A producer snapshot that does not match its checksum.
    UnreadableSnapshot,
    /// Batches, and no `leader-epoch-checkpoint`.
    MissingEpochs,
    /// A `leader-epoch-checkpoint` that cannot be understood.
    UnreadableEpochs,
    /// Leader epochs that begin behind the log's end.
    EpochsAhead,
    /// A `partition.metadata` that cannot be understood.
    UnreadableMetadata,
}

/// What is done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The file, or the segment, goes.
    Remove,
    /// The file is renamed to its place, in place of the segments it stands for.
    Complete,
    /// The content is found anew from the batches.
    Rebuild,
    /// The log is cut off before it.
    Truncate,
    /// Nothing is changed; the caller is told.
    Report,
}

impl Finding {
    /// All rows.
    pub const ALL: [Self; 23] = [
        Self::TemporaryFile,
        Self::DeletedFile,
        Self::CleanedFile,
        Self::UnfinishedSwap,
        Self::FinishedSwap,
        Self::OrphanIndex,
        Self::MissingIndex,
        Self::CorruptIndex,
        Self::EmptyIndex,
        Self::CorruptTransactionIndex,
        Self::TornTail,
        Self::BehindTornTail,
        Self::GapBetweenSegments,
        Self::OverlappingSegment,
        Self::EmptySegment,
        Self::EndsBeforeStart,
        Self::SnapshotAhead,
        Self::StraySnapshot,
        Self::UnreadableSnapshot,
        Self::MissingEpochs,
        Self::UnreadableEpochs,
        Self::EpochsAhead,
        Self::UnreadableMetadata,
    ];

    /// The table's second column.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::TemporaryFile
            | Self::DeletedFile
            | Self::CleanedFile
            | Self::UnfinishedSwap
            | Self::OrphanIndex
            | Self::BehindTornTail
            | Self::GapBetweenSegments
            | Self::OverlappingSegment
            | Self::EmptySegment
            | Self::EndsBeforeStart
            | Self::SnapshotAhead
            | Self::StraySnapshot
            | Self::UnreadableSnapshot => Verdict::Remove,
            Self::FinishedSwap => Verdict::Complete,
            Self::MissingIndex
            | Self::CorruptIndex
            | Self::EmptyIndex
            | Self::CorruptTransactionIndex
            | Self::MissingEpochs
            | Self::UnreadableEpochs => Verdict::Rebuild,
            Self::TornTail | Self::EpochsAhead => Verdict::Truncate,
            Self::UnreadableMetadata => Verdict::Report,
        }
    }
}

/// What was found and what is done about it, to be read behind the name of the file.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TemporaryFile => "a temporary file was left over; it is removed",
            Self::DeletedFile => "a file that was to be deleted was left over; it is removed",
            Self::CleanedFile => "a compaction did not end; what it wrote is removed",
            Self::UnfinishedSwap => "a compaction's result is not complete; it is removed",
            Self::FinishedSwap => "a compaction's result was not in its place; it is put there",
            Self::OrphanIndex => "the index belongs to no segment; it is removed",
            Self::MissingIndex => "the index is missing; it is rebuilt",
            Self::CorruptIndex => "the index contradicts its segment; it is rebuilt",
            Self::EmptyIndex => "the index is empty; it is rebuilt",
            Self::CorruptTransactionIndex => "the transaction index is corrupt; it is rebuilt",
            Self::TornTail => "the last bytes are no whole batch; they are cut off",
            Self::BehindTornTail => "the segment is behind one that was cut off; it is removed",
            Self::GapBetweenSegments => "records before the segment are lost; it is removed",
            Self::OverlappingSegment => "the segment begins before the end of the one before; it is removed",
            Self::EmptySegment => "the segment is empty; it is removed",
            Self::EndsBeforeStart => "the segment ends before the log's start; it is removed",
            Self::SnapshotAhead => "the producer snapshot is ahead of the log; it is removed",
            Self::StraySnapshot => "the producer snapshot belongs to no segment; it is removed",
            Self::UnreadableSnapshot => "the producer snapshot is corrupt; it is removed",
            Self::MissingEpochs => "the leader epochs are missing; they are rebuilt",
            Self::UnreadableEpochs => "the leader epochs cannot be understood; they are rebuilt",
            Self::EpochsAhead => "leader epochs begin behind the log's end; they are cut off",
            Self::UnreadableMetadata => "the topic's id cannot be understood",
        })
    }
}

/// What was found when a log was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// What was found, and in which file, in the order it was dealt with. Empty for a log that was closed in good
    /// order.
    pub findings: Vec<(Finding, String)>,
    /// How many segments were checked batch by batch.
    pub scanned_segments: usize,
    /// How many bytes that were.
    pub scanned_bytes: u64,
    /// How many bytes were cut off at the end.
    pub truncated_bytes: u64,
    /// Why the end was cut off, if it was.
    pub truncation_reason: Option<String>,
    /// What was cut off is more than a write that was interrupted leaves: where no power was lost, the disk has.
    pub lost_whole_batches: bool,
}

impl RecoveryReport {
    pub(super) fn note(&mut self, finding: Finding, name: impl Into<String>) {
        self.findings.push((finding, name.into()));
    }

    /// Whether something of that kind was found.
    pub fn found(&self, finding: Finding) -> bool {
        self.findings.iter().any(|(found, _)| *found == finding)
    }
}
