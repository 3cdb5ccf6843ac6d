"""kafka-python: a client that shares nothing with librdkafka or Java."""

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from flights import CODECS, FLIGHTS

SOME = 20_000


def flights_with(codec):
    def check(broker):
        topic = f"kafka-python-{codec}"
        compression = None if codec == "none" else codec
        producer = KafkaProducer(
            bootstrap_servers=broker.address, compression_type=compression, linger_ms=20, acks="all"
        )
        futures = [producer.send(topic, key=key, value=value, partition=0) for key, value in FLIGHTS[:SOME]]
        producer.flush(60)
        assert [future.get(60).offset for future in futures] == list(range(SOME))
        producer.close()
        consumer = KafkaConsumer(bootstrap_servers=broker.address, consumer_timeout_ms=30_000)
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        for number, message in enumerate(consumer):
            assert (message.key, message.value) == FLIGHTS[number]
            if number == SOME - 1:
                break
        assert consumer.position(partition) == SOME
        assert consumer.end_offsets([partition]) == {partition: SOME}
        consumer.close()

    check.__name__ = f"flights_with_{codec}"
    return check


def a_group_commits_and_reads_on(broker):
    topic = "kafka-python-group"
    producer = KafkaProducer(bootstrap_servers=broker.address)

    def read(count):
        consumer = KafkaConsumer(
            topic,
            bootstrap_servers=broker.address,
            group_id="kafka-python-readers",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            consumer_timeout_ms=30_000,
            max_poll_records=1,
        )
        got = [next(consumer).value for _ in range(count)]
        consumer.commit()
        consumer.close()
        return got

    for value in (b"one", b"two"):
        producer.send(topic, value).get(30)
    assert read(2) == [b"one", b"two"]
    producer.send(topic, b"three").get(30)
    assert read(1) == [b"three"]


def topics_are_administered(broker):
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    admin.create_topics([NewTopic("kafka-python-admin", 3, 1)])
    assert "kafka-python-admin" in admin.list_topics()
    admin.delete_topics(["kafka-python-admin"])
    assert "kafka-python-admin" not in admin.list_topics()
    admin.close()


CHECKS = [*map(flights_with, CODECS), a_group_commits_and_reads_on, topics_are_administered]
