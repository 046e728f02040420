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


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before this was set
        os.kill(os.getpid(), signal.SIGKILL)


if sys.platform == "linux":
    os.register_at_fork(after_in_child=lambda server=os.getpid(): _die_with(server))
