"""NVIDIA's own Python binding, unchanged, on the simulated library."""

from __future__ import annotations

import ctypes
from itertools import pairwise
from pathlib import Path

import pytest
from sim import ready, waveform
from sim.fault import Fault, NvmlError, Span
from sim.gpu import Gpu
from sim.machine import Machine
from sim.sensor import Sensor
from sim.waveform import Signal, to_ns
from sim_programs import nvidia_ml_py

SIGNALS = {
    "constant": waveform.constant(300.0),
    "square": waveform.square(80.0, 520.0),
    "ramp": waveform.ramp(90.0, 600.0, 5.0, repeat=True),
    "bursts": waveform.bursts(90.0, 600.0, burst_s=0.03, every_s=0.37),
}


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_the_energy_counter_is_the_truth_at_its_last_update(tmp_path: Path, signal: Signal) -> None:
    gpu = Gpu(signal)
    with Machine(gpus=(gpu,)).running(tmp_path) as machine:
        seen = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            answer(list(polled(1.3, nvml.nvmlDeviceGetTotalEnergyConsumption, gpu)))
            """,
        )
    assert len({energy_mj for _, energy_mj, _ in seen}) >= 10
    for before_ns, energy_mj, after_ns in seen:
        lowest = gpu.counter.counter_at(signal, before_ns - machine.epoch_ns)
        highest = gpu.counter.counter_at(signal, after_ns - machine.epoch_ns)
        assert lowest - 1 <= energy_mj <= highest + 1


@pytest.mark.parametrize(("field", "kind"), [(185, "average"), (186, "instant")])
def test_power_fields_are_means_over_their_windows(tmp_path: Path, field: int, kind: str) -> None:
    gpu = Gpu(waveform.square(80.0, 520.0, period_s=0.73))
    sensor: Sensor = getattr(gpu, kind)
    with Machine(gpus=(gpu,)).running(tmp_path) as machine:
        seen = nvidia_ml_py(
            machine,
            f"""
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            read = lambda: nvml.nvmlDeviceGetFieldValues(gpu, [{field}])[0].value.uiVal
            answer(list(polled(1.1, read)))
            """,
        )
    compared = 0
    for before_ns, power_mw, after_ns in seen:
        shown = {sensor.last_update_ns(t - machine.epoch_ns) for t in (before_ns, after_ns)}
        if len(shown) == 1:
            compared += 1
            expected_w = sensor.power_at(gpu.signal, shown.pop())
            assert power_mw == pytest.approx(expected_w * 1e3, abs=1.0)
    assert compared >= 20


def test_the_plain_power_call_shows_a_mean_or_the_moment_as_the_part_does(tmp_path: Path) -> None:
    # The mean over any second lies from 200 to 300 W; the moment goes through all three powers.
    signal = waveform.steps([(500.0, 0.5), (100.0, 0.5), (300.0, 0.5), (100.0, 0.5)])
    gpus = (Gpu(signal, usage="average"), Gpu(signal, usage="instant"))
    with Machine(gpus=gpus).running(tmp_path) as machine:
        average_mw, instant_mw = nvidia_ml_py(
            machine,
            """
            gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(2)]
            read = nvml.nvmlDeviceGetPowerUsage
            answer([[seen[1] for seen in polled(2.1, read, gpu)] for gpu in gpus])
            """,
        )
    assert min(average_mw) >= 199_000
    assert max(average_mw) <= 301_000
    assert {100_000, 300_000, 500_000} <= set(instant_mw)


def test_each_field_has_a_type_a_stamp_and_a_code_of_its_own(tmp_path: Path) -> None:
    with ready.square_gpu().running(tmp_path) as machine:
        before_us, fields, after_us = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            before = time.time_ns() // 1000
            values = nvml.nvmlDeviceGetFieldValues(gpu, [83, 191, 185, 186, (186, 2), 1])
            answer([before, [[each.fieldId, each.nvmlReturn, each.valueType, each.timestamp,
                              each.value.ullVal] for each in values], time.time_ns() // 1000 + 1])
            """,
        )
    energy, same_energy, average, instant, of_memory, other = fields
    assert energy[1] == same_energy[1] == average[1] == instant[1] == 0
    assert (energy[2], average[2], instant[2]) == (3, 1, 1)
    assert energy[4] <= same_energy[4] <= energy[4] + 10**6
    assert of_memory[1] == other[1] == NvmlError.NOT_SUPPORTED
    assert all(before_us <= stamp_us <= after_us for _, _, _, stamp_us, _ in fields)


def test_devices_are_found_by_place_uuid_and_bus(tmp_path: Path) -> None:
    machine = ready.mixed_models()
    with machine.running(tmp_path) as running:
        found = nvidia_ml_py(
            running,
            """
            def about(index):
                gpu, place = nvml.nvmlDeviceGetHandleByIndex(index), nvml.nvmlDeviceGetIndex
                uuid, bus = nvml.nvmlDeviceGetUUID(gpu), nvml.nvmlDeviceGetPciInfo(gpu).busId
                same = [place(nvml.nvmlDeviceGetHandleByUUID(uuid)),
                        place(nvml.nvmlDeviceGetHandleByPciBusId(bus))]
                return [nvml.nvmlDeviceGetName(gpu), uuid, same]
            answer([about(index) for index in range(nvml.nvmlDeviceGetCount())])
            """,
        )
    for index, (name, uuid, same) in enumerate(found):
        assert name == machine.gpus[index].name
        assert uuid == machine.gpus[index].identity(index)
        assert same == [index, index]


def test_what_is_known_beside_power(tmp_path: Path) -> None:
    machine = Machine(gpus=(Gpu(waveform.constant(380.0), mig=0),))
    with machine.running(tmp_path) as running:
        running.set_processes(0, [(4321, 55, 2**30)])
        facts = nvidia_ml_py(
            running,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
            answer({
                "driver": nvml.nvmlSystemGetDriverVersion(),
                "cuda": nvml.nvmlSystemGetCudaDriverVersion(),
                "limit": nvml.nvmlDeviceGetEnforcedPowerLimit(gpu),
                "limits": nvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu),
                "busy": nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
                "memory": [memory.total, memory.used + memory.free],
                "memory_v2": nvml.nvmlDeviceGetMemoryInfo(gpu, nvml.nvmlMemory_v2).total,
                "architecture": nvml.nvmlDeviceGetArchitecture(gpu),
                "capability": nvml.nvmlDeviceGetCudaComputeCapability(gpu),
                "mig": nvml.nvmlDeviceGetMigMode(gpu),
                "persistence": nvml.nvmlDeviceGetPersistenceMode(gpu),
                "warm": nvml.nvmlDeviceGetTemperature(gpu, 0),
                "clock": nvml.nvmlDeviceGetClockInfo(gpu, 0),
                "running": [[p.pid, p.usedGpuMemory]
                            for p in nvml.nvmlDeviceGetComputeRunningProcesses(gpu)],
                "shares": [[p.pid, p.smUtil]
                           for p in nvml.nvmlDeviceGetProcessUtilization(gpu, 0)],
            })
            """,
        )
    assert facts["driver"] == machine.driver
    assert facts["cuda"] // 1000 == 12
    assert facts["limit"] == 700_000
    assert facts["limits"] == [350_000, 700_000]
    assert facts["busy"] == 50  # halfway between idle and the limit
    assert facts["memory"] == [80 * 2**30] * 2
    assert facts["memory_v2"] == 80 * 2**30
    assert facts["architecture"] == 7
    assert facts["capability"] == [8, 0]
    assert facts["mig"] == [0, 0]
    assert facts["persistence"] == 1
    assert 30 < facts["warm"] < 90
    assert 200 < facts["clock"] < 2000
    assert facts["running"] == [[4321, 2**30]]
    assert facts["shares"] == [[4321, 55]]


def test_the_driver_side_buffer_keeps_every_sample(tmp_path: Path) -> None:
    with ready.square_gpu().running(tmp_path) as machine:
        first, later = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            def samples(since):
                _, found = nvml.nvmlDeviceGetSamples(gpu, nvml.NVML_TOTAL_POWER_SAMPLES, since)
                return [[each.timeStamp, each.sampleValue.uiVal] for each in found]
            first = samples(0)
            time.sleep(0.2)
            answer([first, samples(first[-1][0] + 1000)])
            """,
        )
    gaps_us = [b[0] - a[0] for a, b in pairwise(first)]
    assert len(first) == 120
    assert gaps_us == pytest.approx([20_000] * 119, abs=2_000)
    assert {power_mw for _, power_mw in first} >= {80_000, 520_000}
    assert later[0][0] > first[-1][0]
    assert 5 <= len(later) < 120


def test_a_gpu_without_counter_still_shows_power(tmp_path: Path) -> None:
    with ready.gpu_without_energy().running(tmp_path) as machine:
        codes, power_mw = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            values = nvml.nvmlDeviceGetFieldValues(gpu, [83, 191, 186])
            fields = [each.nvmlReturn for each in values]
            total = code_of(nvml.nvmlDeviceGetTotalEnergyConsumption, gpu)
            answer([[total, *fields], nvml.nvmlDeviceGetPowerUsage(gpu)])
            """,
        )
    assert codes == [3, 3, 3, 0]
    assert 40_000 <= power_mw <= 160_000


def test_a_gpu_without_power_still_shows_its_load(tmp_path: Path) -> None:
    with ready.gpu_without_power().running(tmp_path) as machine:
        codes, busy = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            values = nvml.nvmlDeviceGetFieldValues(gpu, [83, 185, 186])
            fields = [each.nvmlReturn for each in values]
            usage = code_of(nvml.nvmlDeviceGetPowerUsage, gpu)
            answer([[usage, *fields], nvml.nvmlDeviceGetUtilizationRates(gpu).gpu])
            """,
        )
    assert codes == [3, 3, 3, 3]
    assert busy == pytest.approx(100 * (70.0 - 10.0) / (120.0 - 10.0), abs=1.0)


def test_an_old_driver_lacks_the_functions(tmp_path: Path) -> None:
    with ready.old_driver().running(tmp_path) as machine:
        codes = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            answer([code_of(nvml.nvmlDeviceGetTotalEnergyConsumption, gpu),
                    code_of(nvml.nvmlDeviceGetFieldValues, gpu, [83]),
                    code_of(nvml.nvmlDeviceGetPowerUsage, gpu)])
            """,
        )
    assert codes == [NvmlError.FUNCTION_NOT_FOUND, NvmlError.FUNCTION_NOT_FOUND, 0]


def test_a_fault_lasts_as_long_as_planned_and_spares_the_neighbour(tmp_path: Path) -> None:
    span = Span(0.0, 1.5)
    lost = Gpu(faults=(Fault(span, NvmlError.GPU_IS_LOST),))
    with Machine(gpus=(lost, Gpu())).running(tmp_path) as machine:
        seen, other = nvidia_ml_py(
            machine,
            """
            gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(2)]
            read = nvml.nvmlDeviceGetTotalEnergyConsumption
            answer([list(polled(2.0, code_of, read, gpus[0])), code_of(read, gpus[1])])
            """,
        )
    end_ns = machine.epoch_ns + to_ns(span.end_s)
    during = {code for _, code, after_ns in seen if after_ns < end_ns}
    afterwards = {code for before_ns, code, _ in seen if before_ns >= end_ns}
    assert (during, afterwards, other) == ({NvmlError.GPU_IS_LOST}, {0}, 0)


def test_one_field_may_fail_alone(tmp_path: Path) -> None:
    fault = Fault(Span(-1.0, 99.0), NvmlError.TIMEOUT, "field:186")
    with Machine(gpus=(Gpu(faults=(fault,)),)).running(tmp_path) as machine:
        codes = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            answer([each.nvmlReturn for each in nvml.nvmlDeviceGetFieldValues(gpu, [186, 185, 83])])
            """,
        )
    assert codes == [NvmlError.TIMEOUT, 0, 0]


def test_a_reset_starts_the_counter_from_nothing(tmp_path: Path) -> None:
    reset_s = 1.0
    gpu = Gpu(waveform.constant(200.0), resets_s=(reset_s,))
    with Machine(gpus=(gpu,)).running(tmp_path) as machine:
        seen = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            answer(list(polled(1.6, nvml.nvmlDeviceGetTotalEnergyConsumption, gpu)))
            """,
        )
    reset_ns = machine.epoch_ns + to_ns(reset_s)
    assert all(mj >= gpu.counter.start_count for _, mj, after_ns in seen if after_ns < reset_ns)
    afterwards = [mj for before_ns, mj, _ in seen if before_ns >= reset_ns]
    assert afterwards == sorted(afterwards)
    assert afterwards[0] <= 200.0 * 1.6 * 1e3


def test_calls_take_their_time_and_may_hang(tmp_path: Path) -> None:
    hang = Span(0.0, 1.2)
    slow = Gpu(latency_s=0.02)
    with Machine(gpus=(slow, Gpu(hangs=(hang,)))).running(tmp_path) as machine:
        quick, stuck = nvidia_ml_py(
            machine,
            """
            gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(2)]
            answer([stamped(nvml.nvmlDeviceGetPowerUsage, gpu) for gpu in gpus])
            """,
        )
    assert quick[2] - quick[0] >= to_ns(0.02)
    assert stuck[2] >= machine.epoch_ns + to_ns(hang.end_s)


def test_a_forked_child_must_initialise_anew(tmp_path: Path) -> None:
    with ready.constant_gpu().running(tmp_path) as machine:
        codes = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            reader, writer = os.pipe()
            if os.fork() == 0:
                before = code_of(nvml.nvmlDeviceGetPowerUsage, gpu)
                nvml.nvmlInit()
                fresh = nvml.nvmlDeviceGetHandleByIndex(0)
                after = code_of(nvml.nvmlDeviceGetPowerUsage, fresh)
                os.write(writer, json.dumps([before, after]).encode())
                os._exit(0)
            os.wait()
            answer([*json.loads(os.read(reader, 99)), code_of(nvml.nvmlDeviceGetPowerUsage, gpu)])
            """,
        )
    assert codes == [NvmlError.UNINITIALIZED, 0, 0]


def test_after_the_last_shutdown_nothing_answers(tmp_path: Path) -> None:
    with ready.constant_gpu().running(tmp_path) as machine:
        codes = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            nvml.nvmlInit()
            nvml.nvmlShutdown()
            first = code_of(nvml.nvmlDeviceGetPowerUsage, gpu)
            nvml.nvmlShutdown()
            second = code_of(nvml.nvmlDeviceGetPowerUsage, gpu)
            nvml.nvmlInit()
            stale = code_of(nvml.nvmlDeviceGetPowerUsage, gpu)
            answer([first, second, stale])
            """,
        )
    assert codes == [0, NvmlError.UNINITIALIZED, NvmlError.INVALID_ARGUMENT]


def test_a_module_s_counter_holds_more_than_the_gpu(tmp_path: Path) -> None:
    with ready.grace_module().running(tmp_path) as machine:
        start, end, gpu_mw, module_mw = nvidia_ml_py(
            machine,
            """
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            read = nvml.nvmlDeviceGetTotalEnergyConsumption
            start = stamped(read, gpu)
            time.sleep(1.5)
            end = stamped(read, gpu)
            powers = nvml.nvmlDeviceGetFieldValues(gpu, [(185, 0), (185, 1)])
            answer([start, end, *(each.value.uiVal for each in powers)])
            """,
        )
    whole_w, gpu_w = 620.0, 448.5  # worked out by hand from the steps
    mean_w = (end[1] - start[1]) * 1e-3 / ((end[0] - start[0]) * 1e-9)
    assert mean_w == pytest.approx(whole_w, rel=0.2)
    assert mean_w > gpu_w * 1.1
    assert module_mw > gpu_mw * 1.2


def test_two_machines_keep_apart_in_one_process(tmp_path: Path) -> None:
    one = Machine(gpus=(Gpu(),))
    with (
        ready.mixed_models().running(tmp_path / "a") as four,
        one.running(tmp_path / "b") as single,
    ):
        counts = []
        for path in (four.nvml, single.nvml):
            library, count = ctypes.CDLL(path), ctypes.c_uint()
            assert library.nvmlInit_v2() == 0
            assert library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
            counts.append(count.value)
    assert counts == [4, 1]


def test_a_machine_without_gpus_has_no_library(tmp_path: Path) -> None:
    with Machine().running(tmp_path) as machine:
        assert not Path(machine.nvml).exists()
