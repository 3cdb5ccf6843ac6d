"""A cluster of real processes: a controller and brokers that can be killed, paused and started again one by one, of
Taffrail or, for comparison, of Apache Kafka."""

import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import wire

START_LIMIT = 90


class Member:
    """A process with a name, a place in the network and a directory of its own."""

    def __init__(self, name, place, directory):
        self.name, (self.host, self.ports, self.prefix) = name, place
        self.dir = directory / name
        self.dir.mkdir()
        self.process = None
        self.paused = False

    @property
    def address(self):
        return f"{self.host}:{self.ports[0]}"

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        assert not self.alive, f"{self.name} runs already"
        with (self.dir / "log").open("ab") as log:
            command = [str(word) for word in self.prefix + self.command()]
            # Its own process group: `ip netns exec` becomes the command, and scripts exec theirs.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.paused = False

    def must_live(self):
        if not self.alive:
            raise RuntimeError(f"{self.name} ended by itself with {self.process.poll()}: {self.log_tail()}")

    def kill(self):
        """SIGKILL. Returns when the process is gone: the moment it was sent, by CLOCK_MONOTONIC."""
        self.must_live()
        at = time.monotonic_ns()
        self.process.kill()
        self.process.wait()
        return at

    def pause(self):
        self.must_live()
        at = time.monotonic_ns()
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True
        return at

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def stop(self):
        """SIGTERM, and the status that the process ends with."""
        self.must_live()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def wait_until_ready(self):
        wait_for(f"{self.name} to be ready", START_LIMIT, self._is_ready)

    def _is_ready(self):
        self.must_live()
        return self.ready()

    def log_tail(self):
        return (self.dir / "log").read_text(errors="replace")[-3000:]


class TaffrailController(Member):
    """`taffrail controller`: its first port is for brokers, its second for people."""

    def __init__(self, taffrail, token_file, *member):
        super().__init__(*member)
        self.taffrail, self.token_file = taffrail, token_file

    def command(self):
        listen, admin = (f"{self.host}:{port}" for port in self.ports)
        command = [self.taffrail, "controller", "--data-dir", self.dir / "data", "--listen", listen, "--admin", admin]
        return [*command, "--controller-token-file", self.token_file]

    def ready(self):
        return answers_ok(f"http://{self.host}:{self.ports[1]}/readyz")


class TaffrailBroker(Member):
    def __init__(self, taffrail, id, controller, settings, *member):
        super().__init__(*member)
        self.taffrail, self.id, self.controller, self.settings = taffrail, id, controller, settings

    def command(self):
        listen, admin = f"PLAINTEXT://{self.address}", f"{self.host}:{self.ports[1]}"
        command = [self.taffrail, "broker", "--id", self.id, "--controller", f"http://{self.controller.address}"]
        command += ["--controller-token-file", self.controller.token_file]
        command += ["--data-dir", self.dir / "data", "--listen", listen, "--admin", admin]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    def ready(self):
        return answers_ok(f"http://{self.host}:{self.ports[1]}/readyz")


class KafkaNode(Member):
    """Broker and controller in one process, as small clusters of Kafka are run."""

    def __init__(self, scripts, id, settings, *member):
        super().__init__(*member)
        self.scripts, self.id, self.settings = scripts, id, settings

    def prepare(self, cluster_id, nodes):
        voters = ",".join(f"{node.id}@{node.host}:{node.ports[1]}" for node in nodes)
        properties = {
            "process.roles": "broker,controller",
            "node.id": self.id,
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{self.host}:{self.ports[1]}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": voters,
            "log.dirs": self.dir / "data",
            **self.settings,
        }
        config = self.dir / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        command = [self.scripts / "run", "storage", "format", "-t", cluster_id, "-c", config]
        subprocess.run([str(word) for word in command], check=True, capture_output=True)

    def command(self):
        options = "-Xmx1g -Xms1g -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35"
        return ["env", f"KAFKA_JAVA_OPTS={options} -Dkafka.log.level=INFO", self.scripts / "run", "server", self.dir / "server.properties"]

    def ready(self):
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.ports[0])) == 0


class Cluster:
    """Starts everything when entered, and leaves nothing behind but, if something failed or `keep` is set, its
    directory."""

    keep = False

    def __init__(self, kind, program, network, work_dir, brokers=3, settings=None):
        self.kind, self.network = kind, network
        # What was made for it beside its processes, to be undone when they have ended.
        self.undo = ExitStack()
        self.dir = Path(tempfile.mkdtemp(prefix="cluster-", dir=work_dir))
        replicated = {"offsets.topic.replication.factor": min(brokers, 3), "group.initial.rebalance.delay.ms": 0}
        settings = {**replicated, **(settings or {})}
        place = lambda name: (name, network.place(name, 2), self.dir)  # noqa: E731
        if kind == "kafka":
            self.controller = None
            self.brokers = [KafkaNode(program, id, settings, *place(f"b{id}")) for id in range(1, brokers + 1)]
        else:
            token_file = self.dir / "token"
            token_file.write_text(secrets.token_hex())
            self.controller = TaffrailController(program, token_file, *place("ctl"))
            self.brokers = [TaffrailBroker(program, id, self.controller, settings, *place(f"b{id}")) for id in range(brokers)]

    def __enter__(self):
        try:
            if self.kind == "kafka":
                run = [str(self.brokers[0].scripts / "run"), "storage", "random-uuid"]
                cluster_id = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()[-1]
                for node in self.brokers:
                    node.prepare(cluster_id, self.brokers)
            for member in self.members:
                member.start()
            for member in self.members:
                member.wait_until_ready()
        except BaseException:
            self.end()
            self.undo.close()
            raise
        return self

    def __exit__(self, kind, *_):
        self.end()
        self.undo.close()
        if kind is None and not self.keep:
            subprocess.run(["rm", "-rf", str(self.dir)], check=True)
        else:
            print(f"data and logs are kept in {self.dir}", flush=True)

    def end(self):
        for member in self.members:
            if member.alive:
                member.kill()

    @property
    def members(self):
        return ([self.controller] if self.controller else []) + self.brokers

    @property
    def bootstrap(self):
        return ",".join(broker.address for broker in self.brokers)

    def metadata(self, topic, brokers=None):
        """As the first of `brokers`, else of all that run, tells it."""
        return wire.metadata([b.address for b in brokers or self.brokers if b.alive and not b.paused], topic)

    def create_topic(self, topic, partitions, **configs):
        wire.create_topic([b.address for b in self.brokers], topic, partitions, min(len(self.brokers), 3), **configs)
        self.wait_until_whole(topic)

    def wait_until_whole(self, topic, limit=60):
        """Until every partition has a leader and all of its replicas are in sync."""

        def whole():
            try:
                return self.metadata(topic).whole()
            except OSError:
                return False

        wait_for(f"all replicas of {topic} to be in sync", limit, whole)

    def memory_mib(self):
        """What each member holds of the machine's memory at present."""
        sizes = {}
        for member in self.members:
            status = Path(f"/proc/{member.process.pid}/status").read_text()
            sizes[member.name] = int(status.split("VmRSS:")[1].split()[0]) / 1024
        return sizes


def answers_ok(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_for(what, limit, happens):
    deadline = time.monotonic() + limit
    while not happens():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit} s for {what}")
        time.sleep(0.02)
