"""Apache Kafka's own tools for whoever runs a cluster, on three brokers."""

import json
import re
import tempfile
import time

from broker import run
from java_tools import tool

QUORUM = "org.apache.kafka.tools.MetadataQuorumCommand"


def refused(broker, name, *arguments):
    """What the tool says when it does not do it."""
    return what_it_says(lambda: tool(broker, name, *arguments))


def what_it_says(attempt):
    try:
        return attempt()
    except AssertionError as error:
        return str(error)


def placed(broker, topic):
    """By partition: the leader, the replicas, those in sync."""
    told = tool(broker, "topics", "--describe", "--topic", topic)
    rows = re.findall(r"Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S*)\s+Isr: (\S*)", told)
    ids = lambda text: [int(number) for number in text.split(",")]
    return {int(p): (leader, ids(replicas), sorted(ids(isr))) for p, leader, replicas, isr in rows}


def reassign(broker, moves, *arguments):
    """`moves` are (topic, partition, replicas), and where that matters the replicas' directories."""
    names = ("topic", "partition", "replicas", "log_dirs")
    rows = [dict(zip(names, move)) for move in moves]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"version": 1, "partitions": rows}, file)
        file.flush()
        return tool(broker, "reassign-partitions", "--reassignment-json-file", file.name, *arguments)


def until_moved(broker, moves):
    deadline = time.monotonic() + 60
    while "is still in progress" in (told := reassign(broker, moves, "--verify")):
        assert time.monotonic() < deadline, told
    assert told.count("is completed.") == len(moves), told
    return told


def load(broker, topic, megabytes):
    """Fills a topic, one record a kilobyte."""
    count = ["--num-records", str(megabytes * 1000), "--record-size", "1000", "--throughput", "-1"]
    tool(broker, "producer-perf-test", "--topic", topic, *count, "--command-property", "acks=all")


def replicas_are_spread(broker):
    tool(broker, "topics", "--create", "--topic", "spread", "--partitions", "6", "--replication-factor", "3")
    rows = placed(broker, "spread")
    assert all(sorted(replicas) == [0, 1, 2] and isr == [0, 1, 2] for _, replicas, isr in rows.values()), rows
    assert sorted(leader for leader, _, _ in rows.values()) == ["0", "0", "1", "1", "2", "2"], rows
    for lacking in ("--under-replicated-partitions", "--under-min-isr-partitions", "--unavailable-partitions"):
        assert not tool(broker, "topics", "--describe", lacking).strip()
    too_many = ["--create", "--topic", "wide", "--partitions", "1", "--replication-factor", "4"]
    assert "only 3 brokers are registered" in refused(broker, "topics", *too_many)


def topics_are_configured(broker):
    tool(broker, "topics", "--create", "--topic", "configured", "--partitions", "1")
    topic = ["--entity-type", "topics", "--entity-name", "configured"]
    tool(broker, "configs", "--alter", *topic, "--add-config", "segment.ms=123456,flush.ms=5000")
    told = tool(broker, "configs", "--describe", *topic)
    assert "segment.ms=123456" in told and "flush.ms=5000" in told, told
    tool(broker, "configs", "--alter", *topic, "--delete-config", "segment.ms,flush.ms")
    assert "segment.ms" not in tool(broker, "configs", "--describe", *topic)
    assert "did you mean segment.ms?" in refused(broker, "configs", "--alter", *topic, "--add-config", "segmen.ms=1")


def brokers_are_configured(broker):
    everybody, one = ["--entity-type", "brokers", "--entity-default"], ["--entity-type", "brokers", "--entity-name", "1"]
    tool(broker, "configs", "--alter", *everybody, "--add-config", "log.segment.bytes=200000")
    tool(broker, "configs", "--alter", *one, "--add-config", "log.segment.bytes=300000")
    assert "log.segment.bytes=200000" in tool(broker, "configs", "--describe", *everybody)
    told = tool(broker, "configs", "--describe", *one)
    sources = ["DYNAMIC_BROKER_CONFIG", "DYNAMIC_DEFAULT_BROKER_CONFIG", "DEFAULT_CONFIG"]
    expected = ", ".join(f"{source}:log.segment.bytes={size}" for source, size in zip(sources, (300000, 200000, 1 << 30)))
    assert expected in told, told
    for of in (one, everybody):
        tool(broker, "configs", "--alter", *of, "--delete-config", "log.segment.bytes")
        assert "log.segment.bytes" not in tool(broker, "configs", "--describe", *of)
    said = refused(broker, "configs", "--alter", *one, "--add-config", "num.io.threads=3")
    assert "is read when a broker starts" in said, said


def records_are_deleted(broker):
    tool(broker, "topics", "--create", "--topic", "shortened", "--partitions", "1", "--replication-factor", "3")
    lines = [f"line {number}" for number in range(10)]
    tool(broker, "console-producer", "--topic", "shortened", stdin="\n".join(lines).encode())
    def delete(offset):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"version": 1, "partitions": [{"topic": "shortened", "partition": 0, "offset": offset}]}, file)
            file.flush()
            return refused(broker, "delete-records", "--offset-json-file", file.name)
    told = delete(4)
    assert re.search(r"shortened-0\s+low_watermark: 4", told), told
    assert tool(broker, "get-offsets", "--topic", "shortened", "--time", "-2").split() == ["shortened:0:4"]
    read = ["--topic", "shortened", "--from-beginning", "--max-messages", "6", "--timeout-ms", "30000"]
    assert tool(broker, "console-consumer", *read).split("\n")[:-1] == lines[4:]
    told = delete(11)
    assert "OffsetOutOfRange" in told, told
    told = delete(-1)
    assert re.search(r"shortened-0\s+low_watermark: 10", told), told


def partitions_are_moved(broker):
    tool(broker, "topics", "--create", "--topic", "moved", "--partitions", "2", "--replication-factor", "1")
    lines = [f"line {number}" for number in range(2000)]
    tool(broker, "console-producer", "--topic", "moved", stdin="\n".join(lines).encode())
    moves = [("moved", 0, [2, 0, 1]), ("moved", 1, [1, 2])]
    assert "Successfully started" in reassign(broker, moves, "--execute")
    until_moved(broker, moves)
    rows = placed(broker, "moved")
    assert {number: row[1:] for number, row in rows.items()} == {0: ([2, 0, 1], [0, 1, 2]), 1: ([1, 2], [1, 2])}, rows
    read = ["--topic", "moved", "--from-beginning", "--max-messages", "2000", "--timeout-ms", "30000"]
    assert sorted(tool(broker, "console-consumer", *read).split("\n")[:-1]) == sorted(lines)


def moves_are_throttled_listed_and_cancelled(broker):
    tool(broker, "topics", "--create", "--topic", "slow", "--replica-assignment", "0:1")
    load(broker, "slow", 8)
    moves = [("slow", 0, [2, 1])]
    told = reassign(broker, moves, "--execute", "--throttle", "1000")
    assert "throttle limit was set to 1000 B/s" in told, told
    assert "slow-0: replicas: 2,1,0. adding: 2. removing: 0." in tool(broker, "reassign-partitions", "--list")
    assert "is still in progress" in reassign(broker, moves, "--verify")
    told = tool(broker, "configs", "--describe", "--entity-type", "topics", "--entity-name", "slow")
    assert "follower.replication.throttled.replicas=0:2" in told, told
    told = tool(broker, "topics", "--describe", "--topic", "slow")
    assert re.search(r"Replicas: 2,1,0\s.*Adding Replicas: 2\s+Removing Replicas: 0", told), told
    assert "Successfully cancelled" in reassign(broker, moves, "--cancel")
    assert "No partition reassignments found." in tool(broker, "reassign-partitions", "--list")
    assert placed(broker, "slow")[0][1:] == ([1, 0], [0, 1]), placed(broker, "slow")
    told = tool(broker, "configs", "--describe", "--entity-type", "topics", "--entity-name", "slow")
    assert "throttled" not in told, told
    reassign(broker, moves, "--execute")
    assert "Clearing broker-level throttles" in until_moved(broker, moves)


def preferred_leaders_are_elected(broker):
    tool(broker, "topics", "--create", "--topic", "preferred", "--replica-assignment", "0:1:2")
    moves = [("preferred", 0, [1, 2, 0])]
    reassign(broker, moves, "--execute")
    assert placed(broker, "preferred")[0][0] == "0", "who leads goes on to, as long as it is a replica"
    partition = ["--election-type", "preferred", "--topic", "preferred", "--partition", "0"]
    assert "Successfully completed" in tool(broker, "leader-election", *partition)
    assert placed(broker, "preferred")[0][0] == "1"
    assert "already elected" in tool(broker, "leader-election", *partition)
    needless = ["--election-type", "unclean", "--topic", "preferred", "--partition", "0"]
    assert "already elected" in tool(broker, "leader-election", *needless)


def the_quorum_and_the_disks_are_described(broker):
    told = tool(broker, QUORUM, "describe", "--status")
    assert re.search(r"LeaderId:\s+[012]", told) and re.search(r"CurrentObservers:.*id.*id", told), told
    assert tool(broker, QUORUM, "describe", "--replication").count("Observer") == 2
    tool(broker, "topics", "--create", "--topic", "sized", "--partitions", "6", "--replication-factor", "3")
    told = tool(broker, "log-dirs", "--describe", "--topic-list", "sized").strip().splitlines()[-1]
    sizes = {one["broker"]: len(one["logDirs"][0]["partitions"]) for one in json.loads(told)["brokers"]}
    assert sizes == {0: 6, 1: 6, 2: 6}, told


def brokers_that_are_alive_are_not_forgotten(broker):
    unregister = ["org.apache.kafka.tools.ClusterTool", "unregister", "--bootstrap-server", broker.address, "--id", "1"]
    said = what_it_says(lambda: run([broker.kafka_dir / "run", *unregister]).decode())
    assert "stop it first" in said, said


CHECKS = [
    replicas_are_spread,
    topics_are_configured,
    brokers_are_configured,
    records_are_deleted,
    partitions_are_moved,
    moves_are_throttled_listed_and_cancelled,
    preferred_leaders_are_elected,
    the_quorum_and_the_disks_are_described,
    brokers_that_are_alive_are_not_forgotten,
]
