//! The directories that this broker keeps its logs in, and how each is.
//!
//! Who finds out that a directory is full or has failed says so here; [`crate::disk_watch`] acts on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use taffrail_control::session::{LogDirHealth, LogDirState};
use taffrail_log::{DiskSpace, TopicPartition};
use taffrail_protocol::Uuid;
use taffrail_replication::disk::logs::Condition;
use tokio::sync::{Notify, watch};

/// How a directory is, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirStatus {
    /// Whether its logs take writes.
    pub condition: Condition,
    /// How full its disk was when it was looked at last; `None` where it cannot be asked.
    pub space: Option<DiskSpace>,
    /// A write found no room since it was looked at last.
    pub refused: bool,
}

/// One of the directories.
pub struct ServedLogDir {
    /// Where it is, as an absolute path.
    pub path: PathBuf,
    /// Its id (`directory.id` of `meta.properties`); `None` where that could not be read.
    pub id: Option<Uuid>,
    status: watch::Sender<DirStatus>,
}

/// All directories of this broker, in the order of `--data-dir`.
pub struct LogDirs {
    dirs: Vec<ServedLogDir>,
    looks: Notify,
    /// Where replicas are to be made that are not there yet.
    preferred: Mutex<BTreeMap<TopicPartition, PathBuf>>,
}

/// For so many replicas it is remembered where they are to be made.
const MOST_PREFERRED: usize = 10_000;

impl ServedLogDir {
    /// A directory that nothing is wrong with.
    pub fn online(path: PathBuf, id: Uuid) -> Self {
        Self::new(path, Some(id), Condition::Online)
    }

    /// A directory that cannot be served, and why.
    pub fn failed(path: PathBuf, id: Option<Uuid>, reason: &str) -> Self {
        Self::new(path, id, Condition::Failed(reason.into()))
    }

    fn new(path: PathBuf, id: Option<Uuid>, condition: Condition) -> Self {
        let (status, _) = watch::channel(DirStatus { condition, space: None, refused: false });
        Self { path, id, status }
    }

    /// How it is.
    pub fn status(&self) -> DirStatus {
        self.status.borrow().clone()
    }

    /// Whether it is out of service.
    pub fn has_failed(&self) -> bool {
        matches!(self.status.borrow().condition, Condition::Failed(_))
    }

    /// What the controller is told of it, if it takes no writes.
    pub fn health(&self) -> Option<LogDirHealth> {
        let (state, reason) = match self.status().condition {
            Condition::Online => return None,
            Condition::Full(reason) => (LogDirState::Full, reason),
            Condition::Failed(reason) => (LogDirState::Failed, reason),
        };
        let path = self.path.to_string_lossy().into_owned();
        Some(LogDirHealth { path, state, reason: reason.to_string() })
    }

    /// Changes how it is. A directory that has failed stays so.
    pub fn update(&self, change: impl FnOnce(&mut DirStatus)) {
        self.status.send_modify(|status| {
            let before = status.condition.clone();
            change(status);
            if matches!(before, Condition::Failed(_)) {
                status.condition = before;
            }
        });
    }

    /// Completes when it is full.
    pub fn filled(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut status = self.status.subscribe();
        async move {
            let is_full = |status: &DirStatus| matches!(status.condition, Condition::Full(_));
            if status.wait_for(is_full).await.map(drop).is_err() {
                // Nobody looks any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl LogDirs {
    /// These directories.
    pub fn new(dirs: Vec<ServedLogDir>) -> Arc<Self> {
        Arc::new(Self { dirs, looks: Notify::new(), preferred: Mutex::default() })
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ServedLogDir> {
        self.dirs.iter()
    }

    /// The directory that the log at `log` is in.
    pub fn of(&self, log: &Path) -> Option<&ServedLogDir> {
        self.dirs.iter().find(|dir| log.parent() == Some(&dir.path))
    }

    /// The directory at `path`.
    pub fn at(&self, path: &Path) -> Option<&ServedLogDir> {
        self.dirs.iter().find(|dir| dir.path == path)
    }

    /// A replica that is not there yet is to be made in the directory at `dir`; a later wish replaces an earlier one. Where too
    /// many are waited for it is not remembered.
    pub fn prefer(&self, partition: TopicPartition, dir: &Path) {
        let mut preferred = self.preferred.lock();
        if preferred.len() < MOST_PREFERRED || preferred.contains_key(&partition) {
            preferred.insert(partition, dir.to_owned());
        }
    }

    /// Where a replica is to be made, if somebody said so.
    pub fn preferred(&self, partition: &TopicPartition) -> Option<PathBuf> {
        self.preferred.lock().get(partition).cloned()
    }

    /// A replica is there.
    pub fn forget_preferred(&self, partition: &TopicPartition) {
        self.preferred.lock().remove(partition);
    }

    /// A write in a directory found no room.
    pub fn refused(&self, dir: &ServedLogDir) {
        dir.update(|status| status.refused = true);
        self.looks.notify_one();
    }

    /// A directory is of no use any more.
    pub fn fail(&self, dir: &ServedLogDir, reason: &str) {
        dir.update(|status| status.condition = Condition::Failed(reason.into()));
        self.looks.notify_one();
    }

    /// Has the directories looked at soon: something failed in one of them.
    pub fn look_soon(&self) {
        self.looks.notify_one();
    }

    /// Completes when somebody wants the directories looked at.
    pub async fn look_wanted(&self) {
        self.looks.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_bounded_and_replaced() {
        let dirs = LogDirs::new(Vec::new());
        let t = |partition| TopicPartition::new("t", partition);
        (0..20_000).for_each(|partition| dirs.prefer(t(partition), Path::new("/a")));
        dirs.prefer(t(7), Path::new("/b"));
        assert_eq!(dirs.preferred(&t(7)).as_deref(), Some(Path::new("/b")));
        assert_eq!((dirs.preferred(&t(9_999)).is_some(), dirs.preferred(&t(10_000))), (true, None));
        dirs.forget_preferred(&t(7));
        assert_eq!(dirs.preferred(&t(7)), None);
        dirs.prefer(t(10_000), Path::new("/a"));
        assert!(dirs.preferred(&t(10_000)).is_some());
    }

    #[test]
    fn a_directory_that_has_failed_stays_so() {
        let dirs = LogDirs::new(vec![ServedLogDir::online("/a".into(), Uuid([1; 16]))]);
        let dir = dirs.of(Path::new("/a/t-0")).unwrap();
        assert!(dirs.of(Path::new("/a/t-0/x")).is_none() && dirs.of(Path::new("/b/t-0")).is_none());
        dirs.fail(dir, "bad");
        dirs.fail(dir, "worse");
        dir.update(|status| status.condition = Condition::Online);
        assert_eq!(dir.status().condition, Condition::Failed("bad".into()));
    }
}
