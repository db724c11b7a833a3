"""What the chart must agree with, as the program's sources and documents say it."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@cache
def text(path):
    return (ROOT / path).read_text()


@cache
def found(pattern, path):
    """What the group of a pattern matches in a file that must have it."""
    match = re.search(pattern, text(path))
    if not match:
        raise LookupError(f"{path} has nothing like {pattern}")
    return match.groups() if len(match.groups()) > 1 else match.group(1)


def number(digits):
    return int(digits.replace("_", ""))


@cache
def options():
    """The options of `placard serve`, each with its bounds if it is a number that has some."""
    sources = text("cmd/placard/src/options/serve.rs") + text("cmd/placard/src/options/cluster.rs")
    milliseconds = number(found(r"fn milliseconds\b[^}]*?MOST: u64 = ([\d_]+)", "cmd/placard/src/options/parse.rs"))
    connections = number(found(r"fn connections_max\b[^}]*?MOST: usize = ([\d_]+)", "cmd/placard/src/options/parse.rs"))
    taken = {"log": None, "log-format": None}
    for name, rest in re.findall(r'env = "PLACARD_(\w+)"(.*?)pub\(crate\)', sources, re.DOTALL):
        bounds = re.search(r"\.range\(([\d_]+)\.\.(=?)([\d_]+)\)", rest)
        if bounds:
            low, inclusive, high = bounds.groups()
            bounds = (number(low), number(high) - (not inclusive))
        elif "value_parser = milliseconds" in rest:
            bounds = (0, milliseconds)
        elif "value_parser = connections_max" in rest:
            bounds = (1, connections)
        taken[name.lower().replace("_", "-")] = bounds
    return taken


@cache
def version():
    return found(r'(?m)^version = "([^"]+)"', "Cargo.toml")


@cache
def health_paths():
    """What is answered beyond the maximum of connections: the routes that the table reserves."""
    names = re.findall(r"route\((?:\w+::)?(\w+_PATH), methods!\([^)]*\)\)\.reserved\(\)", text("internal/api/src/routes/mod.rs"))
    files = "\n".join(text(f"internal/api/src/{name}") for name in ("routes/health/mod.rs", "metrics/page.rs"))
    return [re.search(rf'{name}: &str = "([^"]+)"', files)[1] for name in names]


@cache
def user():
    """The image's user and group."""
    return tuple(map(int, found(r"(?m)^USER (\d+):(\d+)$", "Dockerfile")))


@cache
def stop_seconds():
    """How long a replica takes to stop after its drain delay: its work, its last spans, and the log."""
    limits = "internal/model/src/limits.rs"
    names = ("STOP_DEADLINE", "LAST_SPANS_DEADLINE")
    work = [number(found(rf"{name}: Duration = Duration::from_millis\(([\d_]+)\)", limits)) for name in names]
    log = int(found(r"A stopping server waits for\s+it for at most (\d+) s", "docs/OPERATIONS.md"))
    return sum(work) / 1000 + log


@cache
def connections():
    """PostgreSQL's connections: those to spare, and those of a replica."""
    spare, each = found(r"(\d+) \+ (\d+) × \d+", "docs/OPERATIONS.md")
    return int(spare), int(each)


@cache
def metrics():
    return set(re.findall(r"(?m)^\| `(placard_[a-z0-9_]+)` \|", text("docs/OPERATIONS.md")))


@cache
def job():
    """The name by which the alerts know replicas."""
    return found(r'up\{job="(placard)"\}', "scripts/prometheus/alerts.yml")
