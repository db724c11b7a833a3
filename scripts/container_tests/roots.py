"""The root file systems that tests of containers need, made of Debian's packages by mmdebstrap and kept in a
directory, each under a hash of what it is made of.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from harness import ROOT, Failed, aside

SCRIPTS = ROOT / "scripts"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Docker Engine with Compose, which bookworm has too old ones of: no `required` in `depends_on`, no `--start-interval`.
ENGINE = ("trixie", "docker.io docker-cli docker-compose docker-buildx iptables iproute2 ca-certificates")
# In place of the images that docker-compose.yml names, but for Grafana, which Debian does not have. HAProxy has to
# be 3.1 or newer: an older one sends requests to a replica that has just appeared before it has checked it.
STORES = ("trixie", "postgresql-17 redis-server redis-sentinel gosu")
FRONT = ("forky", "haproxy prometheus wget")
# In place of the Dockerfile's last FROM.
BASE = ("bookworm", "")
# Of no use in a test: what people read, and what PostgreSQL compiles long queries with, which is half of its image.
LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/javascript/*",
    "/usr/share/i18n/*",
    "/usr/bin/promtool",
    "/usr/lib/*/libLLVM*",
    "/usr/lib/*/libz3*",
    "/usr/lib/postgresql/*/lib/llvmjit*",
    "/usr/lib/postgresql/*/lib/bitcode/*",
)
OPTIONS = [
    "--mode=root",
    "--variant=minbase",
    *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT),
    # A root is made again if the machine fails meanwhile.
    "--dpkgopt=force-unsafe-io",
    # The package would make a database that is not used.
    "--customize-hook=rm -rf \"$1\"/var/lib/postgresql/*",
]


def options(suite):
    """A mirror may be a snapshot; of a suite that is not released yet the signature is then out of date."""
    return [*OPTIONS, '--aptopt=Acquire::Check-Valid-Until "false"'] if suite == FRONT[0] else OPTIONS


class Roots:
    """The paths of the roots: a folder with the engine, and the archives that become images."""

    def __init__(self, cache):
        self.cache = Path(cache)
        self.engine = self.place("engine", ENGINE, "")
        self.stores = self.place("stores", STORES, ".tar")
        self.front = self.place("front", FRONT, ".tar")
        self.base = self.place("base", BASE, ".tar")

    def place(self, name, recipe, suffix):
        digest = hashlib.sha256(repr((recipe, options(recipe[0]))).encode()).hexdigest()[:16]
        return self.cache / f"{name}-{digest}{suffix}"

    def make(self, say):
        """Makes the roots that are missing, beside each other, and deletes those of earlier recipes."""
        self.cache.mkdir(parents=True, exist_ok=True)
        wanted = {self.engine: ENGINE, self.stores: STORES, self.front: FRONT, self.base: BASE}
        for old in self.cache.glob("*-*"):
            if old not in wanted:
                remove(old)
        missing = [path for path in wanted if not path.exists()]
        if not missing:
            return
        subprocess.run([SCRIPTS / "install-servers", "--only", "mmdebstrap"], check=True)
        say(f"making {', '.join(path.name.partition('-')[0] for path in missing)}, once, in {self.cache}")
        building = [aside(build, path, wanted[path], say) for path in missing]
        faults = [str(fault) for fault in (one.exception() for one in building) if fault]
        if faults:
            raise Failed("\n".join(faults))


def build(path, recipe, say):
    started = time.monotonic()
    suite, packages = recipe
    # An archive's format goes by its name.
    unfinished = path.with_name(f"{path.stem}-unfinished{path.suffix}")
    remove(unfinished)
    words = options(suite)
    if packages:
        words = [*words, f"--include={packages.replace(' ', ',')}"]
    bootstrap(*words, suite, unfinished)
    os.rename(unfinished, path)
    say(f"{path.name.partition('-')[0]}: {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def folder(name, suite, packages, say):
    """A folder under target/ with these of Debian's packages, which is made if it is missing, and is this run's alone until
    the end of the `with`. Those of earlier lists of packages are deleted.
    """
    # Packages that are installed later keep their pages.
    words = [*OPTIONS, '--customize-hook=rm "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap', f"--include={','.join(packages)}", suite]
    digest = hashlib.sha256(repr(words).encode()).hexdigest()[:12]
    target = ROOT / "target"
    target.mkdir(exist_ok=True)
    root = target / f"{name}-{digest}"
    with (target / f"{name}.lock").open("w") as lock:
        wait_in_turn(lock, f"another run uses {root.relative_to(ROOT)}", say)
        for old in target.glob(f"{name}-*"):
            if old != root and re.fullmatch(rf"{name}-[0-9a-f]{{12}}(-unfinished)?", old.name):
                remove(old)
        if not root.exists():
            # Ubuntu does not know Debian's keys by itself.
            keys = [] if KEYS.exists() else ["debian-archive-keyring"]
            subprocess.run([SCRIPTS / "install-servers", "--only", "mmdebstrap", *keys], check=True)
            say(f"making {root.relative_to(ROOT)} of Debian's packages")
            unfinished = root.with_name(f"{root.name}-unfinished")
            bootstrap(*words, unfinished)
            unfinished.rename(root)
        yield root


def wait_in_turn(lock, reason, say):
    """Locks an open file until it is closed. The lock ends with the process, whatever ends that."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting: {reason}")
        fcntl.flock(lock, fcntl.LOCK_EX)


def bootstrap(*words):
    """Runs mmdebstrap, whose last word is the place. What it mounts there ends with it, also if it is killed."""
    command = ["unshare", "--mount", "mmdebstrap", "--quiet", *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        remove(Path(words[-1]))
        raise Failed(f"{' '.join(command[2:])}: {done.stderr.strip()}")


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
