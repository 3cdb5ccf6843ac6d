//! When a log directory counts as full.
//!
//! Apache Kafka finds out by a write that fails, and stops. Here appending ends while there still is room for everything
//! else (checkpoints, deletion, compaction, a stop in good order), and begins again by itself when space has returned.

use std::time::Duration;

use taffrail_log::DiskSpace;

/// However much is to be kept free, it is no more than this part of the disk.
const MOST_OF_DISK: u64 = 20;
/// A directory looks full until this much more than the reserve is free: half of it.
const HYSTERESIS: u64 = 2;
/// A directory that is full does not have room again with less than this, whatever the reserve. Bytes.
const LEAST_ROOM: u64 = 1024 * 1024;
/// The pace at which a disk is reckoned to be filled, by all logs together. Bytes a second.
const FASTEST_FILL: u64 = 2 * 1024 * 1024 * 1024;
/// The longest and the shortest time between two looks.
const SLOWEST_LOOK: Duration = Duration::from_secs(1);
const FASTEST_LOOK: Duration = Duration::from_millis(20);
/// A disk that refused a write is not believed to have room again before: a quota may be what is full, of which its free
/// space tells nothing. Milliseconds.
const REFUSED_FOR_MS: i64 = 10_000;

/// What is to stay free of a disk with so many bytes, given the configured reserve (`log.dir.reserved.free.bytes`).
pub fn reserve(configured_bytes: u64, total_bytes: u64) -> u64 {
    configured_bytes.min(total_bytes / MOST_OF_DISK)
}

/// Whether so many bytes can be copied to a disk, and it will not be full then, nor nearly so.
pub fn has_room_for(space: &DiskSpace, configured_bytes: u64, bytes: u64) -> bool {
    let reserve = reserve(configured_bytes, space.total_bytes);
    // A file system that does not tell is never full.
    space.total_bytes == 0 || space.free_bytes >= (reserve + reserve / HYSTERESIS).saturating_add(bytes)
}

/// How full one log directory was when it was looked at last.
#[derive(Debug, Default)]
pub struct SpaceWatch {
    full: bool,
    refused_ms: Option<i64>,
}

impl SpaceWatch {
    /// Takes note of how much is free. Whether the directory counts as full from now on.
    pub fn look(&mut self, now_ms: i64, space: &DiskSpace, configured_bytes: u64) -> bool {
        let reserve = reserve(configured_bytes, space.total_bytes);
        let refused = self.refused_ms.is_some_and(|at| (at..at + REFUSED_FOR_MS).contains(&now_ms));
        let needed = match self.full {
            true => (reserve + reserve / HYSTERESIS).max(LEAST_ROOM),
            false => reserve,
        };
        self.full = refused || space.free_bytes < needed;
        self.full
    }

    /// The disk had no room for a write, whatever it says is free.
    pub fn refused(&mut self, now_ms: i64) {
        self.full = true;
        self.refused_ms = Some(now_ms);
    }

    /// How long after a look the next one is due: soon enough that what is above the reserve is not used up by then, and half
    /// of the reserve with it.
    pub fn next_look(&self, space: &DiskSpace, configured_bytes: u64) -> Duration {
        if self.full {
            return SLOWEST_LOOK;
        }
        let above = space.free_bytes.saturating_sub(reserve(configured_bytes, space.total_bytes));
        let millis = above.saturating_mul(1000) / FASTEST_FILL;
        Duration::from_millis(millis).clamp(FASTEST_LOOK, SLOWEST_LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn free(mib: u64) -> DiskSpace {
        DiskSpace { total_bytes: 100_000 * MIB, free_bytes: mib * MIB, read_only: false }
    }

    #[test]
    fn a_directory_is_full_below_the_reserve_and_not_again_until_half_of_it_more_is_free() {
        let mut watch = SpaceWatch::default();
        let full = |watch: &mut SpaceWatch, mib| watch.look(0, &free(mib), 64 * MIB);
        for (mib, expected) in [
            (1000, false),
            (64, false),
            (63, true),
            (64, true),
            (95, true),
            (96, false),
            (64, false),
            (0, true),
        ] {
            assert_eq!(full(&mut watch, mib), expected, "{mib} MiB free");
        }
    }

    #[test]
    fn of_a_small_disk_a_twentieth_is_kept_at_most() {
        assert_eq!(reserve(64 * MIB, 100 * MIB), 5 * MIB);
        assert_eq!(reserve(64 * MIB, 10_000 * MIB), 64 * MIB);
        assert_eq!(reserve(0, 10_000 * MIB), 0);
        let mut watch = SpaceWatch::default();
        let nothing = DiskSpace { total_bytes: 0, free_bytes: 0, read_only: false };
        assert!(!watch.look(0, &nothing, 64 * MIB), "a file system that does not tell is never full");
    }

    #[test]
    fn what_is_copied_leaves_more_than_the_reserve() {
        assert!(has_room_for(&free(100), 64 * MIB, 4 * MIB));
        assert!(!has_room_for(&free(100), 64 * MIB, 5 * MIB));
        assert!(!has_room_for(&free(100), 64 * MIB, u64::MAX));
        let nothing = DiskSpace { total_bytes: 0, free_bytes: 0, read_only: false };
        assert!(has_room_for(&nothing, 64 * MIB, MIB));
    }

    #[test]
    fn a_disk_that_refused_a_write_is_full_for_a_while_whatever_it_tells() {
        let mut watch = SpaceWatch::default();
        assert!(!watch.look(1_000, &free(1000), 64 * MIB));
        watch.refused(1_000);
        assert!(watch.look(1_001, &free(1000), 64 * MIB));
        assert!(watch.look(10_999, &free(1000), 64 * MIB));
        assert!(!watch.look(11_000, &free(1000), 64 * MIB));
        watch.refused(20_000);
        assert!(!watch.look(19_000, &free(1000), 64 * MIB), "a clock that was set back holds up nobody");
    }

    #[test]
    fn without_a_reserve_a_disk_that_refused_a_write_is_full_until_there_is_some_room() {
        let mut watch = SpaceWatch::default();
        assert!(!watch.look(0, &free(0), 0));
        watch.refused(0);
        assert!(watch.look(20_000, &free(0), 0));
        assert!(!watch.look(21_000, &free(1), 0));
    }

    #[test]
    fn the_fuller_the_disk_the_sooner_it_is_looked_at() {
        let watch = SpaceWatch::default();
        let next = |mib| watch.next_look(&free(mib), 64 * MIB);
        assert_eq!(next(50_000), SLOWEST_LOOK);
        assert_eq!(next(64 + 512), Duration::from_millis(250));
        assert_eq!(next(64), FASTEST_LOOK);
        let filled = FASTEST_LOOK.as_millis() as u64 * FASTEST_FILL / 1000;
        assert!(filled < 64 * MIB, "{filled} bytes go before anybody looks");
        let mut full = SpaceWatch::default();
        full.look(0, &free(1), 64 * MIB);
        assert_eq!(full.next_look(&free(1), 64 * MIB), SLOWEST_LOOK, "nothing is appended meanwhile");
    }
}
