"""Runs every check against one broker and counts: the last line is `N passed, M failed`."""

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

import disks
import flights
import java_admin
import java_tools
import kafka_python
import kcat
from broker import Broker, BrokerOnTwoDisks

CHECKS = kcat.CHECKS + kafka_python.CHECKS + java_tools.CHECKS + flights.CHECKS
# Against three brokers.
CLUSTER_CHECKS = java_admin.CHECKS
# Against one with two data directories.
DISK_CHECKS = disks.CHECKS


def options():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=["taffrail", "kafka"], default="taffrail")
    parser.add_argument("--taffrail", type=Path, default=root / "target/release/taffrail")
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--only", default="", help="run the checks whose name contains this")
    return parser.parse_args()


def run_checks(checks, broker, only):
    """How many passed and failed."""
    passed = failed = 0
    for check in checks:
        name = name_of(check)
        if only not in name:
            continue
        start = time.monotonic()
        try:
            check(broker)
            passed += 1
            print(f"ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception:  # one failed check must not hide the others
            failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}{broker.log_tail()}", flush=True)
            broker.start_afresh_if_down()
    broker.stop()
    return passed, failed


def name_of(check):
    return f"{check.__module__}: {check.__name__.replace('_', ' ')}"


def main():
    given = options()
    kafka_dir = Path(os.environ["KAFKA_DIR"])
    flights.load(given.work_dir / "flights-200k.json")
    suites = [(CHECKS, Broker, [])]
    if given.broker == "taffrail":
        suites += [(CLUSTER_CHECKS, Broker, ["--brokers", "3"]), (DISK_CHECKS, BrokerOnTwoDisks, [])]
    passed = failed = 0
    for checks, make, started_with in suites:
        if not any(given.only in name_of(check) for check in checks):
            continue
        with make(given.broker, given.taffrail, kafka_dir, given.work_dir, started_with) as broker:
            done = run_checks(checks, broker, given.only)
            passed, failed = passed + done[0], failed + done[1]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
