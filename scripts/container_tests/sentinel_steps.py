"""The cluster with Redis' Sentinels, and with settings that docs/OPERATIONS.md says can be set."""

import os
import time

import manual
from compose_steps import await_stream, nothing_left, tails
from engine import say
from harness import Failed, wait_for

FAILOVER_SECONDS = 10
SECRET = "a-token-of-the-tests-own"
VARIABLES = {
    "COMPOSE_PROFILES": "sentinel",
    "POSTGRES_PASSWORD": "another-1._~",
    "TOKEN_FILE": "./own-tokens",
    "PORT": "18080",
    "STATS_PORT": "18404",
    "PROMETHEUS_PORT": "19090",
    "REPLICA_MEMORY": "768m",
    "POSTGRES_MEMORY": "1536m",
}


def profile_option(cluster):
    """Sentinels that the option --profile has started refuse to run."""
    cluster.compose("--profile sentinel up --detach --no-deps sentinel")
    refusal = "set COMPOSE_PROFILES=sentinel"
    wait_for("the refusal", lambda: refusal in cluster.compose("--profile sentinel logs sentinel"))
    cluster.compose("--profile sentinel down --volumes")
    nothing_left(cluster)


def token_file(cluster):
    """A token file that user 65532 cannot read is refused."""
    cluster.variables = dict(VARIABLES)
    cluster.port, cluster.token = int(VARIABLES["PORT"]), SECRET
    tokens = cluster.engine.share / "placard/own-tokens"
    tokens.write_text(f"tester:{SECRET}\n")
    tokens.chmod(0o600)
    done = cluster.compose("run --rm --no-deps placard", check=False)
    if done.returncode == 0 or "token" not in done.stderr + done.stdout:
        raise Failed(f"a token file that cannot be read: {done}")
    os.chown(tokens, 65532, 65532)


def start(cluster):
    cluster.compose("up --detach --scale placard=3")
    cluster.await_replicas(3)
    for service, megabytes in (("placard", 768), ("postgres", 1536)):
        limits = [one["HostConfig"]["Memory"] for one in cluster.inspect(*cluster.containers(service))]
        if set(limits) != {megabytes << 20}:
            raise Failed(f"the limits of {service} are {limits}")
    # The first write makes the stream.
    cluster.write_all(3)
    await_stream(cluster)


def master(cluster):
    asked = cluster.compose("exec --no-TTY sentinel redis-cli -p 26379 sentinel get-master-addr-by-name placard")
    return asked.split()[0]


def failover(cluster):
    """From the death of the first Redis until all replicas follow the stream in the second."""
    if master(cluster) != "redis":
        raise Failed(f"the Sentinels begin with {master(cluster)}")
    started = time.monotonic()
    cluster.compose("kill redis")
    wait_for("a failover", lambda: master(cluster) == "redis-replica", pause=0.05)
    promoted = time.monotonic() - started
    status, _ = cluster.write()
    await_stream(cluster)
    took = time.monotonic() - started
    say(f"failover: promoted after {promoted:.1f} s, followed by all replicas after {took:.1f} s")
    if status != 201 or took > FAILOVER_SECONDS:
        raise Failed(f"a failover took {took:.1f} s, and a write got {status}")
    cluster.write_all(3)


def old_master(cluster):
    """The Redis that was away comes back as the replica of the new one."""
    cluster.compose("start redis")

    def follows():
        told = cluster.compose("exec --no-TTY redis redis-cli info replication")
        return "role:slave" in told and "master_link_status:up" in told

    wait_for("the old Redis as a replica", follows)
    if tails(cluster) != {"stream"}:
        raise Failed("replicas left the stream when the old Redis came back")


def down_and_up(cluster):
    """Without --volumes the journal stays, and only what has a name if the documented command deletes the rest. What was in
    the environment may be in .env too.
    """
    total = cluster.total()
    cluster.shell(manual.span("docker compose rm "), manual.row("stop"))
    left = cluster.engine.docker("volume", "ls", "--quiet").split()
    if not left or not all(name.startswith("placard_") for name in left):
        raise Failed(f"docker compose down has left {left}")
    moved = {name: cluster.variables.pop(name) for name in ("COMPOSE_PROFILES", "POSTGRES_PASSWORD", "TOKEN_FILE")}
    (cluster.engine.share / "placard/.env").write_text("".join(f"{name}={value}\n" for name, value in moved.items()))
    cluster.compose("up --detach")
    cluster.await_replicas(1)
    if "sentinel" not in cluster.compose("ps --services"):
        raise Failed("COMPOSE_PROFILES in .env starts no Sentinels")
    if cluster.total() != total:
        raise Failed(f"{cluster.total()} of {total} ads are left after docker compose down")
    cluster.shell(f"{manual.row('stop')} --volumes")
    nothing_left(cluster)


STEPS = (
    ("--profile sentinel", profile_option),
    ("a token file", token_file),
    ("up with Sentinels", start),
    ("failover", failover),
    ("the old Redis", old_master),
    ("down and up", down_and_up),
)
