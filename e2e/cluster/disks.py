"""Disks that run full under load: each broker's data is on a small file system of its own. Needs root, for mounting."""

import os
import subprocess
import time
import urllib.request
from collections import Counter

import chaos
from cluster import wait_for
from workload import Workload

SIZE_MIB = 160
TOPICS = ["disks-idempotent", "disks-plain"]
PARTITIONS = 6
LIMIT = 90


def mount(cluster):
    """Gives the data of each broker a file system, until the cluster has ended."""
    for broker in cluster.brokers:
        image, data = broker.dir / "disk", broker.dir / "data"
        data.mkdir()
        with image.open("wb") as file:
            file.truncate(SIZE_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        if subprocess.run(["mount", "-o", "loop", image, data], check=False).returncode:
            # Not every container has loop devices; memory runs full as well.
            size = f"size={SIZE_MIB}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", data], check=True)
        cluster.undo.callback(subprocess.run, ["umount", data], check=True)


def run(cluster, program, rounds):
    """Returns whether nothing was lost, nobody ended, and writing began again by itself each time."""
    for topic in TOPICS:
        cluster.create_topic(topic, PARTITIONS, min_insync_replicas=2)
    pids = {broker.name: broker.process.pid for broker in cluster.brokers}
    words = ["verify", "--bootstrap", cluster.bootstrap, "--partitions", PARTITIONS]
    words += ["--idempotent", TOPICS[0], "--plain", TOPICS[1]]
    recoveries = []
    with Workload(program, *words) as workload:
        chaos.wait_for_writes([workload], time.monotonic_ns())
        for number in range(1, rounds + 1):
            victims = cluster.brokers if number % 3 == 0 else [cluster.brokers[number % len(cluster.brokers)]]
            # With 2 MiB there is room for all but records; with none the disk itself refuses.
            left = 0 if number % 2 == 0 else 2 << 20
            names = ", ".join(broker.name for broker in victims)
            filled = [fill(broker, left) for broker in victims]
            for broker in victims:
                wait_for(f"{broker.name} to be full", LIMIT, lambda broker=broker: state(broker) == "full")
            if len(victims) == 1:
                # Others lead, and the ISR does without it.
                took = chaos.wait_for_writes([workload], time.monotonic_ns())
                print(f"round {number}: {names} full; all partitions written to {took:.2f} s after", flush=True)
            else:
                time.sleep(3)
            for broker in cluster.brokers:
                broker.wait_until_ready()
            # Everything can be read while nothing can be written.
            workload.order("status")
            for path in filled:
                path.unlink()
            freed = time.monotonic_ns()
            for broker in victims:
                wait_for(f"{broker.name} to have room", LIMIT, lambda broker=broker: state(broker) == "online")
            recoveries.append(chaos.wait_for_writes([workload], freed))
            chaos.wait_until_whole(cluster, TOPICS)
            print(f"round {number}: {names} has room; all partitions written to {recoveries[-1]:.2f} s after", flush=True)
        workload.order("quiesce", limit=240)
        verdict = workload.order("verify", limit=400)
    sound = verdict.pop("sound")
    if pids != {broker.name: broker.process.pid for broker in cluster.brokers}:
        sound = False
    chaos.report(verdict, sound, Counter(), recoveries)
    return sound


def fill(broker, left):
    """Takes all of the disk but so many bytes."""
    path = broker.dir / "data" / "filler"
    with path.open("wb") as file:
        block = b"\0" * (1 << 20)
        while True:
            free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
            size = min(len(block), free - left)
            if size <= 0:
                return path
            try:
                file.write(block[:size])
                file.flush()
            except OSError:
                return path


def state(broker):
    """How the broker says that its directory is."""
    with urllib.request.urlopen(f"http://{broker.host}:{broker.ports[1]}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("taffrail_log_dir_state{") and line.endswith(" 1"):
                return line.split('state="')[1].split('"')[0]
    return None
