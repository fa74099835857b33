"""``pyprof doctor``: what can be read here, what can't, why, and the command that mends it."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyprof
from pyprof import inventory, settings, surroundings
from pyprof.cli import options
from pyprof.cli.command import DISTRIBUTION
from pyprof.energy import Source
from pyprof.export import figure
from pyprof.export.lines import INDENT, Page, bullet, note, wrap
from pyprof.export.table import Column, draw
from pyprof.export.terminal import clean, paint, usable_width, wants_colour, write
from pyprof.surroundings import Surroundings

if TYPE_CHECKING:
    from pyprof import _native
    from pyprof.hardware import Look, Machine

NAME = "doctor"
HELP = "What can be read on this machine, why not the rest, and the remedy. Changes nothing."
EXAMPLES = """\
examples:
  pyprof doctor
  pyprof doctor --json
  pyprof doctor --simulate signals.toml     how simulated signals are seen

exit status: 0 if at least one sensor of the hardware is readable, 1 if none is, 2 usage.
"""

SCHEMA = "pyprof.doctor/1"
_NOT_HARDWARE = ("modelled", "replay")
_POWERCAP = "rapl-powercap"
_RAPL = ("rapl-perf", _POWERCAP)
_GIB = 2**30
_WINDOWS = 8
_WINDOW_S = 0.15
_RULE_FILE = "/etc/udev/rules.d/90-powercap.rules"
_RULE = (
    'SUBSYSTEM=="powercap", ACTION=="add|change", TEST=="energy_uj", '
    "RUN+=\"/bin/sh -c 'cd /sys%p && chgrp powercap energy_uj max_energy_range_uj && "
    "chmod g+r energy_uj max_energy_range_uj'\""
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a second of sampling showed."""

    read_cost_us: Mapping[str, float]
    update_period_s: Mapping[str, float]
    rhythm: Mapping[str, Mapping[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of this verb."""
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    parser.add_argument("--no-colour", "--no-color", action="store_true", help="no escapes")
    options.add_hardware(parser)


def run(args: argparse.Namespace) -> int:
    """Looks, samples for about a second, and tells."""
    from pyprof.hardware import open_machine

    look = options.look(args)
    machine = open_machine(look)
    findings = _findings(machine, _try(machine, look), inventory.take(gpus=look.nvml is None))
    if args.json:
        import json

        write(sys.stdout, json.dumps(findings, indent=2) + "\n")
    else:
        page = Page(not args.no_colour and wants_colour(sys.stdout), usable_width())
        write(sys.stdout, "\n".join(_page(findings, page)) + "\n")
    return 0 if findings["readable"] else 1


# -- looking ---------------------------------------------------------------------------------------


def _findings(machine: Machine, trial: Trial, parts: inventory.Inventory) -> dict[str, Any]:
    """Everything found, as plain values."""
    sources = [_source(source, machine, trial) for source in machine.sources]
    return {
        "schema": SCHEMA,
        "pyprof_version": pyprof.__version__,
        "host": platform.node() or None,
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "inventory": asdict(parts),
        "readable": any(row["channels"] for row in sources if row["name"] not in _NOT_HARDWARE),
        "scope": machine.scope,
        "sources": sources,
        "channels": [_channel(row, trial) for row in (*machine.channels, *machine.borrowed)],
        "unmeasured": [_channel(row, trial) for row in machine.unmeasured],
        "notes": [*machine.notes, *_surroundings(surroundings.look())],
        "shadowed": list(_shadows()),
    }


def _source(source: Source, machine: Machine, trial: Trial) -> dict[str, Any]:
    """A source with what it reads and what a read costs."""
    rows = (*machine.channels, *machine.borrowed)
    channels = [row.id for row in rows if row.source == source.name]
    cost = trial.read_cost_us.get(source.name)
    return asdict(source) | {"channels": channels, "read_cost_us": cost}


def _channel(row: _native.Channel, trial: Trial) -> dict[str, Any]:
    """A channel with the update period that was seen."""
    return {
        "id": row.id,
        "domain": row.domain,
        "device": row.device or None,
        "uuid": row.uuid or None,
        "parent": row.parent or None,
        "source": row.source,
        "counted": row.counted,
        "quality": row.quality,
        "method": row.method,
        "reason": row.reason or None,
        "update_period_s": trial.update_period_s.get(row.id),
        "update_spread_s": trial.rhythm.get(row.id, {}).get("update_spread_s"),
        "irregular": trial.rhythm.get(row.id, {}).get("mode") == "irregular",
    }


def _try(machine: Machine, look: Look) -> Trial:
    """Samples all channels for about a second, and each hardware source for its cost beside it."""
    if machine.native is None:
        return Trial({}, {}, {})
    from pyprof import _native

    whole = _native.Sampler(machine.native)
    alone = dict(_samplers(machine, look))
    start_ns = time.monotonic_ns()
    for sampler in (whole, *alone.values()):
        sampler.start()
    costs = _costs(alone)
    frames = _stop(whole)
    for sampler in alone.values():
        _stop(sampler)
    ids = [channel.id for channel in machine.channels]
    rhythm = dict(zip(ids, whole.stats()["channels"], strict=True))
    return Trial(costs, _periods(machine, frames, start_ns), rhythm)


def _samplers(machine: Machine, look: Look) -> Iterator[tuple[str, _native.Sampler]]:
    """One sampler per hardware source that reads anything."""
    from pyprof import _native
    from pyprof.hardware import open_machine

    for name in dict.fromkeys(row.source for row in machine.channels):
        if name not in _NOT_HARDWARE:
            alone = open_machine(replace(look, sources=(name,), simulate=None, model=False))
            if alone.native is not None:
                yield name, _native.Sampler(alone.native)


def _costs(samplers: Mapping[str, _native.Sampler]) -> dict[str, float]:
    """Per source the CPU time of a read, its share of the wake included, in µs."""
    costs: dict[str, list[float]] = {name: [] for name in samplers}
    before = {name: sampler.stats() for name, sampler in samplers.items()}
    for _ in range(_WINDOWS):
        time.sleep(_WINDOW_S)
        for name, sampler in samplers.items():
            now = sampler.stats()
            reads = now["reads"] - before[name]["reads"]
            if reads > 0:
                costs[name].append(1e6 * (now["cpu_s"] - before[name]["cpu_s"]) / reads)
            before[name] = now
    return {name: statistics.median(each) for name, each in costs.items() if each}


def _stop(sampler: _native.Sampler) -> bytes:
    """Ends a sampler and gives what it read."""
    sampler.stop(0)
    return b"".join(sampler.drain())


def _periods(machine: Machine, frames: bytes, start_ns: int) -> dict[str, float]:
    """Per channel the update period that was seen."""
    from pyprof import _native

    account = _native.Account(machine.channels, start_ns, time.monotonic_ns(), "training")
    account.add_frames(frames)
    rows = zip(machine.channels, account.solve()["channels"], strict=True)
    return {
        channel.id: row["update_period_s"]
        for channel, row in rows
        if row and row.get("update_period_s")
    }


# -- surroundings ----------------------------------------------------------------------------------


def _surroundings(around: Surroundings) -> Iterator[str]:
    """What stands between this process and the hardware."""
    if around.virtual:
        yield (
            "virtual machine: its host hides RAPL, and a model sees only the threads given to it; "
            "for measured figures run on the host"
        )
    if around.container:
        yield (
            f"container ({around.container}): its runtime may hide "
            "/sys/devices/virtual/powercap and GPUs, and only its host can change that"
        )
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", *settings.PLACES):
        if name in os.environ:
            yield f"{name}={os.environ[name]} is set"


def _shadows() -> Iterator[str]:
    """Another project named pyprof that took, or may take, this one's place."""
    from importlib import metadata

    try:
        other = metadata.distribution("pyprof")
        yield (
            f"the distribution pyprof {other.version} is installed beside {DISTRIBUTION}: it is "
            f"another project; mend by: pip uninstall pyprof && pip install --force-reinstall "
            f"{DISTRIBUTION}"
        )
    except metadata.PackageNotFoundError:
        pass
    here = Path(pyprof.__file__).resolve().parent
    try:
        installed = metadata.distribution(DISTRIBUTION).locate_file("pyprof")
    except metadata.PackageNotFoundError:
        return
    home = Path(str(installed)).resolve()
    if home != here and home.is_dir():
        yield f"pyprof is imported from {here}, but {DISTRIBUTION} is installed in {home}"


# -- telling ---------------------------------------------------------------------------------------

_COLUMNS = (
    Column("channel"),
    Column("quality", right=False),
    Column("method", right=False, leave=2),
    Column("source", right=False, leave=3),
    Column("updates every"),
    Column("in the total", right=False, leave=1),
)


def _page(found: Mapping[str, Any], page: Page) -> list[str]:
    """The findings for people."""
    head = f"pyprof {found['pyprof_version']} · {found['system']} · Python {found['python']}"
    sections = (
        [clean(head), *_inventory_lines(found["inventory"], page)],
        _source_lines(found["sources"], page),
        _without_root(found["sources"], page),
        _channel_lines(found["channels"], page),
        _listed(
            "Modelled",
            [
                f"{row['id']}: {row['reason'] or 'from load and design power'}"
                for row in found["channels"]
                if row["quality"] == "modelled"
            ],
            page,
        ),
        _listed(
            "Not measured",
            [f"{row['id']}: {row['reason'] or 'no reading'}" for row in found["unmeasured"]],
            page,
        ),
        _listed("Shadowed", found["shadowed"], page),
        _listed("Surroundings", found["notes"], page),
        [_verdict(found)],
    )
    lines = [line for section in sections if section for line in (*section, "")]
    return lines[:-1]


def _inventory_lines(parts: Mapping[str, Any], page: Page) -> list[str]:
    """The machine in a few words, then its GPUs."""
    cores, threads, memory_bytes = parts["cores"], parts["threads"], parts["memory_bytes"]
    words = (
        parts["cpu"],
        None if cores is None else f"{cores} core{'s' * (cores != 1)}",
        None if threads is None else f"{threads} thread{'s' * (threads != 1)}",
        None if memory_bytes is None else f"{memory_bytes / _GIB:.1f} GiB of memory",
        None if parts["nvidia_driver"] is None else f"NVIDIA driver {parts['nvidia_driver']}",
    )
    lines = wrap(clean(" · ".join(word for word in words if word)), "", INDENT, page.width)
    for index, gpu in enumerate(parts["gpus"]):
        lines += wrap(clean(f"GPU {index}: {gpu['name']}, {gpu['uuid']}"), "", INDENT, page.width)
    return [line for line in lines if line] + [
        line for text in parts["notes"] for line in wrap(clean(text), "", INDENT, page.width)
    ]


def _source_lines(sources: Sequence[Mapping[str, Any]], page: Page) -> list[str]:
    """Every source: readable or not, why not, and what mends it."""
    lines = [paint("Sources", "bold", page.colour)]
    for source in sources:
        lines += bullet(_source_words(source, page), page)
        if source["remedy"] and not (source["available"] and source["channels"]):
            lines += bullet(f"remedy: {clean(source['remedy'])}", page, level=1)
            lines += _lasting_remedy(source)
    return lines


def _source_words(source: Mapping[str, Any], page: Page) -> str:
    """One source in a line."""
    name = clean(source["name"])
    if not source["available"]:
        return (
            f"{name}: {paint('not readable', 'red', page.colour)}: {clean(source['reason'] or '')}"
        )
    words = [f"{name}: {paint('available', 'green', page.colour)}"]
    if source["channels"]:
        words.append(clean(", ".join(source["channels"])))
    if source["read_cost_us"] is not None:
        words.append(f"a read costs {source['read_cost_us']:.1f} µs of CPU")
    if source["reason"]:
        words.append(clean(source["reason"]))
    return "; ".join(words)


def _without_root(sources: Sequence[Mapping[str, Any]], page: Page) -> list[str]:
    """For counters that only root may read: the ways that give the least away, with their risk.

    Commands are not wrapped, so that they can be copied.
    """
    denied = [row for row in sources if row["name"] in _RAPL and not row["channels"]]
    if not any("chgrp" in (row["remedy"] or "") for row in denied):
        return []
    if any(row["channels"] for row in sources if row["name"] in (*_RAPL, "agent")):
        return []
    return [
        paint("Processor counters without root", "bold", page.colour),
        *bullet(
            "a system service that reads them for a group, in steps of 1 s and 1 J: the group sees "
            "what the machine uses, too coarsely to tell what others compute",
            page,
        ),
        "      pyprof agent --print-unit | sudo tee /etc/systemd/system/pyprof-agent.service",
        "      sudo groupadd --system -f pyprof && sudo usermod -aG pyprof $USER",
        "      sudo systemctl enable --now pyprof-agent",
        *bullet(
            "the group powercap, as above: it reads them at their full pace, which can give away "
            "what others compute (CVE-2020-8694)",
            page,
        ),
        *bullet(
            "one command with one capability: it and all it starts may watch the performance "
            "events of every process, for as long as it runs",
            page,
        ),
        "      sudo capsh --keep=1 --user=$USER --inh=cap_perfmon --addamb=cap_perfmon -- \\",
        "        -c 'pyprof run -- python train.py'",
    ]


def _lasting_remedy(source: Mapping[str, Any]) -> list[str]:
    """For RAPL files that only root may read: a rule that survives the next boot.

    Commands are not wrapped, so that they can be copied.
    """
    if source["name"] != _POWERCAP or "chgrp" not in (source["remedy"] or ""):
        return []
    return [
        f"    - to keep it over boots, one line in {_RULE_FILE}:",
        f"      {_RULE}",
        "      sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=powercap",
        "      only people you trust belong in that group: energy leaks what others compute",
    ]


def _channel_lines(channels: Sequence[Mapping[str, Any]], page: Page) -> list[str]:
    """What would be sampled."""
    if not channels:
        return []
    rows = [
        [
            clean(f"{row['id']}  {row['device'] or ''}".rstrip()),
            row["quality"],
            row["method"],
            row["source"],
            _rhythm(row),
            "yes" if row["counted"] else f"no: inside {row['parent'] or 'another'}",
        ]
        for row in channels
    ]
    head, *body = draw(_COLUMNS, rows, page.width)
    return [
        paint(head, "bold", page.colour),
        *body,
        *note(
            "updates as seen in about a second; a model or a sensor that is slower shows none", page
        ),
    ]


def _rhythm(row: Mapping[str, Any]) -> str:
    """The update period and, where it is more than a hundredth of it, its spread."""
    period_s, spread_s = row["update_period_s"], row["update_spread_s"]
    text = figure.duration(period_s)
    if row["irregular"]:
        return f"{text}, irregular"
    if not period_s or not spread_s or spread_s < 0.01 * period_s:
        return text
    return f"{text} ± {figure.duration(spread_s / 2)}"


def _listed(title: str, texts: Sequence[str], page: Page) -> list[str]:
    """A section of sentences, or nothing."""
    if not texts:
        return []
    lines = [paint(title, "bold", page.colour)]
    return lines + [line for text in texts for line in bullet(clean(text), page)]


def _verdict(found: Mapping[str, Any]) -> str:
    """What to expect of a run here."""
    if found["readable"]:
        return "A run on this machine is measured where a sensor is listed above."
    if any(row["source"] == "replay" for row in found["channels"]):
        return "Only simulated signals are read: they say nothing of this machine."
    if any(row["quality"] == "modelled" for row in found["channels"]):
        return "No sensor is readable: a run on this machine is an estimate from load."
    return "No sensor is readable and nothing is modelled: a run on this machine has no energy."
