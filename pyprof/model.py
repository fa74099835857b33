"""Power of what can't be read, from design power: every number is a row of ``device_power.csv``."""

from __future__ import annotations

import csv
import functools
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

_TABLE = os.path.join(os.path.dirname(__file__), "data", "device_power.csv")
_KIB_PER_GIB = 1024 * 1024
# From a 5 to 95 % range to the 95 % range of the report, for something normal in its logarithm.
_TO_95_PERCENT = 1.959964 / 1.644854
# A vendor sells the same board of memory in these sizes, GiB per module.
_SMALLEST_MODULE_GIB, _LARGEST_MODULE_GIB = 8, 64


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    kind: str
    vendor: str
    model: str
    cores: int | None
    power_w: float | None
    idle_w: float | None
    year: int | None
    source: str

    @property
    def watts(self) -> float:
        """The row's watts, which rows of every kind but ``rule`` have."""
        assert self.power_w is not None, self.model
        return self.power_w


@dataclass(frozen=True, slots=True)
class Range:
    """True energy over estimate lies in [low, high] with 95 % confidence."""

    low: float
    high: float

    def combined(self, other: Range) -> Range:
        """The range when two independent causes multiply (root sum of squares of the logs)."""
        low = math.hypot(math.log(self.low), math.log(other.low))
        high = math.hypot(math.log(self.high), math.log(other.high))
        return Range(math.exp(-low), math.exp(high))


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for every estimate from design power."""

    idle_share: float
    range: Range


@dataclass(frozen=True, slots=True)
class Estimate:
    """One modelled channel: between ``idle_w`` and ``design_w`` by load, with its reason in words.

    A constant power has both equal.
    """

    id: str
    domain: str
    device: str
    idle_w: float
    design_w: float
    range: Range
    reason: str

    def share(self, channel_id: str, parts: int) -> Estimate:
        """One of ``parts`` equal shares, under a name of its own."""
        return replace(
            self,
            id=channel_id,
            idle_w=self.idle_w / parts,
            design_w=self.design_w / parts,
            reason=f"{self.reason}; one of {parts} equal shares",
        )


# -- the table -------------------------------------------------------------------------------------


@functools.cache
def rows() -> tuple[Row, ...]:
    """The whole table."""
    with open(_TABLE, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(_row(cells) for cells in reader)


def _row(cells: Mapping[str, str]) -> Row:
    return Row(
        kind=cells["kind"],
        vendor=cells["vendor"],
        model=cells["model"],
        cores=int(cells["cores"]) if cells["cores"] else None,
        power_w=float(cells["tdp_w"]) if cells["tdp_w"] else None,
        idle_w=float(cells["idle_w"]) if cells["idle_w"] else None,
        year=int(cells["year"]) if cells["year"] else None,
        source=cells["source"],
    )


def _only(kind: str, word: str) -> Row:
    """The one row of that kind whose model names ``word``."""
    (row,) = (row for row in rows() if row.kind == kind and word in row.model)
    return row


def rule() -> Rule:
    """Idle share and range of an estimate, as the rule row words them."""
    text = _only("rule", "idle share").source
    share = re.search(r"([\d.]+) of tdp_w", text)
    span = re.search(r"-(\d+) % to \+(\d+) %", text)
    assert share is not None, text
    assert span is not None, text
    return Rule(float(share[1]), Range(1 - int(span[1]) / 100, 1 + int(span[2]) / 100))


def class_row(server: bool) -> tuple[Row, Range]:
    """Watts per core of an unrecognised CPU, with the spread of the parts behind the figure."""
    row = _only("cpu_class", "server" if server else "desktop")
    span = re.search(r"5 to 95 %: ([\d.]+) to ([\d.]+) W per core", row.source)
    assert span, row.source
    low, high = float(span[1]) / row.watts, float(span[2]) / row.watts
    return row, Range(low**_TO_95_PERCENT, high**_TO_95_PERCENT)


def _cited(row: Row) -> str:
    """Model, watts and origin of a row in a few words."""
    origin = row.source.split(",")[0].split("(")[0].strip()
    year = f", {row.year}" if row.year else ""
    return f"'{row.model}' {row.watts:g} W ({origin}{year})"


# -- names -----------------------------------------------------------------------------------------

_NOISE = (
    re.compile(r"\((r|tm|c)\)|[®™]"),
    re.compile(r"\b\d+(st|nd|rd|th) gen\b"),
    re.compile(r"@\s*[\d.]+\s*[gm]hz"),
    re.compile(r"\b(with|w/) radeon.*"),
    re.compile(r"\b(\d+|one|two|dual|triple|quad|six|eight|twelve|sixteen)-cores?\b"),
    re.compile(r"\((oem only)\)"),
    re.compile(r"\b(intel|amd|ampere|fujitsu|genuine|cpu|processors?|apu)\b"),
)


def plain_name(name: str) -> str:
    """A CPU's name without vendor, trade marks, clock rate, core count and graphics."""
    text = name.lower()
    for noise in _NOISE:
        text = noise.sub(" ", text)
    return " ".join(text.split())


@functools.cache
def _cpus_by_name() -> dict[str, Row]:
    """CPUs by plain name; a name that stands for different powers is nobody's."""
    named: dict[str, set[Row]] = {}
    for row in rows():
        if row.kind == "cpu":
            named.setdefault(plain_name(row.model), set()).add(row)
    return {
        name: min(same, key=lambda row: row.model)
        for name, same in named.items()
        if len({row.power_w for row in same}) == 1
    }


def find_cpu(name: str) -> Row | None:
    """The row of exactly that CPU; a suffix more or less is another part."""
    return _cpus_by_name().get(plain_name(name))


_SERVER_NAME = re.compile(
    r"xeon(?! (w|e3|e-)\b)|epyc|opteron|altra|ampereone|neoverse|graviton|kunpeng|thunderx|a64fx"
    r"|power\d|grace",
    re.IGNORECASE,
)
_DESKTOP_NAME = re.compile(
    r"\bcore\b|ryzen|threadripper|athlon|phenom|pentium|celeron|atom|\bn\d{2,3}\b|xeon (w|e3|e)-",
    re.IGNORECASE,
)
# SMBIOS chassis types of desktops, portables and the like; the others say little.
_DESKTOP_CHASSIS = frozenset({3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 24, 30, 31, 32, 35, 36})


def looks_like_server(name: str, chassis: int | None, virtual: bool) -> bool:
    """Which class an unrecognised CPU is of: by its name, else by its case, else a server."""
    plain = plain_name(name)
    if _SERVER_NAME.search(plain):
        return True
    # Hypervisors show family names, "Core Processor (Haswell)", that say nothing of the host.
    if _DESKTOP_NAME.search(plain) and not (virtual and not re.search(r"\d{3}", plain)):
        return False
    return virtual or chassis not in _DESKTOP_CHASSIS


# -- what the kernel tells -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Package:
    """One socket as the kernel lists it."""

    id: int
    threads: int
    cores: int


@dataclass(frozen=True, slots=True)
class Cpus:
    """The CPUs of the machine, which may be a virtual one."""

    name: str
    packages: tuple[Package, ...]
    virtual: bool
    arm: bool
    chassis: int | None = None

    @property
    def threads(self) -> int:
        """Hardware threads of all packages."""
        return sum(package.threads for package in self.packages)


def read_cpus(proc: str, sysfs: str) -> Cpus | None:
    """What cpuinfo tells; None where there is none."""
    text = _text(os.path.join(proc, "cpuinfo"))
    if text is None:
        return None
    processors = [_fields(block) for block in text.split("\n\n")]
    processors = [fields for fields in processors if "processor" in fields]
    if not processors:
        return None
    first = processors[0]
    arm = "CPU implementer" in first
    firmware = os.path.join(sysfs, "class/dmi/id")
    chassis = _text(os.path.join(firmware, "chassis_type")) or ""
    return Cpus(
        name=first.get("model name", "").strip(),
        packages=_packages(processors, sysfs),
        virtual="hypervisor" in first.get("flags", "").split() or _virtual_firmware(firmware),
        arm=arm,
        chassis=int(chassis) if chassis.strip().isdigit() else None,
    )


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _packages(processors: Sequence[Mapping[str, str]], sysfs: str) -> tuple[Package, ...]:
    sockets: dict[int, list[int | str]] = {}
    for fields in processors:
        number = fields["processor"]
        socket = _topology(fields, sysfs, "physical id", "physical_package_id")
        core = _topology(fields, sysfs, "core id", "core_id")
        sockets.setdefault(max(socket or 0, 0), []).append(f"cpu{number}" if core is None else core)
    return tuple(
        Package(socket, len(cores), len(set(cores))) for socket, cores in sorted(sockets.items())
    )


def _topology(fields: Mapping[str, str], sysfs: str, key: str, file: str) -> int | None:
    """A place in the topology, from cpuinfo (x86) or from the tree of CPUs."""
    text = fields.get(key)
    if text is None:
        folder = f"devices/system/cpu/cpu{fields['processor']}/topology"
        text = _text(os.path.join(sysfs, folder, file))
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


_VIRTUAL_FIRMWARE = re.compile(
    r"qemu|kvm|virtual|vmware|xen|bochs|parallels|amazon ec2|google compute|openstack|alibaba",
    re.IGNORECASE,
)


def _virtual_firmware(folder: str) -> bool:
    """What firmware says, for CPUs that have no hypervisor flag."""
    maker = _text(os.path.join(folder, "sys_vendor")) or ""
    product = _text(os.path.join(folder, "product_name")) or ""
    if product.strip().endswith(".metal"):
        return False
    return _VIRTUAL_FIRMWARE.search(f"{maker} {product}") is not None


def read_memory_gib(proc: str) -> float | None:
    """Memory that the kernel manages; None where it does not tell."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", _text(os.path.join(proc, "meminfo")) or "", re.M)
    return int(found[1]) / _KIB_PER_GIB if found else None


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


# -- estimates -------------------------------------------------------------------------------------


def estimate_cpus(cpus: Cpus) -> list[Estimate]:
    """One estimate per package, or one for the share of the host that a virtual machine sees."""
    row = find_cpu(cpus.name) if cpus.name else None
    if cpus.virtual:
        design_w, range_, reason = _virtual_design(cpus, row)
        return [_cpu_estimate(0, cpus.name, design_w, row, range_, reason)]
    return [_package_estimate(package, cpus, row) for package in cpus.packages]


def _package_estimate(package: Package, cpus: Cpus, row: Row | None) -> Estimate:
    if row is not None:
        reason = f"modelled from {_cited(row)} and the machine's load"
        return _cpu_estimate(package.id, cpus.name, row.watts, row, rule().range, reason)
    class_, spread = class_row(looks_like_server(cpus.name, cpus.chassis, cpus.virtual))
    reason = f"{_cited_class(class_, cpus)}: {_cores(package.cores)}, and the machine's load"
    design_w = class_.watts * package.cores
    return _cpu_estimate(
        package.id, cpus.name, design_w, None, rule().range.combined(spread), reason
    )


def _virtual_design(cpus: Cpus, row: Row | None) -> tuple[float, Range, str]:
    """Design power of the threads that a virtual machine sees, with range and reason."""
    if row is not None and row.cores:
        whole = row.cores * _threads_per_core(row, cpus)
        reason = (
            f"modelled from {_cited(row)}, {cpus.threads} of {whole} threads seen, and their load"
        )
        return row.watts * cpus.threads / whole, rule().range, reason
    class_, spread = class_row(looks_like_server(cpus.name, cpus.chassis, cpus.virtual))
    cores = sum(package.cores for package in cpus.packages)
    reason = (
        f"{_cited_class(class_, cpus)}: {_cores(cores)} as this virtual machine shows them, and "
        "their load"
    )
    return class_.watts * cores, rule().range.combined(spread), reason


def _cpu_estimate(
    number: int, name: str, design_w: float, row: Row | None, range_: Range, reason: str
) -> Estimate:
    idle_w = row.idle_w if row is not None and row.idle_w else rule().idle_share * design_w
    device = name or "CPU of an untold model"
    return Estimate(f"package-{number}", "package", device, idle_w, design_w, range_, reason)


# Efficiency-core Xeons (6710E and the like), and everything that is not x86, run one thread a core.
_ONE_THREAD = re.compile(r"xeon 6\d{3}e\b", re.IGNORECASE)


def _threads_per_core(row: Row, cpus: Cpus) -> int:
    """Of the real part: what a virtual machine shows of it may be made up."""
    x86 = row.vendor in ("intel", "amd") and not cpus.arm
    return 2 if x86 and not _ONE_THREAD.search(row.model) else 1


def _cores(count: int) -> str:
    return f"{count} core{'' if count == 1 else 's'}"


def _cited_class(class_: Row, cpus: Cpus) -> str:
    name = f"'{cpus.name}'" if cpus.name else "the CPU, whose model is not told,"
    return f"modelled from {class_.watts:g} W per core ('{class_.model}'), as {name} is in no table"


def estimate_memory(memory_gib: float) -> Estimate:
    """Memory by its watts per gigabyte; the range spans the rule per module, small and large."""
    per_gib, per_module = _only("memory", "per GB"), _only("memory", "per module")
    range_ = Range(
        per_module.watts / _LARGEST_MODULE_GIB / per_gib.watts,
        per_module.watts / _SMALLEST_MODULE_GIB / per_gib.watts,
    )
    power_w = per_gib.watts * memory_gib
    origin = per_gib.source.split(";")[0]
    reason = f"modelled from {per_gib.watts:g} W per GB ({origin}), {memory_gib:.1f} GB"
    return Estimate("dram", "dram", "memory", power_w, power_w, range_, reason)


_FORM_TOKEN = re.compile(r"\d+gb|pcie|sxm\d?|oam|nvl\Z")
_GPU_NOISE = frozenset({"nvidia", "amd", "intel", "hbm2", "hbm2e", "hbm3", "hbm3e", "graphics"})


def _gpu_tokens(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[\s-]+", name.lower())) - _GPU_NOISE


def find_gpu(name: str) -> Row | None:
    """The row of that GPU. The driver may leave out form and memory, where they don't matter."""
    wanted = _gpu_tokens(name)
    fitting = [row for row in rows() if row.kind == "accelerator" and _fits(wanted, row)]
    exact = [row for row in fitting if _gpu_tokens(row.model) == wanted]
    same_power = len({row.power_w for row in exact or fitting}) == 1
    return (exact or fitting)[0] if same_power else None


def _fits(wanted: Iterable[str], row: Row) -> bool:
    """Whether the row says nothing else than the name, form and memory apart."""
    tokens, named = _gpu_tokens(row.model), set(wanted)
    return named <= tokens and all(_FORM_TOKEN.match(token) for token in tokens - named)


def estimate_gpu(channel_id: str, name: str, limit_w: float | None) -> Estimate | None:
    """A GPU by its utilisation: design power of its row, else the driver's power limit."""
    row = find_gpu(name)
    if row is not None:
        design_w, reason = row.watts, f"modelled from {_cited(row)} and its utilisation"
    elif limit_w:
        design_w = limit_w
        reason = f"modelled from the driver's power limit {limit_w:g} W and its utilisation"
    else:
        return None
    idle_w = row.idle_w if row is not None and row.idle_w else rule().idle_share * design_w
    return Estimate(channel_id, "gpu", name, idle_w, design_w, rule().range, reason)
