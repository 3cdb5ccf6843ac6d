//! When faults have stopped, the cluster heals within a bound: every partition is led, all replicas are in sync and equal,
//! and what clients wait for is done (rules 4, 10, 17).

use super::{Check, Violation};

/// How long it may take after the last fault. Milliseconds.
pub const BOUND_MS: u64 = 90_000;

/// What is left to do, in sentences; none when the cluster has healed.
pub fn healed_in_time(healed_ms: u64, left: &[String]) -> Check {
    if left.is_empty() || healed_ms < BOUND_MS {
        return Ok(());
    }
    let text = format!("{healed_ms} ms after the last fault: {}", left.join("; "));
    Err(Violation::new("progress", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_done_in_time_is_found_out() {
        let left = ["a partition has no leader".to_owned()];
        assert!(healed_in_time(BOUND_MS - 1, &left).is_ok());
        assert!(healed_in_time(BOUND_MS, &left).is_err());
        assert!(healed_in_time(BOUND_MS, &[]).is_ok());
    }
}
