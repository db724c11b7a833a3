"""A machine of its own, as far as processes see: a root file system with systemd as the first process, in namespaces. It
ends with the process that started it, whatever ends that.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from engine import delete_groups
from harness import HERE, Failed, Unable, unable, wait_for

# Only stops a command that hangs.
COMMAND_SECONDS = 600


def hindrance():
    """Why no machine can be started here, or nothing."""
    if reason := unable():
        return reason
    return None if control_groups() else "there are no control groups of version 2"


def control_groups():
    """Where the control groups are mounted that systemd counts its services by."""
    mounts = Path("/proc/self/mounts").read_text()
    found = re.search(r"(?m)^\S+ (\S+) cgroup2 ", mounts)
    return found and Path(found[1])


class Machine:
    """Its `share` is /share in there. What is written in there is in memory, and the folder with its root stays as it is."""

    def __init__(self, root):
        self.root = root
        self.process = self.pid = None
        self.work = Path(tempfile.mkdtemp(prefix="placard-machine-"))
        self.group = control_groups() / self.work.name
        self.share = self.work / "share"
        self.share.mkdir()

    def start(self):
        self.group.mkdir()
        # The first process is in a group of its own before that becomes the root of the groups that it sees.
        enter = 'echo 0 >"$1"/cgroup.procs; shift; exec unshare --cgroup "$@"'
        init = [str(HERE / "systemd-init"), str(self.root), str(self.work)]
        namespaces = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", "-ec", enter, "sh", str(self.group), *init],
            stdin=subprocess.DEVNULL,
            stderr=(self.share / "init.log").open("w"),
            start_new_session=True,
        )
        wait_for("the machine", self.has_started)

    def has_started(self):
        if self.process.poll() is not None:
            logs = [self.share / name for name in ("init.log", "console.log")]
            raise Unable("\n".join(log.read_text()[-4000:] for log in logs if log.exists()))
        self.pid = int((self.work / "pid").read_text())
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        if state in ("degraded", "maintenance"):
            raise Unable(f"the machine is {state}: {self.run('systemctl', 'list-units', '--failed', check=False).stdout}")
        return state == "running"

    def run(self, *command, check=True, text=None):
        """What a command in there says on its standard output, and on both outputs if it fails."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--wdns=/"]
        plain = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        try:
            done = subprocess.run(
                ["setpriv", "--pdeathsig", "KILL", *enter, "--", *plain, *map(str, command)],
                check=False, capture_output=True, text=True, errors="replace", input=text or "", timeout=COMMAND_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired as hung:
            raise Failed(f"{' '.join(map(str, command))}: not within {COMMAND_SECONDS} s") from hung
        if check and done.returncode:
            raise Failed(f"{' '.join(map(str, command))}: {(done.stdout + done.stderr).strip()[-4000:]}")
        return done.stdout if check else done

    def stop(self):
        """Ends all that runs in there, and deletes what is left of it."""
        if self.process:
            # With the first process of the namespace the kernel ends all the others, and waits for them.
            if self.pid and self.process.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                self.process.kill()
            self.process.wait()
        delete_groups(self.group)
        shutil.rmtree(self.work)
