"""What docs/OPERATIONS.md says of a cluster in containers, done and checked in the order of a cluster's life."""

import datetime
import re
import subprocess

import images
import manual
import metrics
from cluster import Load, addresses, ask, page
from engine import say
from harness import Failed, wait_for

# What Docker and Compose call each thing that could be left behind.
LEFT = (("container", "ps --all --quiet"), ("volume", "volume ls --quiet"), ("network", "network ls --quiet --filter type=custom"))


def start(cluster):
    """The documented command, which stays in the foreground."""
    cluster.attach(manual.row("start"))

    def begun():
        cluster.still_attached()
        return len(cluster.containers("placard")) == 3

    wait_for("docker compose up", begun)
    cluster.await_replicas(3)
    cluster.shell(manual.row("look"))
    image = f"placard:{version()}"
    size = int(cluster.engine.docker("image", "inspect", "--format", "{{.Size}}", image))
    times = [start_seconds(one) for one in cluster.inspect(*cluster.containers("placard"))]
    usage = cluster.engine.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
    used = re.findall(r"(?m)^placard-placard-\d+ (\S+)", usage)
    say(f"the image: {size / 1e6:.0f} MB; a replica: healthy after {max(times):.1f} s, memory {', '.join(used)}")


def version():
    """The image's tag in the file as it is checked out."""
    return images.pinned("placard").partition(":")[2]


def start_seconds(container):
    """From the start of a container to its first good health check."""
    good = next(check for check in container["State"]["Health"]["Log"] if check["ExitCode"] == 0)
    return (moment(good["End"]) - moment(container["State"]["StartedAt"])).total_seconds()


def moment(text):
    """Docker's times have nine decimals, of which Python takes six."""
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))


def confinement(cluster):
    """What each container is allowed, as the engine has it and as a process in it finds it."""
    for container in cluster.inspect(*cluster.compose("ps --quiet").split()):
        name, host = container["Name"].strip("/"), container["HostConfig"]
        faults = [
            fault
            for fault, found in (
                ("its root file system can be written", not host["ReadonlyRootfs"]),
                ("it has capabilities", host["CapDrop"] != ["ALL"] or host["CapAdd"]),
                ("it may gain privileges", "no-new-privileges:true" not in (host["SecurityOpt"] or [])),
                ("its memory has no limit", not host["Memory"]),
                ("its processes have no limit", not host["PidsLimit"]),
                ("its log has no limit", "max-size" not in host["LogConfig"]["Config"]),
                ("nothing starts it again", host["RestartPolicy"]["Name"] != "unless-stopped"),
            )
            if found
        ]
        status = cluster.engine.docker("exec", name, "cat", "/proc/1/status")
        for fault, wanted in (
            ("it runs as root", r"(?m)^Uid:\s+[1-9]"),
            ("its process has capabilities", r"(?m)^CapEff:\s+0+$"),
            ("its process could have capabilities", r"(?m)^CapBnd:\s+0+$"),
            ("its process may gain privileges", r"(?m)^NoNewPrivs:\s+1$"),
        ):
            if not re.search(wanted, status):
                faults.append(fault)
        if cluster.engine.docker("exec", name, "touch", "/etc/probe", check=False).returncode == 0:
            faults.append("it writes to its root file system")
        if faults:
            raise Failed(f"{name}: {', '.join(faults)}")


def writes(cluster):
    cluster.write_all(3)


def scaled(replicas):
    """The documented command with another number."""
    return re.sub(r"placard=\d+", f"placard={replicas}", manual.row("scale"))


def scaling(cluster):
    with Load(cluster) as load:
        for replicas in (5, 2, 3):
            cluster.shell(scaled(replicas))
            cluster.await_replicas(replicas)
    say(f"scaled to 5, 2 and 3 under {load.requests} requests")


def autoscaling(cluster):
    follow_load(cluster, manual.block("placard autoscale")[0], ("--replicas-max 8", "--replicas-max 4"))


def follow_load(cluster, command, *changes):
    """A documented command of the autoscaler, with a limit that this load exceeds and a short quiet time."""
    for documented, here in (
        ("placard autoscale", f"{images.PROGRAM} autoscale --interval 1 --quiet 5 --replicas-min 3"),
        ("--requests-per-replica 500", "--requests-per-replica 20"),
        *changes,
    ):
        if command.count(documented) != 1:
            raise Failed(f"docs/OPERATIONS.md does not have {documented!r} in {command!r}")
        command = command.replace(documented, here)
    engine, log = cluster.engine, cluster.engine.share / "autoscale.log"
    words = engine.words("bash", "-c", f"echo $$ >/share/autoscale.pid; exec {command}", directory=images.TREE)
    autoscaler = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stderr=log.open("w"), env=engine.environment(**cluster.variables)
    )  # fmt: skip
    try:
        with Load(cluster, RATE="3", WRITE_RATE="1") as calm:
            with Load(cluster) as load:
                cluster.await_replicas(4)
            cluster.await_replicas(3)
    except Failed as fault:
        autoscaler.kill()
        raise Failed(f"{fault}: {log.read_text()[-3000:]}") from fault
    cluster.shell("kill $(cat /share/autoscale.pid)")
    # It lets a command finish, which may take --command-timeout.
    wait_for("the end of the autoscaler", lambda: autoscaler.poll() is not None, seconds=180)
    if autoscaler.returncode:
        raise Failed(f"placard autoscale has ended with {autoscaler.returncode}: {log.read_text()[-3000:]}")
    say(f"scaled by itself to 4 and to 3 under {load.requests + calm.requests} requests")


def killing(cluster):
    """A replica that docker kill or docker stop has ended stays away until it is started; one that crashed comes back by
    itself. Both begin from a checkpoint of those that have gone.
    """
    with Load(cluster, share=0.005) as load:
        for command in ("stop", "kill"):
            ended = cluster.containers("placard")[0]
            cluster.engine.docker(command, ended)
            cluster.await_replicas(2)
            if cluster.inspect(ended)[0]["RestartCount"]:
                raise Failed(f"a replica that docker {command} has ended was started again")
            cluster.shell(scaled(3))
            cluster.await_replicas(3)
            begun_from_checkpoint(cluster, ended)
        crashed = cluster.containers("placard")[0]
        cluster.engine.run("bash", "-c", f"kill -KILL {cluster.inspect(crashed)[0]['State']['Pid']}")
        wait_for("a crashed replica", lambda: cluster.inspect(crashed)[0]["RestartCount"] == 1)
        cluster.await_replicas(3)
        begun_from_checkpoint(cluster, crashed)
    say(f"killed and returned under {load.requests} requests, of which {load.failed} failed")


def begun_from_checkpoint(cluster, replica):
    (address,) = addresses(cluster.inspect(replica)[0])
    text = ask(f"http://{address}:8080/metrics")[1]
    if not re.search(r"(?m)^placard_checkpoints_loaded_total 1$", text):
        raise Failed(f"a replica did not begin from a checkpoint: {re.findall('placard_(?:restores|checkpoints)_.*', text)}")


def upgrade(cluster):
    """The documented commands, to the image of the next version."""
    old, new = images.checked_out(cluster.engine), "0.0.0-next"
    before = cluster.containers("placard")
    images.retag(cluster.engine, old, new)
    with Load(cluster) as load:
        cluster.shell(*manual.block("old=$(docker compose ps"))
        cluster.await_replicas(3)
    after = cluster.inspect(*cluster.containers("placard"))
    if any(one["Config"]["Image"] != f"placard:{new}" or one["Id"] in before for one in after):
        raise Failed(f"after the upgrade there are {[one['Config']['Image'] for one in after]}")
    cluster.write_all(3)
    say(f"upgraded under {load.requests} requests")


def prometheus(cluster):
    """Replicas have gone since the start, as they should, and nothing has failed."""
    say(metrics.check(cluster, 3, may_fire={"PlacardReplicaGone"}))


def backup(cluster):
    """The documented commands; what was written after the backup is gone, and the replicas go on with what it has."""
    dump, restore = manual.block("pg_dump")
    kept = cluster.total()
    cluster.shell(dump)
    cluster.write_all(3, count=5)
    for tries in range(1, 6):
        done = cluster.shell(restore, check=False)
        # As the document says: it has met a replica's commit, and has changed nothing.
        if done.returncode == 0 or "deadlock" not in done.stderr:
            break
    if done.returncode:
        raise Failed(f"pg_restore: {done.stderr}")
    wait_for("the ads of the backup", lambda: agreed(cluster) == kept)
    cluster.await_replicas(3)
    cluster.write_all(3)
    verify(cluster)
    metrics.await_alert(cluster, "PlacardForked")
    say(f"restored {kept} ads at try {tries}")


def verify(cluster):
    cluster.engine.docker("exec", cluster.containers("placard")[0], "placard", "verify", "--target", "http://haproxy:8080")


def redis(cluster):
    cluster.compose("stop redis")
    wait_for("replicas without the stream", lambda: tails(cluster) == {"journal"})
    status, _ = cluster.write()
    if status != 201:
        raise Failed(f"a write without Redis got {status}")
    cluster.compose("start redis")
    await_stream(cluster)
    cluster.write_all(3)


def tails(cluster):
    """Where the replicas take their entries from."""
    return {member["tails"] for member in cluster.members()}


def await_stream(cluster):
    """Until every replica follows the stream, and that has the newest entry."""

    def filled():
        told = page(f"{cluster.target}/api/v1/cluster")
        return tails(cluster) == {"stream"} and told["stream"]["top"] == told["head"]["version"]

    wait_for("the stream", filled)


def postgres(cluster):
    total = cluster.total()
    cluster.compose("stop postgres")
    status, _ = cluster.write(timeout=60, key=False)
    if status not in (503, 504) or cluster.total() != total:
        raise Failed(f"without PostgreSQL a write got {status}")
    cluster.compose("start postgres")
    cluster.await_replicas(3)
    cluster.write_all(3)
    verify(cluster)


def new_journal(cluster):
    """The volume of the journal is lost: replicas serve on and refuse writes, until a new one is begun on purpose."""
    cluster.compose("rm --stop --force postgres")
    # A write of k6's may have been under way when that had ended.
    total = wait_for("replicas that agree", lambda: agreed(cluster))
    cluster.engine.docker("volume", "rm", "placard_postgres")
    cluster.shell(scaled(3))
    status, _ = cluster.write(timeout=60, key=False)
    if status not in (503, 504) or agreed(cluster) != total:
        raise Failed(f"with an empty journal a write got {status}, and of {total} ads there are {totals(cluster)}")
    cluster.shell(manual.span("PLACARD_NEW_JOURNAL=1 "))
    cluster.await_replicas(1)
    cluster.write_all(1, count=1)
    # As usual.
    cluster.shell(re.sub(r"up .*?--scale", "up --detach --scale", manual.row("start")))
    cluster.await_replicas(3)
    if cluster.total() != 1:
        raise Failed(f"a new journal has {cluster.total()} ads")


def totals(cluster):
    return [cluster.total(one) for one in cluster.replicas()]


def agreed(cluster):
    """The number of ads that all three replicas have, or nothing."""
    found = totals(cluster)
    return found[0] if found == found[:1] * 3 else None


def down(cluster):
    cluster.shell(f"{manual.row('stop')} --volumes")
    wait_for("the end of docker compose up", lambda: cluster.attached.poll() is not None)
    nothing_left(cluster)


def nothing_left(cluster):
    left = {what: cluster.engine.docker(*words.split()).split() for what, words in LEFT}
    if any(left.values()):
        raise Failed(f"docker compose down --volumes has left {left}")


STEPS = (
    ("up with 3", start),
    ("what containers are allowed", confinement),
    ("writes with ack=all", writes),
    ("scale 3, 5, 2, 3", scaling),
    ("autoscaling", autoscaling),
    ("rolling upgrade", upgrade),
    ("Prometheus", prometheus),
    ("backup and restore", backup),
    ("Redis away", redis),
    ("PostgreSQL away", postgres),
    # From here on a write with ack=all lists who was killed, for an hour.
    ("kill", killing),
    ("a new journal", new_journal),
    ("down", down),
)
