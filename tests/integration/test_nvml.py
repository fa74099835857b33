"""NVIDIA GPUs through a simulated driver library: which sensor is taken, what it gives, what goes
wrong with it."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pyprof.energy import EnergyReport
from pyprof.errors import UsageError
from pyprof.hardware import Look, Machine, open_machine
from pyprof.profiler import Profiler

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from sim import machine as simulated
from sim import ready, waveform
from sim.build import SHARED, Part, native
from sim.fault import ALWAYS, ENERGY_CALLS, POWER_CALLS, Fault, NvmlError, Span, unsupported
from sim.gpu import Gpu
from sim.machine import Running

GPU = Gpu(waveform.square(80.0, 420.0, period_s=0.7), limit_w=400.0)


@pytest.fixture(autouse=True)
def every_gpu_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


def _found(machine: Running, *, model: bool = False) -> Machine:
    names = ("nvml", "modelled") if model else ("nvml",)
    return open_machine(Look(nvml=machine.nvml, sysfs=machine.sysfs, sources=names))


def _measured(machine: Running, seconds: float, *, model: bool = False) -> EnergyReport:
    names = ["nvml", "modelled"] if model else ["nvml"]
    with Profiler(nvml=machine.nvml, sysfs=machine.sysfs, sources=names) as prof:
        time.sleep(seconds)
    return prof.report()


def _truth_j(machine: Running, report: EnergyReport, channel: str) -> float:
    return machine.truth_j(channel, report.run.start_mono_ns, report.run.end_mono_ns)


# -- which sensor ----------------------------------------------------------------------------------


def test_the_energy_counter_comes_first(tmp_path: Path) -> None:
    with simulated.Machine(gpus=(GPU, GPU)).running(tmp_path) as machine:
        found = _found(machine)
    first, second = found.channels
    assert (first.id, second.id) == ("gpu0", "gpu1")
    assert (first.quality, first.method, first.kind) == ("measured", "counter", "counter")
    assert (first.domain, first.scope, first.source) == ("gpu", "devices", "nvml")
    assert first.uuid == GPU.identity(0)
    assert first.device == "NVIDIA A100-SXM4-80GB"
    assert first.unit == 1e-3
    assert first.limit_w == pytest.approx(1.5 * 400)
    assert found.scope == "GPU gpu0 and gpu1"


@pytest.mark.parametrize(
    ("capability", "missing", "usage", "method", "window_s"),
    [
        ((8, 0), ENERGY_CALLS[:1], "instant", "counter", 0.0),
        ((8, 0), ENERGY_CALLS, "instant", "power-instant", 0.025),
        ((9, 0), ENERGY_CALLS, "average", "power-instant", 0.025),
        ((6, 0), ENERGY_CALLS, "instant", "power-instant", 0.010),
        ((12, 0), ENERGY_CALLS, "average", "power-instant", 0.0),
        ((8, 6), (*ENERGY_CALLS, "field:186"), "average", "power-average", 1.0),
        # Only nvmlDeviceGetPowerUsage, whose meaning depends on the generation.
        ((8, 6), (*ENERGY_CALLS, "field:186", "field:185"), "average", "power-average", 1.0),
        ((8, 0), (*ENERGY_CALLS, "field:186", "field:185"), "instant", "power-instant", 0.025),
        ((7, 5), (*ENERGY_CALLS, "field:186", "field:185"), "instant", "power-instant", 0.1),
        ((5, 2), (*ENERGY_CALLS, "field:186", "field:185"), "instant", "power-instant", 0.0),
    ],
)
def test_the_best_that_answers_is_taken(
    tmp_path: Path,
    capability: tuple[int, int],
    missing: tuple[str, ...],
    usage: str,
    method: str,
    window_s: float,
) -> None:
    faults = unsupported(*missing, "nvmlDeviceGetSamples")
    gpu = replace(GPU, capability=capability, usage=usage, faults=faults)
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        (channel,) = _found(machine).channels
    assert channel.method == method
    assert channel.quality == ("measured" if method == "counter" else "derived")
    assert channel.kind == ("counter" if method == "counter" else "gauge")
    assert channel.window_ns == round(window_s * 1e9)


def test_an_old_driver_without_fields_gives_power(tmp_path: Path) -> None:
    with ready.old_driver().running(tmp_path) as machine:
        (channel,) = _found(machine).channels
    assert (channel.method, channel.quality) == ("power-instant", "derived")


def test_a_counter_that_stands_at_0_is_none(tmp_path: Path) -> None:
    fresh = replace(GPU.counter, start_count=0)
    gpu = replace(GPU, counter=fresh, counter_scope=2, memory=waveform.constant(0.0))
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        (channel,) = _found(machine).channels
    assert (channel.method, channel.quality) == ("power-instant", "derived")


def test_a_counter_that_starts_at_0_is_one(tmp_path: Path) -> None:
    fresh = replace(GPU.counter, start_count=0)
    with simulated.Machine(gpus=(replace(GPU, counter=fresh),)).running(tmp_path) as machine:
        (channel,) = _found(machine).channels
    assert channel.method == "counter"


def test_a_gpu_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    twin = replace(GPU, uuid=GPU.identity(0))
    with simulated.Machine(gpus=(GPU, twin, GPU)).running(tmp_path) as machine:
        found = _found(machine)
    assert [channel.id for channel in found.channels] == ["gpu0", "gpu2"]
    assert "gpu1 is left out: the driver lists gpu0 twice" in found.notes


# -- the driver's buffer of samples ----------------------------------------------------------------

SAMPLED = replace(GPU, faults=unsupported(*ENERGY_CALLS))


def test_samples_come_before_the_power_of_the_moment(tmp_path: Path) -> None:
    with simulated.Machine(gpus=(SAMPLED,)).running(tmp_path) as machine:
        time.sleep(0.3)
        (channel,) = _found(machine).channels
    assert (channel.quality, channel.method, channel.kind) == (
        "derived",
        "power-instant",
        "counter",
    )
    assert channel.period_ns == pytest.approx(20e6, rel=0.01)


def test_samples_see_bursts_that_the_reading_misses(tmp_path: Path) -> None:
    # As long as the reading looks at, and always beside it: 25 of each 100 ms, from 13 ms on.
    bursts = waveform.square(80.0, 400.0, period_s=0.1, duty=0.25, delay_s=0.03)
    with simulated.Machine(gpus=(replace(SAMPLED, signal=bursts),)).running(tmp_path) as machine:
        time.sleep(0.3)
        report = _measured(machine, 3.03)
        truth_j = _truth_j(machine, report, "gpu0")
    gpu = report.channels["gpu0"]
    assert gpu.energy_j == pytest.approx(truth_j, rel=0.02)
    assert report.overhead.reads is not None
    assert report.overhead.reads < 60  # some 10 a second for 50 samples


def test_samples_lost_to_a_hang_are_a_gap(tmp_path: Path) -> None:
    gpu = replace(SAMPLED, hangs=(Span(1.0, 4.0),))
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        time.sleep(0.3)
        report = _measured(machine, 5.5)
        truth_j = _truth_j(machine, report, "gpu0")
    gpu_row = report.channels["gpu0"]
    assert gpu_row.energy_j is not None
    # The buffer holds 2.4 s of the 3 s.
    assert 0.3 * truth_j < gpu_row.energy_j < 1.02 * truth_j
    assert gpu_row.coverage is not None
    assert gpu_row.coverage < 0.8
    assert {"gap", "lost"} & {event.kind for event in report.events}


def test_coarse_samples_are_not_taken(tmp_path: Path) -> None:
    gpu = replace(SAMPLED, samples=replace(SAMPLED.samples, period_s=0.2))
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        time.sleep(2.0)
        (channel,) = _found(machine).channels
    assert (channel.kind, channel.window_ns) == ("gauge", 25_000_000)


# -- the module around a GPU -----------------------------------------------------------------------

GH200 = replace(
    GPU,
    name="NVIDIA GH200 480GB",
    capability=(9, 0),
    limit_w=900.0,
    module=waveform.constant(640.0),
)


def test_a_module_stands_beside_the_counter_that_holds_it(tmp_path: Path) -> None:
    gpu = replace(GH200, counter_scope=1)
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        report = _measured(machine, 2.0)
    whole, module = report.channels["gpu0"], report.channels["gpu0/module"]
    assert (whole.counted, whole.quality) == (True, "measured")
    assert (module.counted, module.domain, module.quality) == (False, "module", "derived")
    assert whole.mean_w == pytest.approx(640.0, rel=0.02)
    assert module.mean_w == pytest.approx(640.0, rel=0.02)
    assert report.energy_j == whole.energy_j


def test_without_a_counter_the_module_counts_and_holds_the_gpu(tmp_path: Path) -> None:
    gpu = replace(GH200, faults=unsupported(*ENERGY_CALLS))
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        found = _found(machine, model=True)
        report = _measured(machine, 2.0)
    rows = {channel.id: channel for channel in found.channels}
    assert rows.keys() == {"gpu0", "gpu0/module"}, "nothing is modelled beside the module"
    assert (rows["gpu0"].counted, rows["gpu0"].parent) == (False, "gpu0/module")
    assert rows["gpu0/module"].counted
    assert report.energy_j == report.channels["gpu0/module"].energy_j


def test_each_entry_of_a_batch_has_a_status_of_its_own(tmp_path: Path) -> None:
    faults = (Fault(Span(0.8, 1.6), NvmlError.UNKNOWN, "field:186"),)
    gpu = replace(GH200, counter_scope=1, faults=faults)
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        report = _measured(machine, 2.5)
    assert {e.channel for e in report.events if e.kind == "failed"} == {"gpu0/module"}
    assert report.channels["gpu0"].coverage == pytest.approx(1.0, abs=0.02)


def test_on_an_ordinary_board_no_module_is_asked_for(tmp_path: Path) -> None:
    board = replace(GPU, module=waveform.constant(900.0))
    with simulated.Machine(gpus=(board,)).running(tmp_path) as machine:
        assert [channel.id for channel in _found(machine).channels] == ["gpu0"]


def test_a_foreign_gpu_takes_its_module_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated.Machine(gpus=(GH200, GH200)).running(tmp_path) as machine:
        found = _visible(machine, monkeypatch, GH200.identity(1))
    assert {channel.id for channel in found.channels} == {"gpu1", "gpu1/module"}


def test_clients_of_mps_share_the_board(tmp_path: Path) -> None:
    with simulated.Machine(gpus=(replace(GPU, mps_clients=3), GPU)).running(tmp_path) as machine:
        notes = _found(machine).notes
    assert [note.split(":")[0] for note in notes] == ["gpu0 is shared by clients of MPS"]


# -- what it gives ---------------------------------------------------------------------------------


def test_counters_give_the_true_energy(tmp_path: Path) -> None:
    with ready.eight_training_gpus().running(tmp_path) as machine:
        report = _measured(machine, 3.07)
        truth_j = [_truth_j(machine, report, f"gpu{index}") for index in range(8)]
    energies_j = [report.channels[f"gpu{index}"].energy_j for index in range(8)]
    assert energies_j == [pytest.approx(true_j, rel=0.02) for true_j in truth_j]
    assert report.energy_j == pytest.approx(sum(truth_j), rel=0.01)
    assert report.total.by_quality.keys() == {"measured"}


def test_power_of_the_moment_gives_the_true_energy(tmp_path: Path) -> None:
    with ready.gpu_without_energy().running(tmp_path) as machine:
        report = _measured(machine, 4.0)
        truth_j = _truth_j(machine, report, "gpu0")
    assert report.energy_j == pytest.approx(truth_j, rel=0.05)
    assert report.channels["gpu0"].quality == "derived"
    assert report.total.by_quality.keys() == {"derived"}


BESIDE_NVIDIA_ML_PY = """
import json, os, time
import pynvml
from pyprof.profiler import Profiler

pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByIndex(0)

def next_update():
    first = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    while (energy_mj := pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) == first:
        time.sleep(0.001)
    return time.monotonic(), energy_mj

with Profiler(nvml=os.environ["PYPROF_NVML"], sources=["nvml"]) as prof:
    start_s, start_mj = next_update()
    time.sleep(2.5)
    end_s, end_mj = next_update()
gpu = prof.report().channels["gpu0"]
print(json.dumps({
    "own": [gpu.uuid, gpu.device, gpu.mean_w],
    "theirs": [pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle),
               (end_mj - start_mj) / 1e3 / (end_s - start_s)],
}))
"""


def test_nvidias_own_binding_in_the_same_process_agrees(tmp_path: Path) -> None:
    with simulated.Machine(gpus=(replace(GPU, signal=waveform.constant(287.0)),)).running(
        tmp_path
    ) as machine:
        done = subprocess.run(
            [sys.executable, "-c", BESIDE_NVIDIA_ML_PY],
            env={**os.environ, **machine.env},
            cwd=tmp_path,  # not the checkout, whose package is not the installed one
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["own"][:2] == seen["theirs"][:2]
    assert seen["own"][2] == pytest.approx(287.0, rel=0.01)
    assert seen["theirs"][2] == pytest.approx(287.0, rel=0.02)


# -- what can't be read ----------------------------------------------------------------------------


def test_a_gpu_without_power_is_modelled_from_its_utilisation(tmp_path: Path) -> None:
    with ready.gpu_without_power().running(tmp_path) as machine:
        report = _measured(machine, 2.0, model=True)
    gpu = report.channels["gpu0"]
    assert (gpu.quality, gpu.method, gpu.source) == ("modelled", "model", "modelled")
    assert gpu.counted
    assert gpu.reason is not None
    assert "power limit 120 W" in gpu.reason
    assert gpu.energy_j is not None
    assert gpu.low_j is not None
    assert gpu.high_j is not None
    # Between idle, 15 % of the limit, and the limit; with the range of such an estimate.
    assert 0.14 * 120 * 2.0 < gpu.energy_j < 1.1 * 120 * report.run.duration_s
    assert gpu.low_j < 0.5 * gpu.energy_j
    assert gpu.high_j > gpu.energy_j


def test_a_library_without_a_look_up_by_uuid_is_enough_for_that() -> None:
    source = Path(__file__).with_name("least_nvml.cpp")
    library = native(Part("libnvidia-ml-least.so.1", (source,), SHARED, needs_nvml=True))
    with Profiler(nvml=str(library), sources=["nvml", "modelled"]) as prof:
        time.sleep(0.5)
    report = prof.report()
    idle, busy = report.channels["gpu0"], report.channels["gpu1"]
    assert (idle.quality, busy.quality) == ("modelled", "modelled")
    assert idle.mean_w == pytest.approx(0.15 * 400)
    assert busy.mean_w == pytest.approx(400)


def test_without_models_it_stays_unmeasured_and_says_which_calls_said_what(tmp_path: Path) -> None:
    with ready.gpu_without_power().running(tmp_path) as machine:
        found = _found(machine)
        report = _measured(machine, 0.3)
    (gpu,) = (channel for channel in found.unmeasured if channel.id == "gpu0")
    assert gpu.quality == "unmeasured"
    assert gpu.reason == (
        "neither energy nor power can be read: Not Supported (NVML error 3) from "
        "nvmlDeviceGetTotalEnergyConsumption, field 83, field 186, field 185, "
        "nvmlDeviceGetPowerUsage"
    )
    (nvml,) = (source for source in found.sources if source.name == "nvml")
    assert not nvml.available
    assert nvml.reason is not None
    assert nvml.remedy is not None
    assert report.energy_j is None
    assert report.channels["gpu0"].energy_j is None
    assert "gpu0" in report.total.unmeasured


def test_not_even_utilisation_leaves_it_unmeasured(tmp_path: Path) -> None:
    faults = unsupported(*ENERGY_CALLS, *POWER_CALLS, "nvmlDeviceGetUtilizationRates")
    with simulated.Machine(gpus=(replace(GPU, faults=faults),)).running(tmp_path) as machine:
        found = _found(machine, model=True)
    assert "gpu0" in {channel.id for channel in found.unmeasured}
    assert "gpu0" not in {channel.id for channel in found.channels}


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"not a library\n", "could not be loaded")],
)
def test_a_library_that_is_none_is_explained(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "libnvidia-ml.so.1"
    if content is not None:
        path.write_bytes(content)
    found = open_machine(Look(nvml=str(path), sources=("nvml",)))
    (nvml,) = found.sources
    assert not nvml.available
    assert nvml.reason is not None
    assert says in nvml.reason
    assert str(path) in nvml.reason
    assert nvml.remedy is not None
    assert "--nvml" in nvml.remedy


def test_a_library_of_something_else_is_explained() -> None:
    (nvml,) = open_machine(Look(nvml="libm.so.6", sources=("nvml",))).sources
    assert nvml.reason == "libm.so.6 lacks the entry points of NVML"


def test_a_driver_that_is_not_loaded_is_explained(tmp_path: Path) -> None:
    with simulated.Machine(gpus=(GPU,)).running(tmp_path) as machine:
        machine.nvml_spec.unlink()
        (nvml,) = (source for source in _found(machine).sources if source.name == "nvml")
    assert nvml.reason == "NVML is installed but the NVIDIA driver is not loaded"
    assert nvml.remedy == "sudo modprobe nvidia"


# -- what goes wrong on the way --------------------------------------------------------------------


def test_a_lost_gpu_comes_back_and_its_counter_bridges_the_gap(tmp_path: Path) -> None:
    faults = (Fault(Span(0.8, 1.5), NvmlError.GPU_IS_LOST),)
    with simulated.Machine(gpus=(replace(GPU, faults=faults), GPU)).running(tmp_path) as machine:
        report = _measured(machine, 3.5)
        truth_j = _truth_j(machine, report, "gpu0")
    events = [event.kind for event in report.events if event.channel == "gpu0"]
    assert "lost" in events
    assert "back" in events
    (lost,) = (event for event in report.events if event.kind == "lost")
    assert lost.text == "GPU is lost (NVML error 15)"
    assert not [event for event in report.events if event.channel == "gpu1"]
    gpu = report.channels["gpu0"]
    assert gpu.energy_j == pytest.approx(truth_j, rel=0.03)
    assert report.overhead.failed_reads is not None
    assert report.overhead.failed_reads > 0


def test_a_gpu_that_stays_lost_is_not_covered_to_the_end(tmp_path: Path) -> None:
    faults = (Fault(Span(0.5, 1e6), NvmlError.GPU_IS_LOST),)
    with simulated.Machine(gpus=(replace(GPU, faults=faults),)).running(tmp_path) as machine:
        report = _measured(machine, 1.5)
    gpu = report.channels["gpu0"]
    assert gpu.coverage is not None
    assert gpu.coverage < 0.8
    assert report.run.covers == "GPU gpu0"


def test_a_refused_read_is_a_gap_and_never_a_zero(tmp_path: Path) -> None:
    faults = (Fault(Span(0.9, 1.3), NvmlError.NO_PERMISSION, ENERGY_CALLS[0]),)
    with simulated.Machine(gpus=(replace(GPU, faults=faults),)).running(tmp_path) as machine:
        report = _measured(machine, 2.5)
        truth_j = _truth_j(machine, report, "gpu0")
    assert report.energy_j == pytest.approx(truth_j, rel=0.03)
    assert "denied" in {event.kind for event in report.events}
    assert "wrap" not in {event.kind for event in report.events}


def test_a_counter_that_starts_again_is_a_reset_and_adds_nothing_absurd(tmp_path: Path) -> None:
    gpu = replace(GPU, resets_s=(1.2,))
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        report = _measured(machine, 2.5)
        truth_j = _truth_j(machine, report, "gpu0")
    assert report.energy_j is not None
    assert 0.8 * truth_j < report.energy_j < 1.05 * truth_j
    assert "reset" in {event.kind for event in report.events}


def _open_in_child(nvml: str, results: multiprocessing.Queue[object]) -> None:
    found = open_machine(Look(nvml=nvml, sources=("nvml",)))
    results.put([channel.method for channel in found.channels])


def test_a_forked_child_opens_the_driver_for_itself(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[object] = context.Queue()
    with simulated.Machine(gpus=(GPU,)).running(tmp_path) as machine:
        held = _found(machine)
        child = context.Process(target=_open_in_child, args=(machine.nvml, results))
        child.start()
        methods = results.get(timeout=20)
        child.join(20)
    assert methods == ["counter"]
    assert child.exitcode == 0
    assert [channel.method for channel in held.channels] == ["counter"]


# -- whose GPUs ------------------------------------------------------------------------------------


def _visible(machine: Running, monkeypatch: pytest.MonkeyPatch, listed: str) -> Machine:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    return _found(machine)


def test_only_the_jobs_gpus_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated.Machine(gpus=(GPU,) * 4).running(tmp_path) as machine:
        by_index = _visible(machine, monkeypatch, "3,1")
        by_uuid = _visible(machine, monkeypatch, GPU.identity(2))
        by_prefix = _visible(machine, monkeypatch, GPU.identity(0)[:14])
        none = _visible(machine, monkeypatch, "")
    assert [channel.id for channel in by_index.channels] == ["gpu1", "gpu3"]
    assert "left out, as CUDA_VISIBLE_DEVICES='3,1': gpu0, gpu2" in by_index.notes
    assert [channel.id for channel in by_uuid.channels] == ["gpu2"]
    assert [channel.id for channel in by_prefix.channels] == ["gpu0"]
    assert none.channels == ()
    assert none.native is None


def test_an_index_counts_along_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boards = (replace(GPU, bus=0x81), replace(GPU, bus=0x17))
    with simulated.Machine(gpus=boards).running(tmp_path) as machine:
        found = _visible(machine, monkeypatch, "0")
    assert [channel.id for channel in found.channels] == ["gpu1"]


def test_unlike_gpus_by_index_are_all_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ready.mixed_models().running(tmp_path) as machine:
        doubtful = _visible(machine, monkeypatch, "0")
        monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        certain = _visible(machine, monkeypatch, "2")
    assert len(doubtful.channels) == 4
    assert any("all 4 GPUs are counted" in note for note in doubtful.notes)
    assert [channel.id for channel in certain.channels] == ["gpu2"]


# -- boundaries ------------------------------------------------------------------------------------


def test_a_board_split_by_mig_is_counted_whole_and_said_so(tmp_path: Path) -> None:
    with simulated.Machine(gpus=(replace(GPU, mig=1),)).running(tmp_path) as machine:
        found = _found(machine)
    assert "gpu0 is split by MIG: its energy is the whole board's" in found.notes


def test_beside_a_module_that_holds_the_cpu_no_cpu_is_modelled(tmp_path: Path) -> None:
    with ready.grace_module().running(tmp_path) as machine:
        found = _found(machine, model=True)
    assert {channel.id: channel.counted for channel in found.channels} == {
        "gpu0": True,
        "gpu0/module": False,
    }
    assert "CPU and memory are not modelled: gpu0 holds them" in found.notes


def test_mps_view_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVML_MPS_DEVICE_ENUMERATION", "1")
    with simulated.Machine(gpus=(GPU,)).running(tmp_path) as machine:
        found = _found(machine)
    assert any("NVML_MPS_DEVICE_ENUMERATION" in note for note in found.notes)


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown source 'nvlm': did you mean 'nvml'"):
        open_machine(Look(sources=("nvlm",)))


def test_a_gpu_that_refuses_everything_does_not_take_the_others_along(tmp_path: Path) -> None:
    foreign = replace(GPU, faults=(Fault(ALWAYS, NvmlError.NO_PERMISSION),))
    with simulated.Machine(gpus=(foreign, GPU)).running(tmp_path) as machine:
        found = _found(machine)
    assert [channel.id for channel in found.channels] == ["gpu1"]
    (refused,) = (channel for channel in found.unmeasured if channel.id == "gpu0")
    assert "Insufficient Permissions" in refused.reason
