"""The commands that docs/OPERATIONS.md gives for containers, so that a test runs what an operator would type."""

import re

from harness import ROOT, Failed

TEXT = (ROOT / "docs/OPERATIONS.md").read_text()


def row(name):
    """The command for containers in the table of the two kinds of cluster."""
    found = re.search(rf"(?m)^\| {name} \| `([^`]+)`", TEXT)
    if not found:
        raise Failed(f"docs/OPERATIONS.md has no command in containers to {name}")
    return found[1]


def block(holding, lacking="\0"):
    """The commands of the console block that holds one text and lacks another, each without its prompt."""
    blocks = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    blocks = [found for found in blocks if holding in found and lacking not in found]
    if len(blocks) != 1:
        raise Failed(f"docs/OPERATIONS.md has {len(blocks)} blocks with {holding!r}")
    return [command.strip() for command in re.split(r"(?m)^\$ ", blocks[0]) if command.strip()]


def span(holding):
    """The command between backquotes that holds a text."""
    spans = [found for found in re.findall(r"`([^`\n]+)`", TEXT) if holding in found]
    if len(spans) != 1:
        raise Failed(f"docs/OPERATIONS.md has {len(spans)} commands with {holding!r}")
    return spans[0]
