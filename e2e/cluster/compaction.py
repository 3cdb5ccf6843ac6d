"""A compacted topic under faults: producers update keys while brokers are killed and compact, and a consumer that reads from
the beginning finds the latest of each key each time. Needs Java and Kafka installed."""

import random
import re
import time
from collections import Counter
from pathlib import Path

import chaos
import faults
from workload import Workload

TOPIC, PARTITIONS = "compacted", 6
KEYS = Path(__file__).with_name("Keys.java")
PRODUCERS, RATE = 3, 900
# A replica that is away for longer than tombstones are kept never hears of them. The faults are over by then.
TOMBSTONES_KEPT_MS = 15_000
CONFIG = {
    "cleanup_policy": "compact",
    "segment_bytes": 32 << 10,
    "min_cleanable_dirty_ratio": 0.01,
    "delete_retention_ms": TOMBSTONES_KEPT_MS,
    "file_delete_delay_ms": 100,
    "min_insync_replicas": 2,
}
# Cleaners look for work all the time.
SETTINGS = {"log.cleaner.backoff.ms": 20, "log.cleaner.threads": 2}


def run(cluster, java, rounds, seed):
    """Returns whether nothing was found. `java` begins a command of Java, with Kafka's clients in its class path."""
    chance = random.Random(seed)
    print(f"seed {seed}, {rounds} rounds", flush=True)
    cluster.create_topic(TOPIC, PARTITIONS, **CONFIG)
    drawn, recoveries = Counter(), []
    words = [KEYS, cluster.bootstrap, TOPIC, PARTITIONS, PRODUCERS, RATE, TOMBSTONES_KEPT_MS]
    with Workload(*java, *words) as workload:
        chaos.wait_for_writes([workload], time.monotonic_ns())
        for number in range(1, rounds + 1):
            name, fault = draw(chance, cluster)
            hold = chance.choice([0.1, 1, 2]) * chance.uniform(0.5, 1.5)
            drawn[re.sub(r"b\d", "a broker", name)] += 1
            with fault:
                time.sleep(hold)
            mended = time.monotonic_ns()
            for member in cluster.members:
                member.wait_until_ready()
            recoveries.append(chaos.wait_for_writes([workload], mended))
            chaos.wait_until_whole(cluster, [TOPIC])
            # Cleaners get on, and no two faults are one to a tombstone.
            time.sleep(chance.uniform(0.5, 3))
            print(f"round {number}: {name} for {hold:.1f} s; all partitions written to {recoveries[-1]:.2f} s after", flush=True)
        workload.order("quiesce", limit=240)
        verdict = verify_each(cluster, workload)
    sound = verdict.pop("sound")
    chaos.report(verdict, sound, drawn, recoveries)
    found = verdict["compacted"]
    if 2 * found["in_log"] > found["acknowledged"]:
        print(f"NOT COMPACTED: {found['in_log']} records are left of {found['acknowledged']}")
        sound = False
    return sound


def draw(chance, cluster):
    brokers = cluster.brokers
    one, two = chance.choice(brokers), chance.sample(brokers, 2)
    names = " and ".join(member.name for member in two)
    return chance.choice([
        (f"kill {one.name}", faults.killed(one)),
        (f"kill {names}", faults.killed(*two)),
        ("kill all brokers", faults.killed(*brokers)),
        (f"kill {one.name} again and again", faults.crash_looping(one)),
        (f"stop {one.name} in order", faults.stopped(one)),
    ])


def verify_each(cluster, workload):
    """Replicas compact by themselves: what is left is read with each broker away once, so that others lead."""
    for broker in cluster.brokers:
        with faults.killed(broker):
            verdict = workload.order("verify", limit=400)
        broker.wait_until_ready()
        cluster.wait_until_whole(TOPIC)
    return verdict
