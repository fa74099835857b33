"""Stages that wait for the devices: what they call, what is recorded, what is warned of."""

from __future__ import annotations

import pickle
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import pyprof, report_of, simulated

import pyprof as package
from pyprof import _native, sync
from pyprof.energy import EnergyReport
from pyprof.errors import UsageError
from pyprof.profiler import Profiler

SIGNALS = """
[[channel]]
id = "gpu0"
kind = "constant"
watts = 200
[channel.sensor]
period_s = 0.01
"""
WARNING = "GPUs work asynchronously"


@pytest.fixture
def signals(tmp_path: Path) -> str:
    path = tmp_path / "gpu.toml"
    path.write_text(SIGNALS)
    return str(path)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What was said before does not keep this test's words back."""
    monkeypatch.setattr(sync, "_known", set())
    yield
    sync.take_notes(0)


def warnings(report: EnergyReport) -> list[str]:
    return [event.text for event in report.events if WARNING in event.text]


def test_a_callable_is_called_at_both_ends_before_the_marks(signals: str) -> None:
    calls: list[int] = []

    def wait() -> None:
        time.sleep(0.03)
        calls.append(time.monotonic_ns())

    with Profiler(simulate=signals, sync=wait) as prof, prof.stage("inner"):
        entered_ns = time.monotonic_ns()
        time.sleep(0.05)
        left_ns = time.monotonic_ns()
    row = prof.report().stages["inner"]
    assert len(calls) == 2
    assert calls[0] < entered_ns < left_ns < calls[1]
    assert row.sync
    # The first wait is outside, the second inside.
    assert 0.075 < row.wall_s < 0.075 + (calls[1] - left_ns) * 1e-9 + 0.05
    assert warnings(prof.report()) == []


def test_a_bare_stage_does_as_the_profiler_says_and_may_say_otherwise(signals: str) -> None:
    calls: list[str] = []
    with Profiler(simulate=signals, sync=lambda: calls.append("profiler")):
        with package.stage("as it"):
            pass
        with package.stage("not", sync=False):
            pass
        with package.stage("own", sync=lambda: calls.append("own")):
            pass
    with package.stage("after"):
        pass
    assert calls == ["profiler", "profiler", "own", "own"]


def test_without_it_one_warning_names_the_stages(signals: str) -> None:
    with Profiler(simulate=signals) as prof:
        for name in ("a", "b"):
            with prof.stage(name):
                time.sleep(0.05)
        with prof.stage("c", sync=lambda: None):
            time.sleep(0.05)
    report = prof.report()
    (warning,) = warnings(report)
    assert "(a, b)" in warning
    assert [report.stages[name].sync for name in "abc"] == [False, False, True]


def test_stages_of_processors_need_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "cpu.toml"
    path.write_text(SIGNALS.replace("gpu0", "package-0"))
    with Profiler(simulate=str(path)) as prof, prof.stage("a"):
        time.sleep(0.05)
    assert warnings(prof.report()) == []


def test_a_row_is_synchronised_only_if_every_entry_is(signals: str) -> None:
    with Profiler(simulate=signals) as prof:
        with prof.stage("a", sync=lambda: None):
            time.sleep(0.02)
        with prof.stage("a"):
            time.sleep(0.02)
    assert not prof.report().stages["a"].sync


def test_what_fails_is_not_taken_for_synchronised_and_hurts_nobody(signals: str) -> None:
    def fail() -> None:
        raise RuntimeError("device-side assert")

    with Profiler(simulate=signals, sync=fail) as prof, prof.stage("a"):
        time.sleep(0.02)
    assert not prof.report().stages["a"].sync


def test_ctrl_c_while_waiting_is_the_users(signals: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with Profiler(simulate=signals) as prof:
        with pytest.raises(KeyboardInterrupt), prof.stage("a", sync=interrupt):
            raise AssertionError("never entered")
        with prof.stage("b", sync=lambda: None):
            pass
    assert "a" not in prof.report().stages


def test_nothing_is_called_while_nobody_measures() -> None:
    def never() -> None:
        raise AssertionError

    with package.stage("a", sync=never):
        pass


@pytest.mark.parametrize("given", [1, "cuda", [print]])
def test_what_can_not_be_called_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="sync must be True, False or something to call"):
        package.stage("a", sync=given)
    with pytest.raises(UsageError, match="sync must be"):
        Profiler(sync=given)


def test_a_stage_keeps_it_through_pickle_and_as_decorator(signals: str) -> None:
    calls: list[int] = []

    @package.stage("a", sync=lambda: calls.append(1))
    def work() -> int:
        return 7

    with Profiler(simulate=signals) as prof:
        assert work() == 7
    assert len(calls) == 2
    assert prof.report().stages["a"].sync
    again = pickle.loads(pickle.dumps(package.stage("b", sync=False)))
    assert again.name == "b"


# -- frameworks, as far as they can be had without a device ----------------------------------------


def module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    made = types.ModuleType(name)
    for key, value in contents.items():
        setattr(made, key, value)
    monkeypatch.setitem(sys.modules, name, made)


class Devices:
    """``torch.cuda`` as far as it is asked."""

    def __init__(self, *, initialised: bool = True) -> None:
        self.waited: list[int] = []
        self._initialised = initialised

    def is_initialized(self) -> bool:
        return self._initialised

    def current_device(self) -> int:
        return 1

    def device_count(self) -> int:
        return 4

    def memory_reserved(self, index: int) -> int:
        return 1024 if index == 3 else 0

    def synchronize(self, index: int) -> None:
        self.waited.append(index)


def test_torch_waits_for_devices_in_use_and_wakes_no_other(
    monkeypatch: pytest.MonkeyPatch, signals: str
) -> None:
    cuda = Devices()
    module(monkeypatch, "torch", cuda=cuda)
    with Profiler(simulate=signals, sync=True) as prof, prof.stage("a"):
        time.sleep(0.02)
    assert cuda.waited == [1, 3, 1, 3]
    report = prof.report()
    assert report.stages["a"].sync
    assert any("waited for torch.cuda" in event.text for event in report.events)


@pytest.mark.parametrize("loaded", [False, True])
def test_true_without_a_framework_in_use_says_so(
    monkeypatch: pytest.MonkeyPatch, signals: str, loaded: bool
) -> None:
    for name in ("torch", "cupy", "jax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    idle = Devices(initialised=False)
    if loaded:
        module(monkeypatch, "torch", cuda=idle)
    with Profiler(simulate=signals, sync=True) as prof, prof.stage("a"):
        time.sleep(0.02)
    report = prof.report()
    assert idle.waited == []
    assert not report.stages["a"].sync
    assert any("sync=True waited for nothing" in event.text for event in report.events)
    assert warnings(report)
    assert loaded or "torch" not in sys.modules


def test_cupy_and_jax_are_asked_in_their_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []
    runtime = types.SimpleNamespace(deviceSynchronize=lambda: waited.append("cupy"))
    module(monkeypatch, "cupy", cuda=types.SimpleNamespace(runtime=runtime))
    module(monkeypatch, "jax._src.xla_bridge", _backends={"cpu": 1})
    module(
        monkeypatch,
        "jax",
        device_put=lambda value, device: value,
        local_devices=lambda: ["gpu:0", "gpu:1"],
        block_until_ready=lambda arrays: waited.append(len(arrays)),
    )
    assert sync.wait() is None
    assert waited == ["cupy", 2]
    module(monkeypatch, "jax._src.xla_bridge", _backends={})
    assert sync.wait() is None
    assert waited == ["cupy", 2, "cupy"]


def test_inside_a_run_it_is_recorded_as_well(tmp_path: Path) -> None:
    code = (
        "import time, pyprof\n"
        "with pyprof.Profiler(sync=lambda: None) as prof:\n"
        "    with prof.stage('a'): time.sleep(0.1)\n"
    )
    done = pyprof(*simulated(tmp_path, "-q", "-o", "run.pyprof", "-c", code), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = (row for row in report_of(tmp_path)["stages"] if row["path"] == "a")
    assert row["sync"] is True


def test_the_default_is_gone_after_the_profiler(signals: str) -> None:
    calls: list[int] = []
    with Profiler(simulate=signals, sync=lambda: calls.append(1)):
        pass
    with Profiler(simulate=signals), package.stage("a"):
        pass
    assert calls == []
    assert _native.set_sync(None) is None


def test_run_makes_the_stages_of_its_command_wait(tmp_path: Path) -> None:
    code = (
        "import sys, types, pyprof\n"
        "calls = []\n"
        "cupy = sys.modules['cupy'] = types.ModuleType('cupy')\n"
        "runtime = types.SimpleNamespace(deviceSynchronize=lambda: calls.append(1))\n"
        "cupy.cuda = types.SimpleNamespace(runtime=runtime)\n"
        "with pyprof.stage('waits'): pass\n"
        "with pyprof.stage('does not', sync=False): pass\n"
        "with pyprof.Profiler(sync=False), pyprof.stage('inner'): pass\n"
        "with pyprof.stage('again'): pass\n"
        "assert len(calls) == 4, calls\n"
    )
    done = pyprof(
        *simulated(tmp_path, "--sync", "-q", "-o", "run.pyprof", "-c", code), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    waited = {row["path"]: row["sync"] for row in report_of(tmp_path)["stages"]}
    assert waited["waits"] is waited["again"] is True
    assert waited["does not"] is waited["inner"] is False
