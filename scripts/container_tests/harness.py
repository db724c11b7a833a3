"""What the tests of containers, of the Pod and of the package have in common, and the benches too: how they say that they
cannot run or have failed, what they demand and wait for, and on what machine that was.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# For what is waited for: generous, since it only stops a test that hangs.
PATIENCE_SECONDS = 120


class Failed(Exception):
    """What went wrong, in words."""


class Final(Failed):
    """What went wrong and does not become right by waiting."""


class Unable(Exception):
    """Why this cannot run here, in words."""


def left_out(what, reason):
    """Says loudly that a test is left out, and returns its exit code: where CI is set, that is a failure."""
    print(f"{what} IS LEFT OUT, nothing was tested: {reason}", file=sys.stderr, flush=True)
    return 1 if os.environ.get("CI") else 0


def demand(condition, text):
    if not condition:
        raise Failed(text)


def wait_for(what, condition, seconds=PATIENCE_SECONDS, pause=0.2):
    """What the condition returns, as soon as that is true. What it cannot reach meanwhile is not there yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            found, fault = condition(), ""
        except Final:
            raise
        except (OSError, ValueError, KeyError, Failed) as error:
            found, fault = None, f": {error}"
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s{fault}")
        time.sleep(pause)


def aside(call, *given):
    """Calls something on a thread of its own. The result of what is returned is that of the call, or its error."""
    pool = ThreadPoolExecutor(max_workers=1)
    under_way = pool.submit(call, *given)
    pool.shutdown(wait=False)
    return under_way


def unable():
    """Why nothing can be started in namespaces of its own here, or nothing."""
    if not sys.platform.startswith("linux"):
        return "this is not Linux"
    if os.geteuid():
        return "it needs root"
    for program in ("unshare", "nsenter", "setpriv", "pivot_root", "apt-get"):
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            return f"{program} is missing"
    tried = "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && ip link add probe0 type veth peer name probe1"
    if not shutil.which("ip"):
        tried = tried.partition(" && ip")[0]
    words = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "sh", "-c", tried]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        return f"namespaces cannot be made: {done.stderr.strip()}"
    mounts = re.findall(r"(?m)^\S+ (\S+) cgroup2? ", Path("/proc/self/mounts").read_text())
    try:
        for mount in mounts:
            tried = Path(mount) / f"placard-{os.getpid()}"
            tried.mkdir()
            tried.rmdir()
    except OSError as fault:
        return f"control groups cannot be made: {fault}"
    return None if mounts else "there are no control groups"


def measured_on():
    """This machine, as a report of a bench has it."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}"
