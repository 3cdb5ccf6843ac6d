//! How much memory this process may use, as the kernel tells: the limit of its cgroup (version 2 or 1), else the
//! machine's memory.

use std::fs;
use std::path::{Path, PathBuf};

/// Taken where the kernel tells nothing: half of what a small machine has.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// The budget where `--memory` is not given: half of what the process may use. The other half is left to the page
/// cache, which the kernel charges to the same cgroup.
pub fn default_budget_bytes() -> u64 {
    available_bytes(Path::new("/")).unwrap_or(UNKNOWN_BYTES) / 2
}

/// What the process may use: the lowest limit of its cgroup and the groups around it, at most the machine's memory.
/// `root` is where `/proc` and `/sys` are found.
fn available_bytes(root: &Path) -> Option<u64> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total_of_meminfo(&text));
    let limits = membership.lines().filter_map(|line| limit_of_cgroup(root, line));
    limits.chain(machine).min()
}

/// The limit for one line of `/proc/self/cgroup`: `hierarchy:controllers:path`.
fn limit_of_cgroup(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (mount, file) = if hierarchy == "0" && controllers.is_empty() {
        (root.join("sys/fs/cgroup"), "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    // In a container the path may be the host's, which is not visible here; the mount's own root then holds the limit,
    // and it is the last of the ancestors.
    let group: PathBuf = mount.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|ancestor| ancestor.starts_with(&mount));
    groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_lowest_limit_of_cgroup_2_and_its_parents_counts() {
        let root = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/pods/broker\n"),
            ("sys/fs/cgroup/pods/memory.max", "134217728\n"),
            ("sys/fs/cgroup/pods/broker/memory.max", "max\n"),
        ]);
        assert_eq!(available_bytes(root.path()), Some(128 << 20));
    }

    #[test]
    fn the_limit_of_cgroup_1_counts() {
        let root = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
        ]);
        assert_eq!(available_bytes(root.path()), Some(256 << 20));
    }

    #[test]
    fn without_a_limit_the_machines_memory_counts() {
        let unlimited = "9223372036854771712\n";
        let root = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", unlimited),
        ]);
        assert_eq!(available_bytes(root.path()), Some(8 << 30));
        assert_eq!(available_bytes(machine(&[]).path()), None);
    }
}
