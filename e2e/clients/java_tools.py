"""Apache Kafka's own tools: the Java clients at work, and its reader of log files on ours."""

import json
import re

from broker import run


def tool(broker, name, *arguments, stdin=None):
    server = ["--bootstrap-server", broker.address]
    return run([broker.kafka_dir / "run", name, *server, *arguments], stdin=stdin).decode()


def topics_are_created_and_described(broker):
    created = ["--create", "--topic", "java-topics", "--partitions", "4", "--config", "max.message.bytes=70000"]
    tool(broker, "topics", *created)
    told = tool(broker, "topics", "--describe", "--topic", "java-topics")
    assert "PartitionCount: 4" in told and "max.message.bytes=70000" in told, told
    assert len(re.findall(r"Partition: \d\s+Leader: \d", told)) == 4, told
    tool(broker, "topics", "--alter", "--topic", "java-topics", "--partitions", "6")
    assert "PartitionCount: 6" in tool(broker, "topics", "--describe", "--topic", "java-topics")
    told = tool(broker, "configs", "--describe", "--all", "--topic", "java-topics")
    assert "max.message.bytes=70000" in told and "retention.ms=604800000" in told, told
    tool(broker, "topics", "--delete", "--topic", "java-topics")
    assert "java-topics" not in tool(broker, "topics", "--list").split()


def the_console_clients_pass_lines_through_a_group(broker):
    lines = [f"key-{n % 5}:line {n}" for n in range(500)]
    tool(broker, "topics", "--create", "--topic", "java-console", "--partitions", "3")
    keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
    tool(broker, "console-producer", "--topic", "java-console", *keyed, stdin="\n".join(lines).encode())
    shown = ["--formatter-property", "print.key=true", "--formatter-property", "key.separator=:"]
    read = ["--topic", "java-console", "--group", "java-readers", "--from-beginning", *shown]
    got = tool(broker, "console-consumer", *read, "--max-messages", "500", "--timeout-ms", "30000").split("\n")
    for key in range(5):
        of_key = [line for line in lines if line.startswith(f"key-{key}:")]
        assert [line for line in got if line.startswith(f"key-{key}:")] == of_key


def groups_are_described_and_reset(broker):
    """Goes on from the check before."""
    group = ["--group", "java-readers"]

    def rows():
        told = tool(broker, "consumer-groups", "--describe", *group)
        return {w[2]: (int(w[3]), int(w[5])) for w in map(str.split, told.splitlines()) if len(w) > 5 and w[2].isdigit()}

    assert "java-readers" in tool(broker, "consumer-groups", "--list").split()
    assert sum(committed for committed, _ in rows().values()) == 500, rows()
    tool(broker, "consumer-groups", "--reset-offsets", *group, "--topic", "java-console", "--to-earliest", "--execute")
    assert sum(committed for committed, _ in rows().values()) == 0, rows()
    assert sum(lag for _, lag in rows().values()) == 500, rows()
    tool(broker, "consumer-groups", "--delete", *group)
    assert "java-readers" not in tool(broker, "consumer-groups", "--list").split()


def offsets_are_listed(broker):
    told = tool(broker, "get-offsets", "--topic", "java-console")
    assert sum(int(line.rsplit(":", 1)[1]) for line in told.split()) == 500, told
    told = tool(broker, "get-offsets", "--topic", "java-console", "--time", "earliest")
    assert sum(int(line.rsplit(":", 1)[1]) for line in told.split()) == 0, told
    tool(broker, "get-offsets", "--topic", "java-console", "--time", "max-timestamp")


def versions_are_told(broker):
    told = tool(broker, "broker-api-versions")
    assert "Produce(0): 0 to " in told and "ApiVersions(18): 0 to 4" in told, told


def the_performance_tools_run(broker):
    tool(broker, "topics", "--create", "--topic", "java-perf", "--partitions", "4")
    load = ["--topic", "java-perf", "--num-records", "200000", "--record-size", "512", "--throughput", "-1"]
    settings = ["acks=all", "enable.idempotence=true", "compression.type=lz4"]
    told = tool(broker, "producer-perf-test", *load, "--command-property", *settings)
    assert "200000 records sent" in told, told
    told = tool(broker, "consumer-perf-test", "--topic", "java-perf", "--num-records", "200000", "--timeout", "60000")
    assert re.search(r"\b200\d\d\d\b", told), told


def the_verifiable_clients_agree(broker):
    tool(broker, "topics", "--create", "--topic", "java-verified", "--partitions", "2")
    topic = ["--topic", "java-verified", "--max-messages", "5000"]
    sent = tool(broker, "verifiable-producer", *topic, "--acks", "-1").splitlines()
    events = [json.loads(line) for line in sent if line.startswith("{")]
    assert sum(event["name"] == "producer_send_success" for event in events) == 5000
    consumed = tool(broker, "verifiable-consumer", *topic, "--group-id", "java-verifiers", "--reset-policy", "earliest")
    events = [json.loads(line) for line in consumed.splitlines() if line.startswith("{")]
    assert sum(event["count"] for event in events if event["name"] == "records_consumed") == 5000


def kafkas_dump_log_reads_our_files(broker):
    """Segments, both indexes and producer snapshots of what the other checks left; after a clean stop, so that all is
    on disk."""
    broker.stop()
    dump = [broker.kafka_dir / "run", "dump-log", "--files"]
    try:
        # One call: the program takes a list, and a JVM takes a while to start.
        found = sorted(broker.log_dir.glob("java-*/*.log")) + sorted(broker.log_dir.glob("kcat-*/*.log"))
        logs = [path for path in found if path.stat().st_size]
        assert logs, "no segments"
        told = run([*dump, ",".join(map(str, logs)), "--deep-iteration"], timeout=300).decode()
        assert "isvalid: false" not in told and told.count("isvalid: true") >= len(logs), told[-2000:]
        indexes = [path for log in logs for path in (log.with_suffix(".index"), log.with_suffix(".timeindex"))]
        told = run([*dump, ",".join(map(str, indexes)), "--index-sanity-check"]).decode()
        assert told.count("passed sanity check.") + told.count("is empty.") == len(indexes), told[-2000:]
        told = run([*dump, ",".join(map(str, indexes)), "--verify-index-only"], timeout=300).decode()
        for complaint in ("mismatch", "Mismatches", "not found", "Out of order", "out of order"):
            assert complaint not in told, told[-2000:]
        snapshots = sorted(broker.log_dir.glob("java-perf-*/*.snapshot"))
        assert snapshots, "no producer snapshots"
        told = run([*dump, ",".join(map(str, snapshots))]).decode()
        assert "producerId: " in told, told[-2000:]
        offsets = [path for path in broker.log_dir.glob("__consumer_offsets-*/*.log") if path.stat().st_size]
        told = run([*dump, ",".join(map(str, offsets)), "--offsets-decoder"]).decode()
        assert "java-verifiers" in told, told[-2000:]
    finally:
        broker.start()


CHECKS = [
    topics_are_created_and_described,
    the_console_clients_pass_lines_through_a_group,
    groups_are_described_and_reset,
    offsets_are_listed,
    versions_are_told,
    the_performance_tools_run,
    the_verifiable_clients_agree,
    kafkas_dump_log_reads_our_files,
]
