//! What a broker says in its session with the controller, and what it does about what it hears.

use taffrail_control::session::{
    BrokerRecord, ClusterUpdate, FromController, IsrProposal, IsrRefusal, LogClaim, LogState,
    PartitionRecord, PartitionSize, RefusedIsr, ToController,
};
use taffrail_protocol::messages::describe_configs::DescribeConfigsResource;
use taffrail_protocol::messages::produce::{PartitionProduceData, TopicProduceData};
use taffrail_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse,
};
use taffrail_protocol::{ErrorCode, Uuid};
use taffrail_server::config_changes::resource_type;

use crate::harness::eventually;
use crate::scripted::{ME, OTHER, Scripted, TOPIC, break_log, led, record, topic};
use crate::wire::{Connection, batch};

/// Where clients are told to reach the broker, and its rack.
fn told(scripted: &Scripted) -> (String, Option<String>) {
    let mut connection = Connection::to(scripted.address);
    let metadata: MetadataResponse<'_> = connection.ask(&MetadataRequest::default(), 12);
    let me = metadata.brokers.iter().find(|broker| broker.node_id == ME.broker_id).unwrap();
    (me.host.to_string(), me.rack.as_deref().map(ToOwned::to_owned))
}

fn described(scripted: &Scripted, key: &str) -> Option<String> {
    let resource = DescribeConfigsResource {
        resource_type: resource_type::BROKER,
        resource_name: "1".into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let described: DescribeConfigsResponse<'_> = Connection::to(scripted.address).ask(&request, 4);
    let configs = &described.results[0].configs;
    configs.iter().find(|config| config.name == key).unwrap().value.as_deref().map(ToOwned::to_owned)
}

fn some(host: &str, rack: &str) -> (String, Option<String>) {
    (host.to_owned(), Some(rack.to_owned()))
}

pub fn produce(scripted: &Scripted, partition: i32, value: &'static str) -> ErrorCode {
    let data = PartitionProduceData { index: partition, records: Some(batch(&[value]).into()) };
    let topic =
        TopicProduceData { topic_id: TOPIC, partition_data: vec![data], ..TopicProduceData::default() };
    let request =
        ProduceRequest { acks: 1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    let produced: ProduceResponse<'_> = Connection::to(scripted.address).ask(&request, 13);
    produced.responses[0].partition_responses[0].error_code
}

#[test]
fn what_the_controller_says_of_a_broker_overrides_its_flags_then_and_later() {
    let mut scripted = Scripted::start(&[("broker.rack", "a")], ClusterUpdate::default());
    assert_eq!(told(&scripted), some("controller", "a"), "an address was overridden, the rack echoed");
    let registration = scripted.break_session();
    assert_eq!(registration.rack.as_deref(), Some("a"), "the flags are what is asked for");
    scripted.answer(&registration, Some("b"), "answer");
    eventually("the answer alone is enough", || told(&scripted) == some("answer", "b"));
    assert_eq!(described(&scripted, "broker.rack").as_deref(), Some("b"));
    let listeners = described(&scripted, "advertised.listeners").unwrap();
    assert_eq!(listeners, format!("PLAINTEXT://answer:{}", scripted.address.port()));
    let later = BrokerRecord { rack: Some("c".to_owned()), ..record(&registration, "later") };
    scripted.update(ClusterUpdate { brokers: vec![later], ..ClusterUpdate::default() });
    eventually("a later change is followed", || told(&scripted) == some("later", "c"));
}

#[test]
fn a_broker_that_stops_asks_each_session_to_be_let_go() {
    let mut scripted = Scripted::start(&[], topic(&[], vec![led(0, &[ME])]));
    let stopped = scripted.begin_stop();
    let asks = |message| matches!(message, ToController::ControlledShutdown { incarnation: 7 }).then_some(());
    scripted.hears(asks);
    let registration = scripted.break_session();
    scripted.answer(&registration, None, "controller");
    scripted.hears(asks);
    assert!(!stopped.is_finished(), "it waits to be let go");
    scripted.say(FromController::ShutdownGranted);
    scripted.finish(stopped);
    assert!(scripted.data_dir().join(".kafka_cleanshutdown").is_file());
}

#[test]
fn a_clean_disk_stays_clean_when_a_broker_is_stopped_before_it_is_registered() {
    let mut scripted = Scripted::start(&[], topic(&[], vec![led(0, &[ME])]));
    let stopped = scripted.begin_stop();
    scripted.say(FromController::ShutdownGranted);
    scripted.finish(stopped);
    for _ in 0..3 {
        let registration = scripted.start_in_vain();
        assert_eq!((registration.claim, registration.last_incarnation), (LogClaim::Clean, Some(7)));
    }
}

/// The directories in the data directory that were moved aside.
fn strays(scripted: &Scripted) -> Vec<String> {
    let names = std::fs::read_dir(scripted.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut strays: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    strays.retain(|name| name.ends_with("-stray"));
    strays.sort();
    strays
}

#[test]
fn rule_18_a_log_that_was_moved_aside_is_deleted_once_it_is_old_and_its_partition_is_led() {
    let here = (0..3).map(|partition| led(partition, &[ME])).collect();
    let mut scripted = Scripted::start(&[("log.stray.retention.ms", "0")], topic(&[], here));
    let elsewhere = |partition, epoch, leader| PartitionRecord {
        leader,
        leader_epoch: epoch,
        partition_epoch: epoch,
        ..led(partition, &[OTHER])
    };
    let partitions = vec![elsewhere(0, 1, None), elsewhere(1, 1, Some(OTHER))];
    scripted.update(ClusterUpdate { partitions, ..ClusterUpdate::default() });
    eventually("that of the partition that is led is gone", || {
        // It is moved aside last.
        let was_moved = !scripted.data_dir().join("t-1").exists();
        let strays = strays(&scripted);
        was_moved && strays.len() == 1 && strays[0].starts_with("t-0.")
    });
    // Without a session nobody knows whether it is needed.
    let registration = scripted.break_session();
    scripted.answer(&registration, None, "controller");
    let partitions = vec![elsewhere(0, 2, Some(OTHER)), elsewhere(1, 1, Some(OTHER)), led(2, &[ME])];
    scripted.snapshot(&registration, topic(&[], partitions));
    eventually("the other is gone too", || strays(&scripted).is_empty());
    assert!(scripted.data_dir().join("t-2").is_dir(), "what is assigned stays");
}

#[test]
fn a_log_that_failed_is_reported_at_once_and_not_measured_any_more() {
    // A batch fills a segment.
    let partitions = (0..2).map(|partition| led(partition, &[ME])).collect();
    let mut scripted = Scripted::start(&[], topic(&[("segment.bytes", "100")], partitions));
    for partition in 0..2 {
        assert_eq!(produce(&scripted, partition, "first"), ErrorCode::NONE);
    }
    let at_first = scripted.hears(|message| match message {
        ToController::Health { full: true, replicas, .. } => Some(replicas),
        _ => None,
    });
    assert_eq!(at_first, [], "all is well");
    break_log(&scripted.data_dir(), 1);
    assert_eq!(produce(&scripted, 1, "second"), ErrorCode::KAFKA_STORAGE_ERROR);
    let (health, full) = scripted.hears(|message| match message {
        ToController::Health { incarnation: 7, full, replicas } if !replicas.is_empty() => {
            Some((replicas, full))
        }
        _ => None,
    });
    assert!(!full);
    assert_eq!(health.len(), 1);
    assert_eq!((health[0].topic_id, health[0].partition, health[0].log_end_offset), (TOPIC, 1, 1));
    assert!(matches!(&health[0].log, LogState::Failed { reason } if !reason.is_empty()), "{health:?}");

    let unknown = (Uuid([9; 16]), 0);
    let partitions = vec![(TOPIC, 0), (TOPIC, 1), (TOPIC, 2), unknown];
    scripted.say(FromController::QueryLogEnds { query_id: 31, partitions });
    let ends = scripted.hears(|message| match message {
        ToController::LogEnds { incarnation: 7, query_id: 31, ends } => Some(ends),
        _ => None,
    });
    let sound: Vec<_> = ends.iter().map(|end| (end.partition, end.last_epoch, end.end_offset)).collect();
    assert_eq!(sound, [(0, 0, 1)], "one failed, one is not here, one is unknown");

    // Another controller has to hear of it too.
    let registration = scripted.break_session();
    scripted.answer(&registration, None, "controller");
    let again = topic(&[("segment.bytes", "100")], (0..2).map(|partition| led(partition, &[ME])).collect());
    scripted.snapshot(&registration, again);
    let all = scripted.hears(|message| match message {
        ToController::Health { full: true, replicas, .. } => Some(replicas),
        _ => None,
    });
    assert_eq!(all, health);
}

#[test]
fn each_session_hears_how_large_the_partitions_are_that_are_led() {
    let followed = PartitionRecord { leader: Some(OTHER), ..led(2, &[OTHER, ME]) };
    let partitions = vec![led(0, &[ME]), led(1, &[ME]), followed];
    let mut scripted = Scripted::start(&[], topic(&[], partitions.clone()));
    assert_eq!(produce(&scripted, 1, "value"), ErrorCode::NONE);
    let sizes = |scripted: &mut Scripted| {
        let mut sizes = scripted.hears(|message| match message {
            ToController::PartitionSizes { incarnation: 7, partitions } => Some(partitions),
            _ => None,
        });
        sizes.sort_by_key(|size| size.partition);
        sizes
    };
    let size = |partition| {
        let size_bytes = scripted.replica(partition).lock().log().size();
        PartitionSize { topic_id: TOPIC, partition, size_bytes }
    };
    let all = vec![size(0), size(1)];
    assert!(all[0].size_bytes == 0 && all[1].size_bytes > 0, "{all:?}");
    assert_eq!(sizes(&mut scripted), all, "what another leads it says");
    let registration = scripted.break_session();
    scripted.answer(&registration, None, "controller");
    scripted.snapshot(&registration, topic(&[], partitions));
    assert_eq!(sizes(&mut scripted), all);
}

#[test]
fn a_refused_wish_for_other_in_sync_replicas_is_made_void_and_then_made_again() {
    let both = led(0, &[ME, OTHER]);
    let mut scripted = Scripted::start(&[("replica.lag.time.max.ms", "100")], topic(&[], vec![both.clone()]));
    // Nobody follows: what is written keeps the other from being caught up.
    assert_eq!(produce(&scripted, 0, "value"), ErrorCode::NONE);
    let next = |scripted: &mut Scripted| -> IsrProposal {
        scripted.hears(|message| match message {
            ToController::ProposeIsr { incarnation: 7, mut proposals } => proposals.pop(),
            _ => None,
        })
    };
    let refused = |partition_epoch| {
        let reason = IsrRefusal::StaleEpoch;
        FromController::IsrRefused {
            refused: vec![RefusedIsr { topic_id: TOPIC, partition: 0, partition_epoch, reason }],
        }
    };
    let first = next(&mut scripted);
    assert_eq!((first.leader_epoch, first.partition_epoch, &first.isr), (0, 0, &vec![ME]));
    scripted.say(refused(0));
    let void = next(&mut scripted);
    assert_eq!(
        (void.partition_epoch, &void.isr),
        (0, &both.isr),
        "so that no copy of the first is taken (rule 10)"
    );
    let taken = PartitionRecord { partition_epoch: 1, ..both };
    scripted.update(ClusterUpdate { partitions: vec![taken], ..ClusterUpdate::default() });
    let again = next(&mut scripted);
    assert_eq!((again.partition_epoch, again.isr), (1, vec![ME]));
}
