"""Apache Kafka's own tools for whoever moves replicas between the disks of a broker."""

import json

from broker import run
from java_admin import load, reassign, until_moved
from java_tools import tool


def homes(broker, topic):
    """By partition: the directories that it is in, each with whether it is a future log."""
    told = json.loads(tool(broker, "log-dirs", "--describe", "--topic-list", topic).strip().splitlines()[-1])
    found = {}
    for directory in told["brokers"][0]["logDirs"]:
        assert directory["error"] is None, told
        for partition in directory["partitions"]:
            number = int(partition["partition"].rsplit("-", 1)[1])
            found.setdefault(number, []).append((directory["logDir"], partition["isFuture"]))
    return found


def replicas_are_moved_between_directories(broker):
    one, two = map(str, broker.log_dirs)
    tool(broker, "topics", "--create", "--topic", "moved", "--partitions", "4", "--replication-factor", "1")
    lines = [f"line {number}" for number in range(2000)]
    tool(broker, "console-producer", "--topic", "moved", stdin="\n".join(lines).encode())
    assert sorted(home for (home, _), in homes(broker, "moved").values()) == [one, one, two, two]
    for target in (two, one):
        moves = [("moved", number, [0], [target]) for number in range(4)]
        told = reassign(broker, moves, "--execute")
        assert told.count(f"Successfully started moving log directory to {target} for replica moved-") == 4, told
        until_moved(broker, moves)
        assert homes(broker, "moved") == {number: [(target, False)] for number in range(4)}
        read = ["--topic", "moved", "--from-beginning", "--max-messages", "2000", "--timeout-ms", "30000"]
        assert sorted(tool(broker, "console-consumer", *read).split("\n")[:-1]) == sorted(lines)
    broker.kill()
    broker.start()
    assert homes(broker, "moved") == {number: [(one, False)] for number in range(4)}
    assert sorted(tool(broker, "console-consumer", *read).split("\n")[:-1]) == sorted(lines)


def moves_between_directories_are_throttled_and_shown(broker):
    one, two = map(str, broker.log_dirs)
    tool(broker, "topics", "--create", "--topic", "slow", "--partitions", "1")
    load(broker, "slow", 8)
    (home, _), = homes(broker, "slow")[0]
    target = two if home == one else one
    moves = [("slow", 0, [0], [target])]
    told = reassign(broker, moves, "--execute", "--replica-alter-log-dirs-throttle", "1000")
    assert "replica-alter-dir throttle limit was set to 1000 B/s" in told, told
    assert sorted(homes(broker, "slow")[0]) == sorted([(home, False), (target, True)])
    told = reassign(broker, moves, "--verify")
    assert "is still in progress" in told, told
    reassign(broker, moves, "--execute", "--additional", "--replica-alter-log-dirs-throttle", "1000000000")
    assert "Clearing broker-level throttles" in until_moved(broker, moves)
    assert homes(broker, "slow")[0] == [(target, False)]


def the_log_of_a_moved_replica_is_one_of_kafkas(broker):
    """Goes on from the checks before."""
    broker.stop()
    try:
        logs = sorted(path for home in broker.log_dirs for path in home.glob("slow-0/*.log") if path.stat().st_size)
        dump = [broker.kafka_dir / "run", "dump-log", "--files", ",".join(map(str, logs)), "--deep-iteration"]
        told = run(dump).decode()
        assert "isvalid: false" not in told and told.count("isvalid: true") > 1, told[-2000:]
    finally:
        broker.start()


CHECKS = [
    replicas_are_moved_between_directories,
    moves_between_directories_are_throttled_and_shown,
    the_log_of_a_moved_replica_is_one_of_kafkas,
]
