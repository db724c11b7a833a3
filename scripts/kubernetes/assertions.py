"""What must be true of the chart's objects, for its defaults and for each example, and which values it must refuse.
`scripts/check-kubernetes` runs it. Each assertion is tried on charts that break it, too: one that does not notice fails.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kubernetes_validate
import sources
import yaml
from expectations import ASSERTIONS, Rendered, connections_needed, static_faults
from mutations import CONNECTION_MUTATIONS, MANUAL_MUTATIONS, MUTATIONS, REFUSALS, STATIC_MUTATIONS, WITHOUT_GUARD

HERE = Path(__file__).resolve().parent
CHART = HERE / "placard"
# The oldest that Chart.yaml allows, and the newest of which there are schemas.
VERSIONS = ("1.27", "1.37")
# Resources of operators, of which Kubernetes has no schemas.
FOREIGN = {"ScaledObject", "ServiceMonitor"}
# A release's name that is as long as one may be, so that names are cut.
RELEASES = ("ads", "a-release-whose-name-has-as-many-characters-as-fits-x")

# The one in C reads ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Helm:
    def __init__(self, program, home):
        self.program = program
        places = {f"HELM_{kind}_HOME": str(Path(home) / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        self.environment = {**os.environ, **places}

    def run(self, *words):
        command = [self.program, *map(str, words)]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=self.environment)

    def render(self, chart, *words, release):
        """The objects, or the message of a refusal."""
        done = self.run("template", release, chart, "--namespace", "shop", "--kube-version", VERSIONS[-1], *words)
        if done.returncode:
            return None, done.stderr
        return [one for one in yaml.load_all(done.stdout, LOADER) if one], None

    def refusal(self, chart, *words):
        """Why values are refused, if they are."""
        done = self.run("template", "ads", chart, *words)
        return done.stderr if done.returncode else None


def values(file):
    """A set's values over the defaults, as Helm merges them."""
    def merged(below, above):
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        both = {key: merged(below[key], above[key]) if key in below else above[key] for key in above}
        return {key: value for key, value in {**below, **both}.items() if value is not None or key not in above}

    defaults = yaml.load((CHART / "values.yaml").read_text(), LOADER)
    return merged(defaults, yaml.load(file.read_text(), LOADER)) if file else defaults


def rendered(helm, chart, example, release):
    file = HERE / "examples" / f"{example}.yaml" if example else None
    objects, refusal = helm.render(chart, *(["--values", file] if file else []), release=release)
    return (None, refusal) if refusal else (Rendered(release, "shop", values(file), objects), None)


def of_schemas(objects):
    for one in objects:
        for version in VERSIONS:
            where = f"{one['kind']} is not one of Kubernetes {version}"
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{where}: {'.'.join(map(str, error.path))}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError as error:
                if one["kind"] not in FOREIGN:
                    yield f"{where}: {error.message}"


def of_examples(helm, examples):
    for example in examples:
        words = ["--values", HERE / "examples" / f"{example}.yaml"] if example else []
        linted = helm.run("lint", "--strict", CHART, *words)
        if linted.returncode:
            yield f"helm lint, {example or 'defaults'}: {linted.stdout}{linted.stderr}"
        refusal = helm.refusal(CHART, *words, "--kube-version", VERSIONS[0])
        if refusal:
            yield f"Kubernetes {VERSIONS[0]}, {example or 'defaults'}: {refusal}"
        for release in RELEASES:
            cluster, refusal = rendered(helm, CHART, example, release)
            if refusal:
                yield f"{example or 'defaults'}: {refusal}"
                continue
            # Schemas do not depend on the name.
            faults = [*of_schemas(cluster.objects)] if release == RELEASES[0] else []
            faults += [f"{check.__name__}: {fault}" for check in ASSERTIONS for fault in check(cluster)]
            yield from (f"{example or 'defaults'}: {fault}" for fault in faults)


def of_connections(helm, chart, examples):
    """The chart refuses one connection less than it needs, and takes what it needs."""
    for example in examples:
        file = HERE / "examples" / f"{example}.yaml" if example else None
        needed = connections_needed(values(file))
        for given in (needed, needed - 1):
            words = ["--values", file] if file else []
            refusal = helm.refusal(chart, *words, "--set", f"postgres.maxConnections={given}")
            if bool(refusal) != (given < needed):
                yield f"{example or 'defaults'}: {needed} connections are needed, and {given} are {'refused' if refusal else 'taken'}"


def of_manual(helm, directory, manual):
    """Where the manual's commands and values are refused, or its figures are others than the chart's."""
    section = manual.partition("\n## Kubernetes\n")[2].partition("\n## ")[0]
    commands = re.findall(r"helm (?:install|upgrade) placard scripts/kubernetes/placard([^`\n]*)", section)
    blocks = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    if len(commands) < 3 or not blocks:
        yield "docs/OPERATIONS.md does not say how the chart is used"
    for command in commands:
        refusal = helm.refusal(CHART, *re.sub(r"--values my.yaml|--reset-then-reuse-values", "", command).split())
        if refusal:
            yield f"docs/OPERATIONS.md says{command}: {refusal}"
    for block in blocks:
        file = Path(directory) / "manual.yaml"
        file.write_text(block)
        refusal = helm.refusal(CHART, "--values", file)
        if refusal:
            yield f"docs/OPERATIONS.md has values that are refused: {refusal}"
    needed, replicas = connections_needed(values(None)), values(None)["replicas"]
    spare, each = sources.connections()
    figures = f"For {replicas} replicas these are {(needed - spare) // each} Pods and {needed} connections."
    for figure in (figures, f"connections PostgreSQL must allow: {spare}, and {each} for each Pod", f"Kubernetes {' and '.join(VERSIONS)}"):
        if figure not in " ".join(section.split()):
            yield f"docs/OPERATIONS.md does not say: {figure}"


def of_refusals(helm):
    for words, said in REFUSALS.items():
        refusal = helm.refusal(CHART, *words.split())
        if not refusal:
            yield f"{words} is not refused"
        elif said not in refusal:
            yield f"{words} is refused without {said!r}: {refusal.strip()}"


def broken(directory, name, file, old, new):
    """A copy of the chart, with something else in one file, or why it cannot be made."""
    chart = Path(directory) / name
    shutil.copytree(CHART, chart)
    content = (chart / file).read_text()
    if old not in content:
        raise LookupError(f"{file} has no {old!r} that could be broken")
    (chart / file).write_text(content.replace(old, new))
    return chart


def of_mutant(helm, directory, number, mutation):
    """Why a mutation was not noticed, if it was not."""
    name, file, old, new, example = mutation
    where = f"{new!r} in place of {old!r} in {file}"
    try:
        chart = broken(directory, str(number), file, old, new)
    except LookupError as error:
        return str(error)
    cluster, refusal = rendered(helm, chart, example, RELEASES[-1])
    if refusal:
        return f"{where} cannot be rendered: {refusal.strip()}"
    check = next(one for one in ASSERTIONS if one.__name__ == name)
    return None if any(check(cluster)) else f"{name} does not notice {where}"


def of_mutations(helm, directory, examples, manual):
    untried = {check.__name__ for check in ASSERTIONS} - {mutation[0] for mutation in MUTATIONS}
    yield from (f"{name} is not tried on a chart that breaks it" for name in sorted(untried))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        tried = pool.map(lambda each: of_mutant(helm, directory, *each), enumerate(MUTATIONS))
        yield from filter(None, tried)
    for number, mutation in enumerate(STATIC_MUTATIONS):
        if not any(static_faults(broken(directory, f"static-{number}", *mutation))):
            yield f"what the program says is not compared with {mutation}"
    for number, mutation in enumerate(CONNECTION_MUTATIONS):
        if not any(of_connections(helm, broken(directory, f"connections-{number}", *mutation), examples)):
            yield f"PostgreSQL's connections are not compared with {mutation}"
    for old, new in MANUAL_MUTATIONS:
        if old not in manual or not any(of_manual(helm, directory, manual.replace(old, new))):
            yield f"docs/OPERATIONS.md may say {new!r} in place of {old!r}"
    # A refusal proves nothing if it does not come from what is to refuse.
    for guard, (file, old, new) in WITHOUT_GUARD.items():
        chart = Path(directory) / guard
        shutil.copytree(CHART, chart)
        (chart / file).write_text(re.sub(old, new, (chart / file).read_text()))
        for words, said in REFUSALS.items():
            if said.startswith("at '") != (guard == "schema"):
                continue
            refusal = helm.refusal(chart, *words.split())
            if said in (refusal or ""):
                yield f"{words} is refused without the {guard}, too"


def main():
    with tempfile.TemporaryDirectory() as directory:
        helm = Helm(sys.argv[1], directory)
        examples = [None, *sorted(file.stem for file in (HERE / "examples").glob("*.yaml"))]
        faults = [*static_faults(CHART), *of_examples(helm, examples)]
        faults += [*of_connections(helm, CHART, examples), *of_refusals(helm)]
        manual = sources.text("docs/OPERATIONS.md")
        faults += of_manual(helm, directory, manual)
        # Mutants of a chart that is wrong already say nothing.
        faults = faults or [*of_mutations(helm, directory, examples, manual)]
    for fault in faults:
        print(f"check-kubernetes: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
