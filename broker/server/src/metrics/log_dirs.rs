//! How the log directories are, and how full.

use std::path::PathBuf;

use taffrail_replication::disk::logs::Condition;

use super::text::{Kind, TextWriter};
use crate::log_dirs::DirStatus;

/// One log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirSample {
    /// Where it is.
    pub path: PathBuf,
    /// How it is.
    pub status: DirStatus,
}

/// The moves of replicas between log directories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MovesSample {
    /// How many are under way, or wait for their turn.
    pub under_way: u64,
    /// How much was copied since the start. Bytes.
    pub copied_bytes: u64,
}

pub(super) fn render(text: &mut TextWriter, dirs: &[DirSample], moves: MovesSample) {
    let named = |dir: &DirSample| dir.path.to_string_lossy().into_owned();
    text.family(
        "taffrail_log_dir_free_bytes",
        Kind::Gauge,
        "Bytes that can be written to the disk of a log directory.",
    );
    for dir in dirs {
        if let Some(space) = dir.status.space {
            text.sample("taffrail_log_dir_free_bytes", &[("log_dir", &named(dir))], space.free_bytes);
        }
    }
    text.family(
        "taffrail_log_dir_total_bytes",
        Kind::Gauge,
        "Bytes that the disk of a log directory has in all.",
    );
    for dir in dirs {
        if let Some(space) = dir.status.space {
            text.sample("taffrail_log_dir_total_bytes", &[("log_dir", &named(dir))], space.total_bytes);
        }
    }
    text.family(
        "taffrail_log_dir_state",
        Kind::Gauge,
        "1 for the state that a log directory is in: online, full (nothing is appended until there is room) or failed (out \
         of service until the next start).",
    );
    for dir in dirs {
        let state = match dir.status.condition {
            Condition::Online => "online",
            Condition::Full(_) => "full",
            Condition::Failed(_) => "failed",
        };
        for known in ["online", "full", "failed"] {
            let labels = [("log_dir", &*named(dir)), ("state", known)];
            text.sample("taffrail_log_dir_state", &labels, u8::from(known == state));
        }
    }
    text.single(
        "taffrail_log_dir_moves",
        Kind::Gauge,
        "Replicas that are being moved between log directories.",
        moves.under_way,
    );
    text.single(
        "taffrail_log_dir_moved_bytes_total",
        Kind::Counter,
        "Bytes that were copied to move replicas between log directories.",
        moves.copied_bytes,
    );
}
