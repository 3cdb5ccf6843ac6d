"""How long writes wait when a leader dies: killed, or stopped so that nobody is told."""

import statistics
from contextlib import ExitStack
from pathlib import Path

from workload import Workload

TOPIC = "failover"
PROBE = Path(__file__).with_name("Probe.java")
FIGURES = {"first_ms": "first write to its partitions", "all_ms": "all of its partitions", "topic_ms": "all of the topic"}
# What was found is measured against these by the caller's choice: milliseconds.
KILL_MEDIAN_MS, KILL_MAX_MS, STOP_MAX_MS = 300, 1000, 5000


def run(cluster, program, java, kills, stops, partitions, rate):
    """Kills and stops leaders, prints one table, and returns whether the figures are within the limits. `java` begins a
    command of Java, with Kafka's producer in its class path; None leaves that producer out."""
    cluster.create_topic(TOPIC, partitions, min_insync_replicas=2)
    common = ["probe", "--bootstrap", cluster.bootstrap, "--topic", TOPIC, "--partitions", partitions]
    killed = stopped = {}
    if kills:
        kinds = ["--producer", "hasty"]
        share = rate // (2 if java else 1)
        with ExitStack() as stack:
            workloads = [stack.enter_context(Workload(program, *common, *kinds, "--rate", share))]
            if java:
                words = [PROBE, cluster.bootstrap, TOPIC, partitions, share, 30]
                workloads.append(stack.enter_context(Workload(*java, *words)))
            killed = collect(kills, lambda: fail(cluster, workloads, "kill"))
    if stops:
        kinds = [word for kind in ("fresh", "timeout", "defaults") for word in ("--producer", kind)]
        with Workload(program, *common, *kinds, "--rate", rate // 4, "--limit-seconds", 90) as workload:
            stopped = collect(stops, lambda: fail(cluster, [workload], "pause"))
    print(f"\n{'milliseconds from the failure to the acknowledgement':<66}{'n':>5}{'median':>9}{'max':>9}")
    table("kill -9", killed)
    table("SIGSTOP", stopped)
    return (
        within(killed.get(("hasty", "first_ms")), KILL_MEDIAN_MS, KILL_MAX_MS)
        and within(killed.get(("java", "first_ms")), KILL_MEDIAN_MS, KILL_MAX_MS)
        and within(stopped.get(("fresh", "first_ms")), STOP_MAX_MS, STOP_MAX_MS)
    )


def fail(cluster, workloads, how):
    """Lets the broker that leads most partitions fail, and brings it back."""
    cluster.wait_until_whole(TOPIC, 90)
    seen = cluster.metadata(TOPIC)
    victim = max(cluster.brokers, key=lambda broker: len(seen.led_by(broker.id)))
    led = seen.led_by(victim.id)
    at = victim.kill() if how == "kill" else victim.pause()
    for workload in workloads:
        workload.give(f"after {at} {','.join(map(str, led))}")
    waited = {}
    for workload in workloads:
        waited |= workload.answer(limit=120)
    victim.start() if how == "kill" else victim.resume()
    victim.wait_until_ready()
    text = "; ".join(f"{kind} {'-' if w['first_ms'] is None else round(w['first_ms'])} ms" for kind, w in waited.items())
    print(f"{how} {victim.name}, which led {len(led)} partitions: {text}", flush=True)
    return waited


def collect(times, measure):
    """Samples by producer and figure; None stands for what did not happen within the limit."""
    samples = {}
    for _ in range(times):
        for kind, waited in measure().items():
            for figure in FIGURES:
                samples.setdefault((kind, figure), []).append(waited[figure])
    return samples


def table(how, samples):
    for (kind, figure), values in samples.items():
        if kind == "fresh" and figure != "first_ms":
            continue
        if None in values:
            text = f"{'-':>9}{'never':>9}"
        else:
            text = f"{statistics.median(values):>9.0f}{max(values):>9.0f}"
        print(f"{f'{how}, {kind} producer: {FIGURES[figure]}':<66}{len(values):>5}{text}")


def within(values, median_ms, max_ms):
    if values is None:
        return True
    return None not in values and statistics.median(values) < median_ms and max(values) < max_ms
