//! How far recovery has come, told in the log, by `/readyz` and by the metrics.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use taffrail_log::{RecoveryProgress, Workload};

/// How often a recovery that goes on is told of in the log.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// The recovery of all data directories of a broker.
#[derive(Debug, Default)]
pub struct Recoveries {
    dirs: Mutex<Vec<Dir>>,
}

#[derive(Debug, Clone)]
struct Dir {
    path: PathBuf,
    progress: Arc<RecoveryProgress>,
    began: Instant,
}

impl Recoveries {
    /// The logs of a directory are about to be opened.
    pub fn begin(&self, path: &Path, progress: &Arc<RecoveryProgress>) {
        let dir = Dir { path: path.to_owned(), progress: Arc::clone(progress), began: Instant::now() };
        self.dirs.lock().push(dir);
    }

    /// All logs are open that are assigned to this broker; others are not waited for.
    pub fn end(&self) {
        self.dirs.lock().iter_mut().for_each(|dir| dir.progress = Arc::default());
    }

    /// What is left in each directory, by its path.
    pub fn left(&self) -> Vec<(PathBuf, Workload)> {
        self.dirs.lock().iter().map(|dir| (dir.path.clone(), dir.progress.left())).collect()
    }

    /// How far it has come, in words; `None` while nothing has begun or when nothing is left.
    pub fn sentence(&self) -> Option<String> {
        let dirs = self.dirs.lock().clone();
        let (mut total, mut left, mut elapsed) = (Workload::default(), Workload::default(), Duration::ZERO);
        for dir in &dirs {
            add(&mut total, dir.progress.total());
            add(&mut left, dir.progress.left());
            elapsed = elapsed.max(dir.began.elapsed());
        }
        (left.logs > 0).then(|| describe(total, left, elapsed))
    }

    /// Tells of it every few seconds, as long as there is something to tell. Runs until it is dropped.
    pub async fn tell(self: Arc<Self>) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TOLD_EVERY, TOLD_EVERY);
        loop {
            ticks.tick().await;
            if let Some(sentence) = self.sentence() {
                tracing::info!("recovering logs: {sentence}");
            }
        }
    }
}

fn add(sum: &mut Workload, other: Workload) {
    sum.logs += other.logs;
    sum.segments += other.segments;
    sum.bytes += other.bytes;
}

fn describe(total: Workload, left: Workload, elapsed: Duration) -> String {
    let mut text = format!("{} of {} logs are open", total.logs - left.logs, total.logs);
    if total.bytes > 0 {
        let mib = |bytes: u64| bytes / (1 << 20);
        let (checked, all) = (mib(total.bytes - left.bytes), mib(total.bytes));
        // Writing into a string cannot fail.
        let _ = write!(text, ", {checked} of {all} MiB are checked, {} segments are left", left.segments);
    }
    if let Some(seconds) = remaining(total, left, elapsed) {
        let _ = write!(text, ", some {seconds} s to go");
    }
    text
}

/// How long it still takes at the pace so far, once something can be said of that. Seconds.
fn remaining(total: Workload, left: Workload, elapsed: Duration) -> Option<u64> {
    // A log costs what it takes to list its directory, beside its bytes: the price of some hundred KiB.
    const LOG_BYTES: u64 = 256 * 1024;
    let cost = |load: Workload| load.bytes + load.logs * LOG_BYTES;
    let done = cost(total) - cost(left);
    if done * 50 < cost(total) {
        return None;
    }
    let seconds = elapsed.as_secs_f64() * cost(left) as f64 / done as f64;
    Some(seconds.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(logs: u64, segments: u64, bytes: u64) -> Workload {
        Workload { logs, segments, bytes }
    }

    #[tokio::test]
    async fn what_is_left_is_there_to_be_scraped_until_the_broker_serves() {
        let dir = tempfile::TempDir::new().unwrap();
        let properties = taffrail_log::MetaProperties {
            cluster_id: "c".into(),
            node_id: 1,
            directory_id: taffrail_protocol::Uuid([1; 16]),
        };
        let (storage, path) = (taffrail_log::FileStorage::new(16), dir.path().to_owned());
        let t = taffrail_log::TopicPartition::new("t", 0);
        let made = taffrail_log::LogDir::open(storage.clone(), path.clone(), properties.clone()).unwrap();
        let log = made.create_log(&t, taffrail_protocol::Uuid([2; 16]), Default::default(), 0).unwrap();
        drop((log, made));
        let killed = taffrail_log::LogDir::open(storage, path.clone(), properties).unwrap();
        killed.count_recovery();
        let recoveries = Recoveries::default();
        recoveries.begin(&path, killed.progress());
        assert_eq!(recoveries.left(), [(path.clone(), load(1, 1, 0))]);
        assert_eq!(recoveries.sentence().as_deref(), Some("0 of 1 logs are open"));
        killed.open_log(&t, Default::default(), 0).unwrap();
        assert_eq!(recoveries.sentence(), None);
        killed.count_recovery();
        assert!(recoveries.sentence().is_some());
        recoveries.end();
        assert_eq!((recoveries.sentence(), recoveries.left()), (None, vec![(path, load(0, 0, 0))]));
    }

    #[test]
    fn a_recovery_is_told_in_words_with_what_is_left_of_it() {
        let total = load(10_000, 12_000, 10 << 30);
        let told = |left, s| describe(total, left, Duration::from_secs(s));
        assert_eq!(
            told(load(9_990, 11_990, 10 << 30), 1),
            "10 of 10000 logs are open, 0 of 10240 MiB are checked, 11990 segments are left",
            "too early to tell when it ends"
        );
        assert_eq!(
            told(load(5_000, 6_000, 5 << 30), 20),
            "5000 of 10000 logs are open, 5120 of 10240 MiB are checked, 6000 segments are left, some 20 s to go"
        );
        let clean = load(10, 0, 0);
        assert_eq!(
            describe(clean, load(5, 0, 0), Duration::from_secs(2)),
            "5 of 10 logs are open, some 2 s to go"
        );
        assert_eq!(Recoveries::default().sentence(), None);
    }
}
