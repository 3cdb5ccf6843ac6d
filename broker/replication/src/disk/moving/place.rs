//! The end of a move: the future log takes the current one's place, in the order of the table in [`moving`](super).

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use taffrail_log::{LogCheckpoints, LogDir, OpenError, Storage};

use super::{Move, MoveError};
use crate::disk::logs::{LogsError, LogsStartError, RecoveredLogs, ReplicaLogs};
use crate::partition::{Effects, Partition};

/// The log's start moves seldom; one that moves at every look is waited for.
const TAKE_PLACE_ATTEMPTS: u32 = 3;

/// What became of [`ReplicaLogs::take_place`].
pub enum Placed {
    /// The replica has moved.
    Moved {
        /// Where its former log is now, to be removed.
        former: Option<PathBuf>,
        /// What failed in the former directory; the next start ends it.
        trouble: Option<LogsError>,
    },
    /// Not yet: the log's start was on its way up.
    NotYet,
}

impl<S: Storage> ReplicaLogs<S> {
    /// Lets the future log of a move that has caught up take the place of the current one. `is_current` tells whether the
    /// replica still is the one of its partition, `held` why the target takes no writes, if so. Blocks on the disks, for some
    /// syncs with the replica's lock held.
    ///
    /// Where it is not yet [`Placed`] the move goes on; where it fails the future log is to be [discarded](Move::discard).
    ///
    /// # Errors
    /// [`MoveError`] says why the replica stays where it is.
    pub fn take_place<T: Clone>(
        &self,
        moving: &mut Move<S>,
        replica: &Mutex<Partition<S, T>>,
        is_current: impl FnOnce() -> bool,
        held: Option<Arc<str>>,
        now_ms: i64,
        effects: &mut Effects<T>,
    ) -> Result<Placed, MoveError> {
        // No log of the name is opened or moved aside meanwhile, and no checkpoint written that lacks this one.
        let _alone = self.alone();
        let source = self.holding(&moving.from).ok_or_else(|| MoveError::Gone(moving.from.clone()))?;
        let target = self.served(&moving.target)?;
        source.check_in_service()?;
        target.check_in_service()?;
        let has = |dir: &LogDir<S>| dir.has(&moving.partition).map_err(LogsError::from);
        if !is_current() || !has(&source.dir)? {
            return Err(MoveError::Gone(moving.from.clone()));
        }
        if has(&target.dir)? {
            let dir = target.dir.log_path(&moving.partition);
            return Err(OpenError::Exists { dir }.into());
        }
        let exchanged = exchange(moving, replica, &source.dir, &target.dir, held, now_ms, effects);
        if !matches!(exchanged, Ok(true) | Err(MoveError::InDoubt { .. })) {
            // What stays of this misleads nobody: without a log in the target the source's is taken.
            let _ = source.dir.forget_moving(&moving.partition);
            let _ = target.dir.forget_checkpoints(&moving.partition);
        }
        if !exchanged? {
            return Ok(Placed::NotYet);
        }
        source.discount_one();
        target.count_one();
        let retired = source.dir.retire(&moving.partition, moving.unique);
        let former = retired.as_ref().ok().cloned();
        let forgotten = retired.map(drop).map_err(LogsError::from).and_then(|()| {
            source.dir.forget_checkpoints(&moving.partition)?;
            Ok(source.dir.forget_moving(&moving.partition)?)
        });
        Ok(Placed::Moved { former, trouble: forgotten.err() })
    }
}

/// Steps 1 to 4. Whether the logs were exchanged: `moving` holds the former one then.
fn exchange<S: Storage, T: Clone>(
    moving: &mut Move<S>,
    replica: &Mutex<Partition<S, T>>,
    source: &LogDir<S>,
    target: &LogDir<S>,
    held: Option<Arc<str>>,
    now_ms: i64,
    effects: &mut Effects<T>,
) -> Result<bool, MoveError> {
    let partition = moving.partition.clone();
    // Two that give way to one another would leave none.
    target.forget_moving(&partition).map_err(LogsError::from)?;
    for _ in 0..TAKE_PLACE_ATTEMPTS {
        let told = {
            let replica = replica.lock();
            moving.check(replica.log())?;
            LogCheckpoints {
                recovery_point: moving.future.recovery_point(),
                log_start_offset: replica.log().log_start_offset(),
                high_watermark: replica.high_watermark(),
                cleaned_to: moving.future.cleaned_to(),
            }
        };
        target.adopt_checkpoints(&partition, told).map_err(LogsError::from)?;
        source.note_moving(&partition, moving.future.log_end_offset()).map_err(LogsError::from)?;
        let mut replica = replica.lock();
        moving.check(replica.log())?;
        if replica.log().log_start_offset() != told.log_start_offset {
            continue;
        }
        moving.catch_up(replica.log_mut(), now_ms)?;
        let named = target.log_path(&partition);
        if let Err(poisoned) = moving.future.take_place_of(replica.log(), &named, now_ms) {
            if moving.future.dir() == named {
                call_off(moving, &mut replica, source, target, effects)?;
            }
            return Err(MoveError::Future(poisoned));
        }
        replica.exchange_log(now_ms, &mut moving.future, held, effects);
        return Ok(true);
    }
    Ok(false)
}

/// The future log has the partition's name and may lose it again in a power cut. While the replica is held, one of two things
/// has to become durable: that the name is another one, or that the current log does not give way. Where neither does, nothing
/// more is appended to the current log; its directory has to be taken out of service.
fn call_off<S: Storage, T: Clone>(
    moving: &mut Move<S>,
    replica: &mut Partition<S, T>,
    source: &LogDir<S>,
    target: &LogDir<S>,
    effects: &mut Effects<T>,
) -> Result<(), MoveError> {
    let unnamed = target.retire(&moving.partition, moving.unique);
    let forgotten = source.forget_moving(&moving.partition);
    if let (Err(_), Err(error)) = (unnamed, forgotten) {
        let error = MoveError::InDoubt { dir: source.path().to_owned(), source: error.into() };
        replica.hold_writes(Some(error.to_string().into()), effects);
        return Err(error);
    }
    Ok(())
}

/// Ends, before any log is served, what a crash left of moves in these directories, by the table above. Returns the logs that
/// gave way, to be removed.
pub(in crate::disk) fn end_moves<S: Storage>(
    dirs: &mut [(LogDir<S>, RecoveredLogs<S>)],
) -> Result<Vec<PathBuf>, LogsStartError> {
    let mut former = Vec::new();
    for index in 0..dirs.len() {
        for partition in dirs[index].0.moving() {
            let others = dirs.iter().enumerate().filter(|(other, _)| *other != index);
            let others: Vec<_> =
                others.map(|(_, (dir, _))| dir).filter(|dir| dir.partitions().contains(&partition)).collect();
            if others.iter().any(|dir| dir.moving().contains(&partition)) {
                continue;
            }
            let gives_way = !others.is_empty();
            let (dir, recovered) = &mut dirs[index];
            if gives_way && dir.partitions().contains(&partition) {
                recovered.remove(&partition);
                let unique = dir.properties().directory_id;
                former.push(dir.retire_at_start(&partition, unique)?);
                dir.forget_checkpoints(&partition)?;
            }
            dir.forget_moving(&partition)?;
        }
    }
    Ok(former)
}
