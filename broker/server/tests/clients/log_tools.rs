//! `taffrail log` beside a running broker, after its end, and on what was damaged since.

use std::fs;
use std::path::Path;
use std::process::Output;

use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;

use crate::broker::{Broker, taffrail};
use crate::client::{client, create_topic, produce};

fn log(args: &[&str], dir: &Path) -> (i32, String, String) {
    let Output { status, stdout, stderr } = taffrail().arg("log").args(args).arg(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    (status.code().unwrap(), stdout, stderr)
}

fn json(args: &[&str], dir: &Path) -> (i32, Vec<Value>) {
    let (status, out, _) = log(&[args, &["--json"]].concat(), dir);
    (status, out.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn fill(broker: &Broker, topic: &str) {
    let producer: FutureProducer = client(
        broker,
        &[("batch.num.messages", "10"), ("enable.idempotence", "true"), ("compression.type", "lz4")],
    );
    let values: Vec<String> = (0..2000).map(|number| format!("{number:0100}")).collect();
    produce(&producer, values.iter().map(|value| FutureRecord::to(topic).payload(value.as_bytes())));
}

#[test]
fn a_running_and_a_killed_and_a_stopped_broker_have_sound_logs() {
    let mut broker = Broker::start_with(&["log.segment.bytes=4000", "log.index.interval.bytes=100"]);
    create_topic(&broker, "sound", 3);
    fill(&broker, "sound");
    let state = |out: &str, words: &str| assert!(out.contains(words), "{words}: {out}");
    let (status, out, _) = log(&["verify", "--deep"], &broker.data_dir());
    assert_eq!(status, 0, "{out}");
    state(&out, "uses the directory");
    state(&out, "no damage was found; looked at 3 logs");
    broker.kill();
    let (status, out, _) = log(&["verify", "--deep", "--threads", "3"], &broker.data_dir());
    assert_eq!(status, 0, "{out}");
    state(&out, "did not stop in good order");
    broker.start_again();
    broker.stop();
    let (status, out) = json(&["verify", "--deep"], &broker.data_dir());
    assert_eq!(status, 0, "{out:?}");
    let summary = out.last().unwrap();
    assert_eq!((&summary["type"], &summary["records"]), (&"summary".into(), &2000.into()));
    let (status, rows) = json(&["segments", "--retention-bytes", "0"], &broker.log_dir());
    assert_eq!(status, 0);
    assert!(rows.len() > 6);
    assert_eq!(rows.iter().map(|row| row["records"].as_u64().unwrap()).sum::<u64>(), 2000);
    assert!(rows.iter().all(|row| row["retention_deletes"] == "size" && row["compression"] == serde_json::json!(["lz4"])));
}

#[test]
fn damage_and_its_place_are_told_and_indexes_are_mended_once_the_broker_is_gone() {
    let mut broker = Broker::start_with(&["log.segment.bytes=20000"]);
    create_topic(&broker, "hurt", 1);
    fill(&broker, "hurt");
    let dir = broker.log_dir().join("hurt-0");
    let index = dir.join("00000000000000000000.index");
    fs::write(&index, [7; 24]).unwrap();
    let (status, out, said) = log(&["rebuild-indexes"], &dir);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(said.contains("in use by another process"), "{said}");
    let (status, out) = json(&["verify"], &dir);
    assert_eq!(status, 1);
    let damage = out.iter().find(|line| line["type"] == "damage").unwrap();
    assert_eq!(
        (&damage["symptom"], &damage["file"]),
        (&"corrupt_offset_index".into(), &index.to_str().unwrap().into())
    );
    broker.stop();
    let (status, out, _) = log(&["rebuild-indexes"], &broker.data_dir());
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("00000000000000000000.index: had 3 entries, and has"), "{out}");
    assert!(out.contains("and 1 of them made anew"), "{out}");
    assert_eq!(log(&["verify"], &dir).0, 0);
    broker.start_again();
    broker.stop();
    let segment = dir.join("00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (status, out, _) = log(&["verify"], &dir);
    assert_eq!(status, 1);
    assert!(out.contains(&format!("DAMAGED {} at position 0, offset", segment.display())), "{out}");
    assert!(out.contains("1 damaged place in 1 log;"), "{out}");
    let (status, out, said) = log(&["verify"], Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(said.contains("holds no logs"), "{said}");
}
