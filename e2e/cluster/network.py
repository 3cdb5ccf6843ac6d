"""Where the members of a cluster live: all on the loopback interface, or each in a network namespace that can be cut
off. Namespaces need root and `ip`; nothing of them outlives the `with`."""

import os
import random
import shutil
import socket
import subprocess
from pathlib import Path

# Below the ports that the kernel gives to connections, so that none of those takes a member's while it is away.
PORTS = range(20000, 30000)


class Loopback:
    """Every member at 127.0.0.1, at ports of its own."""

    can_cut = False

    def __enter__(self):
        self._taken = set()
        return self

    def __exit__(self, *_):
        pass

    def place(self, name, count):
        """A host and `count` ports for a member, and what to put before its command."""
        ports = []
        while len(ports) < count:
            port = random.choice(PORTS)
            with socket.socket() as probe:
                if port not in self._taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                    self._taken.add(port)
                    ports.append(port)
        return "127.0.0.1", ports, []


class Namespaces:
    """A bridge, and behind it a namespace for each member with an address of its own. Clients stand at the bridge."""

    can_cut = True
    # No interface has this address: a frame sent there is lost without a word.
    NOWHERE = "02:00:00:00:00:01"
    # Where this says 1, as it does on machines with Docker, frames between ports of a bridge have to pass iptables, too.
    FILTERED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")

    def __enter__(self):
        self._id = os.getpid() % 0x10000
        self._subnet = f"10.{64 + self._id % 64}.{self._id // 64 % 256}"
        self._bridge = f"tf{self._id:x}"
        self._members = {}
        ip(f"link add {self._bridge} type bridge forward_delay 0")
        ip(f"addr add {self._subnet}.254/24 dev {self._bridge}")
        ip(f"link set {self._bridge} up")
        self._filtered = self.FILTERED.exists() and self.FILTERED.read_text().strip() == "1" and shutil.which("iptables")
        self._let_pass("--insert")
        return self

    def __exit__(self, *_):
        for name in list(self._members):
            ip(f"netns del {self._namespace(name)}")
        self._let_pass("--delete")
        ip(f"link del {self._bridge}")

    def place(self, name, count):
        number = len(self._members) + 1
        self._members[name] = number
        namespace, address, link = self._namespace(name), self._address(name), self._link(name)
        ip(f"netns add {namespace}")
        ip(f"link add {link} type veth peer name eth0 address {self._mac(name)} netns {namespace}")
        ip(f"link set {link} master {self._bridge} up")
        ip(f"-n {namespace} addr add {address}/24 dev eth0")
        ip(f"-n {namespace} link set eth0 up")
        ip(f"-n {namespace} link set lo up")
        return address, list(range(PORTS[0], PORTS[0] + count)), ["ip", "netns", "exec", namespace]

    def cut(self, name):
        """Cuts a member off from everybody, both ways, until `mend`."""
        ip(f"link set {self._link(name)} down")

    def mute(self, name, toward):
        """Lets nothing from `name` reach the members `toward`, which it still hears, until `mend`."""
        for other in toward:
            self._neighbour(name, other, self.NOWHERE, "permanent")

    def mend(self, name):
        ip(f"link set {self._link(name)} up")
        for other in self._members:
            if other != name:
                self._neighbour(name, other, self._mac(other), "reachable")

    def _let_pass(self, how):
        """Docker has everything dropped on its way through that it has not allowed itself."""
        if self._filtered:
            run("iptables", "--wait", how, "FORWARD", "-i", self._bridge, "-o", self._bridge, "-j", "ACCEPT")

    def _neighbour(self, name, other, mac, state):
        entry = f"{self._address(other)} lladdr {mac} dev eth0 nud {state}"
        ip(f"-n {self._namespace(name)} neigh replace {entry}")

    def _namespace(self, name):
        return f"{self._bridge}-{name}"

    def _link(self, name):
        return f"{self._bridge}n{self._members[name]}"

    def _address(self, name):
        return f"{self._subnet}.{self._members[name]}"

    def _mac(self, name):
        return f"02:00:00:00:01:{self._members[name]:02x}"


def ip(words):
    run("ip", *words.split())


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()} (namespaces need root)")
