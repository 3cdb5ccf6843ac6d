use serde_json::json;

use super::template::{Template, wish_hash};
use super::*;

fn cluster(spec: serde_json::Value) -> LogCluster {
    serde_json::from_value(json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "LogCluster",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "8a3c"},
        "spec": spec,
    }))
    .unwrap()
}

fn release() -> Release {
    Release { version: "0.1.0".to_owned(), image: "taffrail/broker:0.1.0".to_owned(), pull_policy: None }
}

fn access() -> ControllerAccess {
    ControllerAccess {
        address: "https://taffrail-operator.taffrail.svc:9190".to_owned(),
        ca_certificate: "-----BEGIN CERTIFICATE-----\n".to_owned(),
    }
}

fn built(cluster: &LogCluster) -> Vec<Child> {
    let release = Release { pull_policy: Some("IfNotPresent".to_owned()), ..release() };
    let templates = Templates::first(Template::build(cluster, &release));
    children(&Wish {
        cluster,
        controller: &access(),
        replicas: cluster.spec.brokers.replicas,
        templates: &templates,
        first_sizes: &BTreeMap::new(),
        max_unavailable: 1,
    })
}

/// All children as YAML, without the template that an annotation repeats.
fn yaml(children: &[Child]) -> String {
    let documents = children.iter().map(|child| {
        let mut object = child.object.clone();
        if let Some(templates) = object.pointer_mut("/metadata/annotations/taffrail.dev~1templates") {
            assert!(templates.as_str().unwrap().starts_with(r#"{"current":{"#));
            *templates = "(see spec.template)".into();
        }
        serde_yaml_ng::to_string(&object).unwrap()
    });
    documents.collect::<Vec<_>>().join("---\n")
}

fn everything() -> LogCluster {
    cluster(json!({
        "version": "0.2.0",
        "image": "registry.example/broker:x",
        "brokers": {
            "replicas": 5,
            "storage": {
                "volumes": [
                    {"name": "fast", "size": "100Gi", "storageClass": "local"},
                    {"name": "also-fast", "size": "50Gi"},
                ],
                "deleteClaim": true,
            },
            "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
            "rack": {"topologyKey": "example.com/row"},
            "pod": {
                "labels": {"team": "orders"},
                "annotations": {"example.com/note": "x"},
                "nodeSelector": {"disk": "nvme"},
                "tolerations": [{"key": "brokers", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "topologySpreadConstraints":
                    [{"maxSkew": 1, "topologyKey": "x", "whenUnsatisfiable": "DoNotSchedule"}],
                "priorityClassName": "high",
                "imagePullSecrets": [{"name": "registry"}],
            },
            "terminationGracePeriodSeconds": 900,
        },
        "listeners": [
            {"name": "outside", "type": "loadbalancer", "port": 9094},
            {"name": "plain", "type": "internal", "port": 9092},
            {"name": "second", "type": "internal", "port": 9093},
        ],
        "config": {"num.partitions": 6, "num.io.threads": 4, "auto.create.topics.enable": "false"},
        "networkPolicy": {"enabled": true},
    }))
}

#[test]
fn five_lines_make_a_whole_cluster() {
    insta::assert_snapshot!(yaml(&built(&cluster(json!({})))));
}

#[test]
fn everything_that_can_be_set_is_followed() {
    insta::assert_snapshot!(yaml(&built(&everything())));
}

#[test]
fn a_nodeport_listener_has_a_service_to_begin_with_and_one_for_each_broker() {
    let cluster = cluster(json!({"listeners": [
        {"name": "plain", "type": "internal", "port": 9092},
        {"name": "outside", "type": "nodeport", "port": 9094},
    ]}));
    let services: Vec<_> =
        built(&cluster).into_iter().filter(|child| child.resource.kind == "Service").collect();
    insta::assert_snapshot!(yaml(&services));
}

#[test]
fn the_same_wish_gives_the_same_bytes() {
    for cluster in [cluster(json!({})), everything()] {
        assert_eq!(yaml(&built(&cluster)), yaml(&built(&cluster)));
        let again: LogCluster = serde_json::from_str(&serde_json::to_string(&cluster).unwrap()).unwrap();
        assert_eq!(yaml(&built(&cluster)), yaml(&built(&again)));
    }
}

#[test]
fn all_children_are_owned_named_and_labelled() {
    for child in built(&everything()) {
        let metadata = &child.object["metadata"];
        assert_eq!(metadata["labels"][taffrail_crds::CLUSTER_LABEL], "orders", "{}", child.name);
        assert_eq!(metadata["ownerReferences"][0]["uid"], "8a3c", "{}", child.name);
        assert_eq!(metadata["ownerReferences"][0]["controller"], true, "{}", child.name);
        assert_eq!(metadata["namespace"], "shop", "{}", child.name);
        assert_eq!(
            (&child.object["kind"], &metadata["name"]),
            (&child.resource.kind.into(), &child.name.into())
        );
    }
}

#[test]
fn pods_are_asked_for_anew_only_where_they_would_be_others() {
    let hash = |spec: serde_json::Value| wish_hash(&cluster(spec), &release());
    let first = hash(json!({}));
    for same in [
        json!({"pause": true}),
        json!({"brokers": {"replicas": 3, "storage": {"volumes": [{"name": "data", "size": "20Gi"}]}}}),
        json!({"dnsTtlSeconds": 5}),
        json!({"config": {"log.segment.bytes": 1_000_000, "max.connections": 7}}),
    ] {
        assert_eq!(hash(same.clone()), first, "{same}");
    }
    for other in [
        json!({"config": {"num.io.threads": 4}}),
        json!({"brokers": {"resources": {"limits": {"memory": "1Gi"}}}}),
        json!({"brokers": {"pod": {"labels": {"a": "b"}}}}),
        json!({"listeners": [{"name": "plain", "type": "internal", "port": 9093}]}),
    ] {
        assert_ne!(hash(other.clone()), first, "{other}");
    }
    let newer = Release { version: "0.2.0".to_owned(), ..release() };
    assert_ne!(wish_hash(&cluster(json!({})), &newer), first);
    // It stands in annotations of clusters that are there: another hash would restart every broker of the world.
    assert_eq!(first, "f721e47985a7c2e7");
}

#[test]
fn volumes_in_another_order_change_nothing() {
    let ordered = |one: &str, other: &str| {
        let volumes = json!([{"name": one, "size": "1Gi"}, {"name": other, "size": "1Gi"}]);
        let cluster = cluster(json!({"brokers": {"storage": {"volumes": volumes}}}));
        (wish_hash(&cluster, &release()), built(&cluster).pop().unwrap().object)
    };
    assert_eq!(ordered("a", "b"), ordered("b", "a"));
}

#[test]
fn a_roll_that_fails_goes_back_to_the_last_template_that_was_whole() {
    let template = |version: &str| Template {
        wish: version.to_owned(),
        version: version.to_owned(),
        template: json!({"metadata": {"annotations": {"taffrail.dev/template-hash": version}}}),
    };
    let first = Templates::first(template("1"));
    let rolling = first.begin(template("2"));
    assert_eq!((rolling.current.hash(), rolling.previous.as_ref().unwrap().hash()), ("2", "1"));
    let again = rolling.begin(template("3"));
    assert_eq!((again.current.hash(), again.previous.as_ref().unwrap().hash()), ("3", "1"));
    let back = again.give_back("no such image".to_owned());
    assert_eq!((back.current.hash(), &back.previous), ("1", &None));
    assert_eq!(back.refused.as_ref().unwrap().wish, "3");
    assert_eq!(Templates::decode(&back.encode()).unwrap(), back);
    assert_eq!(again.finish(), Templates::first(template("3")));
    assert_eq!(again.begin(template("1")), first);
    assert_eq!(first.give_back("never begun".to_owned()), first);
}

#[test]
fn claims_keep_the_size_that_the_stateful_set_was_made_with() {
    let cluster = cluster(json!({"brokers": {"storage": {"volumes": [{"name": "data", "size": "20Gi"}]}}}));
    let templates = Templates::first(Template::build(&cluster, &release()));
    let first_sizes = BTreeMap::from([("data".to_owned(), Quantity("10Gi".to_owned()))]);
    let all = children(&Wish {
        cluster: &cluster,
        controller: &access(),
        replicas: 3,
        templates: &templates,
        first_sizes: &first_sizes,
        max_unavailable: 0,
    });
    let last = &all.last().unwrap().object["spec"];
    assert_eq!(last["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"], "10Gi");
}
