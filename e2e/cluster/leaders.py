"""How long many partitions take to get other leaders when the broker that led them is killed."""

import statistics
import time

from cluster import wait_for

TOPIC = "leaders"
LIMIT_MS = 2000


def run(cluster, kills, partitions):
    """Kills brokers, prints one table, and returns whether all was within the limit."""
    cluster.create_topic(TOPIC, partitions, min_insync_replicas=2)
    taken = [kill(cluster) for _ in range(kills)]
    print(f"\n{'milliseconds from the kill until every broker names a living leader':<70}{'n':>5}{'median':>9}{'max':>9}")
    print(f"{f'kill -9, {partitions} partitions':<70}{len(taken):>5}{statistics.median(taken):>9.0f}{max(taken):>9.0f}")
    return max(taken) < LIMIT_MS


def kill(cluster):
    cluster.wait_until_whole(TOPIC, 120)
    seen = cluster.metadata(TOPIC)
    victim = max(cluster.brokers, key=lambda broker: len(seen.led_by(broker.id)))
    at = victim.kill()
    others = [broker for broker in cluster.brokers if broker is not victim]
    told = 0

    def all_moved():
        nonlocal told
        leaders = {p.leader for broker in others for p in cluster.metadata(TOPIC, [broker]).partitions.values()}
        told = time.monotonic_ns()
        return not leaders & {victim.id, -1}

    wait_for("all partitions to have other leaders", 120, all_moved)
    took = (told - at) / 1e6
    print(f"kill {victim.name}, which led {len(seen.led_by(victim.id))} partitions: {took:.0f} ms", flush=True)
    victim.start()
    victim.wait_until_ready()
    return took
