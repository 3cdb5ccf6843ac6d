//! The high watermark of a replica never falls in one incarnation (rules 8, 13).

use std::collections::BTreeMap;

use super::{Check, Tp, Violation, name};

/// The last high watermark of each replica, by broker and process.
#[derive(Debug, Default)]
pub struct HighWatermarks {
    last: BTreeMap<(i32, u64, Tp), (i64, Option<i32>)>,
}

impl HighWatermarks {
    /// A replica has this high watermark, under a record with this `unclean_epoch`. Only an unclean election that it had
    /// not heard of before may have taken something back.
    pub fn is(&mut self, broker: i32, run: u64, tp: Tp, now: i64, unclean_epoch: Option<i32>) -> Check {
        let (last, last_unclean) = self.last.entry((broker, run, tp)).or_insert((now, unclean_epoch));
        if now < *last && unclean_epoch <= *last_unclean {
            let text = format!("that of {} on broker {broker} fell from {last} to {now}", name(tp));
            return Err(Violation::new("high_watermark", text));
        }
        if now < *last {
            *last_unclean = unclean_epoch;
        }
        *last = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_protocol::Uuid;

    #[test]
    fn a_high_watermark_that_falls_is_found_out() {
        let tp = (Uuid([1; 16]), 0);
        let mut marks = HighWatermarks::default();
        marks.is(1, 1, tp, 5, None).unwrap();
        marks.is(1, 2, tp, 3, None).unwrap();
        assert!(marks.is(1, 1, tp, 4, None).is_err());
        marks.is(1, 1, tp, 4, Some(2)).unwrap();
        assert!(marks.is(1, 1, tp, 3, Some(2)).is_err());
    }
}
