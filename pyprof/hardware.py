"""What is on this machine: sensors to sample, models for what has none, and what is unmeasured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof import bus, model, scope, surroundings
from pyprof.energy import Source
from pyprof.errors import RecordingError, SamplerError, UsageError
from pyprof.meter import METER, Meter
from pyprof.visible import Gpu, owned_gpus

if TYPE_CHECKING:
    from pyprof.driver import Driver
    from pyprof.simulate import Signal

try:
    from pyprof import _native
    from pyprof.unread import MODELLED, UNMEASURED, modelled, on_bus, unmeasured
except ImportError as error:
    raise SamplerError(
        f"the native part of pyprof can't be loaded ({error}): install pyprof-energy again with "
        "pip install --force-reinstall pyprof-energy"
    ) from error

AGENT = "agent"
REPLAY = "replay"
_NVML = "nvml"

# The native source multiplies the driver's power limit with this to get the plausible limit.
_PLAUSIBLE_OVER_LIMIT = 1.5
# The driver averages utilisation over at most a second.
_UTILISATION_WINDOW_NS = 1_000_000_000
# On these modules the GPU's energy counter holds the CPU and its memory as well.
_MODULES_WITH_CPU = ("GH200",)


@dataclass(frozen=True, slots=True)
class Look:
    """Where and how to look for hardware. ``sources`` None means all of them."""

    sysfs: str = "/sys"
    proc: str = "/proc"
    nvml: str | None = None
    sources: tuple[str, ...] | None = None
    model: bool = True
    simulate: str | None = None
    begin_ns: int = 0
    """When the simulated signals begin, on CLOCK_MONOTONIC; 0: when they are opened."""
    amd_smi: str | None = None
    """AMD SMI's library, None: the system's."""
    level_zero: str | None = None
    """Level Zero's loader, None: the system's."""
    meter: str | None = None
    """Pipe, serial line or file of an external meter; ``dcmi:[DEVICE]`` or ``redfish:URL``."""
    agent: str | None = None
    """Folder of a system service that publishes what this process may not read itself."""
    scope: str = "devices"
    """``devices``: the GPUs that the environment gives to the job; ``node``: all."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware as found. ``channels`` are those sampled, in the order of their native index."""

    native: _native.Hardware | None
    channels: tuple[_native.Channel, ...]
    unmeasured: tuple[_native.Channel, ...]
    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    scope: str
    borrowed: tuple[_native.Channel, ...] = ()
    """Channels whose readings come from ``agent``, the folder of a system service."""
    agent: str | None = None


def source_names() -> tuple[str, ...]:
    """Every name that ``Look.sources`` may hold, in order of preference."""
    return (*_native.source_names(), AGENT, MODELLED, REPLAY)


def open_machine(look: Look) -> Machine:
    """Ask every source once. Files and libraries are then open, and nothing is sampled yet."""
    wanted = _wanted(look)
    survey = _Survey(look, wanted)
    survey.leave_out_foreign_gpus()
    if look.agent is not None and AGENT in wanted:
        survey.borrow(look.agent)
    if any(name != REPLAY for name in wanted):
        survey.complete()
    if look.simulate is not None:
        survey.add_signals(look.simulate)
    return survey.machine()


def _wanted(look: Look) -> tuple[str, ...]:
    """Names of the sources to use; simulated signals alone, unless others are named."""
    names = look.sources
    if names is None:
        known = [name for name in source_names() if name != REPLAY]
        return tuple(known) if look.simulate is None else (REPLAY,)
    for name in names:
        _check_source(name)
    if not names:
        raise UsageError(f"no source is named: choose from {', '.join(source_names())}")
    if REPLAY in names and look.simulate is None:
        raise UsageError(f"the source '{REPLAY}' needs a file of signals: add --simulate FILE.toml")
    if REPLAY not in names and look.simulate is not None:
        raise UsageError(f"simulated signals are read by the source '{REPLAY}': name it as well")
    return tuple(names)


def _check_source(name: str) -> None:
    known = source_names()
    if name in known:
        return
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? Known are " if near else "choose from "
    raise UsageError(f"unknown source '{name}': {hint}{', '.join(known)}")


class _Survey:
    """One look at the machine, source after source."""

    def __init__(self, look: Look, wanted: Sequence[str]) -> None:
        self._look = look
        self._wanted = wanted
        hardware_names = [name for name in wanted if name not in (AGENT, MODELLED, REPLAY)]
        meter = Meter(look.meter if METER in wanted else None)
        self._hardware = _native.Hardware(
            sysfs=look.sysfs,
            proc=look.proc,
            nvml=look.nvml or "",
            amd_smi=look.amd_smi or "",
            level_zero=look.level_zero or "",
            meter=meter.path,
            sources=hardware_names,
        )
        meter.hand_over(self._hardware)
        self._unmeasured: list[_native.Channel] = []
        self._sources: list[Source] = []
        self._notes: list[str] = []
        self._modelled: list[str] = []
        self._borrowed: list[_native.Channel] = []
        self._foreign: frozenset[str] = frozenset()
        around = surroundings.look() if look.sysfs == "/sys" else None
        for found in self._hardware.found:
            self._unmeasured.extend(found.unreadable)
            self._notes.extend(found.notes)
            remedy = found.remedy or None
            remedy = around.remedy(remedy) if around else remedy
            source = Source(found.name, found.available, found.reason or None, remedy)
            self._sources.append(meter.refused if found.name == METER and meter.refused else source)
        everything = (*self._hardware.channels, *self._unmeasured)
        self._driver_lists_gpus = bool(self._nvml_channels(everything))

    def machine(self) -> Machine:
        """What the survey has come to."""
        channels = tuple(self._hardware.channels)
        return Machine(
            native=self._hardware if channels else None,
            channels=channels,
            unmeasured=tuple(self._unmeasured),
            sources=tuple(self._sources),
            notes=tuple(self._notes),
            scope=scope.in_words((*channels, *self._borrowed), self._look.simulate),
            borrowed=tuple(self._borrowed),
            agent=self._look.agent if self._borrowed else None,
        )

    # -- the job's GPUs ----------------------------------------------------------------------------

    def leave_out_foreign_gpus(self) -> None:
        """Drop NVIDIA GPUs that the environment gives to somebody else."""
        if "CUDA_VISIBLE_DEVICES" not in os.environ or self._look.scope == "node":
            return
        from pyprof.driver import Driver

        readable = self._nvml_channels(self._hardware.channels)
        unreadable = self._nvml_channels(self._unmeasured)
        driver = Driver(self._look.nvml)
        gpus = [_as_gpu(channel, driver) for channel in (*readable, *unreadable)]
        gpus.sort(key=lambda gpu: int(gpu.id.removeprefix("gpu")))
        owned = owned_gpus(gpus, os.environ, driver.mig_owner)
        if owned.doubt:
            self._notes.append(owned.doubt)
        self._drop([gpu.id for gpu in gpus if gpu.id not in owned.ids])

    def _drop(self, foreign: Sequence[str]) -> None:
        if not foreign:
            return
        self._foreign = frozenset(foreign)
        for channel in self._hardware.channels:
            if channel.id.partition("/")[0] in foreign:
                self._hardware.drop(channel.id)
        self._unmeasured = [channel for channel in self._unmeasured if channel.id not in foreign]
        listed = os.environ["CUDA_VISIBLE_DEVICES"]
        self._notes.append(f"left out, as CUDA_VISIBLE_DEVICES={listed!r}: {', '.join(foreign)}")

    @staticmethod
    def _nvml_channels(channels: Iterable[_native.Channel]) -> list[_native.Channel]:
        return [c for c in channels if c.source == _NVML and c.domain == "gpu"]

    # -- what a system service reads for others ----------------------------------------------------

    def borrow(self, folder: str) -> None:
        """Take what this process can't read itself from the agent that publishes in ``folder``."""
        from pyprof.segments import Published

        if not os.path.lexists(folder):
            return
        try:
            offered = Published(Path(folder)).newest().channels
        except RecordingError as error:
            remedy = f"be in the group of {folder}, and see that the service `pyprof agent` runs"
            self._sources.append(Source(AGENT, False, str(error), remedy))
            return
        owned = self._owned_of(offered)
        self._borrowed = [
            row.replace(source=AGENT) for row in offered if self._is_wanted(row, owned)
        ]
        taken = {row.id for row in self._borrowed} | {
            row.uuid for row in self._borrowed if row.uuid
        }
        self._unmeasured = [
            row for row in self._unmeasured if row.id not in taken and row.uuid not in taken
        ]
        reason = None if self._borrowed else "all that it publishes can be read without it"
        self._sources.append(Source(AGENT, True, reason, None))

    def _is_wanted(self, offered: _native.Channel, owned: frozenset[str]) -> bool:
        """What is measured here is finer than what the agent gives away."""
        if offered.quality == UNMEASURED:
            return False
        if offered.scope == "devices":
            name = offered.id.partition("/")[0]
            known = {row.id for row in self._hardware.channels}
            known |= {row.uuid for row in self._hardware.channels if row.uuid}
            read = offered.id in known or offered.uuid in known
            return name in owned and name not in self._foreign and not read
        return not self._is_measured(offered.domain, "psys", "module", "host")

    def _owned_of(self, offered: Sequence[_native.Channel]) -> frozenset[str]:
        """Which of the offered GPUs the environment gives to this job."""
        gpus = [
            Gpu(row.id, row.uuid, row.device)
            for row in offered
            if row.scope == "devices" and "/" not in row.id
        ]
        if self._look.scope == "node":
            return frozenset(gpu.id for gpu in gpus)
        return owned_gpus(gpus, os.environ).ids

    # -- what can't be read ------------------------------------------------------------------------

    def complete(self) -> None:
        """Add what is present and can't be read: modelled if that is wanted, else as unmeasured."""
        modelling = self._look.model and MODELLED in self._wanted
        hosts = [c.id for c in self._hardware.channels if c.domain == "host" and c.counted]
        if hosts and modelling:
            self._notes.append(f"nothing is modelled, as {hosts[0]} measures the whole machine")
        elif not self._is_measured("psys", "module", "host"):
            self._complete_node(modelling)
        if modelling and not hosts:
            self._model_gpus()
        self._list_bus_gpus()
        if MODELLED in self._wanted:
            self._sources.append(self._model_source(modelling))

    def _is_measured(self, *domains: str) -> bool:
        rows = (*self._hardware.channels, *self._borrowed)
        return any(row.domain in domains for row in rows if row.counted)

    def _complete_node(self, modelling: bool) -> None:
        """CPU packages and memory, which every machine has."""
        for channel in self._hardware.channels:
            if _holds_cpu(channel):
                self._notes.append(f"CPU and memory are not modelled: {channel.id} holds them")
                return
        if not self._is_measured("package", "core"):
            self._complete_cpus(modelling)
        elif modelling:
            self._model_missing_cpus()
        if not self._is_measured("dram"):
            self._complete_memory(modelling)
        elif modelling:
            self._model_missing_memory()

    def _estimate_cpus(self) -> list[model.Estimate]:
        cpus = model.read_cpus(self._look.proc, self._look.sysfs)
        if cpus is None:
            self._notes.append(f"{self._look.proc}/cpuinfo can't be read, so no CPU is modelled")
            return []
        return model.estimate_cpus(cpus)

    def _complete_cpus(self, modelling: bool) -> None:
        estimates = self._estimate_cpus()
        if not estimates:
            return
        if not modelling:
            return self._leave_unmeasured("package", estimates)
        self._forget(self._missing("package"))
        for estimate in estimates:
            self._model_cpu(estimate)

    def _model_cpu(self, estimate: model.Estimate) -> None:
        channel = modelled(estimate)
        self._hardware.add_load_model(channel, estimate.idle_w, estimate.design_w)
        self._modelled.append(channel.id)

    def _model_missing_cpus(self) -> None:
        """Packages that can't be read, beside others that can."""
        missing = self._missing("package")
        if not missing:
            return
        estimates = {estimate.id: estimate for estimate in self._estimate_cpus()}
        count = self._count("package")
        for channel in missing:
            # A virtual machine has one estimate for all; of that, each package has an equal share.
            estimate = estimates.get(channel.id) if len(estimates) > 1 else None
            if estimate is None and len(estimates) == 1:
                (whole,) = estimates.values()
                estimate = whole.share(channel.id, count)
            if estimate is not None:
                self._forget([channel])
                self._model_cpu(estimate)

    def _estimate_memory(self) -> model.Estimate | None:
        memory_gib = model.read_memory_gib(self._look.proc)
        if memory_gib is None:
            self._notes.append(f"{self._look.proc}/meminfo can't be read: memory is not modelled")
            return None
        return model.estimate_memory(memory_gib)

    def _complete_memory(self, modelling: bool) -> None:
        estimate = self._estimate_memory()
        if estimate is None:
            return
        if not modelling:
            return self._leave_unmeasured("dram", [estimate])
        self._forget(self._missing("dram"))
        self._model_memory(estimate)

    def _model_memory(self, estimate: model.Estimate) -> None:
        self._hardware.add_constant_model(modelled(estimate), estimate.design_w)
        self._modelled.append(estimate.id)

    def _model_missing_memory(self) -> None:
        """Memory of sockets that can't be read, beside that of others: an equal share each."""
        missing = self._missing("dram")
        whole = self._estimate_memory() if missing else None
        if whole is None:
            return
        count = self._count("dram")
        self._forget(missing)
        for channel in missing:
            self._model_memory(whole.share(channel.id, count))

    def _missing(self, domain: str) -> list[_native.Channel]:
        """Sensors that a source names, that ought to be counted, and that can't be read."""
        return [c for c in self._unmeasured if c.domain == domain and c.counted]

    def _count(self, domain: str) -> int:
        """How many there are, readable or not."""
        read = [c for c in self._hardware.channels if c.domain == domain and c.counted]
        return len(read) + len(self._missing(domain))

    def _forget(self, replaced: Sequence[_native.Channel]) -> None:
        """The model takes the place of sensors that can't be read."""
        ids = {channel.id for channel in replaced}
        self._unmeasured = [channel for channel in self._unmeasured if channel.id not in ids]

    def _leave_unmeasured(self, domain: str, estimates: Sequence[model.Estimate]) -> None:
        """Name what is there, unless a sensor that can't be read names it already."""
        if not any(channel.domain == domain for channel in self._unmeasured):
            self._unmeasured.extend(unmeasured(estimate) for estimate in estimates)

    def _model_gpus(self) -> None:
        self._unmeasured = [
            channel
            for channel in self._unmeasured
            if channel.source != _NVML or not self._model_gpu(channel)
        ]

    def _model_gpu(self, channel: _native.Channel) -> bool:
        limit_w = channel.limit_w / _PLAUSIBLE_OVER_LIMIT or None
        estimate = model.estimate_gpu(channel.id, channel.device, limit_w)
        if estimate is None:
            return False
        gauge = modelled(estimate).replace(
            uuid=channel.uuid, scope="devices", window_ns=_UTILISATION_WINDOW_NS
        )
        try:
            self._hardware.add_utilisation_model(gauge, estimate.idle_w, estimate.design_w)
        except RuntimeError:  # not even the utilisation can be read
            return False
        self._modelled.append(gauge.id)
        return True

    def _list_bus_gpus(self) -> None:
        """GPUs that no source reads. An explicit choice of sources is respected."""
        if self._look.sources is not None:
            return
        nvml = next((source for source in self._sources if source.name == _NVML), None)
        channels = (*self._hardware.channels, *self._unmeasured)
        seen = self._driver_lists_gpus or bool(nvml and nvml.available)
        found = " ".join(channel.device for channel in channels if channel.domain == "gpu")
        for gpu in bus.pci_gpus(self._look.sysfs):
            if gpu.address in found:
                continue
            if gpu.vendor != "NVIDIA" or not seen:
                self._unmeasured.append(on_bus(gpu, nvml.reason if nvml else None))

    def _model_source(self, modelling: bool) -> Source:
        if not modelling:
            return Source(MODELLED, False, "switched off", "leave out --no-model")
        needless = None if self._modelled else "nothing to model: what is present can be read"
        return Source(MODELLED, True, needless, None)

    # -- simulated signals -------------------------------------------------------------------------

    def add_signals(self, path: str) -> None:
        """Add every signal of the file as a channel."""
        from pyprof.simulate import read_signals

        taken = {channel.id for channel in self._hardware.channels}
        for signal in read_signals(path):
            if signal.id in taken:
                raise UsageError(f"{path}: the machine has a channel '{signal.id}': rename it")
            self._add_signal(signal, path)
        self._sources.append(Source(REPLAY, True, f"simulated signals of {path}", None))

    def _add_signal(self, signal: Signal, path: str) -> None:
        sensor = signal.sensor
        try:
            self._hardware.add_replay(
                _native.Channel(source=REPLAY, method="replay", **signal.channel_fields()),
                signal.segments,
                signal.repeat,
                sensor_period_ns=sensor.period_ns,
                phase_ns=sensor.phase_ns,
                jitter=sensor.jitter,
                quantum_j=sensor.quantum_j,
                window_ns=sensor.window_ns,
                start_count=sensor.start_count,
                begin_ns=self._look.begin_ns,
            )
        except ValueError as error:
            raise UsageError(f"{path}, channel '{signal.id}': {error}") from None


# -- channels --------------------------------------------------------------------------------------


def _as_gpu(channel: _native.Channel, driver: Driver) -> Gpu:
    if not channel.uuid:
        return Gpu(channel.id, "", channel.device)
    split = driver.is_split(channel.uuid)
    return Gpu(channel.id, channel.uuid, channel.device, driver.bus_id(channel.uuid), split)


def _holds_cpu(channel: _native.Channel) -> bool:
    """Whether it is the energy counter of a GPU that meters its whole module."""
    counter = channel.domain == "gpu" and channel.method == "counter"
    return counter and any(module in channel.device for module in _MODULES_WITH_CPU)
