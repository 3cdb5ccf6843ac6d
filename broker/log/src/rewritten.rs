//! A segment that was written anew: when it is whole and durable under `.cleaned`, it waits under `.swap` until the log puts
//! it in its place ([`crate::log`]'s `replace`).

use std::io;
use std::path::Path;

use crate::names::{CLEANED_SUFFIX, SWAP_SUFFIX, SegmentFile};
use crate::segment::{Home, Segment};
use crate::storage::{Access, Storage, StorageFile};
use crate::transaction_index::AbortedTransaction;

/// Completes a segment under `.cleaned`: its transaction index, the time of its sources, and all of it durable.
pub(crate) fn complete<S: Storage>(
    home: &Home<S>,
    segment: &mut Segment<S>,
    aborted: &[AbortedTransaction],
    modified_ms: Option<i64>,
) -> io::Result<()> {
    debug_assert_eq!(home.suffix, CLEANED_SUFFIX);
    // An empty one takes the place of one that is not: transactions without a marker must not be told of as aborted.
    let old = SegmentFile::TransactionIndex.path(&home.dir, segment.base_offset);
    if !aborted.is_empty() || home.storage.len_of(&old)?.is_some() {
        let bytes: Vec<u8> = aborted.iter().flat_map(AbortedTransaction::encode).collect();
        let path = home.path(SegmentFile::TransactionIndex, segment.base_offset);
        home.storage.open(&path, Access::Replace)?.write_all_at(&bytes, 0)?;
    }
    if let Some(modified_ms) = modified_ms {
        segment.writer(home)?.set_modified_ms(modified_ms)?;
    }
    segment.seal(home)?;
    segment.indexes_changed = false;
    for kind in present(home, segment.base_offset)? {
        home.storage.open(&home.path(kind, segment.base_offset), Access::Read)?.sync()?;
    }
    Ok(())
}

/// Renames a segment from `.cleaned` to `.swap`, the `.log` last: from then on it counts. Durable when this returns.
pub(crate) fn put_beside<S: Storage>(storage: &S, dir: &Path, base_offset: i64) -> io::Result<()> {
    let [cleaned, swap] = [CLEANED_SUFFIX, SWAP_SUFFIX].map(|suffix| Home {
        storage: storage.clone(),
        dir: dir.to_owned(),
        suffix,
    });
    for kind in present(&cleaned, base_offset)?.into_iter().rev() {
        storage.rename(&cleaned.path(kind, base_offset), &swap.path(kind, base_offset))?;
    }
    storage.sync_dir(dir)
}

/// Removes what was written of a segment, whatever there is. What cannot be removed is by the next start.
pub(crate) fn discard<S: Storage>(storage: &S, dir: &Path, base_offset: i64) {
    for suffix in [CLEANED_SUFFIX, SWAP_SUFFIX] {
        let home = Home { storage: storage.clone(), dir: dir.to_owned(), suffix };
        for kind in SegmentFile::ALL {
            let _ = storage.remove_file(&home.path(kind, base_offset));
        }
    }
}

/// Which files of a segment there are, the `.log` first.
fn present<S: Storage>(home: &Home<S>, base_offset: i64) -> io::Result<Vec<SegmentFile>> {
    let mut present = Vec::new();
    for kind in SegmentFile::ALL {
        if home.storage.len_of(&home.path(kind, base_offset))?.is_some() {
            present.push(kind);
        }
    }
    Ok(present)
}
