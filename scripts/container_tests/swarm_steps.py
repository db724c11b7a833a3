"""What docs/OPERATIONS.md says of Docker Swarm, on one node: deploy, scale, and upgrade."""

import json
import re
from pathlib import Path

import images
import manual
from cluster import Cluster, Load
from compose_steps import LEFT, follow_load
from engine import say
from harness import Failed, Final, wait_for

SERVICE = "placard_placard"
UPGRADE = manual.block("docker stack deploy", lacking="docker swarm init")


class Stack(Cluster):
    """Tasks have their addresses in a network that only tasks reach: they are asked through the balancer."""

    def tasks(self, service):
        running = f"ps --quiet --filter label=com.docker.swarm.service.name={service} --filter status=running"
        return self.engine.docker(*running.split()).split()

    def await_replicas(self, count):
        def all_there():
            return self.states() == ["ready"] * count and self.balanced() == count

        wait_for(f"{count} tasks", all_there)

    def metrics(self):
        (balancer,) = self.tasks("placard_haproxy")
        return self.engine.docker("exec", balancer, "wget", "-q", "-O", "-", "http://127.0.0.1:8404/metrics")


def deploy(stack):
    stack.shell(*manual.block("docker swarm init"))
    stack.await_replicas(3)
    tokens = (stack.engine.share / "placard/tokens").read_text()
    stack.token = tokens.strip().partition(":")[2]
    stack.write_all(3)


def confinement(stack):
    """What a process in each task finds; Swarm cannot be told that none may gain privileges."""
    for container in stack.engine.docker("ps", "--quiet").split():
        status = stack.engine.docker("exec", container, "cat", "/proc/1/status")
        if not re.search(r"(?m)^Uid:\s+[1-9]", status) or not re.search(r"(?m)^CapBnd:\s+0+$", status):
            raise Failed(f"a task runs with privileges: {status}")
        if stack.engine.docker("exec", container, "touch", "/etc/probe", check=False).returncode == 0:
            raise Failed("a task writes to its root file system")
        if not stack.inspect(container)[0]["HostConfig"]["Memory"]:
            raise Failed("the memory of a task has no limit")


def scaling(stack):
    with Load(stack) as load:
        for replicas in (5, 2):
            stack.shell(re.sub(r"=\d+$", f"={replicas}", manual.span("docker service scale")))
            stack.await_replicas(replicas)
    say(f"scaled to 5 and 2 under {load.requests} requests")


def upgrade(stack):
    """The documented commands, after the files have come to name the next version's image; they also scale to 3 again."""
    new = "0.0.0-swarm"
    images.retag(stack.engine, images.checked_out(stack.engine), new)
    with Load(stack) as load:
        stack.shell(*UPGRADE)
        wait_for("the update", lambda: updated(stack))
        stack.await_replicas(3)
    names = [one["Config"]["Image"] for one in stack.inspect(*stack.tasks(SERVICE))]
    if names != [f"placard:{new}"] * 3:
        raise Failed(f"after the upgrade there are {names}")
    stack.write_all(3)
    say(f"upgraded under {load.requests} requests")


def bad_upgrade(stack):
    """A version that does not start is taken back, by the documented commands too."""
    program = stack.engine.share / Path(images.PROGRAM).relative_to("/share")
    kept = program.rename(program.with_name("kept"))
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    before = images.checked_out(stack.engine)
    images.retag(stack.engine, before, "0.0.0-bad")
    with Load(stack) as load:
        stack.shell(*UPGRADE)
        wait_for("the rollback", lambda: update_state(stack) == "rollback_completed")
        stack.await_replicas(2)
    names = [one["Config"]["Image"] for one in stack.inspect(*stack.tasks(SERVICE))]
    if names != [f"placard:{before}"] * 2:
        raise Failed(f"after a rollback there are {names}")
    kept.rename(program)
    say(f"taken back under {load.requests} requests")


def autoscaling(stack):
    """The documented commands, on the one node that there is."""
    *_, publish, command = manual.block("placard autoscale")
    stack.shell(publish)
    stack.await_replicas(3)
    follow_load(stack, command, ("http://node-1:8404,http://node-2:8404", "http://127.0.0.1:8404 --replicas-max 4"))


def update_state(stack):
    return json.loads(stack.engine.docker("service", "inspect", SERVICE))[0].get("UpdateStatus", {}).get("State", "")


def updated(stack):
    state = update_state(stack)
    if "rollback" in state:
        raise Final(f"the update was taken back: {state}")
    return state == "completed"


def remove(stack):
    stack.shell(manual.span("docker stack rm placard"))
    wait_for("the end of the tasks", lambda: not stack.engine.docker("ps", "--all", "--quiet").split())
    secrets = stack.engine.docker("secret", "ls", "--format", "{{.Name}}").split()
    if sorted(secrets) != ["placard_postgres_password", "placard_postgres_url", "placard_tokens"]:
        raise Failed(f"docker stack rm leaves the secrets {secrets}")
    stack.shell("docker swarm leave --force", "docker volume rm placard_postgres")
    left = stack.engine.docker(*dict(LEFT)["volume"].split()).split()
    if left:
        raise Failed(f"volumes are left: {left}")


KIND = Stack
STEPS = (
    ("deploy", deploy),
    ("what tasks are allowed", confinement),
    ("scale 3, 5, 2", scaling),
    ("an upgrade that does not start", bad_upgrade),
    ("rolling upgrade", upgrade),
    # The next deploy would take its port away from the balancer.
    ("autoscaling", autoscaling),
    ("remove", remove),
)
