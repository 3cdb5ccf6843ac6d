"""The broker under test: started on a fresh directory, killed and started again at the same address."""

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


class Broker:
    def __init__(self, kind, taffrail, kafka_dir, work_dir, options=(), settings=None):
        self.kind, self.taffrail, self.kafka_dir, self.options = kind, taffrail, kafka_dir, options
        self.dir = Path(tempfile.mkdtemp(prefix="broker-", dir=work_dir))
        self.settings = {"group.initial.rebalance.delay.ms": 0, **(settings or {})}
        self.data_dir = self.dir / "data"
        self.log_dir = self.data_dir if kind == "kafka" else self.data_dir / "brokers/0"
        self.log = self.dir / "log"
        self.port = 0
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.dir)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def _command(self):
        settings = [f"{key}={value}" for key, value in self.settings.items()]
        if self.kind == "kafka":
            self.port = self.port or free_port()
            return [self.kafka_dir / "single-node", self.dir, str(self.port), *settings]
        command = [self.taffrail, "dev", "--listen", f"127.0.0.1:{self.port}", "--admin", "127.0.0.1:0"]
        command += ["--data-dir", self.data_dir, *self.options]
        return command + [word for setting in settings for word in ("--set", setting)]

    def start(self):
        command = self._command()
        log = self.log.open("ab")
        begin = self.log.stat().st_size
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._listens(begin):
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self.process.returncode}: {self.log_tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the broker does not listen: {self.log_tail()}")
            time.sleep(0.01)

    def _listens(self, begin):
        if not self.port:
            with self.log.open("rb") as log:
                log.seek(begin)
                found = re.search(rb"listening on 127\.0\.0\.1:(\d+)", log.read())
            if not found:
                return False
            self.port = int(found[1])
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def start_afresh_if_down(self):
        """So that one check's broken broker does not fail those after it: on an empty directory."""
        if self.process.poll() is not None:
            shutil.rmtree(self.dir)
            self.dir.mkdir()
            self.start()

    def stop(self):
        """SIGTERM, which must end it with status 0 (143 is what a JVM makes of it)."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        assert status == (143 if self.kind == "kafka" else 0), f"exit status {status} after SIGTERM"

    def log_tail(self):
        return self.log.read_text(errors="replace")[-4000:]


class BrokerOnTwoDisks(Broker):
    """A broker of Taffrail with two data directories, and the controller that it needs."""

    controller = controller_port = None

    @property
    def log_dirs(self):
        return [self.data_dir / "one", self.data_dir / "two"]

    def __enter__(self):
        said = self.dir / "controller.log"
        command = [self.taffrail, "controller", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        with said.open("wb") as log:
            command += ["--data-dir", self.dir / "controller"]
            self.controller = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not (found := re.search(rb"listening on 127\.0\.0\.1:(\d+)", said.read_bytes())):
            assert self.controller.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.01)
        self.controller_port = int(found[1])
        return super().__enter__()

    def __exit__(self, *_):
        self.controller.kill()
        self.controller.wait()
        super().__exit__()

    def _command(self):
        command = [self.taffrail, "broker", "--id", "0", "--controller", f"http://127.0.0.1:{self.controller_port}"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--admin", "127.0.0.1:0"]
        command += ["--data-dir", ",".join(map(str, self.log_dirs))]
        settings = {"offsets.topic.replication.factor": 1, **self.settings}
        return command + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def free_port():
    """A port whose successor is free too: Kafka's controller takes that one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port < 65535 and second.connect_ex(("127.0.0.1", port + 1)) != 0:
                return port


def run(command, stdin=None, timeout=120):
    """A program's standard output; it must end with status 0. What it says on both outputs goes into the failure."""
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, timeout=timeout)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}: {said}")
    return done.stdout
