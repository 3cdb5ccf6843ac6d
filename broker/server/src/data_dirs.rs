//! The data directories of a broker, from the first look to their service (KIP-112). One that its disk does not let be used
//! is left out, if another can be used; one that is somebody else's, or in use, keeps the broker from starting.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use taffrail_log::meta_properties::MetaProperties;
use taffrail_log::{DirState, FileStorage, LogDir, LogDirError, inspect};
use taffrail_protocol::Uuid;
use taffrail_replication::disk::claim::{self, Claim};
use taffrail_replication::disk::logs::RecoveredLogs;
use taffrail_replication::disk::note::DiskNote;

use crate::boot::{self, BootError};
use crate::config::BrokerConfig;
use crate::lifecycle::StartError;
use crate::log_dirs::{LogDirs, ServedLogDir};
use crate::random;
use crate::recovery::Recoveries;
use crate::replicas::RecoveredDir;

/// What was found where a data directory is to be.
enum Found {
    /// It has been served before, and is locked.
    Recovered(Box<RecoveredDir>),
    /// There is nothing yet; it gets this id.
    Fresh(Uuid),
    /// The disk failed.
    Failed(StartError),
}

/// The data directories, none of which is written to yet.
pub struct DataDirs {
    storage: FileStorage,
    found: Vec<(PathBuf, Found)>,
}

/// The directories that are served, locked and noted.
pub struct TakenDirs {
    /// Each with the logs that were recovered in it.
    pub dirs: Vec<(LogDir<FileStorage>, RecoveredLogs<FileStorage>)>,
    /// How all of them are.
    pub log_dirs: std::sync::Arc<LogDirs>,
}

impl DataDirs {
    /// Locks the directories of broker `id` that have been served before and finds out what became of them, side by side;
    /// `threads` recover logs in each. How far that is `recoveries` learn. Blocks on the disks.
    ///
    /// # Errors
    /// When one of them must not be used, or none can be.
    pub fn look_at(
        storage: &FileStorage,
        paths: &[PathBuf],
        id: i32,
        config: &BrokerConfig,
        threads: NonZeroUsize,
        recoveries: &Recoveries,
    ) -> Result<Self, StartError> {
        let look = |path: &PathBuf| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let found = look_at(storage, path.clone(), id, config, threads, recoveries);
            (path, found)
        };
        let looked: Vec<_> = std::thread::scope(|scope| {
            let looking: Vec<_> = paths.iter().map(|path| scope.spawn(move || look(path))).collect();
            let looked = looking.into_iter().map(std::thread::ScopedJoinHandle::join);
            looked.map(|looked| looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut found = Vec::new();
        for (path, looked) in looked {
            found.push((path, looked.or_else(as_failed)?));
        }
        Self { storage: storage.clone(), found }.with_one_in_service()
    }

    /// Gives up where no directory can be used.
    fn with_one_in_service(mut self) -> Result<Self, StartError> {
        if self.found.iter().any(|(_, found)| !matches!(found, Found::Failed(_))) {
            return Ok(self);
        }
        let all = self.found.len();
        match self.found.swap_remove(0).1 {
            Found::Failed(first) if all > 1 => Err(StartError::NoLogDir { all, first: Box::new(first) }),
            Found::Failed(only) => Err(only),
            Found::Recovered(_) | Found::Fresh(_) => Ok(self),
        }
    }

    /// What the directories are worth together (rules 16, 28).
    pub fn claim(&self) -> Claim {
        let fates = self.found.iter().map(|(_, found)| match found {
            Found::Recovered(recovered) => Some(recovered.fate.clone()),
            Found::Fresh(_) | Found::Failed(_) => None,
        });
        claim::claim(&fates.collect::<Vec<_>>())
    }

    /// The cluster that they belong to, if they belong to one.
    pub fn cluster_id(&self) -> Option<String> {
        self.found.iter().find_map(|(_, found)| match found {
            Found::Recovered(recovered) => Some(recovered.dir.properties().cluster_id.clone()),
            Found::Fresh(_) | Found::Failed(_) => None,
        })
    }

    /// The ids of those that can be used.
    pub fn ids(&self) -> Vec<Uuid> {
        self.found.iter().filter_map(|(_, found)| found.id()).collect()
    }

    /// Takes the directories over for the broker `id` of this cluster, in this incarnation: makes those that are not there, and
    /// notes in each that it is served. Blocks on the disks.
    ///
    /// # Errors
    /// When one of them belongs to another cluster, or none can be used.
    pub fn take_over(self, id: i32, cluster_id: &str, incarnation: u64) -> Result<TakenDirs, StartError> {
        let storage = self.storage.clone();
        let mut found = Vec::new();
        for (path, before) in self.found {
            let directory_id = before.id();
            let taken = take_over(&storage, &path, before, id, cluster_id, incarnation);
            found.push((path, directory_id, taken));
        }
        let (mut dirs, mut log_dirs, mut first_failure) = (Vec::new(), Vec::new(), None);
        let all = found.len();
        for (path, directory_id, taken) in found {
            match taken {
                Ok((dir, logs)) => {
                    log_dirs.push(ServedLogDir::online(path, dir.properties().directory_id));
                    dirs.push((dir, logs));
                }
                Err(error) if error.is_of_disk() => {
                    let sentence = error.to_string();
                    tracing::error!("{sentence}; the broker serves without this directory");
                    log_dirs.push(ServedLogDir::failed(path, directory_id, &sentence));
                    first_failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match first_failure {
            Some(only) if dirs.is_empty() && all == 1 => Err(only),
            Some(first) if dirs.is_empty() => Err(StartError::NoLogDir { all, first: Box::new(first) }),
            _ => Ok(TakenDirs { dirs, log_dirs: LogDirs::new(log_dirs) }),
        }
    }
}

impl Found {
    fn id(&self) -> Option<Uuid> {
        match self {
            Self::Recovered(recovered) => Some(recovered.dir.properties().directory_id),
            Self::Fresh(id) => Some(*id),
            Self::Failed(_) => None,
        }
    }
}

fn as_failed(error: StartError) -> Result<Found, StartError> {
    if error.is_of_disk() { Ok(Found::Failed(error)) } else { Err(error) }
}

fn look_at(
    storage: &FileStorage,
    path: PathBuf,
    id: i32,
    config: &BrokerConfig,
    threads: NonZeroUsize,
    recoveries: &Recoveries,
) -> Result<Found, StartError> {
    match inspect(storage, &path)? {
        DirState::Ours(properties) => {
            // Another broker's directory is refused.
            let properties = MetaProperties { node_id: id, ..properties };
            let dir = LogDir::open(storage.clone(), path, properties)?;
            dir.count_recovery();
            recoveries.begin(dir.path(), dir.progress());
            Ok(Found::Recovered(Box::new(RecoveredDir::new(storage, dir, config, threads)?)))
        }
        DirState::Fresh => Ok(Found::Fresh(random::uuid())),
    }
}

type Taken = (LogDir<FileStorage>, RecoveredLogs<FileStorage>);

fn take_over(
    storage: &FileStorage,
    path: &Path,
    found: Found,
    id: i32,
    cluster_id: &str,
    incarnation: u64,
) -> Result<Taken, StartError> {
    let (dir, logs) = match found {
        Found::Recovered(recovered) => (recovered.dir, recovered.logs),
        Found::Fresh(directory_id) => {
            let properties = MetaProperties { cluster_id: cluster_id.to_owned(), node_id: id, directory_id };
            (LogDir::open(storage.clone(), path.to_owned(), properties)?, RecoveredLogs::new())
        }
        Found::Failed(error) => return Err(error),
    };
    if dir.properties().cluster_id != cluster_id {
        let stored = dir.properties().cluster_id.clone();
        let (path, own) = (path.to_owned(), cluster_id.to_owned());
        return Err(LogDirError::OtherOwner { path, key: "cluster.id", stored, own }.into());
    }
    DiskNote { boot: boot::of(path)?, incarnation }.write(storage, path)?;
    Ok((dir, logs))
}

impl StartError {
    /// Whether a disk failed, and nothing is wrong with the choice of the directory.
    fn is_of_disk(&self) -> bool {
        match self {
            Self::LogDir(error) => error.io().is_some(),
            Self::Boot(BootError::Device { .. } | BootError::Note(_)) | Self::Note(_) => true,
            Self::Notes(_) | Self::NoLogDir { .. } | Self::Refused { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use taffrail_control::session::LogClaim;

    use super::*;

    fn config() -> BrokerConfig {
        let mut config = BrokerConfig::from_settings(std::iter::empty::<(&str, &str)>()).unwrap();
        config.fit_into(256 << 20);
        config
    }

    fn look(paths: &[PathBuf]) -> Result<DataDirs, StartError> {
        DataDirs::look_at(
            &FileStorage::new(16),
            paths,
            1,
            &config(),
            NonZeroUsize::MIN,
            &Recoveries::default(),
        )
    }

    fn served(paths: &[PathBuf], incarnation: u64) -> Vec<bool> {
        let taken = look(paths).unwrap().take_over(1, "c", incarnation).unwrap();
        taken.dirs.iter().for_each(|(dir, _)| dir.mark_clean(incarnation as i64).unwrap());
        taken.log_dirs.iter().map(|dir| dir.status().condition.reason().is_none()).collect()
    }

    /// Something is where the directory is to be.
    fn unusable(dir: &Path) -> PathBuf {
        let file = dir.join("file");
        std::fs::write(&file, "").unwrap();
        file.join("data")
    }

    #[test]
    fn a_directory_that_its_disk_does_not_let_be_used_is_left_out_and_the_claim_falls() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, bad) = (dir.path().join("a"), dir.path().join("b"), unusable(dir.path()));
        assert_eq!(served(&[a.clone(), b.clone()], 7), [true, true]);
        let both = look(&[a.clone(), b.clone()]).unwrap();
        assert_eq!((both.claim().claim, both.claim().last_incarnation), (LogClaim::Clean, Some(7)));
        assert_eq!(both.ids().len(), 2);
        drop(both);
        let one = look(&[a.clone(), bad.clone()]).unwrap();
        assert_eq!(one.claim().claim, LogClaim::Unclean);
        assert_eq!(one.cluster_id().as_deref(), Some("c"));
        drop(one);
        assert_eq!(served(&[a, bad.clone()], 8), [true, false]);
        let Err(none) = look(&[bad.clone(), bad.join("x")]) else { panic!("no directory can be used") };
        assert!(none.to_string().starts_with("none of the 2 data directories can be used: "), "{none}");
        let Err(only) = look(&[bad]) else { panic!("no directory can be used") };
        assert!(!only.to_string().contains("none of"), "{only}");
    }

    #[test]
    fn a_directory_of_somebody_else_keeps_the_broker_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        served(std::slice::from_ref(&a), 7);
        drop(look(std::slice::from_ref(&b)).unwrap().take_over(1, "other", 7).unwrap());
        let Err(error) = look(&[a.clone(), b]).unwrap().take_over(1, "c", 8) else { panic!("taken over") };
        assert!(error.to_string().contains("belongs to cluster.id other"), "{error}");
        let locked = look(std::slice::from_ref(&a)).unwrap();
        let Err(error) = look(&[a, dir.path().join("c")]) else { panic!("it is locked") };
        assert!(error.to_string().contains("in use by another process"), "{error}");
        drop(locked);
    }
}
