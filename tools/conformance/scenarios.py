"""The cases in which meters of energy go wrong, each with a machine whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sim import waveform
from sim.fault import NO_ENERGY_COUNTER, Fault, NvmlError, Span
from sim.gpu import Gpu
from sim.machine import Machine
from sim.sensor import Sensor
from sim.waveform import Signal
from sim.zone import INTEL_UNIT_J, Zone


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of work that a meter is put around, once or ``repeat`` times.

    With ``period_s`` it begins ``phase_s`` after a multiple of the period, so that its place on the
    signal is known. ``activity`` is what the program does meanwhile: *sleep*, *hold* (the GIL) or
    *fork*.
    """

    name: str
    length_s: float
    phase_s: float = 0.0
    period_s: float = 0.0
    activity: str = "sleep"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table. ``channels`` are those whose energy is asked for."""

    name: str
    what: str
    device: str
    channels: tuple[str, ...]
    make: Callable[[], Machine]
    windows: tuple[Window, ...]
    repeat: int = 1
    closed: bool = False
    """The counters are there, and their modes let nobody read them (EACCES)."""


_RAPL = Sensor(period_s=0.000976, quantum_j=INTEL_UNIT_J)


def _cpu(signal: Signal, wrap_j: float = 0.0, **more: object) -> Machine:
    counts = round((wrap_j or 262144.0) / INTEL_UNIT_J)
    zone = Zone("package-0", signal, replace(_RAPL, range_counts=counts))
    return Machine(zones=(replace(zone, **more),))  # type: ignore[arg-type]


def _gpu(signal: Signal, **more: object) -> Machine:
    return Machine(gpus=(replace(Gpu(signal), **more),))  # type: ignore[arg-type]


def _power_only(signal: Signal) -> Machine:
    """As a Pascal board: no energy counter, power of the moment."""
    return _gpu(
        signal,
        name="Tesla P100-PCIE-16GB",
        architecture=4,
        capability=(6, 0),
        usage="instant",
        limit_w=700.0,
        instant=Sensor(period_s=0.02, window_s=0.01),
        faults=NO_ENERGY_COUNTER,
    )


_STEPS = ((100.0, 6.0), (400.0, 6.0))
_ALTERNATE = ((600.0, 0.010), (100.0, 0.013))


def _lost() -> Machine:
    spans = tuple(Span(12.0 * k + 6.5, 12.0 * k + 7.3) for k in range(20))
    return _gpu(
        waveform.constant(250.0),
        faults=tuple(Fault(span, NvmlError.GPU_IS_LOST) for span in spans),
    )


def _eight() -> Machine:
    signal = waveform.training()
    return Machine(
        gpus=tuple(
            Gpu(signal.delayed(0.017 * i), counter=replace(Gpu().counter, phase_s=0.0117 * i))
            for i in range(8)
        )
    )


GPU, CPU = ("gpu0",), ("package-0",)


def table() -> Sequence[Scenario]:
    """Every case, in the order of the table."""
    return (
        Scenario(
            "fast-wrapping",
            "RAPL, 50 W, wraps every 2.6 s; 8 s",
            "cpu",
            CPU,
            lambda: _cpu(waveform.constant(50.0), 131.0),
            (Window("all", 8.0),),
        ),
        Scenario(
            "constant",
            "GPU counter, 250 W; 5 s",
            "gpu",
            GPU,
            lambda: _gpu(waveform.constant(250.0)),
            (Window("all", 5.0),),
        ),
        Scenario(
            "constant, power only",
            "GPU without counter, 250 W; 5 s",
            "gpu",
            GPU,
            lambda: _power_only(waveform.constant(250.0)),
            (Window("all", 5.0),),
        ),
        Scenario(
            "plateau, power only",
            "4 s inside a plateau of 400 W",
            "gpu",
            GPU,
            lambda: _power_only(waveform.steps(_STEPS)),
            (Window("all", 4.0, 7.0, 12.0),),
        ),
        Scenario(
            "step, power only",
            "3 s at 100 W, then 3 s at 400 W",
            "gpu",
            GPU,
            lambda: _power_only(waveform.steps(_STEPS)),
            (Window("all", 6.0, 3.0, 12.0),),
        ),
        Scenario(
            "burst",
            "GPU counter of 100 ms, 600 W for 30 ms in each 0.37 s; 5 s",
            "gpu",
            GPU,
            lambda: _gpu(waveform.bursts(90.0, 600.0, burst_s=0.03, every_s=0.37)),
            (Window("all", 5.0),),
        ),
        Scenario(
            "ramp",
            "GPU counter, 90 to 600 W in 12 s; 5 s of it",
            "gpu",
            GPU,
            lambda: _gpu(waveform.ramp(90.0, 600.0, 12.0, repeat=True)),
            (Window("all", 5.0, 4.0, 12.0),),
        ),
        Scenario(
            "reset",
            "GPU counter starts again in the middle of 6 s at 250 W",
            "gpu",
            GPU,
            lambda: _gpu(waveform.constant(250.0), resets_s=tuple(7.0 * k for k in range(1, 30))),
            (Window("all", 6.0, 4.0, 7.0),),
        ),
        Scenario(
            "lost GPU",
            "0.8 s without an answer within 6 s at 250 W",
            "gpu",
            GPU,
            _lost,
            (Window("all", 6.0, 4.0, 12.0),),
        ),
        Scenario(
            "denied",
            "RAPL that the reader has no right to read (EACCES), 50 W; 4 s",
            "cpu",
            CPU,
            lambda: _cpu(waveform.constant(50.0)),
            (Window("all", 4.0),),
            closed=True,
        ),
        Scenario(
            "GIL held",
            "fast-wrapping RAPL, the GIL held in C for 6 s",
            "cpu",
            CPU,
            lambda: _cpu(waveform.constant(50.0), 131.0),
            (Window("all", 6.0, activity="hold"),),
        ),
        Scenario(
            "forked",
            "GPU counter, 250 W; a child is forked and ends meanwhile; 4 s",
            "gpu",
            GPU,
            lambda: _gpu(waveform.constant(250.0)),
            (Window("all", 4.0, activity="fork"),),
        ),
        Scenario(
            "eight GPUs",
            "training steps on eight counters; 5 s",
            "gpu",
            tuple(f"gpu{i}" for i in range(8)),
            _eight,
            (Window("all", 5.0),),
        ),
        Scenario(
            "1 s stage",
            "GPU counter of 100 ms, 600 W while the code runs, else 100 W; three times",
            "gpu",
            GPU,
            lambda: _gpu(waveform.steps(((600.0, 1.03), (100.0, 0.97)))),
            (Window("all", 1.03, 0.0, 2.0),),
            repeat=3,
        ),
        Scenario(
            "0.1 s stage",
            "the same for 0.1 s; ten times",
            "gpu",
            GPU,
            lambda: _gpu(waveform.steps(((600.0, 0.103), (100.0, 0.514)))),
            (Window("all", 0.103, 0.0, 0.617),),
            repeat=10,
        ),
        Scenario(
            "two stages of 10 ms",
            "600 W, 100 W in turn on a counter of 100 ms; 400 times (energy of the first)",
            "gpu",
            GPU,
            lambda: _gpu(waveform.steps(_ALTERNATE)),
            (Window("all", 0.010, 0.0, 0.023), Window("other", 0.013, 0.010, 0.023)),
            repeat=400,
        ),
    )
