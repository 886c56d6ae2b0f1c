"""Kernels that start at once: forked from one process that has imported what nearly all import.

A kernel spends four seconds on PyTorch, SciPy, pandas and matplotlib, and the tests start some
sixty. Only the start differs: what a kernel is told, where it works and what it may see of the
environment is as ever. How the book itself starts its kernels is tested in
tests/tools/test_environment.py, and wherever a test runs a build as a command.

On Linux alone: what macOS's frameworks have begun does not survive a fork, and Windows has none.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

IMPORTED = "ipykernel.kernelapp IPython.display pandas scipy.optimize scipy.stats torch".split()
IMPORTED += "matplotlib.pyplot matplotlib_inline.backend_inline nbformat safetensors.torch".split()


class Forked:
    """What jupyter_client asks of a process, of one that is another's child."""

    stdin = stdout = stderr = None

    def __init__(self, pid):
        self.pid = pid

    def poll(self):
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def wait(self):
        return self.poll()

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


@contextmanager
def nursery(profile):
    """start(cmd, env, cwd, ...), which takes the place of jupyter_client's `launch_kernel`; None
    where nothing can be forked. `profile`: an empty folder."""
    if not sys.platform.startswith("linux"):
        yield None
        return
    from tools.environment import kernel_environment

    with subprocess.Popen(
        [sys.executable, __file__],
        env=kernel_environment(profile),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:

        def start(cmd, env, cwd=None, **streams):
            json.dump({"arguments": cmd[3:], "env": env, "cwd": cwd}, parent.stdin)
            print(file=parent.stdin, flush=True)
            pid = parent.stdout.readline()
            if not pid:
                raise RuntimeError(f"the process that forks kernels ended with {parent.wait()}")
            return Forked(int(pid))

        yield start
        parent.stdin.close()  # which ends it


def _serve():
    del sys.path[0]  # this folder, which a kernel does not look into
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # with whom kernels end; read by the import
    for name in IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead do not wait to be asked for
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _become_kernel(**json.loads(line))


def _become_kernel(arguments, env, cwd):
    os.setsid()  # a group of its own, which can be killed
    print(os.getpid(), flush=True)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd or ".")
    sys.argv = ["ipykernel_launcher", *arguments]

    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    _serve()
