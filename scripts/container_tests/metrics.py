"""Asks the running Prometheus what the dashboard and the alerts ask it: an error fails, and so does an expression without
data that should have some.
"""

import json
import re
import urllib.parse

from cluster import page
from harness import ROOT, Failed, wait_for

SCRAPE_SECONDS = 5
# What Grafana makes of it at this interval.
RATE_INTERVAL = f"{4 * SCRAPE_SECONDS}s"
SERIES = re.compile(r"\b((?:placard|haproxy)_\w+|up)\b((?:\{[^}]*\})?)")


class Prometheus:
    def __init__(self, cluster):
        self.cluster = cluster
        self.url = f"http://127.0.0.1:{cluster.variables.get('PROMETHEUS_PORT', 9090)}/api/v1"

    def query(self, expression):
        told = page(f"{self.url}/query?{urllib.parse.urlencode({'query': expression})}")
        if told["status"] != "success" or told.get("warnings"):
            raise Failed(f"{expression}: {told}")
        return told["data"]["result"]

    def targets(self):
        """How many of each job it reaches."""
        up = self.query("sum by (job) (up)")
        return {one["metric"]["job"]: int(one["value"][1]) for one in up}

    def alerts(self):
        groups = page(f"{self.url}/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def dashboard():
    """The expressions of every panel, as Grafana sends them."""
    for file in sorted((ROOT / "scripts/grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for query in panel["targets"]:
                yield query["expr"].replace("$__rate_interval", RATE_INTERVAL)


def check(cluster, replicas, may_fire):
    """Waits until every expression has data; returns a line of what was asked."""
    prometheus = Prometheus(cluster)
    wanted = {"placard": replicas, "haproxy": 1}
    wait_for("Prometheus' targets", lambda: prometheus.targets() == wanted)
    expressions = list(dashboard())
    await_data(prometheus, "the dashboard", expressions)

    rules = prometheus.alerts()
    defined = len(re.findall(r"- alert:", (ROOT / "scripts/prometheus/alerts.yml").read_text()))
    if len(rules) != defined:
        raise Failed(f"Prometheus has {len(rules)} of {defined} alerts")
    if ill := [rule for rule in prometheus.alerts() if rule["health"] == "err"]:
        raise Failed(f"alerts that cannot be evaluated: {ill}")
    wait_for("the alerts", lambda: all(rule["health"] == "ok" for rule in prometheus.alerts()))
    asked = {"".join(found) for rule in rules for found in SERIES.findall(rule["query"])}
    await_data(prometheus, "the alerts", asked)
    for rule in rules:
        prometheus.query(rule["query"])
    firing = {rule["name"] for rule in prometheus.alerts() if rule["state"] == "firing"} - set(may_fire)
    if firing:
        raise Failed(f"{', '.join(sorted(firing))} fires on a cluster that is well")
    return f"{len(expressions)} expressions of the dashboard, {len(rules)} alerts, {len(asked)} series of theirs"


def await_data(prometheus, what, expressions):
    """Rates take some scrapes."""
    lacking = []

    def all_have_data():
        lacking[:] = [one for one in expressions if not prometheus.query(one)]
        return not lacking

    try:
        wait_for(what, all_have_data, pause=1)
    except Failed as fault:
        raise Failed(f"{what} has no data for {lacking}") from fault


def await_alert(cluster, name):
    def fires():
        return any(rule["name"] == name and rule["state"] == "firing" for rule in Prometheus(cluster).alerts())

    wait_for(name, fires)
