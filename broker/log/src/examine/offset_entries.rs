//! The entries of an `.index`, held against the batches of its segment as these are walked.

use std::io;

use super::entries::Entries;
use crate::offset_index::{ENTRY_BYTES, OffsetPosition};
use crate::scan::Found;

/// An offset index in step with its segment.
pub(super) struct OffsetEntries {
    entries: Entries<ENTRY_BYTES>,
    base_offset: i64,
    last: Option<OffsetPosition>,
    /// The offset of an entry whose batch was passed and ended before it, as Apache Kafka wrote them once: the last offset of
    /// several batches with the position of the first.
    open: Option<(u64, i64)>,
}

/// What is wrong with an entry: where it is in the file, and why.
pub(super) type Wrong = (u64, String);

/// So many wrong entries of an index are kept.
const MOST_WRONG: usize = 100;

/// Wrong entries as they gather, up to a limit.
#[derive(Default)]
pub(super) struct Wrongs(Vec<Wrong>);

impl Wrongs {
    pub fn push(&mut self, wrong: Wrong) {
        if self.0.len() < MOST_WRONG {
            self.0.push(wrong);
        }
    }

    pub fn extend(&mut self, wrong: Option<Wrong>) {
        self.0.extend(wrong);
    }

    pub fn into_inner(self) -> Vec<Wrong> {
        self.0
    }
}

impl OffsetEntries {
    pub fn new(entries: Entries<ENTRY_BYTES>, base_offset: i64) -> Self {
        Self { entries, base_offset, last: None, open: None }
    }

    /// Takes the entries up to a batch.
    pub fn batch(&mut self, found: &Found, wrong: &mut Wrongs) -> io::Result<()> {
        let header = &found.header;
        if let Some((at, offset)) = self.open
            && header.last_offset() >= offset
        {
            self.open = None;
            if header.last_offset() != offset {
                wrong.push((at, format!("no batch ends with the offset {offset} that the entry has")));
            }
        }
        while let Some((at, entry)) = self.peek()? {
            if u64::from(entry.position) > found.position {
                break;
            }
            self.take(at, entry, wrong);
            if u64::from(entry.position) < found.position {
                wrong.push((at, format!("no batch begins at position {} of the segment", entry.position)));
            } else if entry.offset < header.base_offset {
                let (first, last) = (header.base_offset, header.last_offset());
                wrong.push((
                    at,
                    format!(
                        "the entry says offset {}, and the batch at position {} has {first}..{last}",
                        entry.offset, entry.position
                    ),
                ));
            } else if entry.offset < header.last_offset() {
                wrong
                    .push((at, format!("no batch ends with the offset {} that the entry has", entry.offset)));
            } else if entry.offset > header.last_offset() {
                self.open = Some((at, entry.offset));
            }
        }
        Ok(())
    }

    /// Passes over the entries of a part of the segment that is broken and ends at `position`.
    pub fn skip_to(&mut self, position: u64) -> io::Result<()> {
        self.open = None;
        while let Some((_, entry)) = self.peek()? {
            if u64::from(entry.position) >= position {
                break;
            }
            self.last = Some(entry);
            self.entries.advance();
        }
        Ok(())
    }

    /// Takes the entries that are left when the segment has ended. Those of a segment `in_motion` may be about batches that
    /// came meanwhile.
    pub fn end(mut self, in_motion: bool, wrong: &mut Wrongs) -> io::Result<u64> {
        if !in_motion {
            if let Some((at, offset)) = self.open {
                wrong.push((at, format!("the segment ends before the offset {offset} that the entry has")));
            }
            while let Some((at, entry)) = self.peek()? {
                self.take(at, entry, wrong);
                let reason =
                    format!("the entry says position {}, behind the end of the segment", entry.position);
                wrong.push((at, reason));
            }
        }
        wrong.extend(self.entries.trailing());
        Ok(self.entries.count())
    }

    fn peek(&mut self) -> io::Result<Option<(u64, OffsetPosition)>> {
        let base = self.base_offset;
        Ok(self.entries.peek()?.map(|(at, bytes)| (at, OffsetPosition::decode(bytes, base))))
    }

    fn take(&mut self, at: u64, entry: OffsetPosition, wrong: &mut Wrongs) {
        self.entries.advance();
        if self.last.is_some_and(|last| entry.offset <= last.offset || entry.position <= last.position) {
            wrong.push((at, "the entry's offset or position does not rise".to_owned()));
        }
        self.last = Some(entry);
    }
}
