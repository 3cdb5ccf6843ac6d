"""The `chaos` program: loads a cluster, follows orders, and judges."""

import json
import selectors
import subprocess


class Workload:
    def __init__(self, program, *words):
        self.command = [str(word) for word in (program, *words)]

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
        self.process.stdin.write(order.encode() + b"\n")
        self.process.stdin.flush()
        return self.answer(limit)

    def answer(self, limit):
        # An answer is one line, written at once.
        if not self.selector.select(limit):
            raise TimeoutError(f"{self.command[1]} did not answer within {limit} s")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.command[1]} ended with {self.process.wait()}")
        return json.loads(line)
