//! What is told of the log directories.

use taffrail_protocol::messages::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsResult};
use taffrail_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::harness::{Broker, batch, nearest};
use crate::produce::produced;

/// The partitions told of, with their sizes, topic by topic.
fn sizes(dir: &DescribeLogDirsResult<'_>) -> Vec<(String, Vec<(i32, i64)>)> {
    let topics = dir.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|told| (told.partition_index, told.partition_size));
        (topic.name.to_string(), partitions.collect())
    });
    topics.collect()
}

#[test]
fn the_sizes_of_logs_and_of_their_disk_are_told_in_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let id = connection.create_topic("a", 2, &[]);
    connection.create_topic("b", 1, &[]);
    let records = batch(&["x", "y"]);
    let size = records.len() as i64;
    for _ in 0..2 {
        produced(&mut connection, "a", id, 1, records.clone()).unwrap();
    }
    let asked = |topic: &'static str, partitions: &[i32]| DescribableLogDirTopic {
        topic: topic.into(),
        partitions: partitions.into(),
    };
    let some = vec![asked("a", &[1, 1, 7]), asked("none", &[0])];
    for version in nearest(ApiKey::DescribeLogDirs, i16::MIN)..=nearest(ApiKey::DescribeLogDirs, i16::MAX) {
        for (topics, told_of) in [
            (None, vec![("a", vec![(0, 0), (1, 2 * size)]), ("b", vec![(0, 0)])]),
            (Some(some.clone()), vec![("a", vec![(1, 2 * size)])]),
            (Some(Vec::new()), Vec::new()),
        ] {
            let told: DescribeLogDirsResponse<'_> =
                connection.ask(&DescribeLogDirsRequest { topics }, version);
            assert_eq!((told.error_code, told.results.len()), (ErrorCode::NONE, 1));
            let dir = &told.results[0];
            assert_eq!(*dir.log_dir, *broker.data_dir().join("brokers/0").to_string_lossy());
            let told_of: Vec<_> = told_of.into_iter().map(|(name, sizes)| (name.to_owned(), sizes)).collect();
            assert_eq!(sizes(dir), told_of);
            let lags = dir.topics.iter().flat_map(|topic| &topic.partitions);
            assert!(lags.into_iter().all(|told| told.offset_lag == 0 && !told.is_future_key));
            let known = if version >= 4 { 1..=i64::MAX } else { -1..=-1 };
            assert!(known.contains(&dir.usable_bytes) && known.contains(&dir.total_bytes), "{dir:?}");
            assert!(dir.usable_bytes <= dir.total_bytes);
        }
    }
}
