"""The state folder: what stands there is whole, private and never overwritten by accident."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from migration_assets.errors import StateBusyError, StateError
from migration_assets.state import LocalState
from migration_assets_tests.fixtures_sqlite import plain_user

# A process that says what it reached, then waits to be killed or told to go on.
_CHILD = """
import sys
from pathlib import Path
from migration_assets.state import LocalState
state = LocalState(Path(sys.argv[1]))
with state.{what} as given:
    {work}
    print(given if isinstance(given, Path) else None, flush=True)
    sys.stdin.readline()
"""


def _child(root: Path, what: str, work: str = "pass") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(what=what, work=work), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def state(tmp_path: Path) -> LocalState:
    """Return a state folder that doesn't exist yet."""
    return LocalState(tmp_path / "new" / "state")


def _file(folder: Path, content: str) -> Path:
    file = folder / "finished"
    file.write_text(content)
    return file


def test_a_document_is_read_as_it_was_written(state: LocalState) -> None:
    """Text of any language, over an earlier text too."""
    for text in ("first", "größer: 漢字\n", ""):
        state.write_text("a/b/c.json", text)
        assert state.read_text("a/b/c.json") == text


def test_a_missing_document_is_none(state: LocalState) -> None:
    """Nothing there is no error, and asking makes nothing."""
    assert state.read_text("a/b.json") is None
    assert state.keys("a") == []
    assert not state.root.exists()


def test_a_document_may_be_written_once_only(state: LocalState) -> None:
    """A manifest, once there, is never overwritten."""
    state.write_text("manifest.json", "first", overwrite=False)
    with pytest.raises(StateError, match=r"manifest\.json: exists already"):
        state.write_text("manifest.json", "second", overwrite=False)
    assert state.read_text("manifest.json") == "first"


def test_a_document_is_replaced_whole_or_not_at_all(state: LocalState) -> None:
    """A reader sees one of the texts, complete, at every moment of many writes."""
    texts = {letter * 100_000 for letter in "abcd"}
    state.write_text("document", "a" * 100_000)
    stop = threading.Event()
    seen: set[str | None] = set()

    def watch() -> None:
        while not stop.is_set():
            seen.add(state.read_text("document"))

    reader = threading.Thread(target=watch)
    reader.start()
    for text in sorted(texts) * 10:
        state.write_text("document", text)
    stop.set()
    reader.join()
    assert seen <= texts


def test_publishing_moves_the_file_and_never_overwrites(state: LocalState, tmp_path: Path) -> None:
    """The second of two is refused, and keeps its file."""
    file = _file(tmp_path, "first")
    state.publish(file, "cuts/a.sqlite")
    assert not file.exists()
    with pytest.raises(StateError, match=r"cuts/a\.sqlite: exists already and is never overwritt"):
        state.publish(_file(tmp_path, "second"), "cuts/a.sqlite")
    assert state.path("cuts/a.sqlite").read_text() == "first"
    assert file.read_text() == "second"


def test_everything_is_closed_to_other_users(state: LocalState, tmp_path: Path) -> None:
    """Files are 0600 and folders 0700, from the state folder down, whatever the umask."""
    before = os.umask(0o000)
    try:
        state.write_text("a/b/c.json", "{}")
        state.publish(_file(tmp_path, "x"), "cuts/main/2026-10-04/x.sqlite")
        with state.lock("cut-main"), state.workspace() as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            everything = [state.root, *state.root.rglob("*")]
            modes = {p: p.stat().st_mode & 0o777 for p in everything}
    finally:
        os.umask(before)
    assert {m for p, m in modes.items() if p.is_file()} == {0o600}
    assert {p.name: m for p, m in modes.items() if p.is_dir() and m != 0o700} == {}


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    """What the team has set up is left as it is."""
    tmp_path.chmod(0o750)
    LocalState(tmp_path).write_text("a", "x")
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_keys_are_relative_and_sorted(state: LocalState) -> None:
    """All files below a prefix, and none beside it."""
    for key in ("b/2", "b/10", "b/c/1", "bb/1", "a"):
        state.write_text(key, "")
    assert state.keys("b") == ["b/10", "b/2", "b/c/1"]
    assert state.path("b/2").read_text() == ""


def test_removing_is_done_once_or_twice(state: LocalState) -> None:
    """A file that is gone already is gone."""
    state.write_text("a", "x")
    state.remove("a")
    state.remove("a")
    assert state.read_text("a") is None


def test_a_workspace_is_empty_and_gone_afterwards(state: LocalState) -> None:
    """After an error too."""
    with pytest.raises(ZeroDivisionError), state.workspace() as folder:  # noqa: PT012 - as it says
        assert list(folder.iterdir()) == []
        (folder / "partial").write_text("x")
        raise ZeroDivisionError
    assert not folder.exists()
    assert list((state.root / "work").iterdir()) == []


def test_a_killed_process_leaves_a_workspace_that_the_next_one_removes(
    state: LocalState,
) -> None:
    """The lock dies with its process; what it left is nobody's."""
    process = _child(state.root, "workspace()", "(given / 'partial').write_text('x')")
    left = Path(_line(process))
    assert (left / "partial").exists()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert left.exists()
    with state.workspace():
        assert not left.exists()
    assert list((state.root / "work").iterdir()) == []


def test_a_workspace_in_use_is_left_alone(state: LocalState) -> None:
    """By another process, by another thread, by the same one within."""
    process = _child(state.root, "workspace()")
    other = Path(_line(process))
    with state.workspace() as first, state.workspace() as second:
        assert all(folder.is_dir() for folder in (other, first, second))
    process.communicate("\n")
    assert process.returncode == 0
    assert not other.exists()


def test_a_lock_keeps_other_processes_waiting(state: LocalState) -> None:
    """The second goes on when the first has ended, not before."""
    with state.lock("cut-main"):
        process = _child(state.root, "lock('cut-main')")
        other = _child(state.root, "lock('cut-other')")
        assert _line(other) == "None"  # another lock is free
        other.communicate("\n")
        assert process.poll() is None
        state.write_text("order", "mine")
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(_line(process)))
        reader.start()
        reader.join(timeout=0.3)
        assert reader.is_alive()
    reader.join(timeout=30)
    assert said == ["None"]
    process.communicate("\n")


def test_a_lock_is_not_waited_for_for_ever(state: LocalState) -> None:
    """The error names process, machine and purpose of whoever holds it, and may pass by itself."""
    process = _child(state.root, "lock('table-main-orders', purpose='a step of table orders')")
    _line(process)
    impatient = LocalState(state.root, patience=0.2)
    with pytest.raises(StateBusyError) as error, impatient.lock("table-main-orders"):
        pass
    process.communicate("\n")
    assert f"locked for 0.2 s by process {process.pid} on {socket.gethostname()}" in str(
        error.value
    )
    assert "(a step of table orders)" in str(error.value)
    assert "table-main-orders" in error.value.where
    with impatient.lock("table-main-orders"):
        pass


def test_a_lock_whose_holder_gets_on_is_waited_for(state: LocalState) -> None:
    """A sign of progress starts the patience anew, however long the work takes in all."""
    patient = LocalState(state.root, patience=2)
    done, pause = threading.Event(), threading.Event()
    waited: list[float] = []

    def wait() -> None:
        started = time.monotonic()
        with patient.lock("cut-main"):
            waited.append(time.monotonic() - started)
        done.set()

    with state.lock("cut-main") as goes_on:
        waiter = threading.Thread(target=wait)
        waiter.start()
        for _ in range(30):
            pause.wait(0.1)
            goes_on()
    assert done.wait(30)
    waiter.join()
    assert waited[0] > 2.5


def test_who_held_a_lock_is_forgotten_with_it(state: LocalState) -> None:
    """The file stays, its content goes: a name that no longer holds would mislead."""
    with state.lock("l", purpose="work"):
        assert "work" in (state.root / "locks" / "l").read_text()
    assert (state.root / "locks" / "l").read_text() == ""


def test_a_lock_of_a_killed_process_is_free(state: LocalState) -> None:
    """Nobody has to remove a file by hand after a crash."""
    process = _child(state.root, "lock('cut-main')")
    assert _line(process) == "None"
    process.kill()
    process.communicate()
    with state.lock("cut-main"):
        pass


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The error says which folder and where to set another."""
    with pytest.raises(StateError, match=r"Not a directory[\s\S]*MIGRATION_STATE"):
        LocalState(_file(tmp_path, "x")).write_text("a", "x")


@pytest.mark.parametrize("used_before", [False, True])
def test_a_state_folder_of_another_user_is_refused(
    shared_folder: Path, *, used_before: bool
) -> None:
    """Reading, writing and locking all say what to do, none ends in a bare error."""
    root = shared_folder / "state"
    state = LocalState(root)
    root.mkdir(mode=0o755)
    if used_before:
        state.write_text("a", "x")
        with state.lock("l"):
            pass
    for folder in (root, *(p for p in root.rglob("*") if p.is_dir())):
        folder.chmod(0o555)
    for file in (p for p in root.rglob("*") if p.is_file()):
        file.chmod(0o000)
    with plain_user():
        with pytest.raises(StateError, match="MIGRATION_STATE"):
            state.write_text("a", "y")
        with pytest.raises(StateError, match="MIGRATION_STATE"), state.lock("l"):
            pass
        if used_before:
            with pytest.raises(StateError, match="MIGRATION_STATE"):
                state.read_text("a")
