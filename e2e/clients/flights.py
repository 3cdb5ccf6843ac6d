"""200,000 flights, one record a message, keyed by distance: in with librdkafka, out again, byte for byte and in order
per key; by one consumer and by a group of three, with every codec, and through kill -9."""

import logging
import threading
import time
from collections import defaultdict

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 6
FLIGHTS = []

# librdkafka tells of every connection refused while the broker is down, which is what is wanted then.
QUIET = logging.getLogger("quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


def load(path):
    """Each flight's bytes as they stand in the file, with its key."""
    text = path.read_bytes().strip()
    assert text.startswith(b"[{") and text.endswith(b"}]")
    for inner in text[2:-2].split(b"},{"):
        key = inner.split(b'"distance":')[1].split(b",")[0]
        FLIGHTS.append((key, b"{" + inner + b"}"))
    assert len(FLIGHTS) == 200_000


def create(broker, topic, partitions=PARTITIONS):
    admin = AdminClient({"bootstrap.servers": broker.address})
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(60)


def produce(broker, topic, properties, when_acknowledged=lambda count: None):
    """All flights; returns for each the partition and offset that was acknowledged."""
    places = [None] * len(FLIGHTS)
    count = 0
    failures = []

    def delivered(number):
        def callback(error, message):
            nonlocal count
            if error:
                failures.append(error)
                return
            places[number] = (message.partition(), message.offset())
            count += 1

        return callback

    producer = Producer({"bootstrap.servers": broker.address, "acks": "all", **properties}, logger=QUIET)
    for number, (key, value) in enumerate(FLIGHTS):
        while True:
            try:
                producer.produce(topic, key=key, value=value, on_delivery=delivered(number))
                break
            except BufferError:
                producer.poll(0.05)
        if number % 500 == 0:
            producer.poll(0)
            when_acknowledged(count)
    left = producer.flush(120)
    assert left == 0 and not failures, f"{left} records left, {len(failures)} refused: {failures[:3]}"
    return places


def read_all(broker, topic):
    """By one consumer without a group, partition by partition: a list of (key, value) each."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "read-all", "check.crcs": True})
    found, ends = defaultdict(list), {}
    metadata = consumer.list_topics(topic, timeout=30)
    for partition in metadata.topics[topic].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        assert low == 0
        ends[partition] = high
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    left, deadline = sum(ends.values()), time.monotonic() + 120
    while left:
        assert time.monotonic() < deadline, f"{left} records did not come"
        for message in consumer.consume(1000, timeout=1):
            if message.error():
                raise KafkaException(message.error())
            assert message.offset() == len(found[message.partition()]), "offsets without gaps"
            found[message.partition()].append((message.key(), message.value()))
            left -= 1
    consumer.close()
    return found


def by_key(pairs):
    kept = defaultdict(list)
    for key, value in pairs:
        kept[key].append(value)
    return kept


def assert_all_flights(found, places):
    """Each flight lies where it was acknowledged, nothing else is there, and keys are in order."""
    assert sum(map(len, found.values())) == len(FLIGHTS)
    for flight, (partition, offset) in zip(FLIGHTS, places):
        assert found[partition][offset] == flight
    wanted = by_key(FLIGHTS)
    for pairs in found.values():
        for key, values in by_key(pairs).items():
            assert values == wanted[key], f"order of key {key}"


def read_by_three(broker, topic, group):
    """By a group of three, which share the partitions before the first record is read."""
    properties = {
        "bootstrap.servers": broker.address,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    found, lock, total = [[], [], []], threading.Lock(), [0]
    ready, failures = threading.Barrier(3), []

    def member(number):
        consumer = Consumer(properties)
        consumer.subscribe([topic])
        try:
            deadline = time.monotonic() + 120
            kept = []
            while len(consumer.assignment()) != PARTITIONS // 3:
                assert time.monotonic() < deadline, "no fair share"
                kept = kept + consumer.consume(1, timeout=0.05) if consumer.assignment() else []
                if not consumer.assignment():
                    consumer.poll(0.05)
            ready.wait(120)
            # What came before all three shared is read again, so that each starts at its share's beginning.
            for partition in consumer.assignment():
                consumer.seek(TopicPartition(topic, partition.partition, 0))
            seen = set()
            while total[0] < len(FLIGHTS):
                assert time.monotonic() < deadline, f"only {total[0]} records came"
                for message in consumer.consume(1000, timeout=0.2):
                    if message.error():
                        raise KafkaException(message.error())
                    place = (message.partition(), message.offset())
                    if place in seen:
                        continue
                    seen.add(place)
                    found[number].append((message.key(), message.value()))
                    with lock:
                        total[0] += 1
            consumer.commit(asynchronous=False)
        except Exception as error:
            failures.append(error)
            ready.abort()
        finally:
            consumer.close()

    threads = [threading.Thread(target=member, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return found


def through(codec):
    def check(broker):
        topic = f"flights-{codec}"
        create(broker, topic)
        # Idempotent, because only that keeps the order when a batch is sent again, as a topic just made may demand.
        settings = {"compression.type": codec, "linger.ms": 20, "enable.idempotence": True}
        places = produce(broker, topic, settings)
        assert_all_flights(read_all(broker, topic), places)
        shares = read_by_three(broker, topic, f"three-{codec}")
        assert all(shares), "each of the three read some"
        wanted = by_key(FLIGHTS)
        seen = [by_key(share) for share in shares]
        assert sum(map(len, seen)) == len(wanted), "a key is read by one member only"
        for keys in seen:
            for key, values in keys.items():
                assert values == wanted[key], f"key {key}"

    check.__name__ = f"flights_through_{codec}"
    return check


def through_kill(name, properties, idempotent):
    def check(broker):
        topic = f"flights-{name}"
        create(broker, topic)
        kills = [150_000, 60_000]

        def kill_now_and_then(count):
            if kills and count >= kills[-1]:
                kills.pop()
                broker.kill()
                broker.start()

        # A short queue keeps the producer near its acknowledgements, so that the kill comes in the middle.
        slow = {"queue.buffering.max.messages": 10_000, "reconnect.backoff.max.ms": 200, "linger.ms": 5}
        places = produce(broker, topic, {**slow, **properties}, kill_now_and_then)
        assert not kills, "the broker was killed while records were on their way"
        found = read_all(broker, topic)
        if idempotent:
            assert_all_flights(found, places)
            return
        for flight, (partition, offset) in zip(FLIGHTS, places):
            assert found[partition][offset] == flight, "acknowledged, and not where it was"

    check.__name__ = f"flights_through_kill_9_{name}"
    return check


CHECKS = [through(codec) for codec in CODECS] + [
    through_kill("idempotent", {"enable.idempotence": True, "compression.type": "lz4"}, True),
    through_kill("plain", {"compression.type": "zstd"}, False),
]
