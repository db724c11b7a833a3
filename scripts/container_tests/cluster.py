"""A cluster in containers: how its commands are run, and how it is asked, through the balancer and each replica alone."""

import json
import signal
import subprocess
import urllib.error
import urllib.request
import uuid

from harness import ROOT, Failed, Final, wait_for
from images import TREE

TOKEN = "placard-on-this-machine"
K6 = ROOT / "target/k6-env/bin/k6"
# What k6 sends each second. This is no measurement: it is there so that a request is always under way.
LOAD = {"RATE": "60", "WRITE_RATE": "10", "DURATION": "1h"}


def ask(url, body=None, token=None, timeout=20, method=None, headers=None):
    """The status and the text of an answer, whatever the status is."""
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers or {}, method=method)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def page(url):
    """The document of an answer that has to be 200."""
    status, text = ask(url, timeout=5)
    if status != 200:
        raise Failed(f"{url} got {status}: {text}")
    return json.loads(text)


class Cluster:
    """Commands run in the project's folder, with variables that stay until they are changed."""

    def __init__(self, engine, port=8080):
        self.engine, self.port, self.token = engine, port, TOKEN
        self.variables = {}
        self.attached = None

    @property
    def target(self):
        return f"http://127.0.0.1:{self.port}"

    def shell(self, *commands, check=True, **variables):
        """Runs commands as a shell in which they are typed does."""
        script = "set -euo pipefail\n" + "\n".join(commands)
        return self.engine.run("bash", "-c", script, directory=TREE, check=check, **self.variables, **variables)

    def compose(self, words, **options):
        return self.shell(f"docker compose {words}", **options)

    def attach(self, command):
        """Runs a command that stays in the foreground."""
        log = (self.engine.share / "attached.log").open("w")
        words = self.engine.words("bash", "-c", f"exec {command}", directory=TREE)
        environment = self.engine.environment(**self.variables)
        self.attached = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def still_attached(self):
        if self.attached.poll() is not None:
            log = (self.engine.share / "attached.log").read_text()
            raise Final(f"docker compose up has ended: {log[-4000:]}")

    def detach(self):
        """As Ctrl-C a second time does, or a terminal that is closed: what runs goes on."""
        self.attached.kill()
        self.attached.wait()

    def containers(self, service):
        return self.compose(f"ps --quiet {service}").split()

    def inspect(self, *containers):
        return json.loads(self.engine.docker("inspect", *containers)) if containers else []

    def replicas(self):
        """The addresses of those that run."""
        running = [one for one in self.inspect(*self.containers("placard")) if one["State"]["Running"]]
        return [f"http://{address}:8080" for one in running for address in addresses(one)]

    def await_replicas(self, count):
        """Until the cluster has this many, all are ready and the balancer sends requests to each."""

        def all_there():
            asked = self.replicas()
            ready = [page(f"{replica}/readyz")["status"] for replica in asked]
            return ready == ["ready"] * count == self.states() and self.balanced() == count

        wait_for(f"{count} replicas", all_there)

    def members(self):
        """The replicas that hold a lease, as the one that is asked has them."""
        told = page(f"{self.target}/api/v1/cluster")
        return [member for member in told["members"] if member["lease_ms"] > 0]

    def states(self):
        return [member["state"] for member in self.members()]

    def balanced(self):
        """How many replicas the balancer sends requests to."""
        series = 'haproxy_backend_active_servers{proxy="replicas"'
        found = [line.split()[-1] for line in self.metrics().splitlines() if line.startswith(series)]
        return int(float(found[0]))

    def metrics(self):
        return ask(f"http://127.0.0.1:{self.variables.get('STATS_PORT', 8404)}/metrics")[1]

    def total(self, server=None):
        return page(f"{server or self.target}/api/v1/ad?limit=1")["total"]

    def write(self, query="", timeout=20, key=True):
        """The status and the document of a write. Without a key the balancer tries it once."""
        ad = {"title": "An ad to keep", "content": "In containers", "start_at": "2020-01-01T00:00:00Z", "end_at": "2099-01-01T00:00:00Z"}
        headers = {"Idempotency-Key": str(uuid.uuid4())} if key else {}
        status, text = ask(f"{self.target}/api/v1/ad{query}", ad, self.token, timeout, headers=headers)
        return status, json.loads(text)

    def write_all(self, replicas, count=20):
        """Writes that every replica has to confirm."""
        for _ in range(count):
            status, answer = self.write("?ack=all")
            receipts = answer.get("receipts", {})
            if status != 201 or len(receipts["confirmed"]) != replicas or receipts["unconfirmed"]:
                raise Failed(f"a write with ack=all to {replicas} replicas got {status}: {answer}")


def addresses(container):
    networks = container["NetworkSettings"]["Networks"].values()
    return [network["IPAddress"] for network in networks if network["IPAddress"]]


class Load:
    """k6's readers and writers, from the beginning to the end of a `with`. No request may fail meanwhile, but for a small
    `share` where a replica is killed: its connections break, and HAProxy does not repeat all that was under way there.
    """

    def __init__(self, cluster, share=0, **rates):
        self.cluster, self.share, self.rates = cluster, share, {**LOAD, **rates}
        # There may be two at the same time.
        name = f"k6-{self.rates['RATE']}"
        self.summary = cluster.engine.work / f"{name}.json"
        self.log = cluster.engine.work / f"{name}.log"

    def __enter__(self):
        environment = self.cluster.engine.environment(TARGET=self.cluster.target, TOKEN=self.cluster.token, **self.rates)
        self.summary.unlink(missing_ok=True)
        words = [str(K6), "run", "--quiet", "--no-usage-report", "--summary-export", str(self.summary), "k6/scale.js"]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *words], cwd=ROOT, env=environment,
            stdin=subprocess.DEVNULL, stdout=self.log.open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        return self

    def __exit__(self, kind, fault, trace):
        # Under way when it is interrupted is given up, and counts as neither.
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        if kind:
            return
        found = json.loads(self.summary.read_text())["metrics"]
        self.requests = found["http_reqs"]["count"]
        self.failed = failed = found["http_req_failed"]["passes"]
        # A check that failed beyond the requests that did is an answer that was wrong.
        wrong = max(found["wrong_answers"]["count"], found["checks"]["fails"]) - failed
        if failed > self.requests * self.share or wrong > 0 or not self.requests:
            log = self.log.read_text()[:3000]
            raise Failed(f"under load {failed} of {self.requests} requests failed, and {wrong} checks: {log}")
