"""Clusters of real processes, broken on purpose. Exits with 0 if nothing was lost and no figure is out of bounds."""

import argparse
import os
import random
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import chaos
import compaction
import disks
import failover
import leaders
from cluster import Cluster
from network import Loopback, Namespaces

ROOT = Path(__file__).resolve().parents[2]


def options():
    parser = argparse.ArgumentParser(prog="e2e/cluster/run", description=__doc__)
    parser.add_argument("--work-dir", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--chaos", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--taffrail", type=Path, default=ROOT / "target/release/taffrail", metavar="FILE")
    parser.add_argument("--broker", choices=["taffrail", "kafka"], default="taffrail", help="which broker to test")
    parser.add_argument("--brokers", type=int, default=3, metavar="N")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a broker's configuration")
    parser.add_argument("--namespaces", action="store_true", help="a network namespace for each member; needs root")
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    random_faults = scenarios.add_parser("chaos", help="random faults under load; every record is accounted for")
    random_faults.add_argument("--rounds", type=int, default=10)
    random_faults.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    random_faults.add_argument("--java", action="store_true", help="have Kafka's own producer write too; needs Java and Kafka installed")
    writes = scenarios.add_parser("failover", help="how long writes wait when a leader is killed or stopped")
    writes.add_argument("--kills", type=int, default=10)
    writes.add_argument("--stops", type=int, default=0)
    writes.add_argument("--partitions", type=int, default=100)
    writes.add_argument("--rate", type=int, default=2000, help="records per second")
    writes.add_argument("--java", action="store_true", help="measure Kafka's own producer too; needs Java and Kafka installed")
    elections = scenarios.add_parser("leaders", help="how long many partitions take to get other leaders")
    elections.add_argument("--kills", type=int, default=3)
    elections.add_argument("--partitions", type=int, default=10_000)
    keys = scenarios.add_parser("compaction", help="a compacted topic under faults; needs Java and Kafka installed")
    keys.add_argument("--rounds", type=int, default=15)
    keys.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    keys.set_defaults(java=True)
    full = scenarios.add_parser("disks", help="disks that run full under load; needs root, for mounting")
    full.add_argument("--rounds", type=int, default=6)
    return parser.parse_args()


def main():
    given = options()
    # So that whoever ends this by SIGTERM leaves no brokers and namespaces behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    program = given.taffrail
    if given.broker == "kafka":
        program = Path(os.environ["KAFKA_DIR"])
        subprocess.run([program / "install"], check=True)
    settings = compaction.SETTINGS if given.scenario == "compaction" else {}
    settings = {**settings, **dict(pair.split("=", 1) for pair in given.set)}
    network = Namespaces() if given.namespaces else Loopback()
    with ExitStack() as stack:
        stack.enter_context(network)
        cluster = Cluster(given.broker, program, network, given.work_dir, given.brokers, settings)
        if given.scenario == "disks":
            disks.mount(cluster)
        stack.enter_context(cluster)
        java = None
        if getattr(given, "java", False):
            quiet = "KAFKA_JAVA_OPTS=-Xmx256m -Dkafka.log.level=ERROR"
            java = ["env", quiet, Path(os.environ["KAFKA_DIR"]) / "run"]
        if given.scenario == "chaos":
            sound = chaos.run(cluster, given.chaos, java, given.rounds, given.seed)
        elif given.scenario == "compaction":
            sound = compaction.run(cluster, java, given.rounds, given.seed)
        elif given.scenario == "disks":
            sound = disks.run(cluster, given.chaos, given.rounds)
        elif given.scenario == "failover":
            sound = failover.run(cluster, given.chaos, java, given.kills, given.stops, given.partitions, given.rate)
        else:
            sound = leaders.run(cluster, given.kills, given.partitions)
        # Apache Kafka is measured for comparison: its times are not held against it.
        sound = sound or (given.broker == "kafka" and given.scenario not in ("chaos", "compaction"))
        cluster.keep = not sound
        if given.broker == "taffrail":
            print("memory: " + ", ".join(f"{name} {size:.0f} MiB" for name, size in cluster.memory_mib().items()))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
