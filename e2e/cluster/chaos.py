"""Breaks a cluster at random while records are written and read, and accounts for every record in the end."""

import random
import re
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import faults
from cluster import wait_for
from workload import Workload

TOPICS = ["chaos-idempotent", "chaos-plain"]
PARTITIONS = 6
# Kafka's own producer writes to a topic of its own.
JAVA_TOPIC, JAVA_RATE = "chaos-java", 300
WRITER = Path(__file__).with_name("Writer.java")
# Within that time after a fault every partition has to take writes again, and all replicas to be in sync.
RECOVERY_LIMIT = 90
# What has to be 0, and what is only told.
FAULTS = ["lost", "misplaced", "reordered", "duplicated", "strange", "vanished", "changed", "unseen", "fatal"]
FAULTS += ["returned", "backwards", "failed"]
COUNTS = ["acknowledged", "in_doubt", "repeated", "overtaken", "in_log", "keys", "gone", "reads"]


def run(cluster, program, java, rounds, seed):
    """Returns whether nothing was found. `java` begins a command of Java, with Kafka's clients in its class path; None
    leaves its producer out."""
    chance = random.Random(seed)
    print(f"seed {seed}, {rounds} rounds", flush=True)
    topics = TOPICS + ([JAVA_TOPIC] if java else [])
    for topic in topics:
        cluster.create_topic(topic, PARTITIONS, min_insync_replicas=2)
    words = ["verify", "--bootstrap", cluster.bootstrap, "--partitions", PARTITIONS]
    words += ["--idempotent", TOPICS[0], "--plain", TOPICS[1]]
    drawn, recoveries = Counter(), []
    with ExitStack() as stack:
        workloads = [stack.enter_context(Workload(program, *words))]
        if java:
            words = [WRITER, cluster.bootstrap, JAVA_TOPIC, PARTITIONS, JAVA_RATE]
            workloads.append(stack.enter_context(Workload(*java, *words)))
        wait_for_writes(workloads, time.monotonic_ns())
        for number in range(1, rounds + 1):
            name, fault = faults.draw(chance, cluster)
            hold = chance.choice([0.2, 1, 3, 8, 15]) * chance.uniform(0.5, 1.5)
            # Now and then the next fault comes while replicas are still out of sync.
            settle = chance.random() < 0.7
            drawn[re.sub(r"b\d", "a broker", name)] += 1
            with fault:
                time.sleep(hold)
            mended = time.monotonic_ns()
            for member in cluster.members:
                member.wait_until_ready()
            recoveries.append(wait_for_writes(workloads, mended))
            if settle:
                wait_until_whole(cluster, topics)
            print(f"round {number}: {name} for {hold:.1f} s; all partitions written to {recoveries[-1]:.2f} s after", flush=True)
        wait_until_whole(cluster, topics)
        for workload in workloads:
            workload.order("quiesce", limit=240)
        with faults.killed(*cluster.members):
            pass
        for member in cluster.members:
            member.wait_until_ready()
        wait_until_whole(cluster, topics)
        verdicts = [workload.order("verify", limit=400) for workload in workloads]
    sound = all([verdict.pop("sound") for verdict in verdicts])
    report({kind: found for verdict in verdicts for kind, found in verdict.items()}, sound, drawn, recoveries)
    return sound


def wait_for_writes(workloads, since):
    """Until every partition has acknowledged a record since: how many seconds after."""
    took = 0.0

    def written():
        nonlocal took
        oldest = min(workload.order("status")["oldest_ns"] for workload in workloads)
        took = (oldest - since) / 1e9
        return took > 0

    wait_for("every partition to take writes again", RECOVERY_LIMIT, written)
    return took


def wait_until_whole(cluster, topics):
    for topic in topics:
        cluster.wait_until_whole(topic, RECOVERY_LIMIT)


def report(findings, sound, drawn, recoveries):
    recoveries.sort()
    print()
    for name, count in drawn.most_common():
        print(f"{count:>4} x {name}")
    if recoveries:
        middle, last = recoveries[len(recoveries) // 2], recoveries[-1]
        print(f"all partitions written to after a fault was mended: median {middle:.2f} s, at most {last:.2f} s")
    print(f"{'records':<16}" + "".join(f"{kind.replace('_', ' '):>12}" for kind in findings))
    for row in filter(lambda row: any(row in found for found in findings.values()), COUNTS + FAULTS):
        must = "   must be 0" if row in FAULTS else ""
        # Not every workload tells everything.
        counts = "".join(f"{found.get(row, '-'):>12}" for found in findings.values())
        print(f"{row.replace('_', ' '):<16}{counts}{must}")
    print("sound" if sound else "NOT SOUND", flush=True)
