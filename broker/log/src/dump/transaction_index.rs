//! `.txnindex`: aborted transactions.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::{Failure, entries, open};
use crate::transaction_index::{AbortedTransaction, ENTRY_BYTES};

#[derive(Serialize)]
#[serde(tag = "type", rename = "aborted_transaction")]
struct Entry {
    producer_id: i64,
    first_offset: i64,
    last_offset: i64,
    last_stable_offset: i64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { producer_id, first_offset, last_offset, last_stable_offset } = self;
        write!(f, "producer_id={producer_id} offsets={first_offset}..{last_offset} ")?;
        write!(f, "last_stable_offset={last_stable_offset}")
    }
}

pub(super) fn print(path: &Path, base_offset: i64, output: &mut Output<'_>) -> Result<(), Failure> {
    let file = open(path)?;
    let mut last_offset = None;
    entries::for_each(&file, output, |output, index, bytes: &[u8; ENTRY_BYTES]| {
        let at = index * ENTRY_BYTES as u64;
        let entry = AbortedTransaction::decode(bytes);
        output.entry(&Entry {
            producer_id: entry.producer_id,
            first_offset: entry.first_offset,
            last_offset: entry.last_offset,
            last_stable_offset: entry.last_stable_offset,
        })?;
        if entry.last_offset < base_offset {
            output.damage(Some(at), "the transaction ended before the segment")?;
        } else if last_offset.is_some_and(|last| entry.last_offset <= last) {
            output.damage(Some(at), "the last offset does not rise")?;
        } else if entry.first_offset > entry.last_offset {
            output.damage(Some(at), "the transaction ends before it begins")?;
        }
        last_offset = Some(entry.last_offset);
        Ok(true)
    })
}
