//! The leader epochs that a broker has acted under, kept beside the logs so that they hold after a restart too (rules 25,
//! 31).
//!
//! Before a replica leads, truncates or fetches under an epoch, (creation, leader epoch) is appended to the file
//! `taffrail.epochs` of its log directory; a record with a lower pair is ignored from then on. One write serves an update
//! of any number of partitions, and nothing is synced: the page cache outlives the process, and where it does not, the
//! disk counts as UNCLEAN anyway.
//!
//! The file is a row of entries of equal size, each with its own checksum: topic id, partition, creation, leader epoch,
//! CRC-32C of these. The last entry of a partition holds. Entries that are cut or damaged are passed over. It is written
//! anew when it is opened, and when it has grown to several times what is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use taffrail_control::session::{HeldPartition, PartitionRecord};
use taffrail_log::storage::Access;
use taffrail_log::{Storage, StorageFile};
use taffrail_protocol::Uuid;

use super::DiskError;

/// The file's name in the log directory.
pub const NAME: &str = "taffrail.epochs";
/// Topic id, partition, creation, leader epoch, checksum.
const ENTRY_BYTES: usize = 16 + 4 + 8 + 4 + 4;
/// What the file may grow to before it is written anew, whatever is needed of it.
const SMALL_FILE_BYTES: u64 = 1024 * 1024;
/// How many times what is needed a larger file may hold.
const SLACK: u64 = 4;
/// More than any file that was kept within the bounds above can have: some ten million partitions.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

type Key = (Uuid, i32);
type Epochs = (u64, i32);

/// The epochs of one log directory.
pub struct EpochNotes<S: Storage> {
    storage: S,
    path: PathBuf,
    file: S::File,
    /// Where the next entry goes: behind the last one that was written whole.
    len: u64,
    noted: BTreeMap<Key, Epochs>,
}

impl<S: Storage> EpochNotes<S> {
    /// Reads what was noted in a log directory, and writes it anew without what is superseded.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(storage: S, dir: &Path) -> Result<Self, DiskError> {
        let path = dir.join(NAME);
        let bytes = storage.read_small(&path, MAX_BYTES).map_err(failed("read", &path))?;
        let mut noted = BTreeMap::new();
        for (key, epochs) in bytes.unwrap_or_default().chunks_exact(ENTRY_BYTES).filter_map(decode) {
            raise(&mut noted, key, epochs);
        }
        let (file, len) = write_anew(&storage, &path, &noted)?;
        Ok(Self { storage, path, file, len, noted })
    }

    /// Whether this broker has acted under a higher epoch of the partition than the record's, so that the record is to
    /// be ignored.
    pub fn is_behind(&self, record: &PartitionRecord) -> bool {
        let noted = self.noted.get(&(record.topic_id, record.partition));
        noted.is_some_and(|noted| epochs_of(record) < *noted)
    }

    /// Whether the broker ever acted under a record of the partition.
    pub fn knows(&self, topic_id: Uuid, partition: i32) -> bool {
        self.noted.contains_key(&(topic_id, partition))
    }

    /// The creation of a topic that the broker acted for.
    pub fn creation(&self, topic_id: Uuid) -> Option<u64> {
        let mut partitions = self.noted.range((topic_id, i32::MIN)..=(topic_id, i32::MAX));
        partitions.next().map(|(_, (creation, _))| *creation)
    }

    /// Notes the epochs of these records, in one write. To be called before any of them is acted on; those that are
    /// noted already, or are behind what is noted, cost nothing.
    ///
    /// # Errors
    /// When the file cannot be written. None of the records may be acted on then.
    pub fn note<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a PartitionRecord>,
    ) -> Result<(), DiskError> {
        let mut bytes = Vec::new();
        let mut raised = BTreeMap::new();
        for record in records {
            let (key, epochs) = ((record.topic_id, record.partition), epochs_of(record));
            let is_new = |known: &BTreeMap<Key, Epochs>| known.get(&key).is_none_or(|noted| *noted < epochs);
            if is_new(&self.noted) && is_new(&raised) {
                encode(&mut bytes, key, epochs);
                raised.insert(key, epochs);
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
        // After a write that failed, the next one begins at the same place: nothing whole is behind something torn.
        self.file.write_all_at(&bytes, self.len).map_err(failed("write", &self.path))?;
        self.len += bytes.len() as u64;
        self.noted.append(&mut raised);
        let needed = (self.noted.len() * ENTRY_BYTES) as u64;
        if self.len > (needed * SLACK).max(SMALL_FILE_BYTES) {
            (self.file, self.len) = write_anew(&self.storage, &self.path, &self.noted)?;
        }
        Ok(())
    }

    /// Forgets topics that do not exist any more. What is in the file goes when that is next written anew.
    pub fn forget(&mut self, topic_id: Uuid) {
        self.noted.retain(|(id, _), _| *id != topic_id);
    }

    /// All that was noted, for the controller (rule 25).
    pub fn held(&self) -> Vec<HeldPartition> {
        let held = |(&(topic_id, partition), &(creation, leader_epoch)): (&Key, &Epochs)| HeldPartition {
            topic_id,
            partition,
            creation,
            leader_epoch,
        };
        self.noted.iter().map(held).collect()
    }
}

fn epochs_of(record: &PartitionRecord) -> Epochs {
    (record.creation, record.leader_epoch)
}

fn raise(noted: &mut BTreeMap<Key, Epochs>, key: Key, epochs: Epochs) {
    let held = noted.entry(key).or_insert(epochs);
    *held = epochs.max(*held);
}

fn encode(bytes: &mut Vec<u8>, (topic_id, partition): Key, (creation, leader_epoch): Epochs) {
    let start = bytes.len();
    bytes.extend_from_slice(&topic_id.0);
    bytes.extend_from_slice(&partition.to_be_bytes());
    bytes.extend_from_slice(&creation.to_be_bytes());
    bytes.extend_from_slice(&leader_epoch.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[start..]);
    bytes.extend_from_slice(&checksum.to_be_bytes());
}

fn decode(entry: &[u8]) -> Option<(Key, Epochs)> {
    let (content, checksum) = entry.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let (topic_id, rest) = content.split_first_chunk::<16>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let (creation, leader_epoch) = rest.split_first_chunk::<8>()?;
    let key = (Uuid(*topic_id), i32::from_be_bytes(*partition));
    let leader_epoch = i32::from_be_bytes(*leader_epoch.first_chunk::<4>()?);
    Some((key, (u64::from_be_bytes(*creation), leader_epoch)))
}

fn write_anew<S: Storage>(
    storage: &S,
    path: &Path,
    noted: &BTreeMap<Key, Epochs>,
) -> Result<(S::File, u64), DiskError> {
    let mut bytes = Vec::with_capacity(noted.len() * ENTRY_BYTES);
    noted.iter().for_each(|(key, epochs)| encode(&mut bytes, *key, *epochs));
    storage.replace_small(path, &bytes).map_err(failed("write", path))?;
    let file = storage.open(path, Access::Write).map_err(failed("open", path))?;
    Ok((file, bytes.len() as u64))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::test_support::record;
    use taffrail_log::MemoryStorage;
    use taffrail_log::storage::{Effect, Fault, Operation};

    const DIR: &str = "/data";

    fn storage() -> MemoryStorage {
        let storage = MemoryStorage::new();
        storage.create_dir_all(Path::new(DIR)).unwrap();
        storage
    }

    fn open(storage: &MemoryStorage) -> EpochNotes<MemoryStorage> {
        EpochNotes::open(storage.clone(), Path::new(DIR)).unwrap()
    }

    fn held(notes: &EpochNotes<MemoryStorage>) -> Vec<(i32, u64, i32)> {
        notes.held().iter().map(|held| (held.partition, held.creation, held.leader_epoch)).collect()
    }

    #[test]
    fn rule_31_a_lower_record_is_ignored_also_by_the_next_process() {
        let storage = storage();
        let mut notes = open(&storage);
        notes.note(&[record(0, 5, 3), record(1, 5, 0)]).unwrap();
        notes.note(&[record(0, 5, 2)]).unwrap();
        for notes in [&notes, &open(&storage)] {
            assert!(notes.is_behind(&record(0, 5, 2)) && notes.is_behind(&record(0, 4, 9)));
            assert!(!notes.is_behind(&record(0, 5, 3)) && !notes.is_behind(&record(0, 6, 0)));
            assert!(!notes.is_behind(&record(7, 0, 0)), "nothing is known of partition 7");
            assert_eq!(held(notes), [(0, 5, 3), (1, 5, 0)]);
            assert_eq!(notes.creation(record(0, 0, 0).topic_id), Some(5));
        }
    }

    #[test]
    fn an_update_of_many_partitions_is_one_write_and_what_is_known_none() {
        let storage = storage();
        let mut notes = open(&storage);
        let records: Vec<_> = (0..3000).map(|partition| record(partition, 1, 4)).collect();
        let before = storage.operations();
        notes.note(&records).unwrap();
        assert_eq!(storage.operations(), before + 1);
        notes.note(&records).unwrap();
        assert_eq!(storage.operations(), before + 1);
        assert_eq!(open(&storage).held().len(), 3000);
    }

    #[test]
    fn a_torn_write_is_passed_over_and_the_next_one_takes_its_place() {
        let storage = storage();
        let mut notes = open(&storage);
        notes.note(&[record(0, 1, 1)]).unwrap();
        for torn in 0..2 * ENTRY_BYTES {
            let (operation, effect) = (Operation::Write, Effect::TornWrite(torn));
            storage.inject(Fault { operation, after: 0, name_ends_with: NAME.to_owned(), effect });
            assert!(notes.note(&[record(1, 1, 5), record(2, 1, 5)]).is_err());
            assert_eq!(held(&notes), [(0, 1, 1)], "what was not written whole does not hold");
        }
        notes.note(&[record(3, 1, 2)]).unwrap();
        let again = held(&open(&storage));
        assert!(again.contains(&(0, 1, 1)) && again.contains(&(3, 1, 2)), "{again:?}");
    }

    #[test]
    fn a_damaged_entry_costs_no_other() {
        let storage = storage();
        let mut notes = open(&storage);
        notes.note(&[record(0, 1, 1), record(1, 1, 1), record(2, 1, 1)]).unwrap();
        let file = storage.open(&Path::new(DIR).join(NAME), Access::Write).unwrap();
        file.write_all_at(&[0xff], ENTRY_BYTES as u64 + 20).unwrap();
        assert_eq!(held(&open(&storage)), [(0, 1, 1), (2, 1, 1)]);
    }

    #[test]
    fn the_file_stays_within_its_bounds_and_forgets_topics() {
        let storage = storage();
        let mut notes = open(&storage);
        for epoch in 0..40_000 {
            notes.note(&[record(0, 1, epoch)]).unwrap();
        }
        let len = storage.len_of(&Path::new(DIR).join(NAME)).unwrap().unwrap();
        assert!(len <= SMALL_FILE_BYTES, "{len}");
        assert_eq!(held(&open(&storage)), [(0, 1, 39_999)]);
        notes.forget(record(0, 0, 0).topic_id);
        assert_eq!(held(&notes), []);
    }
}
