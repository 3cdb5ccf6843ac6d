//! The entries of a `.timeindex`, held against the batches of its segment as these are walked.

use std::io;

use super::entries::Entries;
use super::offset_entries::Wrongs;
use crate::scan::Found;
use crate::time_index::{ENTRY_BYTES, TimestampOffset};

/// A time index in step with its segment.
pub(super) struct TimeEntries {
    entries: Entries<ENTRY_BYTES>,
    base_offset: i64,
    last: Option<TimestampOffset>,
    /// The largest timestamp of the batches passed.
    latest: i64,
}

impl TimeEntries {
    pub fn new(entries: Entries<ENTRY_BYTES>, base_offset: i64) -> Self {
        Self { entries, base_offset, last: None, latest: -1 }
    }

    /// Takes the entries up to the end of a batch.
    pub fn batch(&mut self, found: &Found, wrong: &mut Wrongs) -> io::Result<()> {
        let header = &found.header;
        self.latest = self.latest.max(header.max_timestamp);
        while let Some((at, entry)) = self.peek()? {
            if entry.offset > header.last_offset() {
                break;
            }
            self.take(at, entry, wrong);
            let TimestampOffset { timestamp, offset } = entry;
            if offset < header.base_offset {
                wrong.push((at, format!("the segment has no batch with the entry's offset {offset}")));
            } else if timestamp != header.max_timestamp {
                let is = header.max_timestamp;
                wrong.push((
                    at,
                    format!("the entry says timestamp {timestamp} for offset {offset}, whose batch has {is}"),
                ));
            } else if timestamp < self.latest {
                let latest = self.latest;
                wrong.push((
                    at,
                    format!("the entry says that up to offset {offset} none is later than {timestamp}, and one has {latest}"),
                ));
            }
        }
        Ok(())
    }

    /// Passes over the entries for offsets before `offset`, behind a part of the segment that is broken.
    pub fn skip_to(&mut self, offset: i64) -> io::Result<()> {
        while let Some((_, entry)) = self.peek()? {
            if entry.offset >= offset {
                break;
            }
            self.last = Some(entry);
            self.latest = self.latest.max(entry.timestamp);
            self.entries.advance();
        }
        Ok(())
    }

    /// Takes the entries that are left when the segment has ended. One that is `whole` ends with its largest timestamp,
    /// which lookups by time rely on. Those of a segment `in_motion` may be about batches that came meanwhile.
    pub fn end(mut self, in_motion: bool, whole: bool, wrong: &mut Wrongs) -> io::Result<()> {
        if !in_motion {
            while let Some((at, entry)) = self.peek()? {
                self.take(at, entry, wrong);
                let reason = format!("the entry says offset {}, behind the end of the segment", entry.offset);
                wrong.push((at, reason));
            }
        }
        let told = self.last.map_or(-1, |last| last.timestamp);
        if whole && told < self.latest {
            let reason = format!(
                "the last entry says timestamp {told}, and the segment has one of {}: lookups by time miss it",
                self.latest
            );
            wrong.push((self.entries.position(), reason));
        }
        wrong.extend(self.entries.trailing());
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<(u64, TimestampOffset)>> {
        let base = self.base_offset;
        Ok(self.entries.peek()?.map(|(at, bytes)| (at, TimestampOffset::decode(bytes, base))))
    }

    fn take(&mut self, at: u64, entry: TimestampOffset, wrong: &mut Wrongs) {
        self.entries.advance();
        if self.last.is_some_and(|last| entry.timestamp <= last.timestamp || entry.offset < last.offset) {
            wrong.push((at, "the entry's timestamp or offset does not rise".to_owned()));
        }
        self.last = Some(entry);
    }
}
