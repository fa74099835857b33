"""The first mark of a process, the child of a fork, and what an import may cost."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from stages_seen import Seen, rows_of

from pyprof import _native
from pyprof.stages import stage


def run_python(code: str, **variables: str) -> str:
    """What a fresh interpreter prints; it must end well and complain of nothing."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYPROF_")} | variables
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd="/",
        env=environment,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_outside_a_run_a_mark_imports_nothing_more() -> None:
    code = """
    import sys
    from pyprof import stage
    known = set(sys.modules)
    with stage("x"):
        pass
    print(sorted(set(sys.modules) - known))
    print([m for m in ("sqlite3", "psutil", "pyprof.runfolder", "pyprof.session") if m in known])
    """
    assert run_python(code) == "[]\n[]\n"


def test_the_hook_is_called_once_at_the_first_mark() -> None:
    code = """
    from pyprof import _native
    from pyprof.stages import stage
    calls = []
    _native.set_stage_hook(lambda: calls.append(1))
    made = stage("x")
    assert calls == []
    for _ in range(3):
        with made, stage("y"):
            pass
    assert calls == [1]
    _native.reset_marks()
    with made:
        pass
    assert calls == [1, 1]
    """
    assert run_python(code) == ""


def test_a_hook_may_start_the_log_before_the_first_mark() -> None:
    code = """
    import sys
    from pyprof import _native
    from pyprof.stages import stage
    _native.set_stage_hook(lambda: _native.start_marks("deployment"))
    with stage("first"):
        pass
    account = _native.Account([], 0, 1 << 60, "training")
    account.add_marks(0, _native.drain_marks())
    print([(row["path"], row["phase"], row["count"]) for row in account.solve()["stages"][1:]])
    """
    assert run_python(code) == "[('first', 'deployment', 1)]\n"


def test_a_hook_may_use_stages_itself() -> None:
    code = """
    from pyprof import _native
    from pyprof.stages import stage
    def hook():
        with stage("within"):
            print("asked")
    _native.set_stage_hook(hook)
    with stage("x"):
        pass
    """
    assert run_python(code) == "asked\n"


def test_an_error_of_the_hook_is_not_the_programs() -> None:
    code = """
    from pyprof import _native
    from pyprof.stages import stage
    calls = []
    def hook():
        calls.append(1)
        raise OSError("the folder is gone")
    _native.set_stage_hook(hook)
    for _ in range(2):
        with stage("x"):
            pass
    print(calls, _native.drain_marks())
    """
    assert run_python(code) == "[1] b''\n"


def test_ctrl_c_within_the_hook_is_the_users() -> None:
    code = """
    from pyprof import _native
    from pyprof.stages import stage
    def hook():
        raise KeyboardInterrupt
    _native.set_stage_hook(hook)
    mark = stage("x")
    try:
        with mark:
            print("not reached")
    except KeyboardInterrupt:
        print("interrupted")
    with mark:
        print("entered")
    """
    assert run_python(code) == "interrupted\nentered\n"


def test_a_run_whose_folder_is_gone_harms_nothing(tmp_path: Path) -> None:
    code = """
    from pyprof import stage
    with stage("x"):
        print("worked")
    """
    environment = os.environ | {"PYPROF_RUN": str(tmp_path / "gone")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd="/",
        env=environment,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "worked\n")
    assert len(done.stderr.splitlines()) <= 1
    assert "Traceback" not in done.stderr


def test_a_decorated_function_needs_no_other_import() -> None:
    code = """
    from pyprof import _native
    @_native.stage("f")
    def f():
        return 1
    assert f() == 1
    """
    assert run_python(code) == ""


@pytest.mark.parametrize("thing", [3, "hook"])
def test_a_hook_is_something_to_call(thing: Any) -> None:
    with pytest.raises(TypeError, match="can't be called"):
        _native.set_stage_hook(thing)
    with pytest.raises(TypeError, match="can't be called"):
        _native.set_decorator(thing)


# -- fork ------------------------------------------------------------------------------------------


def in_fork(work: Any) -> bytes:
    """What ``work`` returns in the child of a fork."""
    inlet, outlet = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(outlet, work())
            status = 0
        finally:
            os._exit(status)
    os.close(outlet)
    with os.fdopen(inlet, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return answer


def test_the_stages_of_a_forks_child_hang_under_its_root() -> None:
    def child() -> bytes:
        _native.reset_marks()
        with stage("before"):  # the hook is asked, and says no
            pass
        _native.start_marks("deployment")
        with mark, stage("child"):  # open in the parent, not here
            pass
        mark.__exit__(None, None, None)
        with stage("sibling"):
            pass
        return _native.drain_marks()

    with Seen() as seen, stage("parent"):
        mark = stage("mark")
        with mark:
            marks = in_fork(child)
            with stage("after"):
                pass
    rows = rows_of([marks], seen.start_ns, 1 << 62, "training")
    assert {(row.path, row.phase, row.count) for row in rows} == {
        ("mark", "deployment", 1),
        ("mark/child", "deployment", 1),
        ("sibling", "deployment", 1),
    }
    assert seen.counts == {"parent": 1, "parent/mark": 1, "parent/mark/after": 1}
    assert not any(row.cut for row in seen.rows)


def test_a_generator_begun_before_a_fork_goes_on_in_the_child() -> None:
    @stage("g")
    def numbers() -> Any:
        for i in range(4):
            with stage("make"):
                pass
            yield i

    def child() -> bytes:
        _native.reset_marks()
        _native.start_marks("training")
        assert list(made) == [1, 2, 3]
        return _native.drain_marks()

    with Seen() as seen:
        made = numbers()
        next(made)
        marks = in_fork(child)
        assert list(made) == [1, 2, 3]
    assert seen.counts == {"g": 1, "g/make": 4}
    assert {row.path for row in rows_of([marks], 0, 1 << 62, "training")} == {"make"}


def test_forks_beside_a_thread_that_drains() -> None:
    code = """
    import os, threading, warnings
    from pyprof import _native
    from pyprof.stages import stage
    warnings.simplefilter("ignore")  # Python warns of a fork beside threads
    _native.start_marks("training")
    done = threading.Event()
    def drain():
        while not done.is_set():
            _native.drain_marks()
    thread = threading.Thread(target=drain)
    thread.start()
    for i in range(100):
        for _ in range(200):
            with stage("parent"):
                pass
        pid = os.fork()
        if pid == 0:
            _native.reset_marks()
            _native.start_marks("training")
            with stage("child"):
                pass
            os._exit(0 if _native.drain_marks() else 1)
        assert os.waitpid(pid, 0)[1] == 0
    done.set()
    thread.join()
    """
    assert run_python(code) == ""
