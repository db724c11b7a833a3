"""A Docker Engine of its own, in namespaces of its own. It ends with the process that started it, whatever ends that."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from harness import HERE, Failed, Unable, wait_for
from roots import wait_in_turn

CLONE_NEWNET = 0x40000000


# What this process tests, in front of each line: several do so at the same time.
part = "test-compose"


def say(text):
    print(f"{part}: {text}", flush=True)


def prepare(cache):
    """Waits for another run with the same cache, and deletes what a killed one has left. The run ends when what is returned
    is closed.
    """
    cache.mkdir(parents=True, exist_ok=True)
    lock = (cache / "lock").open("w")
    wait_in_turn(lock, f"another run uses {cache}", say)
    for left in cache.glob("run-*"):
        clear(left)
    return lock


class Engine:
    """Its `share` is /share in there: the socket, the log, and whatever a command in there works on."""

    def __init__(self, roots):
        self.roots = roots
        self.process = self.pid = self.work = None

    def start(self):
        self.work = Path(tempfile.mkdtemp(prefix="run-", dir=self.roots.cache))
        # Others than root pass through it, such as the user of a container that has a file of it mounted.
        self.work.chmod(0o755)
        for name in ("data", "share"):
            (self.work / name).mkdir()
        # Each dies with its parent, so that nothing goes on if this process is killed.
        namespaces = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        init = [str(HERE / "engine-init"), str(self.roots.engine), str(self.work), group(self.work)]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *namespaces, *init],
            stdin=subprocess.DEVNULL,
            stderr=(self.work / "share/init.log").open("w"),
            start_new_session=True,
        )
        wait_for("the engine", self.answers)
        self.enter_network()

    def ended(self):
        return self.process.poll() is not None

    def answers(self):
        if self.ended():
            logs = [self.share / name for name in ("init.log", "dockerd.log")]
            raise Unable("\n".join(log.read_text()[-4000:] for log in logs if log.exists()))
        self.pid = int((self.work / "pid").read_text())
        return self.docker("version", check=False).returncode == 0

    @property
    def share(self):
        return self.work / "share"

    def words(self, *command, directory="/"):
        """The command that runs a command in there. It dies with its parent."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts", "--ipc"]
        return ["setpriv", "--pdeathsig", "KILL", *enter, f"--wdns={directory}", "--", *command]

    def environment(self, **variables):
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        fixed = {"PATH": path, "HOME": "/root", "DOCKER_HOST": "unix:///share/docker.sock", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        return {**fixed, **variables}

    def run(self, *command, directory="/", stdin=None, check=True, **variables):
        """What a command in there says, on both outputs if it fails."""
        done = subprocess.run(
            self.words(*command, directory=directory),
            check=False,
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment(**variables),
        )
        if check and done.returncode:
            raise Failed(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()[-4000:]}")
        return done.stdout if check else done

    def docker(self, *words, **options):
        return self.run("docker", *words, **options)

    def enter_network(self):
        """From here on 127.0.0.1 is the engine's, for this thread and for whatever it starts."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{self.pid}/ns/net", "rb") as network:
            if libc.setns(network.fileno(), CLONE_NEWNET):
                raise Failed(f"the engine's network cannot be entered: {os.strerror(ctypes.get_errno())}")

    def stop(self):
        """Ends whatever runs in there, and deletes what it was stored in."""
        if self.process:
            if self.pid and not self.ended():
                # With the first process of the namespace the kernel ends all the others, and waits for them.
                os.kill(self.pid, signal.SIGKILL)
            else:
                self.process.kill()
            self.process.wait()
        if self.work:
            clear(self.work)


def group(work):
    """The control group of a run's containers, by which it is found again."""
    return f"placard-{work.name}"


def clear(work):
    """Deletes a run's files and control groups; none of its processes is there any more."""
    for tree in Path("/sys/fs/cgroup").glob(f"*/{group(work)}"):
        delete_groups(tree)
    delete_groups(Path("/sys/fs/cgroup") / group(work))
    shutil.rmtree(work, ignore_errors=True)
    if work.exists():
        shutil.rmtree(work)


def delete_groups(tree):
    # Processes that were just ended may still be counted there for a moment.
    for directory, _, _ in os.walk(tree, topdown=False):
        for _ in range(50):
            try:
                os.rmdir(directory)
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.1)
