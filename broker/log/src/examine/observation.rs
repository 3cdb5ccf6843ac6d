//! What may be seen in a directory of logs, and how it is told.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Of one kind in one file, so many are told one by one.
const TOLD_OF_A_KIND: u64 = 16;
/// Of one directory, so many are told one by one.
const TOLD_IN_ALL: usize = 1000;

/// A kind of thing that is seen in a directory: the rows of the table. What is damage and what is worth a note only may
/// depend on where it is seen: an index that the next start rebuilds anyway is no damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Symptom {
    /// A batch does not match its checksum.
    CorruptBatch,
    /// Bytes inside a segment are no batch.
    NoBatch,
    /// Bytes at the end of a log are no whole batch.
    TornTail,
    /// The records of a batch contradict its header, or cannot be decompressed.
    CorruptRecords,
    /// A batch begins before the end of the one before it, or outside of its segment.
    OffsetsOutOfOrder,
    /// A segment begins behind the end of the one before it.
    MissingOffsets,
    /// A message from before Apache Kafka 0.11.
    OldFormat,
    /// A segment has no `.index` or `.timeindex`.
    MissingIndex,
    /// An `.index` contradicts its segment.
    CorruptOffsetIndex,
    /// A `.timeindex` contradicts its segment.
    CorruptTimeIndex,
    /// A `.txnindex` contradicts its segment, or itself.
    CorruptTransactionIndex,
    /// An index of a segment that is not there.
    OrphanIndex,
    /// A producer snapshot that cannot be understood, or contradicts the batches before it.
    CorruptSnapshot,
    /// A producer snapshot of an offset that the log does not have.
    SnapshotAhead,
    /// A `leader-epoch-checkpoint` that cannot be understood or is missing, or contradicts the batches.
    CorruptEpochs,
    /// A `partition.metadata` that cannot be understood.
    CorruptMetadata,
    /// A file that all logs of a data directory share cannot be understood.
    CorruptCheckpoint,
    /// A checkpoint tells an offset that the log does not have.
    CheckpointAhead,
    /// A partition's directory without a segment.
    NoSegment,
    /// A file could not be read.
    Unreadable,
    /// `.tmp`, `.deleted`, `.cleaned`, `.swap`: files on their way in or out.
    UnfinishedFile,
    /// `-delete`, `-stray`, `-future`: directories that are no partition's (any more, or yet).
    DirectoryAside,
    /// Something was not checked, and why.
    NotChecked,
    /// In what state the data directory is.
    State,
}

/// What an observation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something is lost, wrong or misleads.
    Damage,
    /// Worth knowing.
    Note,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// What it means.
    #[serde(rename = "type")]
    pub severity: Severity,
    /// Its kind.
    pub symptom: Symptom,
    /// The file or directory.
    pub file: PathBuf,
    /// Where in the file. Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The first offset that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// The last offset that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_offset: Option<i64>,
    /// The same as a sentence, to be read behind the file's name.
    pub text: String,
}

impl Observation {
    /// One about a whole file.
    pub(super) fn of(severity: Severity, symptom: Symptom, file: PathBuf, text: impl Into<String>) -> Self {
        Self { severity, symptom, file, position: None, offset: None, last_offset: None, text: text.into() }
    }

    /// About this position of it.
    pub(super) fn at(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// About these offsets.
    pub(super) fn offsets(mut self, first: i64, last: i64) -> Self {
        (self.offset, self.last_offset) = (Some(first), Some(last));
        self
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Damage => "DAMAGED ",
            Severity::Note => "note: ",
        })?;
        write!(f, "{}", self.file.display())?;
        if let Some(position) = self.position {
            write!(f, " at position {position}")?;
        }
        match (self.offset, self.last_offset) {
            (Some(first), Some(last)) if first < last => write!(f, ", offsets {first}..{last}")?,
            (Some(first), _) => write!(f, ", offset {first}")?,
            _ => {}
        }
        write!(f, ": {}", self.text)
    }
}

/// Observations as they gather. Of what comes again and again in one file the first are kept, and the rest counted.
#[derive(Debug, Default)]
pub(super) struct Observations {
    seen: Vec<Observation>,
    counts: HashMap<(PathBuf, Symptom, bool), u64>,
    damaged: u64,
    untold: u64,
}

impl Observations {
    pub fn push(&mut self, observation: Observation) {
        let damage = observation.severity == Severity::Damage;
        self.damaged += u64::from(damage);
        if self.seen.len() >= TOLD_IN_ALL {
            self.untold += 1;
            return;
        }
        let count = self.counts.entry((observation.file.clone(), observation.symptom, damage)).or_default();
        *count += 1;
        if *count <= TOLD_OF_A_KIND {
            self.seen.push(observation);
        }
    }

    pub fn damage(&mut self, symptom: Symptom, file: &Path, text: impl Into<String>) {
        self.push(Observation::of(Severity::Damage, symptom, file.to_owned(), text));
    }

    pub fn note(&mut self, symptom: Symptom, file: &Path, text: impl Into<String>) {
        self.push(Observation::of(Severity::Note, symptom, file.to_owned(), text));
    }

    /// How many damaged places there were, told or not.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Everything that was kept, with what it was not.
    pub fn into_told(self) -> Vec<Observation> {
        let mut told = self.seen;
        let mut more: Vec<_> = self.counts.into_iter().filter(|(_, count)| *count > TOLD_OF_A_KIND).collect();
        more.sort_by(|a, b| a.0.cmp(&b.0));
        for ((file, symptom, damage), count) in more {
            let severity = if damage { Severity::Damage } else { Severity::Note };
            let text = format!("there are {} more like these in it", count - TOLD_OF_A_KIND);
            told.push(Observation::of(severity, symptom, file, text));
        }
        if self.untold > 0
            && let Some(last) = told.last()
        {
            let file = last.file.parent().unwrap_or(&last.file).to_owned();
            let text = format!("there are {} more observations, which are not told one by one", self.untold);
            told.push(Observation::of(Severity::Note, Symptom::NotChecked, file, text));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_and_again_is_counted() {
        let mut seen = Observations::default();
        for file in 0..100 {
            for _ in 0..20 {
                seen.damage(Symptom::CorruptBatch, Path::new(&format!("/d/{file:03}")), "x");
            }
        }
        assert_eq!(seen.damaged(), 2000);
        let told = seen.into_told();
        assert!(told.len() < 1100, "{}", told.len());
        assert!(told.iter().any(|seen| seen.text == "there are 4 more like these in it"));
        assert!(told.last().unwrap().text.starts_with("there are "), "{told:?}");
    }

    #[test]
    fn an_observation_reads_as_a_sentence_and_as_json() {
        let seen = Observation::of(Severity::Damage, Symptom::CorruptBatch, "/d/0.log".into(), "it is bad");
        let seen = seen.at(7).offsets(3, 5);
        assert_eq!(seen.to_string(), "DAMAGED /d/0.log at position 7, offsets 3..5: it is bad");
        let json = serde_json::to_value(&seen).unwrap();
        let expected = serde_json::json!({
            "type": "damage", "symptom": "corrupt_batch", "file": "/d/0.log", "position": 7, "offset": 3,
            "last_offset": 5, "text": "it is bad",
        });
        assert_eq!(json, expected);
        let note = Observation::of(Severity::Note, Symptom::State, "/d".into(), "so").offsets(3, 3);
        assert_eq!(note.to_string(), "note: /d, offset 3: so");
    }
}
