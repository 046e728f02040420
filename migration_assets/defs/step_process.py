"""Let step processes die with the run that started them; only a fork server imports this.

A run process that is killed leaves its step processes alive, and they would go on writing beside
the run that is started in its place. The fork server lives for as long as they do, so each of them
watches the run process itself.
"""

import multiprocessing
import os
import signal
import threading

_SERVER = os.getpid()
_PAUSE = 0.05  # seconds; a process learns who started it a moment after it was forked
_forking = [0]  # which process forks: what a step forks by itself is none of our business


def _before() -> None:
    _forking[0] = os.getpid()


def _in_child() -> None:
    if _forking[0] == _SERVER:
        threading.Thread(target=_die_with_run, name="die-with-run", daemon=True).start()


def _die_with_run() -> None:
    pause = threading.Event()
    while (run := multiprocessing.parent_process()) is None:
        pause.wait(_PAUSE)
    run.join()
    # Nothing is left half done: the server rolls the transaction back, the state folder sweeps.
    os.kill(os.getpid(), signal.SIGKILL)


os.register_at_fork(before=_before, after_in_child=_in_child)
