//! What a LogCluster's status says of its brokers' disks.

use taffrail_control::session::{LogDirHealth, LogDirState};
use taffrail_controller_service::LogDirs;

/// What is said of all directories in a state, broker by broker; `None` if there are none.
pub fn sentence(dirs: &LogDirs, state: LogDirState) -> Option<String> {
    let of = |(id, dirs): (&i32, &Vec<LogDirHealth>)| {
        let reasons: Vec<&str> =
            dirs.iter().filter(|dir| dir.state == state).map(|dir| dir.reason.as_str()).collect();
        (!reasons.is_empty()).then(|| format!("broker {id}: {}", reasons.join("; ")))
    };
    let brokers: Vec<String> = dirs.iter().filter_map(of).collect();
    if brokers.is_empty() {
        return None;
    }
    let what_to_do = match state {
        LogDirState::Full => {
            "Nothing is appended there until there is room, and then by itself: give the volume in spec.brokers.storage a \
             larger size, delete topics, or have retention delete more"
        }
        LogDirState::Failed => {
            "Others lead in its place where they can. Mend the volume, or delete its claim to begin with an empty one, and \
             then delete the pod"
        }
    };
    Some(format!("{}. {what_to_do}", brokers.join(". ")))
}

/// What is said of one broker; `None` if nothing is wrong with its disks.
pub fn of_broker(dirs: &LogDirs, id: i32) -> Option<String> {
    let reasons: Vec<&str> = dirs.get(&id)?.iter().map(|dir| dir.reason.as_str()).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
