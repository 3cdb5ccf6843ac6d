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
//! | a wrong CRC in the last frame | the same |
//! | a wrong CRC, and more behind that frame | damage to what was flushed: refused, nothing is changed |
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

    fn write_header(&mut self) -> io::Result<()> {
        self.journal.write_all_at(&header(), 0)?;
        self.journal.sync_all()?;
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

    /// Whether the store has failed in a way that may pass: better not asked again at once.
    pub fn is_failing(&self) -> bool {
        self.health != Health::Fine
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
    while let Some((length, crc)) = frame_head(&bytes[position..]) {
        let start = position + FRAME_HEAD_LENGTH;
        let Some(payload) = bytes.get(start..).and_then(|rest| rest.get(..length)).filter(|p| !p.is_empty())
        else {
            break;
        };
        let end = start + length;
        let damaged = |problem: String| OpenStoreError::Damaged {
            path: path.to_owned(),
            position: position as u64,
            problem,
        };
        if crc32c::crc32c(payload) != crc {
            if end == bytes.len() {
                break;
            }
            return Err(damaged("the checksum does not match".to_owned()));
        }
        replay_frame(payload, &mut objects).map_err(damaged)?;
        position = end;
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
