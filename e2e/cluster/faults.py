"""What can go wrong with a cluster: each fault breaks something when entered and has mended it when left."""

from contextlib import ExitStack, contextmanager


@contextmanager
def killed(*members):
    for member in members:
        member.kill()
    yield
    for member in members:
        if not member.alive:
            member.start()


@contextmanager
def crash_looping(member):
    """Killed, and killed again while it recovers."""
    for _ in range(3):
        member.kill()
        member.start()
    yield


@contextmanager
def stopped(member):
    status = member.stop()
    # What a JVM makes of SIGTERM is 143.
    assert status in (0, 143), f"{member.name} ended with {status} after SIGTERM: {member.log_tail()}"
    yield
    member.start()


@contextmanager
def paused(*members):
    for member in members:
        member.pause()
    yield
    for member in members:
        member.resume()


@contextmanager
def cut(network, *members):
    for member in members:
        network.cut(member.name)
    yield
    for member in members:
        network.mend(member.name)


@contextmanager
def muted(network, member, toward):
    network.mute(member.name, [other.name for other in toward])
    yield
    network.mend(member.name)


def draw(random, cluster):
    """A fault, as its description and a context manager."""
    brokers, network = cluster.brokers, cluster.network
    one, two = random.choice(brokers), random.sample(brokers, 2)
    names = " and ".join(member.name for member in two)
    others = [member for member in cluster.members if member is not one]
    choices = [
        (6, f"kill {one.name}", lambda: killed(one)),
        (2, f"kill {names}", lambda: killed(*two)),
        (1, "kill all brokers", lambda: killed(*brokers)),
        (2, f"kill {one.name} again and again", lambda: crash_looping(one)),
        (2, f"stop {one.name} in order", lambda: stopped(one)),
        (5, f"pause {one.name}", lambda: paused(one)),
        (1, f"pause {names}", lambda: paused(*two)),
    ]
    if cluster.controller:
        controller = cluster.controller
        choices += [
            (2, "kill the controller", lambda: killed(controller)),
            (1, "pause the controller", lambda: paused(controller)),
            (1, f"kill the controller and {one.name}", lambda: killed(controller, one)),
            (1, "kill everything", lambda: killed(*cluster.members)),
        ]
    if network.can_cut:
        choices += [
            (5, f"cut {one.name} off", lambda: cut(network, one)),
            (1, f"cut {names} off", lambda: cut(network, *two)),
            (2, f"let no other member hear {one.name}", lambda: muted(network, one, others)),
            (2, f"let {two[1].name} not hear {two[0].name}", lambda: muted(network, two[0], two[1:])),
            (1, f"cut {two[0].name} off and kill {two[1].name}", lambda: together(cut(network, two[0]), killed(two[1]))),
        ]
        if cluster.controller:
            controller = cluster.controller
            choices += [
                (2, f"let the controller not hear {one.name}", lambda: muted(network, one, [controller])),
                (2, f"let {one.name} not hear the controller", lambda: muted(network, controller, [one])),
                (1, "cut the controller off", lambda: cut(network, controller)),
            ]
    weights = [weight for weight, _, _ in choices]
    _, name, fault = random.choices(choices, weights)[0]
    return name, fault()


@contextmanager
def together(*faults):
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault)
        yield
