//! Every rule of the custom resources, accepted and refused. The cases in `admission/` can be put to a real API server
//! as well, which alone judges those that are `malformed` or `byKey`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use kube::core::cel::Validator;
use serde::Deserialize;
use serde_json::{Value, json};
use taffrail_crds::generate::definitions;
use taffrail_crds::{GROUP, LogCluster, Topic, VERSION};

const FILES: [&str; 2] = [include_str!("admission/topic.yaml"), include_str!("admission/logcluster.yaml")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    kind: String,
    base: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    name: Option<String>,
    before: Option<Value>,
    spec: Value,
    refused: Option<String>,
    malformed: Option<String>,
    #[serde(default, rename = "byKey")]
    by_key: bool,
}

impl Cases {
    fn all() -> impl Iterator<Item = Self> {
        FILES.into_iter().map(|yaml| serde_yaml_ng::from_str(yaml).unwrap())
    }

    fn schema(&self) -> Value {
        let definition = definitions().into_iter().find(|it| it.spec.names.kind == self.kind).unwrap();
        serde_json::to_value(&definition.spec.versions[0]).unwrap()["schema"]["openAPIV3Schema"].clone()
    }

    fn object(&self, case: &Case, over: &Value) -> Value {
        let mut spec = self.base.clone();
        for (key, value) in over.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let name = case.name.as_deref().unwrap_or("a-name");
        json!({ "metadata": { "name": name }, "spec": spec })
    }
}

#[test]
fn every_case_ends_as_it_says() {
    let validator = Validator::new();
    for cases in Cases::all() {
        let schema = cases.schema();
        for case in cases.cases.iter().filter(|case| case.malformed.is_none() && !case.by_key) {
            let before = case.before.as_ref().map(|spec| cases.object(case, spec));
            let object = cases.object(case, &case.spec);
            let result = validator.validate(&schema, &object, before.as_ref());
            let messages: Vec<String> = result.err().into_iter().flatten().map(|it| it.message).collect();
            let expected: Vec<&str> = case.refused.as_deref().into_iter().collect();
            let same = messages.len() == expected.len()
                && messages.iter().zip(&expected).all(|(message, part)| message.contains(part));
            assert!(same, "{}, {}: expected {expected:?}, got {messages:?}", cases.kind, case.case);
        }
    }
}

/// The operator watches all objects of a kind at once: one that it could not read would hide the others.
#[test]
fn what_is_admitted_can_be_read() {
    for cases in Cases::all() {
        let admitted = |case: &&Case| case.refused.is_none() && case.malformed.is_none();
        for case in cases.cases.iter().filter(admitted) {
            let mut object = cases.object(case, &case.spec);
            object["apiVersion"] = json!(format!("{GROUP}/{VERSION}"));
            object["kind"] = json!(cases.kind);
            let read = match cases.kind.as_str() {
                "Topic" => serde_json::from_value::<Topic>(object).map(|it| json!(it)),
                _ => serde_json::from_value::<LogCluster>(object).map(|it| json!(it)),
            };
            let read = read.unwrap_or_else(|error| panic!("{}, {}: {error}", cases.kind, case.case));
            assert!(
                Validator::new().validate(&cases.schema(), &read, None).is_ok(),
                "written back, it is refused"
            );
        }
    }
}

#[test]
fn every_rule_has_a_case_that_it_refuses() {
    for cases in Cases::all() {
        let mut messages = Vec::new();
        collect_messages(&cases.schema(), &mut messages);
        assert!(messages.len() > 10, "rules are not found in the schema");
        for message in messages {
            let refusal =
                cases.cases.iter().find(|case| case.refused.as_ref().is_some_and(|it| message.contains(it)));
            assert!(refusal.is_some(), "no case of {} is refused with: {message}", cases.kind);
        }
    }
}

fn collect_messages(schema: &Value, messages: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
            {
                messages.push(rule["message"].as_str().expect("a rule without a message").to_owned());
            }
            fields.values().for_each(|value| collect_messages(value, messages));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_messages(value, messages)),
        _ => {}
    }
}

#[test]
fn every_field_of_ours_is_explained() {
    for definition in definitions() {
        let version = serde_json::to_value(&definition.spec.versions[0]).unwrap();
        let schema = &version["schema"]["openAPIV3Schema"];
        explained(&definition.spec.names.kind, schema);
    }
}

fn explained(path: &str, schema: &Value) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let description = property["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "{path} has no description");
        explained(&path, property);
        explained(&path, &property["items"]);
    }
}
