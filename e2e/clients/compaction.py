"""One log, compacted by Taffrail and by Apache Kafka: a consumer has to find the same in both, and Kafka's reader of log files
nothing wrong with what ours wrote. Exits with 0 if so. Times are told, and held against nobody."""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from broker import Broker, run
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

TOPIC, PARTITION = "cities", "cities-0"
# Each round updates every city, and has a codec and a producer of its own.
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"] * 2
# In the last round one city of so many loses its value.
TOMBSTONE_EVERY = 100
# Room for all keys at once. Cleaners look for work that often.
SETTINGS = {"log.cleaner.dedupe.buffer.size": 8 << 20, "log.cleaner.backoff.ms": 50}
CONFIG = {"segment.bytes": str(4 << 20), "min.cleanable.dirty.ratio": "0.01", "file.delete.delay.ms": "0"}
# Only what is wrong is told.
QUIET = {"log_level": 4}
CLEANER_THREADS = {"taffrail": "cleaner-", "kafka": "kafka-log-clean"}
LIMIT = 120


def options():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(prog="e2e/clients/run compaction", description=__doc__)
    parser.add_argument("--taffrail", type=Path, default=root / "target/release/taffrail", metavar="FILE")
    parser.add_argument("--work-dir", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    given = options()
    kafka_dir = Path(os.environ["KAFKA_DIR"])
    cities = json.loads((given.work_dir / "cities.json").read_bytes())
    places = given.taffrail, kafka_dir, given.work_dir
    with Broker("taffrail", *places, settings=SETTINGS) as ours, Broker("kafka", *places, settings=SETTINGS) as kafkas:
        create(ours)
        latest, written = produce(ours, cities)
        ours.stop()
        create(kafkas)
        kafkas.stop()
        copy_log(ours, kafkas)
        before = describe(ours)
        ours.start()
        own = compact(ours)
        kafkas.start()
        other = compact(kafkas)
        check(own.pop("records"), other.pop("records"), latest, before["end"])
        ours.stop()
        check_files(ours)
        report(len(latest), {"records": written, "bytes": before["bytes"]}, own, other)
    return 0


def create(broker):
    topic = NewTopic(TOPIC, 1, 1, config=CONFIG)
    admin = AdminClient({"bootstrap.servers": broker.address, **QUIET})
    for future in admin.create_topics([topic]).values():
        future.result(60)


def produce(broker, cities):
    """Returns the last value of each key, and how many records were written."""
    latest, written, failures = {}, 0, []

    def delivered(error, _):
        if error:
            failures.append(error)

    for update, codec in enumerate(CODECS):
        is_last = update == len(CODECS) - 1
        properties = {"compression.type": codec, "enable.idempotence": True, "linger.ms": 20, **QUIET}
        producer = Producer({"bootstrap.servers": broker.address, **properties})
        for number, city in enumerate(cities):
            key = f"{city['country']}/{city['name']}".encode()
            is_gone = is_last and number % TOMBSTONE_EVERY == 0
            value = None if is_gone else json.dumps({**city, "update": update}, ensure_ascii=False).encode()
            while True:
                try:
                    producer.produce(TOPIC, value, key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1000 == 0:
                producer.poll(0)
            latest[key] = value
            written += 1
        left = producer.flush(LIMIT)
        assert left == 0 and not failures, f"{left} records were not written, others failed: {failures[:3]}"
    return latest, written


def log_files(broker, suffix="log"):
    return sorted((broker.log_dir / PARTITION).glob(f"*.{suffix}"))


def describe(broker):
    """The first offset that is not compacted, and the size of the log."""
    logs = log_files(broker)
    assert len(logs) > 10, f"only {len(logs)} segments"
    return {"end": int(logs[-1].stem), "bytes": sum(path.stat().st_size for path in logs)}


def copy_log(ours, kafkas):
    """Both brokers have stopped; the id of Kafka's topic stays."""
    target = kafkas.log_dir / PARTITION
    for path in target.glob("0*"):
        path.unlink()
    for path in (ours.log_dir / PARTITION).glob("0*"):
        shutil.copy2(path, target)
    shutil.copy2(ours.log_dir / PARTITION / "leader-epoch-checkpoint", target)


def compact(broker):
    """Has the log compacted by a broker that has not looked at it so far: what is left of it, and what that took."""
    end = describe(broker)["end"]
    cpu, begin = cleaner_cpu(broker), time.monotonic()
    policy = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=[policy])
    admin = AdminClient({"bootstrap.servers": broker.address, **QUIET})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(60)
    while (done := compacted_to(broker)) < end:
        if time.monotonic() - begin > LIMIT:
            raise TimeoutError(f"compacted to offset {done} instead of {end}: {broker.log_tail()}")
        time.sleep(0.01)
    took = time.monotonic() - begin
    cpu = cleaner_cpu(broker) - cpu
    records = consume(broker)
    size = describe(broker)["bytes"]
    return {"records": records, "count": len(records), "bytes": size, "seconds": took, "cpu": cpu}


def compacted_to(broker):
    checkpoint = broker.log_dir / "cleaner-offset-checkpoint"
    lines = checkpoint.read_text().splitlines() if checkpoint.exists() else []
    return next((int(line.split()[2]) for line in lines if line.startswith(f"{TOPIC} 0 ")), 0)


def cleaner_cpu(broker):
    """Seconds that the threads of cleaners have worked."""
    ticks = 0
    for task in Path(f"/proc/{broker.process.pid}/task").iterdir():
        if (task / "comm").read_text().startswith(CLEANER_THREADS[broker.kind]):
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def consume(broker):
    """All that a consumer finds: offset, timestamp, key and value of each record."""
    properties = {"group.id": "readers", "enable.partition.eof": True, "check.crcs": True, "enable.auto.commit": False, **QUIET}
    consumer = Consumer({"bootstrap.servers": broker.address, **properties})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    records, deadline = [], time.monotonic() + LIMIT
    while True:
        for message in consumer.consume(10_000, timeout=0.2):
            if not message.error():
                records.append((message.offset(), message.timestamp(), message.key(), message.value()))
                continue
            assert message.error().name() == "_PARTITION_EOF", message.error()
            consumer.close()
            return records
        assert time.monotonic() < deadline, f"the log could not be read to its end, only {len(records)} records"


def check(own, other, latest, end):
    """`end` is where the part of the log begins that no cleaner touches: its last segment."""
    for one, two in zip(own, other):
        assert one == two, f"the logs differ: {one} here, {two} at Apache Kafka"
    assert len(own) == len(other), f"{len(own)} records are left, and {len(other)} at Apache Kafka"
    found = {key: value for _, _, key, value in own}
    wrong = [key for key in latest.keys() | found.keys() if latest.get(key, b"") != found.get(key, b"")]
    assert not wrong, f"{len(wrong)} keys do not have their latest values, as {wrong[:3]}"
    compacted = [key for offset, _, key, _ in own if offset < end]
    assert len(compacted) == len(set(compacted)), "keys are left several times where the log is compacted"
    # Nothing of that is worth much where nothing was left out.
    assert compacted and len(own) < 2 * len(latest), f"{len(own)} records are left of {len(latest)} keys"


def check_files(broker):
    """Kafka's own reader of log files on each file that is there; the broker has stopped."""
    dump = [broker.kafka_dir / "run", "dump-log", "--files"]
    logs = log_files(broker)
    told = run([*dump, ",".join(map(str, logs)), "--deep-iteration"], timeout=300).decode()
    # That offsets are missing is what compaction comes to.
    assert "isvalid: false" not in told and told.count("isvalid: true") >= len(logs), told[-2000:]
    for complaint in ("Invalid", "invalid", "not a valid", "exception", "Exception", "Found"):
        assert complaint not in told, told[-2000:]
    indexes = log_files(broker, "index") + log_files(broker, "timeindex")
    assert len(indexes) == 2 * len(logs), f"{len(logs)} segments have {len(indexes)} indexes"
    told = run([*dump, ",".join(map(str, indexes)), "--index-sanity-check"]).decode()
    assert told.count("passed sanity check.") + told.count("is empty.") == len(indexes), told[-2000:]
    told = run([*dump, ",".join(map(str, indexes)), "--verify-index-only"], timeout=300).decode()
    for complaint in ("mismatch", "Mismatches", "not found", "Out of order", "out of order"):
        assert complaint not in told, told[-2000:]
    print(f"Kafka's reader has nothing to say against {len(logs)} segments and {len(indexes)} indexes")


def report(keys, before, own, other):
    print(f"the same in both logs, and the latest value of each of {keys:,} keys")
    print(f"{'':<16}{'before':>14}{'Taffrail':>14}{'Apache Kafka':>14}{'ratio':>8}")
    rows = [("records", before["records"], "count", "d"), ("bytes", before["bytes"], "bytes", "d")]
    rows += [("seconds", "", "seconds", ".2f"), ("CPU seconds", "", "cpu", ".2f")]
    for name, was, field, form in rows:
        was = was and f"{was:,}"
        one, two = own[field], other[field]
        ratio = f"{one / two:.2f}" if two else "-"
        print(f"{name:<16}{was:>14}{format(one, ',' + form):>14}{format(two, ',' + form):>14}{ratio:>8}")


if __name__ == "__main__":
    sys.exit(main())
