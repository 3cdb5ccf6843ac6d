//! The controller's memory in one local file.
//!
//! The file is a journal of puts. It begins with a header: the eight bytes `TAFFCTRL`, then the format and the CRC-32C of
//! what precedes it. Frames follow, one per batch of puts, each written and flushed as a whole before the next is begun:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | length of the payload |
//! | 4 | CRC-32C of the payload |
//! | … | payload: per put, the length (4) of the text `<object> <version> <JSON>`, and the text |
//!
//! All numbers are big-endian. The last put of an object is its content. What is found at the end, by case:
//!
//! | at the end | verdict |
//! |---|---|
//! | fewer bytes than a frame's head, or than its length says | torn by a crash, never answered: cut off |
//! | a length of zero | the same: a file system may leave zeros where data was not flushed |
//! | a wrong CRC in a frame that ends with the file | the same |
//! | a wrong CRC in a frame that ends before | damage to what was flushed: refused, nothing is changed |
//! | one of the first two, and a whole frame anywhere behind it | the same: it was the length that was damaged |
//! | a right CRC around what cannot be read | the same |
//!
//! When the journal is mostly made of puts that later ones replaced, it is written anew beside itself and renamed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use taffrail_controller::model::{DecodeObjectError, Object, ObjectKey};
use taffrail_controller::store::{
    Store, StoreAction, StoreAnswer, StoreOutcome, StoreRequest, Stored, Version,
};

const JOURNAL: &str = "controller.journal";
const NEW_JOURNAL: &str = "controller.journal.new";
const LOCK: &str = "controller.lock";
const MAGIC: &[u8; 8] = b"TAFFCTRL";
const FORMAT: u32 = 1;
const HEADER_LENGTH: usize = 16;
const FRAME_HEAD_LENGTH: usize = 8;
/// Below this length the journal is not worth writing anew.
const COMPACT_ABOVE: u64 = 4 << 20;
/// How many times longer than its content the journal may grow.
const COMPACT_RATIO: u64 = 4;

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The directory or a file in it cannot be used.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("another process uses the controller's store in {path}; stop it, or choose another directory", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Not a journal.
    #[error("{path} is not a controller's journal; move it away, or choose another directory", path = path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later release.
    #[error(
        "{path} has format {found}, and this release knows format {FORMAT}; use the release that wrote it",
        path = path.display()
    )]
    HigherFormat {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// Something that had been flushed has changed.
    #[error(
        "{path} is damaged at byte {position}: {problem}; bring it back from a backup, as what follows cannot be trusted",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// How.
        problem: String,
    },
    /// An object that cannot be used.
    #[error("{path} cannot be used: {source}", path = path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DecodeObjectError,
    },
}

/// The content of an object, as JSON.
#[derive(Debug, Clone)]
struct Content {
    version: Version,
    json: Vec<u8>,
}

/// Whether the journal may still be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Fine,
    /// A write failed; what it left behind has to be cut off first.
    Ragged,
    /// A flush failed: what is on the disk is not known, and asking again would not tell.
    Poisoned,
}

/// See the module.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    journal: File,
    /// Held for the lock.
    _lock: File,
    objects: BTreeMap<ObjectKey, Content>,
    /// Flushed bytes of the journal.
    length: u64,
    /// How long the journal would be with nothing replaced in it.
    live: u64,
    health: Health,
    compact_above: u64,
}

impl FileStore {
    /// Opens the store in `directory`, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// If another process has it open, if it cannot be read or written, or if what is in it is not known or damaged.
    /// Nothing is changed then.
    pub fn open(directory: &Path) -> Result<Self, OpenStoreError> {
        let path = directory.join(JOURNAL);
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenStoreError::Io { action, path, source }
        };
        std::fs::create_dir_all(directory).map_err(failed("make", directory))?;
        let lock = lock(directory)?;
        let new = directory.join(NEW_JOURNAL);
        if let Err(source) = std::fs::remove_file(&new)
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(failed("remove", &new)(source));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let journal = options.open(&path).map_err(failed("open", &path))?;
        let bytes = std::fs::read(&path).map_err(failed("read", &path))?;
        let (objects, length) = replay(&bytes, &path)?;
        let mut store = Self {
            directory: directory.to_owned(),
            journal,
            _lock: lock,
            objects,
            length: length as u64,
            live: 0,
            health: Health::Fine,
            compact_above: COMPACT_ABOVE,
        };
        store.live = store.objects.iter().map(|(key, content)| text_length(*key, content)).sum();
        if length < bytes.len() {
            let cut = bytes.len() - length;
            tracing::warn!("the last {cut} bytes of {} were torn by a crash and are cut off", path.display());
            store.cut_to_length().map_err(failed("cut", &path))?;
        }
        if length == 0 {
            store.write_header().map_err(failed("write", &path))?;
        }
        Ok(store)
    }

    /// Begins a journal. The header is flushed with the first frame: without one there is nothing to lose.
    fn write_header(&mut self) -> io::Result<()> {
        self.journal.write_all_at(&header(), 0)?;
        self.length = HEADER_LENGTH as u64;
        File::open(&self.directory)?.sync_all()
    }

    fn cut_to_length(&mut self) -> io::Result<()> {
        self.journal.set_len(self.length)?;
        self.journal.sync_all()
    }

    /// Appends a frame and flushes it.
    fn append(&mut self, frame: &[u8]) -> bool {
        let path = self.directory.join(JOURNAL);
        if self.health == Health::Ragged {
            match self.journal.set_len(self.length) {
                Ok(()) => self.health = Health::Fine,
                Err(error) => {
                    tracing::error!("cannot cut a failed write off {}: {error}", path.display());
                    return false;
                }
            }
        }
        if self.health == Health::Poisoned {
            return false;
        }
        if let Err(error) = self.journal.write_all_at(frame, self.length) {
            tracing::error!(
                "cannot write {}: {error}; the controller decides nothing until it can",
                path.display()
            );
            self.health = Health::Ragged;
            return false;
        }
        if let Err(error) = self.journal.sync_data() {
            tracing::error!(
                "cannot flush {}: {error}; the controller decides nothing more until it is restarted",
                path.display()
            );
            self.health = Health::Poisoned;
            return false;
        }
        self.length += frame.len() as u64;
        true
    }

    /// Writes the journal anew if most of it was replaced. If that fails the old one goes on.
    fn compact_if_due(&mut self) {
        let due = self.length > self.compact_above && self.length / COMPACT_RATIO > self.live;
        if !due || self.health != Health::Fine {
            return;
        }
        match self.compact() {
            Ok(()) => tracing::debug!("the controller's journal was written anew: {} bytes", self.length),
            Err(error) => {
                // Not tried again before the journal has doubled.
                self.compact_above = self.length.saturating_mul(2);
                tracing::warn!("cannot write {} anew: {error}", self.directory.join(JOURNAL).display());
            }
        }
    }

    fn compact(&mut self) -> io::Result<()> {
        let new_path = self.directory.join(NEW_JOURNAL);
        let mut options = OpenOptions::new();
        let mut new = options.read(true).write(true).create(true).truncate(true).open(&new_path)?;
        new.write_all(&header())?;
        let mut length = HEADER_LENGTH as u64;
        for (key, content) in &self.objects {
            let mut frame = Frame::default();
            frame.put(*key, content);
            let bytes = frame.finish()?;
            new.write_all(&bytes)?;
            length += bytes.len() as u64;
        }
        new.sync_all()?;
        std::fs::rename(&new_path, self.directory.join(JOURNAL))?;
        // From here on the new file is the journal, whether or not the directory could be flushed: an older one behind
        // the name after a crash would lack what is written from now on, so nothing is written if it could not.
        self.journal = new;
        self.length = length;
        let flushed = File::open(&self.directory).and_then(|directory| directory.sync_all());
        if flushed.is_err() {
            self.health = Health::Poisoned;
        }
        flushed
    }

    fn stored(&self, key: ObjectKey, content: &Content) -> Option<Stored> {
        match Object::decode(key, &content.json) {
            Ok(object) => Some(Stored { key, version: content.version, object }),
            Err(error) => {
                tracing::error!("the controller's store cannot read back what it holds: {error}");
                None
            }
        }
    }
}

impl Store for FileStore {
    fn execute(&mut self, batch: Vec<StoreRequest>) -> Vec<StoreAnswer> {
        self.compact_if_due();
        let mut frame = Frame::default();
        let mut staged = BTreeMap::<ObjectKey, Content>::new();
        let mut answers = Vec::with_capacity(batch.len());
        for StoreRequest { id, action } in batch {
            let outcome = match action {
                StoreAction::List(kind) => {
                    let of_kind = self.objects.keys().chain(staged.keys()).filter(|key| key.kind() == kind);
                    let keys: std::collections::BTreeSet<ObjectKey> = of_kind.copied().collect();
                    let content = |key: &ObjectKey| staged.get(key).or_else(|| self.objects.get(key));
                    let all = keys.iter().map(|key| self.stored(*key, content(key)?));
                    all.collect::<Option<Vec<_>>>().map_or(StoreOutcome::Unknown, StoreOutcome::Listed)
                }
                StoreAction::Load(key) => match staged.get(&key).or_else(|| self.objects.get(&key)) {
                    None => StoreOutcome::Loaded(None),
                    Some(content) => self
                        .stored(key, content)
                        .map_or(StoreOutcome::Unknown, |stored| StoreOutcome::Loaded(Some(stored))),
                },
                StoreAction::Put { key, expected, object } => {
                    let present = staged.get(&key).or_else(|| self.objects.get(&key));
                    let present = present.map_or(Version::ABSENT, |content| content.version);
                    match object.encode() {
                        _ if present != expected => StoreOutcome::Conflict,
                        Ok(json) => {
                            let version = Version(present.0 + 1);
                            let content = Content { version, json };
                            frame.put(key, &content);
                            staged.insert(key, content);
                            StoreOutcome::Done(version)
                        }
                        Err(error) => {
                            tracing::error!("cannot write {key} as JSON: {error}");
                            StoreOutcome::Unknown
                        }
                    }
                }
            };
            answers.push(StoreAnswer { id, outcome });
        }
        if staged.is_empty() {
            return answers;
        }
        let written = frame.finish().is_ok_and(|bytes| self.append(&bytes));
        if !written {
            // What was answered from the batch's own puts is not there either.
            return answers
                .into_iter()
                .map(|a| StoreAnswer { outcome: StoreOutcome::Unknown, ..a })
                .collect();
        }
        for (key, content) in staged {
            self.live += text_length(key, &content);
            if let Some(old) = self.objects.insert(key, content) {
                self.live -= self.objects.get(&key).map_or(0, |_| text_length(key, &old));
            }
        }
        answers
    }
}

fn lock(directory: &Path) -> Result<File, OpenStoreError> {
    let path = directory.join(LOCK);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(source) => return Err(OpenStoreError::Io { action: "open", path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenStoreError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenStoreError::Io { action: "lock", path, source }),
    }
}

fn header() -> [u8; HEADER_LENGTH] {
    let mut header = [0; HEADER_LENGTH];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_be_bytes());
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_be_bytes());
    header
}

/// What a put takes in a frame.
fn text_length(key: ObjectKey, content: &Content) -> u64 {
    (4 + format!("{key} {} ", content.version.0).len() + content.json.len()) as u64
}

/// A frame that is being put together.
#[derive(Debug, Default)]
struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    fn put(&mut self, key: ObjectKey, content: &Content) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&[0; FRAME_HEAD_LENGTH]);
        }
        let prefix = format!("{key} {} ", content.version.0);
        let length = (prefix.len() + content.json.len()) as u32;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(prefix.as_bytes());
        self.bytes.extend_from_slice(&content.json);
    }

    /// The frame as it is written; an error where it is longer than its length field can say.
    fn finish(mut self) -> io::Result<Vec<u8>> {
        let payload = self.bytes.get(FRAME_HEAD_LENGTH..).unwrap_or_default();
        let length =
            u32::try_from(payload.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let crc = crc32c::crc32c(payload);
        self.bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.bytes[4..FRAME_HEAD_LENGTH].copy_from_slice(&crc.to_be_bytes());
        Ok(self.bytes)
    }
}

/// The objects in a journal, and how much of it is whole.
fn replay(bytes: &[u8], path: &Path) -> Result<(BTreeMap<ObjectKey, Content>, usize), OpenStoreError> {
    let mut objects = BTreeMap::new();
    if !check_header(bytes, path)? {
        return Ok((objects, 0));
    }
    let mut position = HEADER_LENGTH;
    let damaged = |position: usize, problem: String| OpenStoreError::Damaged {
        path: path.to_owned(),
        position: position as u64,
        problem,
    };
    while let Some((length, crc)) = frame_head(&bytes[position..]) {
        let start = position + FRAME_HEAD_LENGTH;
        let Some(payload) = bytes.get(start..).and_then(|rest| rest.get(..length)).filter(|p| !p.is_empty())
        else {
            break;
        };
        let end = start + length;
        if crc32c::crc32c(payload) != crc {
            if end == bytes.len() {
                break;
            }
            return Err(damaged(position, "the checksum does not match".to_owned()));
        }
        replay_frame(payload, &mut objects).map_err(|problem| damaged(position, problem))?;
        position = end;
    }
    if position < bytes.len() && (position + 1..bytes.len()).any(|at| is_whole_frame(&bytes[at..])) {
        return Err(damaged(position, "a length is wrong, as whole records follow".to_owned()));
    }
    for (key, content) in &objects {
        Object::decode(*key, &content.json)
            .map_err(|source| OpenStoreError::Object { path: path.to_owned(), source })?;
    }
    Ok((objects, position))
}

/// Whether there is a header; an empty file, or one whose header was torn, is a new journal.
fn check_header(bytes: &[u8], path: &Path) -> Result<bool, OpenStoreError> {
    let expected = header();
    let Some(found) = bytes.get(..HEADER_LENGTH) else {
        let torn = expected.starts_with(bytes) || bytes.iter().all(|byte| *byte == 0);
        return if torn { Ok(false) } else { Err(OpenStoreError::NotAJournal { path: path.to_owned() }) };
    };
    if found == expected {
        return Ok(true);
    }
    let crc_fits = crc32c::crc32c(&found[..12]).to_be_bytes() == found[12..];
    if found[..8] == *MAGIC && crc_fits {
        let found = be_u32(&found[8..]).unwrap_or(0);
        return Err(OpenStoreError::HigherFormat { path: path.to_owned(), found });
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(false);
    }
    Err(OpenStoreError::NotAJournal { path: path.to_owned() })
}

fn frame_head(bytes: &[u8]) -> Option<(usize, u32)> {
    Some((be_u32(bytes)? as usize, be_u32(bytes.get(4..)?)?))
}

/// Whether a frame begins here and is all there.
fn is_whole_frame(bytes: &[u8]) -> bool {
    let Some((length, crc)) = frame_head(bytes) else { return false };
    let payload = bytes.get(FRAME_HEAD_LENGTH..).and_then(|rest| rest.get(..length));
    payload.is_some_and(|payload| !payload.is_empty() && crc32c::crc32c(payload) == crc)
}

fn be_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// Takes over the puts of one frame; otherwise what is wrong with it.
fn replay_frame(mut payload: &[u8], objects: &mut BTreeMap<ObjectKey, Content>) -> Result<(), String> {
    while !payload.is_empty() {
        let text = be_u32(payload).and_then(|length| payload.get(4..)?.get(..length as usize));
        let text = text.ok_or("a put is longer than its frame")?;
        payload = &payload[4 + text.len()..];
        let mut words = text.splitn(3, |byte| *byte == b' ');
        let mut word = || words.next().ok_or("a put without object, version and content");
        let (key, version, json) = (word()?, word()?, word()?);
        let ascii = |word| std::str::from_utf8(word).map_err(|_| "a put's object is not text".to_owned());
        let key: ObjectKey = ascii(key)?.parse().map_err(|error: DecodeObjectError| error.to_string())?;
        let version = ascii(version)?.parse().map_err(|_| format!("the version of {key} is not a number"))?;
        objects.insert(key, Content { version: Version(version), json: json.to_vec() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use taffrail_controller::conformance::check_store;
    use taffrail_controller::model::{ClusterState, PartitionSlice};
    use taffrail_controller::store::{ObjectKind, StoreRequestId};

    fn put(key: ObjectKey, expected: u64, next_incarnation: u64) -> StoreRequest {
        let object = match key {
            ObjectKey::Cluster => {
                Object::Cluster(ClusterState { next_incarnation, ..ClusterState::default() })
            }
            _ => Object::Partitions(PartitionSlice::default()),
        };
        let action = StoreAction::Put { key, expected: Version(expected), object };
        StoreRequest { id: StoreRequestId(1), action }
    }

    fn outcome(store: &mut FileStore, request: StoreRequest) -> StoreOutcome {
        store.execute(vec![request]).remove(0).outcome
    }

    /// The version of each object.
    fn versions(store: &mut FileStore) -> BTreeMap<ObjectKey, u64> {
        let mut all = BTreeMap::new();
        for kind in [ObjectKind::Cluster, ObjectKind::Topics, ObjectKind::Partitions] {
            let list = StoreRequest { id: StoreRequestId(1), action: StoreAction::List(kind) };
            let StoreOutcome::Listed(listed) = outcome(store, list) else { panic!("a list") };
            all.extend(listed.into_iter().map(|stored| (stored.key, stored.version.0)));
        }
        all
    }

    /// A journal of several batches, with its length and content after each.
    fn journal(directory: &Path, batches: &[Vec<u32>]) -> Vec<(u64, BTreeMap<ObjectKey, u64>)> {
        let mut store = FileStore::open(directory).unwrap();
        let mut states = vec![(store.length, versions(&mut store))];
        for batch in batches {
            let mut staged = versions(&mut store);
            let puts = batch.iter().map(|slice| {
                let key = if *slice == 0 { ObjectKey::Cluster } else { ObjectKey::Partitions(*slice) };
                let version = staged.entry(key).or_default();
                *version += 1;
                put(key, *version - 1, 7)
            });
            let puts = puts.collect();
            assert!(store.execute(puts).iter().all(|answer| matches!(answer.outcome, StoreOutcome::Done(_))));
            states.push((store.length, versions(&mut store)));
            assert_eq!(states.last().unwrap().1, staged);
        }
        states
    }

    #[test]
    fn keeps_the_store_contract() {
        let directory = tempfile::tempdir().unwrap();
        check_store(|| FileStore::open(directory.path()).unwrap());
    }

    #[test]
    fn keeps_the_store_contract_while_writing_its_journal_anew_all_the_time() {
        let directory = tempfile::tempdir().unwrap();
        check_store(|| FileStore { compact_above: 0, ..FileStore::open(directory.path()).unwrap() });
    }

    #[test]
    fn cut_at_any_byte_it_opens_with_the_batches_that_are_whole_and_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let states = journal(directory.path(), &[vec![0], vec![1, 2], vec![0, 1], vec![3]]);
        let path = directory.path().join(JOURNAL);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            for tail in [&[][..], &[0; 40], &[0xff; 3]] {
                let at_a_boundary = states.iter().any(|(end, _)| *end == length as u64);
                let is_new = length < HEADER_LENGTH;
                if (is_new || !at_a_boundary) && !tail.is_empty() {
                    continue;
                }
                std::fs::write(&path, [&whole[..length], tail].concat()).unwrap();
                let mut store = FileStore::open(directory.path()).unwrap();
                let nothing = (0, BTreeMap::new());
                let expected = states.iter().rev().find(|(end, _)| *end <= length as u64).unwrap_or(&nothing);
                assert_eq!(versions(&mut store), expected.1, "cut to {length} bytes");
                assert!(matches!(
                    outcome(&mut store, put(ObjectKey::Partitions(9), 0, 0)),
                    StoreOutcome::Done(_)
                ));
                drop(store);
                let mut store = FileStore::open(directory.path()).unwrap();
                assert_eq!(versions(&mut store).get(&ObjectKey::Partitions(9)), Some(&1));
            }
        }
    }

    #[test]
    fn a_changed_byte_in_what_was_flushed_is_refused_and_nothing_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        let states = journal(directory.path(), &[vec![0], vec![1, 2], vec![0]]);
        let path = directory.path().join(JOURNAL);
        let whole = std::fs::read(&path).unwrap();
        for position in states[0].0..states[2].0 {
            let mut bytes = whole.clone();
            bytes[position as usize] ^= 0x81;
            std::fs::write(&path, &bytes).unwrap();
            let error = FileStore::open(directory.path()).unwrap_err();
            assert!(matches!(error, OpenStoreError::Damaged { .. }), "{position}: {error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn strangers_files_and_later_formats_are_refused_with_a_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(JOURNAL);
        let refusal = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = FileStore::open(directory.path()).unwrap_err().to_string();
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is changed");
            error
        };
        assert!(refusal(b"[section]\nkey=value\n").contains("is not a controller's journal"));
        assert!(refusal(b"hello").contains("is not a controller's journal"));
        let mut later = header();
        later[11] = 2;
        let crc = crc32c::crc32c(&later[..12]);
        later[12..].copy_from_slice(&crc.to_be_bytes());
        assert!(refusal(&later).contains("has format 2"));
        let framed = |key: ObjectKey, json: &[u8]| {
            let mut frame = Frame::default();
            frame.put(key, &Content { version: Version(1), json: json.to_vec() });
            [&header()[..], &frame.finish().unwrap()].concat()
        };
        assert!(refusal(&framed(ObjectKey::Cluster, b"{\"format\":2}")).contains("has format 2"));
        assert!(refusal(&framed(ObjectKey::Cluster, b"{\"format\":1}")).contains("cannot be read"));
    }

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = FileStore::open(directory.path()).unwrap();
        let error = FileStore::open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenStoreError::InUse { .. }), "{error}");
        drop(first);
        FileStore::open(directory.path()).unwrap();
    }

    #[test]
    fn the_journal_is_written_anew_when_it_is_mostly_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = FileStore { compact_above: 10_000, ..FileStore::open(directory.path()).unwrap() };
        let mut longest = 0;
        for version in 0..2_000 {
            let done = outcome(&mut store, put(ObjectKey::Cluster, version, version));
            assert_eq!(done, StoreOutcome::Done(Version(version + 1)));
            longest = longest.max(store.length);
        }
        assert!(longest < 11_000, "{longest}");
        assert_eq!(store.length, std::fs::metadata(directory.path().join(JOURNAL)).unwrap().len());
        let frames = store.length - HEADER_LENGTH as u64;
        assert!(store.live < frames, "what is live is a part of the journal");
        drop(store);
        // What a crash in the middle of it leaves is swept away.
        std::fs::write(directory.path().join(NEW_JOURNAL), b"half").unwrap();
        let mut store = FileStore::open(directory.path()).unwrap();
        assert_eq!(versions(&mut store), BTreeMap::from([(ObjectKey::Cluster, 2_000)]));
        assert!(!directory.path().join(NEW_JOURNAL).exists());
    }

    #[test]
    fn a_failed_write_is_answered_unknown_and_the_store_goes_on_when_it_can_write_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = FileStore::open(directory.path()).unwrap();
        assert_eq!(outcome(&mut store, put(ObjectKey::Cluster, 0, 1)), StoreOutcome::Done(Version(1)));
        let read_only = File::open(directory.path().join(JOURNAL)).unwrap();
        let writable = std::mem::replace(&mut store.journal, read_only);
        assert_eq!(outcome(&mut store, put(ObjectKey::Cluster, 1, 2)), StoreOutcome::Unknown);
        assert_eq!(store.health, Health::Ragged);
        assert_eq!(versions(&mut store), BTreeMap::from([(ObjectKey::Cluster, 1)]));
        store.journal = writable;
        assert_eq!(outcome(&mut store, put(ObjectKey::Cluster, 1, 2)), StoreOutcome::Done(Version(2)));
        assert_eq!(store.health, Health::Fine);
        drop(store);
        let mut store = FileStore::open(directory.path()).unwrap();
        assert_eq!(versions(&mut store), BTreeMap::from([(ObjectKey::Cluster, 2)]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn whatever_stands_in_the_file_opening_it_does_not_panic(
            batches in prop::collection::vec(prop::collection::vec(0_u32..4, 1..4), 0..4),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let directory = tempfile::tempdir().unwrap();
            journal(directory.path(), &batches);
            let path = directory.path().join(JOURNAL);
            let mut bytes = std::fs::read(&path).unwrap();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(mut store) = FileStore::open(directory.path()) {
                versions(&mut store);
            }
        }
    }
}
