"""Programs that load a cluster, follow orders, and judge or measure."""

import json
import selectors
import subprocess


class Workload:
    """A program that takes an order per line and answers each with a line of JSON; its first answer says it is ready."""

    def __init__(self, *command):
        self.command = [str(word) for word in command]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        self.answer(120)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def order(self, order, limit=60):
        """Gives an order and returns the answer to it."""
        self.give(order)
        return self.answer(limit)

    def give(self, order):
        self.process.stdin.write(order.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, limit):
        # An answer is one line, written at once.
        if not self.selector.select(limit):
            raise TimeoutError(f"{self.command} did not answer within {limit} s")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.command} ended with {self.process.wait()}")
        return json.loads(line)
