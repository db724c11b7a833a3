"""The images and files that the engine is given: stand-ins for those that cannot be had here, the program, and a copy of
the project as it was checked out.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from harness import HERE, ROOT, Failed

# A registry is out of reach, and Grafana has no stand-in. The rest of docker-compose.yml is used as it is, and of the
# Dockerfile what follows the stage that compiles.
OVERRIDE = """\
services:
  placard:
    build:
      additional_contexts: {build: /share/build}
  grafana: {profiles: [never]}
"""
TREE = "/share/placard"
# The program that is in the image too.
PROGRAM = "/share/build/placard/target/release/placard"


def pinned(name):
    """The image as docker-compose.yml or the Dockerfile name it."""
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text()
    return re.search(rf"(?m)^(?: +image:|FROM) ((?:\w+/)?{name}:\S+)", text)[1]


def load(engine):
    """Makes the stand-ins, under the names that are pinned."""
    roots = engine.roots
    for archive, name in ((roots.stores, "stand-in:stores"), (roots.front, "stand-in:front"), (roots.base, pinned("debian"))):
        with archive.open("rb") as stream:
            engine.docker("import", "-", name, stdin=stream)
    # No build here compiles, but each resolves the name.
    engine.docker("tag", pinned("debian"), pinned("rust"))
    shutil.copytree(HERE / "stand-ins", engine.share / "stand-ins")
    names = ("postgres", "redis", "haproxy", "prometheus")
    targets = {name: {"target": name, "tags": [pinned(name)], "output": ["type=docker"]} for name in names}
    (engine.share / "stand-ins/bake.json").write_text(json.dumps({"group": {"default": {"targets": names}}, "target": targets}))
    engine.docker("buildx", "bake", "--file", "bake.json", directory="/share/stand-ins")


def program():
    """The program that PLACARD names, or else the one that is built."""
    if named := os.environ.get("PLACARD"):
        return Path(named).resolve()
    subprocess.run(["cargo", "build", "--locked", "--release", "--package", "placard"], check=True, cwd=ROOT)
    return ROOT / "target/release/placard"


def lay_out(engine, built):
    """The project's files and what its Dockerfile's stage "build" would leave behind."""
    tree = engine.share / Path(TREE).name
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    if "docker-compose.override.yml" in listed.stdout:
        raise Failed("the project has an override of its own")
    (tree / "docker-compose.override.yml").write_text(OVERRIDE)

    build = engine.share / "build"
    for name in ("placard/target/release", "etc/ssl/certs", "data"):
        (build / name).mkdir(parents=True)
    shutil.copy(engine.roots.engine / "etc/ssl/certs/ca-certificates.crt", build / "etc/ssl/certs")
    subprocess.run(["strip", "-o", build / "placard/target/release/placard", built], check=True)


def checked_out(engine):
    """The version that the files in the engine name."""
    return re.search(r"image: placard:(\S+)", (engine.share / Path(TREE).name / "docker-compose.yml").read_text())[1]


def retag(engine, old, new):
    """Has the project's files name another image, as those of the next version do, and the program be another one."""
    for name in ("docker-compose.yml", "scripts/swarm/stack.yml"):
        file = engine.share / Path(TREE).name / name
        text = file.read_text()
        if text.count(f"image: placard:{old}") != 1:
            raise Failed(f"{name} does not name placard:{old} once")
        file.write_text(text.replace(f"image: placard:{old}", f"image: placard:{new}"))
    # What is behind the end of a program changes nothing but its digest, and with it the layer.
    with (engine.share / "build/placard/target/release/placard").open("ab") as appended:
        appended.write(f"\n{new}\n".encode())
