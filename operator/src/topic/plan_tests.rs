use serde_json::json;
use taffrail_crds::TopicStatus;
use taffrail_crds::config::ConfigValue;

use super::super::testing::{topic, view, with_replicas};
use super::*;

/// What `change` makes of a scene with one object of two partitions and its topic.
fn planned(change: impl FnOnce(&mut Stage)) -> Plan {
    let topic_view = view("t", with_replicas(&[&[0, 1], &[1, 0]])).topics["t"].clone();
    let mut stage = Stage {
        now_ms: 10_000,
        cluster: LogClusterSpec { topic_deletion_grace_seconds: 5, ..LogClusterSpec::default() },
        objects: vec![topic("t", "u", 1, 2)],
        last: None,
        topic: Some(topic_view),
        vanished: Vanished::ByPerson,
        brokers: 3,
    };
    stage.wish("u", AfterWish::Delete, None);
    change(&mut stage);
    let objects: Vec<Arc<Topic>> = stage.objects.into_iter().map(Arc::new).collect();
    plan(&Scene {
        name: "t",
        now_ms: stage.now_ms,
        cluster: &stage.cluster,
        objects: &objects,
        last: stage.last.as_ref(),
        topic: stage.topic.as_ref(),
        vanished: stage.vanished,
        brokers: stage.brokers,
    })
}

struct Stage {
    now_ms: u64,
    cluster: LogClusterSpec,
    objects: Vec<Topic>,
    last: Option<Topic>,
    topic: Option<TopicView>,
    vanished: Vanished,
    brokers: usize,
}

impl Stage {
    fn wish(&mut self, uid: &str, after: AfterWish, gone_since_ms: Option<u64>) {
        let (object, uid) = ("t".to_owned(), uid.to_owned());
        let config_keys = BTreeSet::new();
        let wish = TopicWish { object, uid, after, gone_since_ms, config_keys };
        self.topic.as_mut().unwrap().wish = Some(wish);
    }

    fn gone(&mut self, after: AfterWish, gone_since_ms: Option<u64>) {
        self.objects.clear();
        self.wish("u", after, gone_since_ms);
    }

    fn client(&mut self) {
        let labels = [(CREATED_BY.to_owned(), CLIENT.to_owned())];
        self.objects[0].metadata.labels = Some(labels.into());
    }
}

fn remembered(plan: &Plan) -> (&str, AfterWish, Option<u64>) {
    let (_, wish) = plan.wish.as_ref().unwrap();
    (&wish.uid, wish.after, wish.gone_since_ms)
}

#[test]
fn what_is_as_wished_is_left_alone() {
    assert_eq!(planned(|_| {}), Plan { standing: Standing::Ready, ..Plan::default() });
}

#[test]
fn what_is_not_there_is_made_and_what_a_client_deleted_is_made_again() {
    let made = planned(|stage| {
        stage.topic = None;
        stage.objects[0].spec.config = [("retention.ms".to_owned(), ConfigValue::from(5))].into();
    });
    let [(Ask::Create(new), None)] = made.asks.as_slice() else { panic!("{made:?}") };
    assert_eq!(
        (new.partitions, new.replication_factor, new.config["retention.ms"].as_str()),
        (Some(2), Some(3), "5")
    );
    let status = TopicStatus { topic_id: Some("old".to_owned()), ..TopicStatus::default() };
    let again = planned(|stage| {
        stage.topic = None;
        stage.objects[0].status = Some(status.clone());
    });
    assert!(again.asks[0].1.as_ref().unwrap().note.contains("old"));
    let clients = planned(|stage| {
        stage.topic = None;
        stage.client();
        stage.objects[0].status = Some(status);
    });
    let gone = ObjectStep::Delete { object: "t".to_owned(), uid: "u".to_owned() };
    assert_eq!(clients, Plan { object: Some(gone), ..Plan::default() });
}

#[test]
fn a_topic_waits_for_brokers_that_are_still_to_come() {
    let made = |brokers, replicas| {
        let plan = planned(|stage| {
            stage.topic = None;
            stage.brokers = brokers;
            stage.cluster.brokers.replicas = replicas;
            stage.objects[0].spec.replication_factor = Some(3);
        });
        (plan.asks.len(), plan.standing)
    };
    let message = "2 of 5 brokers are registered, and 3 are needed".to_owned();
    assert_eq!(made(2, 5), (0, Standing::Busy("WaitingForBrokers", message)));
    assert_eq!(made(3, 5).0, 1, "there are enough of them");
    assert_eq!(made(2, 2).0, 1, "no more will come: the controller says what is wrong");
}

#[test]
fn a_topic_grows_is_configured_and_spread() {
    let changed = planned(|stage| {
        let object = &mut stage.objects[0];
        object.spec.partitions = 3;
        object.spec.replication_factor = Some(3);
        object.spec.config = [("retention.ms".to_owned(), ConfigValue::from(5))].into();
        let config =
            [("retention.ms", "6"), ("segment.ms", "7")].map(|(key, value)| (key.into(), value.into()));
        stage.topic.as_mut().unwrap().record.config = config.into();
    });
    let [(Ask::Grow(grown), _), (Ask::Configure(change), None), (Ask::Spread(3), _)] =
        changed.asks.as_slice()
    else {
        panic!("{changed:?}")
    };
    assert_eq!(grown.total_count, 3);
    assert_eq!(change.ops, [("retention.ms".to_owned(), ConfigOp::Set("5".to_owned()))]);
}

#[test]
fn what_an_object_sets_no_longer_is_reset_and_what_a_client_set_stays() {
    // What the object says, what it has said, and what is set; what is asked for, and what is remembered then.
    let case = |says: &[&str], said: &[&str], set: &[&str]| {
        let plan = planned(|stage| {
            let says = says.iter().map(|key| ((*key).to_owned(), ConfigValue::from(5)));
            stage.objects[0].spec.config = says.collect();
            let topic = stage.topic.as_mut().unwrap();
            topic.record.config = set.iter().map(|key| ((*key).to_owned(), "5".to_owned())).collect();
            let wish = topic.wish.as_mut().unwrap();
            wish.config_keys = said.iter().map(|key| (*key).to_owned()).collect();
        });
        let ops = plan.asks.into_iter().flat_map(|(ask, _)| match ask {
            Ask::Configure(change) => change.ops,
            other => panic!("{other:?}"),
        });
        let keys = plan.wish.map(|(_, wish)| wish.config_keys.into_iter().collect::<Vec<_>>().join(" "));
        (ops.collect::<Vec<_>>(), keys)
    };
    let both = ["retention.ms", "segment.ms"];
    let reset = || vec![("segment.ms".to_owned(), ConfigOp::Delete)];
    assert_eq!(case(&both[..1], &both, &both), (reset(), None), "remembered until it is reset");
    assert_eq!(case(&both[..1], &both, &both[..1]), (vec![], Some("retention.ms".to_owned())));
    assert_eq!(case(&[], &both[1..], &both), (reset(), None));
    assert_eq!(case(&both[..1], &both[..1], &both), (vec![], None), "a client set the other");
    let (ops, keys) = case(&both, &both[..1], &both[..1]);
    assert_eq!(
        (ops.len(), keys.as_deref()),
        (1, Some("retention.ms segment.ms")),
        "remembered once it is set"
    );
}

#[test]
fn what_another_object_has_set_stays() {
    let plan = planned(|stage| {
        stage.wish("before", AfterWish::Retain, Some(1));
        let topic = stage.topic.as_mut().unwrap();
        topic.record.config = [("segment.ms".to_owned(), "5".to_owned())].into();
        topic.wish.as_mut().unwrap().config_keys = ["segment.ms".to_owned()].into();
    });
    assert_eq!(plan.asks, []);
    assert!(plan.wish.unwrap().1.config_keys.is_empty());
}

#[test]
fn what_a_client_changed_of_what_the_object_sets_is_said_to_be_set_again() {
    let changed = planned(|stage| {
        stage.objects[0].spec.config = [("retention.ms".to_owned(), ConfigValue::from(5))].into();
        let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "AsWished", "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z", "observedGeneration": 1}]});
        stage.objects[0].status = serde_json::from_value(ready).unwrap();
        let config = [("retention.ms".to_owned(), "6".to_owned())];
        stage.topic.as_mut().unwrap().record.config = config.into();
    });
    assert!(changed.asks[0].1.as_ref().unwrap().note.contains("retention.ms from 6 back to 5"));
}

#[test]
fn a_paused_cluster_is_left_alone_and_objects_are_told_so() {
    let paused = planned(|stage| {
        stage.cluster.pause = true;
        stage.objects[0].spec.partitions = 3;
    });
    assert_eq!(paused.asks, []);
    assert!(matches!(paused.standing, Standing::Busy("Paused", _)));
    let gone = planned(|stage| {
        stage.cluster.pause = true;
        stage.gone(AfterWish::Delete, Some(0));
    });
    assert_eq!(gone, Plan::default());
}

#[test]
fn fewer_partitions_are_refused_and_that_object_takes_nothing_along() {
    let refused = planned(|stage| {
        stage.objects[0].spec.partitions = 1;
        stage.topic.as_mut().unwrap().wish = None;
    });
    assert!(matches!(refused.standing, Standing::Refused("FewerPartitions", _)));
    assert_eq!((refused.wish, refused.asks), (None, Vec::new()));
    let grown = planned(|stage| {
        stage.objects[0].spec.partitions = 1;
        stage.client();
    });
    assert_eq!(grown.object, Some(ObjectStep::Grow { object: "t".to_owned(), partitions: 2 }));
    assert_eq!(grown.standing, Standing::Ready);
}

#[test]
fn a_deleted_object_takes_its_topic_along_after_the_grace() {
    let noticed = planned(|stage| stage.gone(AfterWish::Delete, None));
    assert_eq!((remembered(&noticed), noticed.asks.len()), (("u", AfterWish::Delete, Some(10_000)), 0));
    let waits = planned(|stage| stage.gone(AfterWish::Delete, Some(6_000)));
    assert_eq!(waits, Plan { again_ms: Some(11_000), ..Plan::default() });
    let due = planned(|stage| stage.gone(AfterWish::Delete, Some(5_000)));
    assert_eq!(due.asks, [(Ask::Delete(Uuid([1; 16])), None)]);
}

#[test]
fn nothing_is_deleted_where_it_is_not_certain_that_a_person_wished_for_it() {
    for since in [None, Some(5_000)] {
        for vanished in [Vanished::Otherwise, Vanished::Unknown] {
            let plan = planned(|stage| {
                stage.gone(AfterWish::Delete, since);
                stage.vanished = vanished;
            });
            assert!(plan.asks.is_empty() && plan.asks_why, "{plan:?}");
            assert_eq!(plan.wish.is_some(), vanished == Vanished::Otherwise);
            assert!(plan.wish.is_none_or(|(_, wish)| wish.after == AfterWish::Hold));
        }
    }
    assert_eq!(planned(|stage| stage.gone(AfterWish::Hold, Some(0))), Plan::default());
    assert_eq!(planned(|stage| stage.gone(AfterWish::Retain, Some(0))), Plan::default());
    let kept = planned(|stage| {
        stage.last = Some(stage.objects[0].clone());
        stage.last.as_mut().unwrap().spec.deletion_policy = DeletionPolicy::Retain;
        stage.gone(AfterWish::Delete, None);
    });
    assert_eq!(remembered(&kept), ("u", AfterWish::Retain, Some(10_000)), "its last word counts");
}

#[test]
fn made_again_within_the_grace_a_topic_is_the_old_one_unless_it_has_fewer_partitions() {
    let again = planned(|stage| {
        stage.wish("older", AfterWish::Delete, Some(9_000));
    });
    assert_eq!(remembered(&again), ("u", AfterWish::Delete, None));
    assert_eq!(again.standing, Standing::Ready);
    let fewer = |since| {
        planned(|stage| {
            stage.wish("older", AfterWish::Delete, Some(since));
            stage.objects[0].spec.partitions = 1;
        })
    };
    assert!(matches!(fewer(9_000).standing, Standing::Busy("AwaitingDeletion", _)));
    assert_eq!((fewer(9_000).again_ms, fewer(9_000).wish), (Some(14_000), None));
    assert_eq!(fewer(5_000).asks, [(Ask::Delete(Uuid([1; 16])), None)]);
}

#[test]
fn a_topic_that_nobody_wished_for_gets_an_object_and_internal_ones_get_none() {
    let made = planned(|stage| {
        stage.objects.clear();
        stage.topic.as_mut().unwrap().wish = None;
    });
    assert_eq!(made.object, Some(ObjectStep::Make { partitions: 2 }));
    let internal = view("__t", with_replicas(&[&[0]])).topics["__t"].clone();
    let scene = Scene {
        name: "__t",
        now_ms: 0,
        cluster: &LogClusterSpec::default(),
        objects: &[],
        last: None,
        topic: Some(&internal),
        vanished: Vanished::ByPerson,
        brokers: 3,
    };
    assert_eq!(plan(&scene), Plan::default());
}

#[test]
fn an_object_that_is_about_to_go_is_waited_for() {
    let going = planned(|stage| {
        stage.objects[0].metadata.deletion_timestamp = stage.objects[0].metadata.creation_timestamp.clone();
        stage.topic = None;
    });
    assert_eq!(going, Plan::default());
}

#[test]
fn what_goes_with_others_or_with_what_it_is_in_was_not_deleted_by_a_person() {
    assert_eq!(vanished(None, true, 1, 1), Vanished::Unknown);
    assert_eq!(vanished(Some(false), false, 1, 1), Vanished::Otherwise);
    assert_eq!(vanished(Some(true), false, 1, 1), Vanished::Unknown);
    assert_eq!(vanished(Some(true), true, 2, 0), Vanished::Otherwise);
    assert_eq!(vanished(Some(true), true, 1, 0), Vanished::ByPerson);
    assert_eq!(vanished(Some(true), true, 3, 1), Vanished::ByPerson);
}
