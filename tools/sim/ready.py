"""Ready-made machines, each for one question."""

from __future__ import annotations

from dataclasses import replace

from sim import waveform
from sim.fault import NO_ENERGY_COUNTER, NO_POWER
from sim.gpu import SCOPE_MODULE, Gpu
from sim.machine import Machine
from sim.sensor import Sensor
from sim.waveform import Signal
from sim.zone import DRAM_UNIT_J, INTEL_UNIT_J, RAPL, Zone

DRAM_SQUARE = waveform.square(8.0, 25.0)
DRAM = replace(RAPL, quantum_j=DRAM_UNIT_J)


def wrapping(quantum_j: float, range_j: float) -> Sensor:
    """A RAPL sensor that starts again after about so many joules."""
    return replace(RAPL, quantum_j=quantum_j, range_counts=round(range_j / quantum_j))


def _socket(number: int, package: Signal, dram: Signal, range_j: float) -> Zone:
    inner = Zone("dram", dram, wrapping(DRAM_UNIT_J, range_j / 8), max_power_w=60.0)
    outer = wrapping(INTEL_UNIT_J, range_j * (1 + number / 4))
    return Zone(f"package-{number}", package, outer, (inner,))


def two_sockets(range_j: float = 400.0) -> Machine:
    """Two packages with their memory; every counter wraps each few seconds."""
    return Machine(
        zones=(
            _socket(0, waveform.square(60.0, 210.0), waveform.constant(18.0), range_j),
            _socket(1, waveform.ramp(50.0, 230.0, 7.3, repeat=True), DRAM_SQUARE, range_j),
        )
    )


def eight_training_gpus() -> Machine:
    """Eight GPUs in a training loop's steps, a little apart, each sensor with its own phase."""
    return Machine(gpus=tuple(_training_gpu(index) for index in range(8)))


def _training_gpu(index: int) -> Gpu:
    base = Gpu(waveform.training(delay_s=0.017 * index), "NVIDIA H100 80GB HBM3", limit_w=700.0)
    phase_s = 0.0117 * index
    return replace(
        base,
        architecture=9,
        capability=(9, 0),
        counter=replace(base.counter, phase_s=phase_s),
        instant=replace(base.instant, phase_s=phase_s),
        average=replace(base.average, phase_s=phase_s),
    )


def one_gpu(signal: Signal) -> Machine:
    return Machine(gpus=(Gpu(signal),))


def constant_gpu() -> Machine:
    return one_gpu(waveform.constant(300.0))


def square_gpu() -> Machine:
    return one_gpu(waveform.square(80.0, 520.0, period_s=1.0))


def ramp_gpu() -> Machine:
    return one_gpu(waveform.ramp(90.0, 600.0, 12.0, repeat=True))


def bursts_gpu() -> Machine:
    """Bursts shorter than the sensor's period."""
    return one_gpu(waveform.bursts(90.0, 600.0, burst_s=0.03, every_s=0.37))


def gpu_without_energy() -> Machine:
    """Power can be read, but there is no energy counter."""
    gpu = Gpu(waveform.square(40.0, 160.0, period_s=2.0), "Tesla P100-PCIE-16GB", limit_w=250.0)
    return Machine(gpus=(replace(gpu, usage="instant", faults=NO_ENERGY_COUNTER),))


def gpu_without_power() -> Machine:
    """Only its utilisation can be read."""
    gpu = Gpu(waveform.square(30.0, 110.0), "NVIDIA GeForce GTX 1050", idle_w=10.0, limit_w=120.0)
    return Machine(gpus=(replace(gpu, faults=NO_POWER),))


def old_driver() -> Machine:
    """A library that lacks the energy counter and the field query altogether."""
    gpu = Gpu(waveform.square(60.0, 280.0), "Tesla V100-SXM2-16GB", limit_w=300.0)
    gpu = replace(gpu, architecture=5, capability=(7, 0), usage="instant")
    return Machine(gpus=(gpu,), driver="384.183", old_driver=True)


def mixed_models() -> Machine:
    """Two models in one box, the faster ones last: CUDA's order is not the library's."""
    slow = Gpu(waveform.constant(110.0), "NVIDIA RTX A4000", limit_w=140.0, capability=(8, 6))
    fast = Gpu(waveform.constant(400.0), "NVIDIA H100 PCIe", limit_w=450.0, capability=(9, 0))
    return Machine(gpus=(slow, slow, fast, fast))


def grace_module() -> Machine:
    """A GPU on a module with a CPU: its counter is that of the whole module."""
    gpu = Gpu(waveform.training(), "NVIDIA GH200 480GB", architecture=9, capability=(9, 0))
    module = waveform.training((400.0, 570.0, 800.0))
    return Machine(gpus=(replace(gpu, module=module, counter_scope=SCOPE_MODULE),))


def unreadable_rapl() -> Machine:
    """Zones that are there but can't be read, by root either."""
    zones = (Zone(f"package-{n}", waveform.constant(100.0), unreadable=True) for n in range(2))
    return Machine(zones=tuple(zones))


def twin_zones() -> Machine:
    """The whole zoo: dies, a core inside, an MMIO twin, psys around everything."""
    power, memory = waveform.square(40.0, 120.0), waveform.constant(9.0)
    inner = (Zone("core", waveform.square(25.0, 95.0)), Zone("dram", memory, DRAM))
    platform = waveform.square(75.0, 160.0)
    return Machine(
        zones=(
            Zone("package-0", power, children=inner),
            Zone("psys", platform),
            Zone("package-0", power, control="intel-rapl-mmio"),
        )
    )


def two_dies() -> Machine:
    """Dies with counters of their own."""
    first, second = waveform.constant(110.0), waveform.square(50.0, 130.0)
    zones = (Zone("package-0-die-0", first), Zone("package-0-die-1", second))
    return Machine(zones=zones, sockets=1)


def mirrored_dies() -> Machine:
    """Two zones that show one and the same counter."""
    power = waveform.square(60.0, 170.0)
    zones = (Zone("package-0-die-0", power), Zone("package-0-die-1", power))
    return Machine(zones=zones, sockets=1)


READY = {
    each.__name__.replace("_", "-"): each
    for each in (
        two_sockets,
        eight_training_gpus,
        constant_gpu,
        square_gpu,
        ramp_gpu,
        bursts_gpu,
        gpu_without_energy,
        gpu_without_power,
        old_driver,
        mixed_models,
        grace_module,
        unreadable_rapl,
        twin_zones,
        two_dies,
        mirrored_dies,
    )
}
