//! How many brokers there are while their number changes: more at once, fewer only as those that go hold nothing.

use super::facts::Facts;

/// What comes of a wish for another number of brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// How many brokers there shall be now.
    pub replicas: i32,
    /// The broker with the highest id that has to be emptied first, and how many partitions are left on it.
    pub held_by: Option<(i32, i32)>,
}

/// `wished` is what people ask for, `present` what the StatefulSet has, if there is one.
///
/// A broker goes only when no partition has a replica on it: what a cluster holds is never given up to a number in a spec.
pub fn scale(wished: i32, present: Option<i32>, facts: Option<&Facts>) -> Scale {
    let present = present.unwrap_or(wished);
    if present <= wished {
        return Scale { replicas: wished, held_by: None };
    }
    let Some(facts) = facts else { return Scale { replicas: present, held_by: None } };
    let held = |id: &i32| facts.brokers.get(id).map_or(0, |broker| broker.replicas);
    match (wished..present).rev().find(|id| held(id) > 0) {
        Some(id) => Scale { replicas: id + 1, held_by: Some((id, held(&id))) },
        None => Scale { replicas: wished, held_by: None },
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::BrokerFacts;
    use super::*;

    fn facts(replicas: &[i32]) -> Facts {
        let broker = |(id, replicas): (usize, &i32)| {
            (i32::try_from(id).unwrap(), BrokerFacts { replicas: *replicas, ..BrokerFacts::default() })
        };
        Facts { brokers: replicas.iter().enumerate().map(broker).collect(), ..Facts::default() }
    }

    #[test]
    fn more_come_at_once_and_fewer_only_once_they_are_empty() {
        let now = |replicas| Scale { replicas, held_by: None };
        assert_eq!(scale(3, None, None), now(3));
        assert_eq!(scale(5, Some(3), None), now(5));
        assert_eq!(scale(3, Some(5), None), now(5), "nothing is known of what they hold");
        assert_eq!(scale(3, Some(5), Some(&facts(&[9, 9, 9, 0, 0]))), now(3));
        assert_eq!(
            scale(3, Some(5), Some(&facts(&[9, 9, 9, 0, 2]))),
            Scale { replicas: 5, held_by: Some((4, 2)) }
        );
        assert_eq!(
            scale(3, Some(5), Some(&facts(&[9, 9, 9, 1, 0]))),
            Scale { replicas: 4, held_by: Some((3, 1)) }
        );
        assert_eq!(
            scale(3, Some(5), Some(&facts(&[9, 9, 9, 9]))),
            Scale { replicas: 4, held_by: Some((3, 9)) }
        );
    }
}
