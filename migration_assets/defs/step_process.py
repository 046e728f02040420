"""Let step processes die with the run that started them; only a fork server imports this.

A run process that is killed leaves its step processes alive, and they go on writing beside the run
that is started in its place. The fork server ends as soon as its run process does; what this module
registers makes every process that it forks end with it. Linux alone can do so: elsewhere the locks
of table and state folder keep the two apart.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)
_SERVER = os.getpid()
_forking = [0]  # which process forks: what a step forks itself is none of our business


def _before() -> None:
    _forking[0] = os.getpid()


def _in_child() -> None:
    if _forking[0] != _SERVER:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _SERVER:  # it died before this was set
        os.kill(os.getpid(), signal.SIGKILL)


if sys.platform == "linux":
    os.register_at_fork(before=_before, after_in_child=_in_child)
