"""The little of Kafka's protocol that a test needs to see a cluster from outside: Metadata and CreateTopics."""

import socket
import struct
from dataclasses import dataclass, field

METADATA, METADATA_VERSION = 3, 4
CREATE_TOPICS, CREATE_TOPICS_VERSION = 19, 2
TIMEOUT = 5.0
TOPIC_ALREADY_EXISTS = 36


@dataclass
class Partition:
    leader: int
    replicas: list
    isr: list


@dataclass
class Metadata:
    brokers: list
    partitions: dict = field(default_factory=dict)

    def led_by(self, broker):
        return sorted(number for number, partition in self.partitions.items() if partition.leader == broker)

    def whole(self):
        """Whether every partition has a leader and all of its replicas in sync."""
        return bool(self.partitions) and all(p.leader >= 0 and len(p.isr) == len(p.replicas) for p in self.partitions.values())


def metadata(addresses, topic):
    """As the first of `addresses` that answers tells it; raises OSError if none does."""
    body = struct.pack(">i", 1) + string(topic) + b"\0"
    r = Answer(ask_any(addresses, METADATA, METADATA_VERSION, body))
    r.int32()
    brokers = []
    for _ in range(r.int32()):
        brokers.append(r.int32())
        r.string(), r.int32(), r.string()
    r.string(), r.int32()
    found = Metadata(sorted(brokers))
    for _ in range(r.int32()):
        r.int16(), r.string(), r.int8()
        for _ in range(r.int32()):
            r.int16()
            number, leader = r.int32(), r.int32()
            found.partitions[number] = Partition(leader, r.int32s(), r.int32s())
    return found


def create_topic(addresses, topic, partitions, replication_factor, **configs):
    """Creates a topic, or finds it created by a request whose answer was lost."""
    body = struct.pack(">i", 1) + string(topic) + struct.pack(">ihi", partitions, replication_factor, 0)
    body += struct.pack(">i", len(configs))
    for key, value in configs.items():
        body += string(key.replace("_", ".")) + string(str(value))
    r = Answer(ask_any(addresses, CREATE_TOPICS, CREATE_TOPICS_VERSION, body + struct.pack(">ib", 30_000, 0), 35.0))
    r.int32(), r.int32(), r.string()
    error, message = r.int16(), r.string()
    if error not in (0, TOPIC_ALREADY_EXISTS):
        raise RuntimeError(f"creating {topic}: error {error}: {message}")


def ask_any(addresses, api, version, body, timeout=TIMEOUT):
    failure = OSError("no address to ask")
    for address in addresses:
        try:
            return ask(address, api, version, body, timeout)
        except OSError as error:
            failure = error
    raise failure


def ask(address, api, version, body, timeout):
    host, port = address.rsplit(":", 1)
    request = struct.pack(">hhi", api, version, 1) + string("cluster-tests") + body
    with socket.create_connection((host, int(port)), timeout) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        return receive(connection, struct.unpack(">i", receive(connection, 4))[0])[4:]


def receive(connection, count):
    received = b""
    while len(received) < count:
        more = connection.recv(count - len(received))
        if not more:
            raise ConnectionError("closed instead of answered")
        received += more
    return received


def string(text):
    encoded = text.encode()
    return struct.pack(">h", len(encoded)) + encoded


class Answer:
    def __init__(self, content):
        self.content, self.at = content, 0

    def _take(self, form):
        (value,) = struct.unpack_from(form, self.content, self.at)
        self.at += struct.calcsize(form)
        return value

    def int8(self):
        return self._take(">b")

    def int16(self):
        return self._take(">h")

    def int32(self):
        return self._take(">i")

    def int32s(self):
        return [self.int32() for _ in range(self.int32())]

    def string(self):
        length = self.int16()
        if length < 0:
            return None
        self.at += length
        return self.content[self.at - length : self.at].decode()
