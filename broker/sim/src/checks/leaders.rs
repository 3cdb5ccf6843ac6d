//! In each leader epoch at most one broker leads, in one of its lives (rules 2, 7).

use std::collections::BTreeMap;

use taffrail_control::session::Member;

use super::{Tp, Violation, name};

/// Who led in which epoch.
#[derive(Debug, Default)]
pub struct Leaders {
    led: BTreeMap<(Tp, i32), Member>,
}

impl Leaders {
    /// A broker leads in an epoch. Whether that is new.
    pub fn leads(&mut self, tp: Tp, epoch: i32, member: Member) -> Result<bool, Violation> {
        match self.led.insert((tp, epoch), member) {
            None => Ok(true),
            Some(before) if before == member => Ok(false),
            Some(before) => {
                let text = format!("{} is led in epoch {epoch} by {member:?} and by {before:?}", name(tp));
                Err(Violation::new("leaders", text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_protocol::Uuid;

    #[test]
    fn two_leaders_of_one_epoch_are_found_out() {
        let (tp, mut leaders) = ((Uuid([1; 16]), 0), Leaders::default());
        let member = |incarnation| Member { broker_id: 1, incarnation };
        assert_eq!(leaders.leads(tp, 3, member(1)), Ok(true));
        assert_eq!(leaders.leads(tp, 3, member(1)), Ok(false));
        assert!(leaders.leads(tp, 3, member(2)).is_err());
    }
}
