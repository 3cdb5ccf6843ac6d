//! The contract as it is, beside the one of the last release (`proto/released`, which is replaced by `proto` with each
//! release): what that release sends and expects still means the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::Path;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor};

const FILE: &str = "taffrail/control/v1/control.proto";

fn compiled(include: &str) -> DescriptorPool {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join(include);
    DescriptorPool::from_file_descriptor_set(protox::compile([FILE], [include]).unwrap()).unwrap()
}

/// What a field means on the wire and to whoever reads it.
fn meaning(field: &FieldDescriptor) -> String {
    let oneof = field.containing_oneof().map(|oneof| oneof.name().to_owned());
    format!(
        "{} {:?} {:?} presence={} oneof={oneof:?}",
        field.name(),
        field.cardinality(),
        field.kind(),
        field.supports_presence()
    )
}

fn is_reserved(message: &MessageDescriptor, number: u32, name: &str) -> bool {
    let by_number = message.reserved_ranges().any(|range| range.contains(&number));
    by_number && message.reserved_names().any(|reserved| reserved == name)
}

fn compare_messages(released: &MessageDescriptor, now: &MessageDescriptor, problems: &mut Vec<String>) {
    let message = released.full_name();
    for field in released.fields() {
        let (number, name) = (field.number(), field.name().to_owned());
        match now.get_field(number) {
            Some(same) if meaning(&same) == meaning(&field) => {}
            Some(other) => problems.push(format!("{message}.{name} has become {}", meaning(&other))),
            None if is_reserved(now, number, &name) => {}
            None => problems.push(format!("{message}.{name} = {number} is gone and not reserved")),
        }
    }
}

fn compare_enums(released: &EnumDescriptor, now: &EnumDescriptor, problems: &mut Vec<String>) {
    for value in released.values() {
        let same = now.get_value(value.number()).is_some_and(|same| same.name() == value.name());
        if !same {
            problems.push(format!(
                "{} = {} is gone or means something else",
                value.full_name(),
                value.number()
            ));
        }
    }
}

/// Everything that a side that has only `released` would misunderstand.
fn problems(released: &DescriptorPool, now: &DescriptorPool) -> Vec<String> {
    let mut problems = Vec::new();
    for message in released.all_messages() {
        match now.get_message_by_name(message.full_name()) {
            Some(same) => compare_messages(&message, &same, &mut problems),
            None => problems.push(format!("{} is gone", message.full_name())),
        }
    }
    for values in released.all_enums() {
        match now.get_enum_by_name(values.full_name()) {
            Some(same) => compare_enums(&values, &same, &mut problems),
            None => problems.push(format!("{} is gone", values.full_name())),
        }
    }
    for service in released.services() {
        let same = now.get_service_by_name(service.full_name());
        let now: BTreeMap<String, String> = same
            .iter()
            .flat_map(|service| service.methods())
            .map(|method| (method.name().to_owned(), format!("{:?}", method.method_descriptor_proto())))
            .collect();
        for method in service.methods() {
            if now.get(method.name()) != Some(&format!("{:?}", method.method_descriptor_proto())) {
                problems.push(format!("{} is gone or has changed", method.full_name()));
            }
        }
    }
    problems
}

#[test]
fn what_the_last_release_says_still_means_the_same() {
    assert_eq!(problems(&compiled("proto/released"), &compiled("proto")), Vec::<String>::new());
}

#[test]
fn changes_that_would_be_misunderstood_are_found() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto").join(FILE);
    let now = std::fs::read_to_string(file).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(now.contains(from), "{from}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, now.replacen(from, to, 1)).unwrap();
        let set = protox::compile([FILE], [dir.path()]).unwrap();
        problems(&compiled("proto"), &DescriptorPool::from_file_descriptor_set(set).unwrap())
    };
    let found = [
        ("uint64 incarnation = 2;\n}", "uint64 incarnation = 3;\n}"),
        ("uint64 applied_version = 2;", "string applied_version = 2;"),
        ("uint64 applied_version = 2;", ""),
        ("uint64 applied_version = 2;", "reserved 2;"),
        ("int32 partition_epoch = 7;", "optional int32 partition_epoch = 7;"),
        ("repeated Member isr = 8;", "Member isr = 8;"),
        ("LOG_CLAIM_CLEAN = 1;", "LOG_CLAIM_TIDY = 1;"),
        ("rpc FindActive(", "rpc FindLeader("),
    ];
    for (from, to) in found {
        assert_eq!(changed(from, to).len(), 1, "{from} -> {to}");
    }
    let fine = [
        ("uint64 applied_version = 2;", "uint64 applied_version = 2; string more = 3;"),
        ("uint64 applied_version = 2;", "reserved 2; reserved \"applied_version\";"),
        ("message Done {}", "message Done {} message New {}"),
    ];
    for (from, to) in fine {
        assert_eq!(changed(from, to), Vec::<String>::new(), "{from} -> {to}");
    }
}
