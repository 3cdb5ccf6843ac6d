//! The leader epochs that a broker has acted under, kept beside the logs so that they hold after a restart too (rules 25,
//! 31).
//!
//! Before a replica leads, truncates or fetches under an epoch, (creation, leader epoch) is appended to the file
//! `taffrail.epochs` of its log directory; a record with a lower pair is ignored from then on. The partition epoch and the
//! replicas are noted with them, for a controller whose store was restored from a backup: who was in sync may have changed
//! since without a new leader, and who has the log may not be who had it. So is the last epoch that the broker led in: it
//! may have committed what it has of earlier ones without appending anything, and then only this note tells that its log is
//! to be preferred to one that ends with records of a later epoch than its own. One write serves an update of any number of
//! partitions, and nothing is synced: the page cache outlives the process, and where it does not, the disk counts as
//! UNCLEAN anyway.
//!
//! The file is a row of entries, each with its own checksum: topic id, partition, creation, leader epoch, partition epoch,
//! epoch led in (-1 for none), number of replicas, their ids, CRC-32C of these. The highest entry of a partition holds, and
//! of equal ones the last. Entries that are cut or damaged are passed over. It is written anew when it is opened, and when
//! it has grown to several times what is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use taffrail_control::session::{HeldPartition, LogClaim, Member, PartitionRecord};
use taffrail_log::storage::Access;
use taffrail_log::{Storage, StorageFile};
use taffrail_protocol::Uuid;

use super::DiskError;

/// The file's name in the log directory.
pub const NAME: &str = "taffrail.epochs";
/// Topic id, partition, creation, leader epoch, partition epoch, epoch led in, number of replicas.
const HEADER_BYTES: usize = 16 + 4 + 8 + 4 + 4 + 4 + 4;
/// Each replica, and the checksum; entries begin at multiples of it.
const WORD_BYTES: usize = 4;
/// More replicas than this are not believed.
const MAX_REPLICAS: usize = 1024;
/// What the file may grow to before it is written anew, whatever is needed of it.
const SMALL_FILE_BYTES: u64 = 1024 * 1024;
/// How many times what is needed a larger file may hold.
const SLACK: u64 = 4;
/// More than any file that was kept within the bounds above can have: some ten million partitions.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

type Key = (Uuid, i32);
/// Creation and leader epoch.
type Epochs = (u64, i32);

/// What is noted of a partition. Of two, the one with the higher epochs holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    epochs: Epochs,
    partition_epoch: i32,
    replicas: Box<[i32]>,
    /// The last epoch that the broker led in, with the log that it has.
    led_in: Option<i32>,
}

impl Noted {
    fn of(record: &PartitionRecord, led_in: Option<i32>) -> Self {
        let replicas = record.replicas.as_slice().into();
        let (epochs, partition_epoch) = (epochs_of(record), record.partition_epoch);
        Self { epochs, partition_epoch, replicas, led_in }
    }

    /// What tells newer from older.
    fn rank(&self) -> (Epochs, i32, &[i32]) {
        (self.epochs, self.partition_epoch, &self.replicas)
    }

    fn entry_bytes(&self) -> usize {
        HEADER_BYTES + (self.replicas.len() + 1) * WORD_BYTES
    }
}

/// The epochs of one log directory.
pub struct EpochNotes<S: Storage> {
    storage: S,
    path: PathBuf,
    me: Member,
    file: S::File,
    /// Where the next entry goes: behind the last one that was written whole.
    len: u64,
    noted: BTreeMap<Key, Noted>,
    /// What an entry for each of them takes.
    needed: u64,
}

impl<S: Storage> EpochNotes<S> {
    /// Reads what was noted in a log directory by the broker that is now `me`, and writes it anew without what is
    /// superseded. Where the logs may lack records, having led with them means nothing any more.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(storage: S, dir: &Path, me: Member, claim: LogClaim) -> Result<Self, DiskError> {
        let path = dir.join(NAME);
        let bytes = storage.read_small(&path, MAX_BYTES).map_err(failed("read", &path))?;
        let mut noted = BTreeMap::new();
        let bytes = bytes.unwrap_or_default();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let Some((key, note)) = decode(rest) else {
                rest = rest.get(WORD_BYTES..).unwrap_or_default();
                continue;
            };
            rest = &rest[note.entry_bytes()..];
            raise(&mut noted, key, note);
        }
        if claim == LogClaim::Unclean {
            noted.values_mut().for_each(|note| note.led_in = None);
        }
        let (file, len) = write_anew(&storage, &path, &noted)?;
        Ok(Self { storage, path, me, file, len, noted, needed: len })
    }

    /// Whether this broker has acted under a higher epoch of the partition than the record's, so that the record is to
    /// be ignored.
    pub fn is_behind(&self, record: &PartitionRecord) -> bool {
        let noted = self.noted.get(&(record.topic_id, record.partition));
        noted.is_some_and(|noted| epochs_of(record) < noted.epochs)
    }

    /// Whether the broker ever acted under a record of the partition.
    pub fn knows(&self, topic_id: Uuid, partition: i32) -> bool {
        self.noted.contains_key(&(topic_id, partition))
    }

    /// The last leader epoch that the broker led in, in this partition of this topic, with the log that it has.
    pub fn led_in(&self, record: &PartitionRecord) -> Option<i32> {
        self.noted.get(&(record.topic_id, record.partition))?.led_in
    }

    /// The creation of a topic that the broker acted for.
    pub fn creation(&self, topic_id: Uuid) -> Option<u64> {
        let mut partitions = self.noted.range((topic_id, i32::MIN)..=(topic_id, i32::MAX));
        partitions.next().map(|(_, noted)| noted.epochs.0)
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
        let mut raised = BTreeMap::new();
        for record in records {
            let key = (record.topic_id, record.partition);
            let known = raised.get(&key).or_else(|| self.noted.get(&key));
            let leads = record.leader == Some(self.me);
            let led_in = known.and_then(|known| known.led_in).max(leads.then_some(record.leader_epoch));
            let note = Noted::of(record, led_in);
            if known.is_none_or(|known| known.rank() < note.rank()) {
                raised.insert(key, note);
            }
        }
        self.write(raised)
    }

    /// The partition's log is made anew: what the broker led with is not in it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin_anew(&mut self, topic_id: Uuid, partition: i32) -> Result<(), DiskError> {
        let key = (topic_id, partition);
        let Some(noted) = self.noted.get(&key).filter(|noted| noted.led_in.is_some()) else { return Ok(()) };
        let note = Noted { led_in: None, ..noted.clone() };
        self.write(BTreeMap::from([(key, note)]))
    }

    fn write(&mut self, raised: BTreeMap<Key, Noted>) -> Result<(), DiskError> {
        if raised.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(raised.values().map(Noted::entry_bytes).sum());
        raised.iter().for_each(|(key, note)| encode(&mut bytes, *key, note));
        // After a write that failed, the next one begins at the same place: nothing whole is behind something torn.
        self.file.write_all_at(&bytes, self.len).map_err(failed("write", &self.path))?;
        self.len += bytes.len() as u64;
        for (key, note) in raised {
            self.needed += note.entry_bytes() as u64;
            let before = self.noted.insert(key, note);
            self.needed -= before.map_or(0, |before| before.entry_bytes() as u64);
        }
        if self.len > (self.needed * SLACK).max(SMALL_FILE_BYTES) {
            (self.file, self.len) = write_anew(&self.storage, &self.path, &self.noted)?;
            self.needed = self.len;
        }
        Ok(())
    }

    /// Forgets topics that do not exist any more. What is in the file goes when that is next written anew.
    pub fn forget(&mut self, topic_id: Uuid) {
        let of_topic = (topic_id, i32::MIN)..=(topic_id, i32::MAX);
        for (_, gone) in self.noted.extract_if(of_topic, |_, _| true) {
            self.needed -= gone.entry_bytes() as u64;
        }
    }

    /// All that was noted, for the controller (rule 25).
    pub fn held(&self) -> Vec<HeldPartition> {
        let held = |(&(topic_id, partition), noted): (&Key, &Noted)| HeldPartition {
            topic_id,
            partition,
            creation: noted.epochs.0,
            leader_epoch: noted.epochs.1,
            partition_epoch: noted.partition_epoch,
            replicas: noted.replicas.to_vec(),
        };
        self.noted.iter().map(held).collect()
    }
}

fn epochs_of(record: &PartitionRecord) -> Epochs {
    (record.creation, record.leader_epoch)
}

fn raise(noted: &mut BTreeMap<Key, Noted>, key: Key, note: Noted) {
    match noted.get_mut(&key) {
        Some(held) if held.rank() <= note.rank() => *held = note,
        Some(_) => {}
        None => {
            noted.insert(key, note);
        }
    }
}

fn encode(bytes: &mut Vec<u8>, (topic_id, partition): Key, note: &Noted) {
    let start = bytes.len();
    let (creation, leader_epoch) = note.epochs;
    bytes.extend_from_slice(&topic_id.0);
    bytes.extend_from_slice(&partition.to_be_bytes());
    bytes.extend_from_slice(&creation.to_be_bytes());
    bytes.extend_from_slice(&leader_epoch.to_be_bytes());
    bytes.extend_from_slice(&note.partition_epoch.to_be_bytes());
    bytes.extend_from_slice(&note.led_in.unwrap_or(-1).to_be_bytes());
    bytes.extend_from_slice(&(note.replicas.len() as u32).to_be_bytes());
    note.replicas.iter().for_each(|id| bytes.extend_from_slice(&id.to_be_bytes()));
    let checksum = crc32c::crc32c(&bytes[start..]);
    bytes.extend_from_slice(&checksum.to_be_bytes());
}

/// The entry that `bytes` begin with.
fn decode(bytes: &[u8]) -> Option<(Key, Noted)> {
    let (topic_id, rest) = bytes.split_first_chunk::<16>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let (creation, rest) = rest.split_first_chunk::<8>()?;
    let (leader_epoch, rest) = rest.split_first_chunk::<4>()?;
    let (partition_epoch, rest) = rest.split_first_chunk::<4>()?;
    let (led_in, rest) = rest.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_be_bytes(*count)).ok().filter(|count| *count <= MAX_REPLICAS)?;
    let (replicas, rest) = rest.split_at_checked(count * WORD_BYTES)?;
    let checksum = rest.first_chunk::<4>()?;
    let content = &bytes[..HEADER_BYTES + count * WORD_BYTES];
    if crc32c::crc32c(content) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let (replicas, _) = replicas.as_chunks::<4>();
    let note = Noted {
        epochs: (u64::from_be_bytes(*creation), i32::from_be_bytes(*leader_epoch)),
        partition_epoch: i32::from_be_bytes(*partition_epoch),
        replicas: replicas.iter().map(|id| i32::from_be_bytes(*id)).collect(),
        led_in: Some(i32::from_be_bytes(*led_in)).filter(|epoch| *epoch >= 0),
    };
    Some(((Uuid(*topic_id), i32::from_be_bytes(*partition)), note))
}

fn write_anew<S: Storage>(
    storage: &S,
    path: &Path,
    noted: &BTreeMap<Key, Noted>,
) -> Result<(S::File, u64), DiskError> {
    let mut bytes = Vec::with_capacity(noted.values().map(Noted::entry_bytes).sum());
    noted.iter().for_each(|(key, note)| encode(&mut bytes, *key, note));
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
    const ME: Member = Member { broker_id: 1, incarnation: 9 };

    fn storage() -> MemoryStorage {
        let storage = MemoryStorage::new();
        storage.create_dir_all(Path::new(DIR)).unwrap();
        storage
    }

    fn open(storage: &MemoryStorage) -> EpochNotes<MemoryStorage> {
        open_with(storage, LogClaim::SameBoot)
    }

    fn open_with(storage: &MemoryStorage, claim: LogClaim) -> EpochNotes<MemoryStorage> {
        EpochNotes::open(storage.clone(), Path::new(DIR), ME, claim).unwrap()
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
    fn rule_25_in_sync_replicas_that_changed_without_a_new_leader_are_told_of_by_the_next_process() {
        let storage = storage();
        let mut notes = open(&storage);
        let moved = PartitionRecord { partition_epoch: 9, replicas: vec![3, 4], ..record(0, 5, 3) };
        notes.note(&[record(0, 5, 3), moved]).unwrap();
        notes.note(&[record(0, 5, 3)]).unwrap();
        for notes in [&notes, &open(&storage)] {
            let held = notes.held();
            let [held] = &held[..] else { panic!("one partition is noted: {held:?}") };
            assert_eq!((held.leader_epoch, held.partition_epoch), (3, 9));
            assert_eq!(held.replicas, [3, 4]);
            assert!(!notes.is_behind(&record(0, 5, 3)), "the same leader epoch may be acted under");
        }
    }

    #[test]
    fn rules_17_and_25_the_last_epoch_led_in_is_known_to_the_next_process_while_the_log_is_the_same() {
        let storage = storage();
        let mut notes = open(&storage);
        let led_by = |id, incarnation, epoch| PartitionRecord {
            leader: Some(Member { broker_id: id, incarnation }),
            ..record(0, 5, epoch)
        };
        notes.note(&[led_by(1, 8, 2)]).unwrap();
        assert_eq!(notes.led_in(&record(0, 5, 2)), None, "that was this broker in another life");
        notes.note(&[led_by(1, 9, 3), led_by(2, 9, 4)]).unwrap();
        notes.note(&[led_by(3, 9, 5)]).unwrap();
        assert_eq!(notes.led_in(&record(0, 5, 5)), Some(3));
        let mut notes = open(&storage);
        assert_eq!((notes.led_in(&record(0, 5, 5)), &held(&notes)[..]), (Some(3), &[(0, 5, 5)][..]));
        notes.begin_anew(record(0, 5, 5).topic_id, 0).unwrap();
        assert_eq!(notes.led_in(&record(0, 5, 5)), None, "the log is another one");
        let mut notes = open(&storage);
        assert_eq!((notes.led_in(&record(0, 5, 5)), &held(&notes)[..]), (None, &[(0, 5, 5)][..]));
        notes.note(&[led_by(1, 9, 6)]).unwrap();
        assert_eq!(open(&storage).led_in(&record(0, 5, 6)), Some(6));
        for claim in [LogClaim::Unclean, LogClaim::SameBoot] {
            assert_eq!(open_with(&storage, claim).led_in(&record(0, 5, 6)), None, "it may lack records");
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
        let entry_bytes = Noted::of(&record(1, 1, 5), None).entry_bytes();
        for torn in 0..2 * entry_bytes {
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
        let entry_bytes = Noted::of(&record(0, 1, 1), None).entry_bytes();
        // One is the number of its replicas, which tells where the next entry begins.
        for at in [20, HEADER_BYTES - 1] {
            let storage = storage();
            open(&storage).note(&[record(0, 1, 1), record(1, 1, 1), record(2, 1, 1)]).unwrap();
            let file = storage.open(&Path::new(DIR).join(NAME), Access::Write).unwrap();
            file.write_all_at(&[0x7f], (entry_bytes + at) as u64).unwrap();
            assert_eq!(held(&open(&storage)), [(0, 1, 1), (2, 1, 1)]);
        }
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
