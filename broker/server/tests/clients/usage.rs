//! What is asked for wrongly, or cannot be had: one clear sentence and an exit status that is not 0.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::broker::{Broker, run};

/// Runs `taffrail dev` with `args`, which must fail with `status`, and returns what it says on standard error.
fn refusal(args: &[&str], data_dir: &Path, status: i32) -> String {
    let all = [&["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], args].concat();
    let output = run(&all, data_dir);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

#[test]
fn wrong_options_and_settings_are_named() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    assert_says(&refusal(&["--nonsense"], &data, 2), &["--nonsense"]);
    assert_says(&refusal(&["--set", "num.partition=3"], &data, 2), &["num.partition", "num.partitions"]);
    assert_says(&refusal(&["--set", "num.partitions=none"], &data, 2), &["num.partitions", "none"]);
    assert_says(&refusal(&["--set", "num.partitions"], &data, 2), &["num.partitions", "KEY=VALUE"]);
    assert!(!data.exists(), "a refused start leaves nothing behind");
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let mut broker = Broker::start();
    let said = refusal(&[], &broker.data_dir(), 1);
    assert_says(&said, &[broker.data_dir().to_str().unwrap()]);
    broker.assert_alive();
}

#[test]
fn a_port_in_use_is_refused() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["dev", "--listen", &address, "--admin", "127.0.0.1:0"], &dir.path().join("data"));
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8_lossy(&output.stderr), &[&address]);
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let data = file.join("data");
    assert_says(&refusal(&[], &data, 1), &[data.to_str().unwrap()]);
}

/// Every file below `dir` with its bytes; directories with none.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, Some(bytes));
        }
    }
    found
}

#[test]
fn a_data_directory_of_apache_kafka_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("kafka-logs");
    fs::create_dir_all(data.join("__cluster_metadata-0")).unwrap();
    fs::create_dir_all(data.join("orders-0")).unwrap();
    let meta = "#\n#Thu Jan 01 00:00:00 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qk\n\
                directory.id=hPRUv0oXFC3ofsWqMmPCkg\nnode.id=1\nversion=1\n";
    fs::write(data.join("meta.properties"), meta).unwrap();
    fs::write(data.join("bootstrap.checkpoint"), [0u8; 64]).unwrap();
    fs::write(data.join("recovery-point-offset-checkpoint"), "0\n0\n").unwrap();
    fs::write(data.join("__cluster_metadata-0/00000000000000000000.log"), [1u8; 100]).unwrap();
    fs::write(data.join("orders-0/00000000000000000000.log"), []).unwrap();
    fs::write(data.join("orders-0/partition.metadata"), "version: 0\ntopic_id: XbJ0q2pWQh2aG2z8dlZs_A")
        .unwrap();
    let before = contents(&data);
    assert_says(&refusal(&[], &data, 1), &[data.to_str().unwrap(), "Kafka"]);
    assert_eq!(contents(&data), before);
}
