"""The assertions: each is given the objects of a release and yields what is wrong with them."""

import json
import math
import re

import sources
import yaml

KINDS = {"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ScaledObject", "NetworkPolicy", "ServiceMonitor"}
# Volumes that Kubernetes' Pod Security Standard "restricted" allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
# Options that are the chart's to set, that would be secrets, or that are each replica's own.
NOT_OPTIONS = {"data-dir", "postgres-url", "redis-url", "advertise"}
CREDENTIALS = re.compile(r"://[^/\s]*@|password|token", re.IGNORECASE)
# A ReplicaSet adds up to 11 characters to a Deployment's name, and a Pod 6; a machine's name has at most 63.
NAME_MAX = 63 - 17


class Rendered:
    """A release's objects, and the values that they were made from."""

    def __init__(self, release, namespace, values, objects):
        self.release, self.namespace, self.values, self.objects = release, namespace, values, objects

    def all(self, kind):
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind):
        (found,) = self.all(kind)
        return found

    @property
    def deployment(self):
        return self.one("Deployment")["spec"]

    @property
    def pod(self):
        return self.deployment["template"]["spec"]

    @property
    def container(self):
        (found,) = self.pod["containers"]
        return found

    @property
    def labels(self):
        return self.deployment["template"]["metadata"]["labels"]

    @property
    def environment(self):
        return {one["name"]: one.get("value") for one in self.container["env"]}

    @property
    def ports(self):
        return {one["name"]: one["containerPort"] for one in self.container["ports"]}


def selects(selector, labels):
    """Whether a selector is this release's, and chooses these labels."""
    own = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    return own == set(selector) and selector.items() <= labels.items()


def objects_are_the_expected_ones(cluster):
    kinds = [one["kind"] for one in cluster.objects]
    for kind in kinds:
        if kind not in KINDS:
            yield f"{kind} is not expected; secrets are the operator's"
    by = cluster.values["autoscaling"]["by"]
    wanted = {
        "Deployment": True,
        "Service": True,
        "PodDisruptionBudget": True,
        "HorizontalPodAutoscaler": by == "cpu",
        "ScaledObject": by == "requests",
        "NetworkPolicy": cluster.values["networkPolicy"]["enabled"],
        "ServiceMonitor": cluster.values["serviceMonitor"]["enabled"],
    }
    for kind, there in wanted.items():
        if kinds.count(kind) != int(there):
            yield f"there are {kinds.count(kind)} of {kind}"


def names_leave_room_for_a_pods_own(cluster):
    for one in cluster.objects:
        name = one["metadata"]["name"]
        if len(name) > NAME_MAX or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
            yield f"{one['kind']} is called {name}, of {len(name)} characters"
        if one["metadata"]["labels"]["app.kubernetes.io/version"] != sources.version():
            yield f"{one['kind']} is of another version than Cargo.toml"


def image_is_the_program_of_the_chart(cluster):
    image = cluster.values["image"]
    wanted = f"@{image['digest']}" if image["digest"] else f":{image['tag'] or sources.version()}"
    if cluster.container["image"] != image["repository"] + wanted:
        yield f"the image is {cluster.container['image']}"


def grace_period_covers_the_stop(cluster):
    grace = cluster.pod["terminationGracePeriodSeconds"]
    needed = int(cluster.environment["PLACARD_DRAIN_DELAY"]) / 1000 + max(5, sources.stop_seconds())
    if grace < needed:
        yield f"a Pod is killed after {grace} s, and may need {needed} s"


def variables_are_the_programs(cluster):
    options = sources.options()
    for name, value in cluster.environment.items():
        option = name.removeprefix("PLACARD_").lower().replace("_", "-")
        if not name.startswith("PLACARD_") or option not in options:
            yield f"{name} is not a variable of placard serve"
            continue
        bounds = options[option]
        if bounds and not bounds[0] <= int(value) <= bounds[1]:
            yield f"{name} is {value}"
    if len(cluster.environment) != len(cluster.container["env"]):
        yield "a variable is set twice"


def values_reach_the_program(cluster):
    for option, value in cluster.values["options"].items():
        name = "PLACARD_" + option.upper().replace("-", "_")
        wanted = value if isinstance(value, str) else json.dumps(value)
        if cluster.environment.get(name) != wanted:
            yield f"{name} is {cluster.environment.get(name)}, and options.{option} {wanted}"
    for option in cluster.values["files"]:
        if "PLACARD_" + option.upper().replace("-", "_") not in cluster.environment:
            yield f"files.{option} is not passed to the program"


def secrets_are_files_only(cluster):
    if cluster.container["args"] != ["serve"] or "command" in cluster.container:
        yield f"the arguments are {cluster.container['args']}"
    if "envFrom" in cluster.container:
        yield "variables are taken from elsewhere"
    for one in cluster.container["env"]:
        if set(one) != {"name", "value"}:
            yield f"{one['name']} is taken from elsewhere"
        elif not one["name"].endswith("_FILE") and CREDENTIALS.search(one["name"] + one["value"]):
            yield f"{one['name']} may have a secret"
    if not cluster.pod["volumes"] or "initContainers" in cluster.pod:
        yield "another container could be given secrets"


def files_are_where_the_program_looks(cluster):
    volumes = {one["name"]: one for one in cluster.pod["volumes"]}
    paths = {}
    for mount in cluster.container["volumeMounts"]:
        secret = volumes[mount["name"]].get("secret")
        if not secret:
            continue
        if not mount.get("readOnly") or "subPath" in mount:
            yield f"{mount['mountPath']} can be written, or does not follow its Secret"
        if secret["defaultMode"] != 0o440:
            yield f"{mount['mountPath']} has the mode {secret['defaultMode']:o}"
        for item in secret.get("items", []):
            paths[f"{mount['mountPath']}/{item['path']}"] = (secret["secretName"], item["key"])
    for option, source in cluster.values["files"].items():
        path = cluster.environment.get("PLACARD_" + option.upper().replace("-", "_"))
        if paths.get(path) != (source["secret"], source["key"]):
            yield f"{option} is {path}, where {paths.get(path)} is mounted"
    for name, secret in cluster.values["extraSecrets"].items():
        mounts = [one for one in cluster.container["volumeMounts"] if one["mountPath"] == f"/run/placard/{name}"]
        if [volumes[one["name"]]["secret"]["secretName"] for one in mounts] != [secret]:
            yield f"extraSecrets.{name} is not mounted"


def probes_ask_health_routes(cluster):
    wanted = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    listen = int(cluster.environment["PLACARD_LISTEN"].rpartition(":")[2])
    for name, path in wanted.items():
        probe = cluster.container[name]
        asked = probe["httpGet"]
        if asked["path"] != path or path not in sources.health_paths():
            yield f"{name} asks {asked['path']}"
        if cluster.ports.get(asked["port"], asked["port"]) != listen:
            yield f"{name} asks the port {asked['port']}, and the program listens on {listen}"
        if probe["timeoutSeconds"] > probe["periodSeconds"]:
            yield f"{name} waits for longer than its period"
    probe = cluster.container["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"]
    if probe["periodSeconds"] != 1 or noticed * 1000 > int(cluster.environment["PLACARD_DRAIN_DELAY"]):
        yield f"it takes {noticed} s until a Pod that is not ready gets no requests"
    probe = cluster.container["livenessProbe"]
    if probe["periodSeconds"] * probe["failureThreshold"] < 30:
        yield "a Pod is killed that was held for less than half a minute"


def selectors_choose_the_pods(cluster):
    selectors = {
        "Deployment": cluster.deployment["selector"]["matchLabels"],
        "Service": cluster.one("Service")["spec"]["selector"],
        "PodDisruptionBudget": cluster.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    }
    for policy in cluster.all("NetworkPolicy"):
        selectors["NetworkPolicy"] = policy["spec"]["podSelector"]["matchLabels"]
    for kind, selector in selectors.items():
        if not selects(selector, cluster.labels):
            yield f"{kind} selects {selector}, and Pods have {cluster.labels}"


def service_leads_to_the_program(cluster):
    (port,) = cluster.one("Service")["spec"]["ports"]
    if cluster.ports.get(port["targetPort"]) != int(cluster.environment["PLACARD_LISTEN"].rpartition(":")[2]):
        yield f"the Service sends requests to {port['targetPort']}"
    if port["port"] != cluster.values["service"]["port"]:
        yield f"the Service listens on {port['port']}"


def upgrades_keep_every_replica(cluster):
    strategy = cluster.deployment["strategy"]
    if strategy != {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}:
        yield f"an upgrade is {strategy}"
    if cluster.deployment["minReadySeconds"] != cluster.values["minReadySeconds"]:
        yield "a new Pod counts at once"
    budget = cluster.one("PodDisruptionBudget")["spec"]
    if budget.get("maxUnavailable") in (None, 0, "0%") or "minAvailable" in budget:
        yield "no node could be drained"
    if budget.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
        yield "a Pod that never becomes ready keeps its node from being drained"


def replicas_have_one_owner(cluster):
    owners = cluster.all("HorizontalPodAutoscaler") + cluster.all("ScaledObject")
    if ("replicas" in cluster.deployment) == bool(owners):
        yield f"{len(owners)} autoscalers, and replicas is {cluster.deployment.get('replicas')}"
    if not owners and cluster.deployment.get("replicas") != cluster.values["replicas"]:
        yield f"replicas is {cluster.deployment.get('replicas')}"
    wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "name": cluster.one("Deployment")["metadata"]["name"]}
    scaling = cluster.values["autoscaling"]
    for owner in owners:
        spec = owner["spec"]
        if spec["scaleTargetRef"] != wanted:
            yield f"{owner['kind']} scales {spec['scaleTargetRef']}"
        low, high = (spec.get(f"{bound}Replicas", spec.get(f"{bound}ReplicaCount")) for bound in ("min", "max"))
        if (low, high) != (scaling["minReplicas"], scaling["maxReplicas"]):
            yield f"{owner['kind']} wants {low} to {high} Pods"
        horizontal = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", spec)
        down = horizontal["behavior"]["scaleDown"]
        if down["stabilizationWindowSeconds"] != scaling["quietSeconds"] or horizontal["behavior"]["scaleUp"]["stabilizationWindowSeconds"]:
            yield f"{owner['kind']} is not up at once and down after a while"
        # More at once, and a load that comes back finds too few.
        if down["policies"] != [{"type": "Pods", "value": 1, "periodSeconds": 60}]:
            yield f"{owner['kind']} removes several Pods at once"


def autoscaler_measures_what_is_there(cluster):
    for one in cluster.all("HorizontalPodAutoscaler"):
        (metric,) = one["spec"]["metrics"]
        wanted = {"type": "Utilization", "averageUtilization": cluster.values["autoscaling"]["cpuPercent"]}
        if metric != {"type": "Resource", "resource": {"name": "cpu", "target": wanted}}:
            yield f"it measures {metric}"
        if "cpu" not in cluster.container["resources"]["requests"]:
            yield "it measures a share of a request of CPU that is not made"
    for one in cluster.all("ScaledObject"):
        (trigger,) = one["spec"]["triggers"]
        scaling, given = cluster.values["autoscaling"], trigger["metadata"]
        query = given["query"]
        labels = dict(re.findall(r'(\w+)="([^"]*)"', query))
        if not set(re.findall(r"\bplacard_\w+_total\b", query)) & sources.metrics() or not query.startswith("sum(rate("):
            yield f"it asks for {query}"
        # What the ServiceMonitor's Prometheus adds to a series.
        if labels != {"namespace": cluster.namespace, "service": cluster.one("Service")["metadata"]["name"]}:
            yield f"it asks for series of {labels}"
        if (trigger["type"], trigger["metricType"]) != ("prometheus", "AverageValue"):
            yield f"it is a trigger of {trigger['type']}"
        wanted = {"serverAddress": scaling["prometheusUrl"], "query": query, "threshold": str(scaling["requestsPerSecond"])}
        if given != wanted:
            yield f"the trigger has {given}"


def network_policy_lets_out_what_is_needed(cluster):
    for policy in cluster.all("NetworkPolicy"):
        spec = policy["spec"]
        if sorted(spec["policyTypes"]) != ["Egress", "Ingress"]:
            yield f"it is about {spec['policyTypes']} only"
        # (protocol, port) and to whom.
        ways = [((port["protocol"], port["port"]), rule.get("to")) for rule in spec["egress"] for port in rule["ports"]]
        values = cluster.values["networkPolicy"]
        needed = [(("UDP", 53), None), (("TCP", 53), None)]
        for server in ("postgres", "redis"):
            needed += [(("TCP", port), values[server]["to"] or None) for port in values[server]["ports"]]
        sentinels = cluster.values["options"].get("redis-sentinel", "")
        needed += [(("TCP", int(port)), values["redis"]["to"] or None) for port in re.findall(r":(\d+)", sentinels)]
        collector = cluster.values["options"].get("otlp-endpoint")
        if collector:
            port = re.search(r":(\d+)", collector.partition("//")[2])
            needed.append((("TCP", int(port[1]) if port else {"http": 80, "https": 443}[collector.partition(":")[0]]), None))
        needed += [((port["protocol"], port["port"]), rule["to"]) for rule in values["egress"] for port in rule["ports"]]
        yield from (f"{way} is not let out to {to or 'anything'}" for way, to in needed if (way, to) not in ways)
        yield from (f"{way} is let out to {to or 'anything'}" for way, to in ways if (way, to) not in needed)
        (rule,) = spec["ingress"]
        if [cluster.ports.get(port["port"]) for port in rule["ports"]] != [cluster.ports["http"]]:
            yield f"it lets in {rule['ports']}"
        if rule.get("from", []) != values["from"]:
            yield f"it lets in {rule.get('from')}"


def monitor_finds_the_replicas(cluster):
    for monitor in cluster.all("ServiceMonitor"):
        spec, service = monitor["spec"], cluster.one("Service")
        labels = service["metadata"]["labels"]
        if not selects(spec["selector"]["matchLabels"], labels):
            yield f"it selects {spec['selector']}, and the Service has {labels}"
        (endpoint,) = spec["endpoints"]
        if endpoint["port"] not in [port["name"] for port in service["spec"]["ports"]]:
            yield f"it asks the port {endpoint['port']}"
        if endpoint["path"] != "/metrics" or endpoint["path"] not in sources.health_paths():
            yield f"it asks {endpoint['path']}"
        if labels.get(spec["jobLabel"]) != sources.job():
            yield f"its job is {labels.get(spec['jobLabel'])}, and the alerts' {sources.job()}"
        wanted = {**monitor["metadata"]["labels"], **cluster.values["serviceMonitor"]["labels"]}
        if monitor["metadata"]["labels"] != wanted:
            yield "its labels are not those that were asked for"


def pods_are_restricted(cluster):
    """Kubernetes' Pod Security Standard "restricted", and what it leaves open."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if cluster.pod.get(name):
            yield f"{name} is on"
    for volume in cluster.pod["volumes"]:
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"the volume {volume['name']} is of {kinds}"
    if any("hostPort" in port for port in cluster.container["ports"]):
        yield "a port of the node is taken"
    pod, container = cluster.pod["securityContext"], cluster.container["securityContext"]
    if "sysctls" in pod or "procMount" in container or container.get("privileged"):
        yield "more than a usual container's rights are asked for"
    if pod.get("runAsNonRoot") is not True or container.get("runAsNonRoot") is False:
        yield "it may run as root"
    if (pod.get("runAsUser"), pod.get("runAsGroup"), pod.get("fsGroup")) != (sources.user()[0], *[sources.user()[1]] * 2):
        yield f"it runs as another user than the image's {sources.user()}"
    if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "system calls are not filtered"
    if container.get("allowPrivilegeEscalation") is not False:
        yield "it may gain privileges"
    if container.get("capabilities") != {"drop": ["ALL"]}:
        yield f"it keeps capabilities: {container.get('capabilities')}"
    if container.get("readOnlyRootFilesystem") is not True:
        yield "its root file system can be written"
    if cluster.pod.get("automountServiceAccountToken") is not False:
        yield "it is given a token for Kubernetes' API"
    if cluster.pod.get("enableServiceLinks") is not False:
        yield "Services set variables that begin as the program's"
    if "memory" not in cluster.container["resources"]["limits"]:
        yield "its memory is not bounded"


def checkpoints_have_a_place(cluster):
    path = cluster.environment["PLACARD_DATA_DIR"]
    mounts = [one for one in cluster.container["volumeMounts"] if one["mountPath"] == path]
    if len(mounts) != 1 or mounts[0].get("readOnly"):
        yield f"nothing can be written to {path}"
        return
    (volume,) = [one for one in cluster.pod["volumes"] if one["name"] == mounts[0]["name"]]
    wanted = cluster.values["checkpoint"]
    if wanted["volume"] == "emptyDir":
        if volume.get("emptyDir") != {"sizeLimit": wanted["size"]}:
            yield f"checkpoints are in {volume}"
        return
    claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
    if claim["resources"]["requests"]["storage"] != wanted["size"] or claim["accessModes"] != ["ReadWriteOnce"]:
        yield f"checkpoints are in {claim}"
    if claim.get("storageClassName", "") != wanted["storageClass"]:
        yield f"checkpoints are on {claim.get('storageClassName')}"


def pods_are_spread(cluster):
    spread = cluster.pod["topologySpreadConstraints"]
    if [one["topologyKey"] for one in spread] != cluster.values["spread"]["over"]:
        yield f"they are spread over {[one['topologyKey'] for one in spread]}"
    for one in spread:
        if not selects(one["labelSelector"]["matchLabels"], cluster.labels):
            yield f"{one['labelSelector']} is spread"
        if one["whenUnsatisfiable"] != cluster.values["spread"]["whenUnsatisfiable"] or one["maxSkew"] != 1:
            yield f"{one['topologyKey']} is not demanded as it should be"
        if one["matchLabelKeys"] != ["pod-template-hash"]:
            yield "the old Pods of an upgrade count among the new"


def scheduling_is_passed_on(cluster):
    for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        if (cluster.pod.get(name) or None) != (cluster.values[name] or None):
            yield f"{name} is {cluster.pod.get(name)}"
    if [one["name"] for one in cluster.pod.get("imagePullSecrets", [])] != cluster.values["image"]["pullSecrets"]:
        yield "the image cannot be pulled"
    annotations = cluster.deployment["template"]["metadata"].get("annotations", {})
    if annotations != cluster.values["podAnnotations"]:
        yield f"the annotations are {annotations}"


ASSERTIONS = [
    objects_are_the_expected_ones,
    names_leave_room_for_a_pods_own,
    image_is_the_program_of_the_chart,
    grace_period_covers_the_stop,
    variables_are_the_programs,
    values_reach_the_program,
    secrets_are_files_only,
    files_are_where_the_program_looks,
    probes_ask_health_routes,
    selectors_choose_the_pods,
    service_leads_to_the_program,
    upgrades_keep_every_replica,
    replicas_have_one_owner,
    autoscaler_measures_what_is_there,
    network_policy_lets_out_what_is_needed,
    monitor_finds_the_replicas,
    pods_are_restricted,
    checkpoints_have_a_place,
    pods_are_spread,
    scheduling_is_passed_on,
]


def connections_needed(values):
    """What a rolling upgrade takes of PostgreSQL's connections, as docs/OPERATIONS.md says it."""
    spare, each = sources.connections()
    scaling = values["autoscaling"]
    replicas = values["replicas"] if scaling["by"] == "none" else scaling["maxReplicas"]
    grace = math.ceil(values["options"]["drain-delay"] / 1000) + 10
    return spare + each * (replicas + 1 + math.ceil(grace / values["minReadySeconds"]))


def static_faults(chart):
    """Where the chart's own files disagree with the program, whatever is rendered."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    for name in ("version", "appVersion"):
        if about[name] != sources.version():
            yield f"Chart.yaml: {name} is {about[name]}, and Cargo.toml's version {sources.version()}"
    schema = json.loads((chart / "values.schema.json").read_text())["properties"]
    options, files = (schema[name]["properties"] for name in ("options", "files"))
    known = sources.options()
    for option in sorted((set(options) | set(files) | NOT_OPTIONS) ^ set(known)):
        yield f"--{option} is {'only in placard serve' if option in known else 'not an option of placard serve'}: values.schema.json"
    for option, bounds in known.items():
        said = options.get(option, {})
        if bounds and (said.get("minimum"), said.get("maximum")) != bounds:
            yield f"--{option} is {bounds[0]} to {bounds[1]}, and in values.schema.json {said.get('minimum')} to {said.get('maximum')}"
    for option in files:
        if not option.endswith("-file"):
            yield f"--{option} does not name a file"
