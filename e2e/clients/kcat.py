"""kcat: metadata, records with keys and headers, every codec, groups, offsets by time."""

import json

from broker import run
from flights import CODECS, FLIGHTS


def kcat(broker, *arguments, stdin=None):
    return run(["kcat", "-q", "-b", broker.address, *arguments], stdin=stdin)


def a_line_goes_in_and_comes_out(broker):
    kcat(broker, "-P", "-t", "kcat-hello", stdin=b"hello\n")
    assert kcat(broker, "-C", "-t", "kcat-hello", "-e", "-o", "beginning") == b"hello\n"


def metadata_names_the_topic(broker):
    kcat(broker, "-P", "-t", "kcat-metadata", stdin=b"x\n")
    told = json.loads(kcat(broker, "-L", "-J"))
    assert told["brokers"][0]["name"] == broker.address
    topic = next(t for t in told["topics"] if t["topic"] == "kcat-metadata")
    assert topic["partitions"][0]["leader"] == told["brokers"][0]["id"]


def headers_and_null_values_come_back(broker):
    topic = "kcat-headers"
    kcat(broker, "-P", "-t", topic, "-H", "a=1", "-H", "b=", "-K", ":", "-Z", stdin=b"key:\n")
    got = json.loads(kcat(broker, "-C", "-t", topic, "-e", "-o", "beginning", "-J"))
    assert got["headers"] == ["a", "1", "b", ""] and got["key"] == "key" and got["payload"] is None


def flights_with(codec):
    def check(broker):
        topic = f"kcat-{codec}"
        lines = b"".join(key + b"\t" + value + b"\n" for key, value in FLIGHTS)
        kcat(broker, "-P", "-t", topic, "-p", "0", "-K", "\t", "-z", codec, stdin=lines)
        got = kcat(broker, "-C", "-t", topic, "-p", "0", "-e", "-o", "beginning", "-K", "\t")
        assert got == lines

    check.__name__ = f"flights_with_{codec}"
    return check


def a_group_reads_on_where_it_left(broker):
    topic, group = "kcat-group", ["-G", "kcat-readers", "-e", "-X", "auto.offset.reset=earliest"]
    kcat(broker, "-P", "-t", topic, stdin=b"one\ntwo\n")
    assert kcat(broker, *group, topic) == b"one\ntwo\n"
    kcat(broker, "-P", "-t", topic, stdin=b"three\n")
    assert kcat(broker, *group, topic) == b"three\n"


def offsets_are_asked_by_time(broker):
    topic = "kcat-times"
    kcat(broker, "-P", "-t", topic, "-p", "0", stdin=b"one\ntwo\n")
    assert kcat(broker, "-Q", "-t", f"{topic}:0:-1").split() == [topic.encode(), b"[0]", b"offset", b"2"]
    assert kcat(broker, "-Q", "-t", f"{topic}:0:0").split() == [topic.encode(), b"[0]", b"offset", b"0"]


CHECKS = [
    a_line_goes_in_and_comes_out,
    metadata_names_the_topic,
    headers_and_null_values_come_back,
    *map(flights_with, CODECS),
    a_group_reads_on_where_it_left,
    offsets_are_asked_by_time,
]
