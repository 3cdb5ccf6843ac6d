//! Checks on requests, with Kafka's error codes (`ReplicationControlManager`, `org.apache.kafka.common.internals.Topic`).

use std::collections::BTreeSet;

use taffrail_protocol::ErrorCode;

use crate::model::{ClusterState, TopicSlice};
use crate::policy::Policy;
use taffrail_control::session::{ApiError, NewTopic};

/// Kafka's limit, which keeps a partition's directory name within 255 bytes.
pub const MAX_TOPIC_NAME_LENGTH: usize = 249;

/// A refusal.
pub(crate) fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError { code, message: message.into() })
}

/// Whether a topic may be named so.
pub fn topic_name(name: &str) -> Result<(), ApiError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if name.is_empty() {
        "a topic name must not be empty".to_owned()
    } else if name == "." || name == ".." {
        format!("\"{name}\" is no topic name, as it would name a directory's own or parent entry")
    } else if name.len() > MAX_TOPIC_NAME_LENGTH {
        format!("a topic name has at most {MAX_TOPIC_NAME_LENGTH} bytes, and this one has {}", name.len())
    } else if !name.chars().all(legal) {
        format!(
            "topic name \"{name}\" holds other characters than ASCII letters and digits, '.', '_' and '-'"
        )
    } else {
        return Ok(());
    };
    refuse(ErrorCode::INVALID_TOPIC_EXCEPTION, problem)
}

/// A topic that collides with `name` because they differ only in `.` and `_`, which are the same in metric names.
pub(crate) fn colliding<'a>(slice: &'a TopicSlice, name: &str) -> Option<&'a str> {
    let same = |a: u8, b: u8| a == b || (matches!(a, b'.' | b'_') && matches!(b, b'.' | b'_'));
    let collides = |other: &&String| {
        other.len() == name.len()
            && other.bytes().zip(name.bytes()).all(|(a, b)| same(a, b))
            && *other != name
    };
    slice.topics.keys().find(collides).map(String::as_str)
}

/// What can be said of a new topic without knowing the others or the brokers. Leaves its configuration as it is to be
/// stored.
pub(crate) fn new_topic(topic: &mut NewTopic, policy: &Policy) -> Result<(), ApiError> {
    topic_name(&topic.name)?;
    if !topic.assignments.is_empty() {
        if topic.partitions.is_some() || topic.replication_factor.is_some() {
            return refuse(
                ErrorCode::INVALID_REQUEST,
                "replicas are assigned by hand, so the number of partitions and the replication factor must be -1",
            );
        }
        partition_count(topic.assignments.len() as i64, policy)?;
    } else {
        let partitions = topic.partitions.unwrap_or(policy.default_partitions);
        partition_count(i64::from(partitions), policy)?;
        let factor = topic.replication_factor.unwrap_or(policy.default_replication_factor);
        if factor < 1 {
            return refuse(
                ErrorCode::INVALID_REPLICATION_FACTOR,
                format!(
                    "the replication factor must be at least 1, or -1 for the default, and {factor} is not"
                ),
            );
        }
    }
    let invalid = |message| ApiError { code: ErrorCode::INVALID_CONFIG, message };
    topic.config = (policy.check_config)(&topic.name, &topic.config).map_err(invalid)?;
    Ok(())
}

/// Whether a topic may have so many partitions.
pub(crate) fn partition_count(count: i64, policy: &Policy) -> Result<(), ApiError> {
    if count < 1 {
        return refuse(
            ErrorCode::INVALID_PARTITIONS,
            format!("the number of partitions must be at least 1, or -1 for the default, and {count} is not"),
        );
    }
    if count > i64::from(policy.max_partitions_per_topic) {
        let most = policy.max_partitions_per_topic;
        return refuse(
            ErrorCode::INVALID_PARTITIONS,
            format!("a topic may have at most {most} partitions, and {count} are more"),
        );
    }
    Ok(())
}

/// Whether each partition can have so many replicas. Fenced brokers count, as one that is just being restarted will have
/// its replicas when it is back; but somebody must be there to lead.
pub(crate) fn replication_factor(factor: i16, cluster: &ClusterState) -> Result<(), ApiError> {
    let registered = cluster.brokers.len();
    let problem = if factor as usize > registered {
        format!("the replication factor is {factor}, but only {registered} brokers are registered")
    } else if cluster.brokers.iter().all(|broker| broker.fenced) {
        format!("all {registered} brokers are fenced: none is there to lead a new partition")
    } else {
        return Ok(());
    };
    refuse(ErrorCode::INVALID_REPLICATION_FACTOR, problem)
}

/// Whether replicas given by hand can be used; `factor` is that of the partitions there are already, if any.
pub(crate) fn assignments(
    assignments: &[Vec<i32>],
    factor: Option<i16>,
    cluster: &ClusterState,
) -> Result<(), ApiError> {
    let wrong = |message: String| refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message);
    let expected = factor.map_or_else(|| assignments.first().map_or(0, Vec::len), |factor| factor as usize);
    for (index, replicas) in assignments.iter().enumerate() {
        if replicas.is_empty() {
            return wrong(format!("assignment {index} names no replica"));
        }
        if replicas.len() != expected {
            let found = replicas.len();
            return wrong(format!("assignment {index} names {found} replicas where others have {expected}"));
        }
        if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
            return wrong(format!("assignment {index} names a broker twice: {replicas:?}"));
        }
        if let Some(unknown) = replicas.iter().find(|id| cluster.broker(**id).is_none()) {
            return wrong(format!("assignment {index} names broker {unknown}, which is not registered"));
        }
        if replicas.iter().all(|id| cluster.broker(*id).is_some_and(|broker| broker.fenced)) {
            return wrong(format!("assignment {index} names only fenced brokers: {replicas:?}"));
        }
    }
    Ok(())
}

/// Whether a partition can be moved to these replicas. A fenced broker may be one of them: the move ends once it is back.
pub(crate) fn targets(targets: &[i32], cluster: &ClusterState) -> Result<(), ApiError> {
    let wrong = |message: String| refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message);
    if targets.is_empty() {
        return wrong("no replicas are given; a move is cancelled with null in their place".to_owned());
    }
    if targets.iter().collect::<BTreeSet<_>>().len() != targets.len() {
        return wrong(format!("the replicas name a broker twice: {targets:?}"));
    }
    match targets.iter().find(|id| cluster.broker(**id).is_none()) {
        Some(unknown) => wrong(format!("broker {unknown} is not registered")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::test_support::{cluster_of, entry_of};

    fn code_of(result: Result<(), ApiError>) -> Option<ErrorCode> {
        result.err().map(|error| error.code)
    }

    #[test]
    fn names_that_kafka_refuses_are_refused() {
        let long = "x".repeat(250);
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", long.as_str()] {
            assert_eq!(code_of(topic_name(name)), Some(ErrorCode::INVALID_TOPIC_EXCEPTION), "{name}");
        }
        for name in ["a", "...", "A-z_0.9", "__consumer_offsets", &long[..249]] {
            assert_eq!(topic_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        let entry = entry_of(&[]);
        let slice = TopicSlice {
            topics: [("a.b_c".to_owned(), std::sync::Arc::new(entry))].into(),
            ..TopicSlice::default()
        };
        assert_eq!(colliding(&slice, "a_b.c"), Some("a.b_c"));
        assert_eq!(colliding(&slice, "a.b_c"), None);
        assert_eq!(colliding(&slice, "a-b_c"), None);
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_the_code_that_names_them() {
        let policy = Policy::default();
        let topic = |partitions, replication_factor| NewTopic {
            name: "t".into(),
            partitions,
            replication_factor,
            ..NewTopic::default()
        };
        assert_eq!(new_topic(&mut topic(None, None), &policy), Ok(()));
        for partitions in [0, -7, i32::MIN, 100_001, i32::MAX] {
            let refused = new_topic(&mut topic(Some(partitions), None), &policy);
            assert_eq!(code_of(refused), Some(ErrorCode::INVALID_PARTITIONS), "{partitions}");
        }
        for factor in [0, -1, i16::MIN] {
            let refused = new_topic(&mut topic(None, Some(factor)), &policy);
            assert_eq!(code_of(refused), Some(ErrorCode::INVALID_REPLICATION_FACTOR), "{factor}");
        }
        let mut both = NewTopic { assignments: vec![vec![1]], ..topic(Some(1), None) };
        assert_eq!(code_of(new_topic(&mut both, &policy)), Some(ErrorCode::INVALID_REQUEST));
    }

    #[test]
    fn a_configuration_that_the_table_refuses_is_refused_with_its_sentence() {
        let policy = Policy {
            check_config: |_, config| Err(format!("{:?} is unknown", config.keys())),
            ..Policy::default()
        };
        let config = BTreeMap::from([("colour".to_owned(), "red".to_owned())]);
        let refused = new_topic(&mut NewTopic { name: "t".into(), config, ..NewTopic::default() }, &policy)
            .unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (ErrorCode::INVALID_CONFIG, "[\"colour\"] is unknown")
        );
    }

    #[test]
    fn there_are_no_more_replicas_than_brokers_and_somebody_must_lead() {
        let mut cluster = cluster_of(3);
        cluster.broker_mut(3).unwrap().fenced = true;
        assert_eq!(code_of(replication_factor(3, &cluster)), None);
        assert_eq!(code_of(replication_factor(4, &cluster)), Some(ErrorCode::INVALID_REPLICATION_FACTOR));
        cluster.brokers.iter_mut().for_each(|broker| broker.fenced = true);
        assert_eq!(code_of(replication_factor(1, &cluster)), Some(ErrorCode::INVALID_REPLICATION_FACTOR));
        assert_eq!(
            code_of(replication_factor(1, &cluster_of(0))),
            Some(ErrorCode::INVALID_REPLICATION_FACTOR)
        );
    }

    #[test]
    fn assignments_by_hand_are_checked_broker_by_broker() {
        let mut cluster = cluster_of(3);
        cluster.broker_mut(3).unwrap().fenced = true;
        let check = |lists: &[&[i32]], factor| {
            let lists: Vec<Vec<i32>> = lists.iter().map(|list| list.to_vec()).collect();
            code_of(assignments(&lists, factor, &cluster)).is_none()
        };
        assert!(check(&[&[1, 2], &[2, 3]], None));
        assert!(!check(&[&[]], None));
        assert!(!check(&[&[1, 2], &[2]], None));
        assert!(!check(&[&[1, 1]], None));
        assert!(!check(&[&[4]], None));
        assert!(!check(&[&[3]], None));
        assert!(!check(&[&[1]], Some(2)));
    }
}
