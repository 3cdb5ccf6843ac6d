//! What is said of a Topic object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use taffrail_crds::condition::READY;
use taffrail_crds::{Topic, TopicStatus};

use super::plan::Standing;
use crate::fleet::view::{Brokers, Counts, PartitionView, TopicView, is_offline, is_under_replicated};

/// How many partitions are named by their numbers.
const NAMED: usize = 100;

/// What is seen of a topic.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What is published of it.
    pub topic: &'a TopicView,
    /// The brokers that there are.
    pub brokers: &'a Brokers,
    /// The bytes of one copy of it that are to be said, where they are known.
    pub size_bytes: Option<i64>,
}

/// What is said of an object, after what was said of it `before`. Transition times are kept where nothing else changes.
/// `None` if there is nothing to be said.
pub fn status(
    object: &Topic,
    standing: &Standing,
    seen: Option<Seen<'_>>,
    before: Option<&TopicStatus>,
    now: Timestamp,
) -> Option<TopicStatus> {
    let counts = seen.map(|seen| seen.topic.counts).unwrap_or_default();
    let (ready, reason, message) = match standing {
        Standing::Unsaid => return None,
        Standing::Ready if counts.offline > 0 => {
            let Counts { offline, partitions, .. } = counts;
            (
                "False",
                "Offline",
                format!("{offline} of {partitions} partitions have no leader: see status.offline"),
            )
        }
        Standing::Ready => ("True", "AsWished", "the topic is as its spec wishes".to_owned()),
        Standing::Busy(reason, message) | Standing::Refused(reason, message) => {
            ("False", *reason, message.clone())
        }
    };
    let was = before.and_then(|before| before.conditions.iter().find(|it| it.type_ == READY));
    let since = was.filter(|was| was.status == ready).map(|was| was.last_transition_time.clone());
    let condition = Condition {
        type_: READY.to_owned(),
        status: ready.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since.unwrap_or(Time(now)),
        observed_generation: object.metadata.generation,
    };
    let said = TopicStatus {
        observed_generation: object.metadata.generation,
        conditions: vec![condition],
        topic_name: Some(object.topic_name().to_owned()),
        ..TopicStatus::default()
    };
    Some(match seen {
        None => said,
        Some(seen) => described(said, seen, before),
    })
}

fn described(said: TopicStatus, seen: Seen<'_>, before: Option<&TopicStatus>) -> TopicStatus {
    let Seen { topic, brokers, size_bytes } = seen;
    let topic_id = topic.record.topic_id.to_string();
    // A controller that has just started does not know it, and it has hardly changed.
    let was = before.filter(|before| before.topic_id.as_ref() == Some(&topic_id));
    let number = |count: usize| i32::try_from(count).ok();
    let numbers = |is_so: &dyn Fn(&PartitionView) -> bool, count: usize| -> Vec<i32> {
        // Most topics are well, and nothing is looked for in them.
        let found = topic.partitions.iter().filter(|record| is_so(record)).map(|record| record.partition);
        if count == 0 { Vec::new() } else { found.take(NAMED).collect() }
    };
    let counts = &topic.counts;
    let replicas = topic.partitions.iter().map(|it| it.replicas.len() - it.adding.len()).max();
    TopicStatus {
        size_bytes: size_bytes.or_else(|| was?.size_bytes),
        topic_id: Some(topic_id),
        partitions: Some(topic.record.partition_count),
        replication_factor: replicas.and_then(number),
        under_replicated_count: number(counts.under_replicated),
        under_replicated: numbers(&|record| is_under_replicated(record, brokers), counts.under_replicated),
        under_min_isr_count: number(counts.under_min_isr),
        offline_count: number(counts.offline),
        offline: numbers(&is_offline, counts.offline),
        ..said
    }
}

#[cfg(test)]
mod tests {
    use taffrail_protocol::Uuid;

    use super::super::testing::{topic, view, with_replicas};
    use super::*;

    #[test]
    fn a_status_names_what_is_wrong_and_keeps_the_time_of_what_has_not_changed() {
        let view = view("t", with_replicas(&[&[0, 1], &[1, 0]]));
        let mut seen = view.topics["t"].clone();
        let object = topic("t", "u", 1, 2);
        let at = |second| Timestamp::from_second(second).unwrap();
        let said = |standing: &Standing, topic: &TopicView, before: Option<&TopicStatus>, second| {
            let seen = Seen { topic, brokers: &view.brokers, size_bytes: None };
            status(&object, standing, Some(seen), before, at(second)).unwrap()
        };
        let well = said(&Standing::Ready, &seen, None, 1);
        assert_eq!(
            (well.partitions, well.replication_factor, well.offline_count),
            (Some(2), Some(2), Some(0))
        );
        assert_eq!((well.conditions[0].status.as_str(), well.observed_generation), ("True", Some(1)));
        assert_eq!(said(&Standing::Ready, &seen, Some(&well), 2), well);
        seen.partitions[1].leader = None;
        seen.partitions[1].isr = seen.partitions[1].isr[..1].into();
        (seen.counts.offline, seen.counts.under_replicated) = (1, 1);
        let ill = said(&Standing::Ready, &seen, Some(&well), 3);
        assert_eq!(
            (ill.offline.as_slice(), ill.under_replicated.as_slice()),
            ([1].as_slice(), [1].as_slice())
        );
        let condition = &ill.conditions[0];
        assert_eq!((condition.reason.as_str(), condition.last_transition_time.0), ("Offline", at(3)));
        let seen = Seen { topic: &seen, brokers: &view.brokers, size_bytes: None };
        assert_eq!(status(&object, &Standing::Unsaid, Some(seen), None, at(4)), None);
    }

    #[test]
    fn a_size_that_is_not_known_any_more_is_still_said_and_not_of_another_topic() {
        let view = view("t", with_replicas(&[&[0]]));
        let mut topic = view.topics["t"].clone();
        let object = super::super::testing::topic("t", "u", 1, 1);
        let said = |topic: &TopicView, size_bytes, before: Option<&TopicStatus>| {
            let seen = Seen { topic, brokers: &view.brokers, size_bytes };
            status(&object, &Standing::Ready, Some(seen), before, Timestamp::UNIX_EPOCH).unwrap()
        };
        let large = said(&topic, Some(7), None);
        assert_eq!(large.size_bytes, Some(7));
        assert_eq!(said(&topic, Some(0), Some(&large)).size_bytes, Some(0));
        assert_eq!(said(&topic, None, Some(&large)), large, "nothing is written");
        topic.record.topic_id = Uuid([2; 16]);
        assert_eq!(said(&topic, None, Some(&large)).size_bytes, None);
    }

    #[test]
    fn a_refusal_is_a_condition_with_its_reason() {
        let standing = Standing::Refused("FewerPartitions", "why".to_owned());
        let said = status(&topic("t", "u", 1, 2), &standing, None, None, Timestamp::UNIX_EPOCH).unwrap();
        let condition = &said.conditions[0];
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "FewerPartitions"));
        assert_eq!((said.topic_id, said.partitions), (None, None));
    }
}
