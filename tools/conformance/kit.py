"""Puts meters around known loads on simulated hardware, and their answers beside the truth.

    python tools/conformance/kit.py --only pyprof
    python tools/conformance/kit.py --install            # the other tools, into a venv of their own
    python tools/conformance/kit.py --markdown table.md

Every tool runs in a process of its own, unchanged: the simulated tree is bound over its /sys and
the simulated NVML library is the one its loader finds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.machine import Running
from sim.overlay import bound_by_modes, over_sys

from conformance.scenarios import Scenario, table

HERE = Path(__file__).resolve().parent

TOOLS = (
    "pyprof",
    "zeus",
    "codecarbon",
    "carbontracker",
    "landauer_gap",
    "pyjoules",
    "pyrapl",
    "jpwr",
    "codegreen",
)
OWN = "pyprof"
_TIMEOUT_S = 150
_RIGHT = 0.05
# Work of its own at the edges of a window, as a share of the window's energy.
_SLOW, _OUTLASTING = 0.10, 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool said of a scenario. ``low_j`` to ``high_j`` bound what would be right.

    A window begins somewhere while the tool is told to begin, and ends so: what was used in these
    moments may be in the answer or not.
    """

    tool: str
    version: str
    scenario: str
    truth_j: float
    low_j: float
    high_j: float
    said_j: float | None
    interval_j: tuple[float, float] | None = None
    resolved: bool = True
    failure: str | None = None

    @property
    def error(self) -> float | None:
        """Relative, beyond what the moments at the edges leave open."""
        if self.said_j is None:
            return None
        nearest_j = min(max(self.said_j, self.low_j), self.high_j)
        return (self.said_j - nearest_j) / self.truth_j

    @property
    def edges(self) -> float:
        """What the tool's own moments at the edges used, as a share of the work."""
        return (self.high_j - self.low_j) / self.truth_j if self.truth_j else 0.0

    @property
    def is_right(self) -> bool:
        error = self.error
        return error is not None and abs(error) <= _RIGHT and self.edges <= _SLOW

    @property
    def is_bounded(self) -> bool:
        """It gives an interval that holds the truth, or says itself that it does not know."""
        if self.said_j is None:
            return self.failure is None
        if self.interval_j is None:
            return False
        return self.interval_j[0] <= self.high_j and self.low_j <= self.interval_j[1]


def ask(tool: str, scenario: Scenario, python: str) -> Answer:
    """One tool on one machine; once more where it failed, as a busy machine may be to blame."""
    first = _ask(tool, scenario, python)
    return (
        first
        if first.failure is None or "reads no" in first.failure
        else _ask(tool, scenario, python)
    )


def _ask(tool: str, scenario: Scenario, python: str) -> Answer:
    with tempfile.TemporaryDirectory(prefix="pyprof-kit-") as name:
        folder = Path(name)
        with scenario.make().running(folder) as running:
            return _ask_on(running, folder, tool, scenario, python)


def _ask_on(running: Running, folder: Path, tool: str, scenario: Scenario, python: str) -> Answer:
    plan = folder / "plan.json"
    result = folder / "result.json"
    plan.write_text(
        json.dumps(
            {
                "device": scenario.device,
                "channels": scenario.channels,
                "repeat": scenario.repeat,
                "windows": [asdict(window) for window in scenario.windows],
                "epoch_ns": running.epoch_ns,
                "result": str(result),
            }
        )
    )
    words = [python, str(HERE / "runner.py"), str(HERE / f"adapters/{tool}.py"), str(plan)]
    work = folder / "work"
    work.mkdir()
    rights: list[str] = []
    if scenario.closed:
        rights = bound_by_modes()
        for counter in Path(running.sysfs).rglob("energy_uj"):
            counter.chmod(0)
    try:
        done = subprocess.run(
            [*over_sys(running.sysfs), *rights, *words],
            cwd=work,
            env={**_environment(folder, scenario.device == "gpu"), **running.env},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return _failed(tool, scenario, "hangs")
    if not result.exists():
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return _failed(tool, scenario, last[:200])
    return _answer(running, tool, scenario, json.loads(result.read_text()))


# A driver brings this program; some tools take its absence for that of a GPU.
_NVIDIA_SMI = """#!/bin/sh
[ "$1" = --help ] && echo "NVIDIA System Management Interface -- simulated" && exit 0
echo "only --help is simulated" >&2
exit 1
"""


def _environment(folder: Path, gpus: bool) -> dict[str, str]:
    programs = folder / "bin"
    programs.mkdir()
    if gpus:
        (programs / "nvidia-smi").write_text(_NVIDIA_SMI)
        (programs / "nvidia-smi").chmod(0o755)
    return {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder / "work"),
        "LANG": "C.UTF-8",
    }


def _failed(tool: str, scenario: Scenario, why: str) -> Answer:
    return Answer(tool, "", scenario.name, 0.0, 0.0, 0.0, None, failure=why)


def _answer(running: Running, tool: str, scenario: Scenario, result: dict[str, Any]) -> Answer:
    name = scenario.windows[0].name
    windows = [row[1:] for row in result["log"] if row[0] == name]

    def used(begin: int, end: int) -> float:
        return sum(
            running.truth_j(channel, row[begin], row[end])
            for row in windows
            for channel in scenario.channels
        )

    told = result["joules"].get(name)
    said, interval, resolved = told, None, True
    if isinstance(told, list):
        said, interval, resolved = told[0], (told[1], told[2]), told[3]
    return Answer(
        tool,
        result["version"],
        scenario.name,
        truth_j=used(1, 2),
        low_j=used(1, 2),
        high_j=used(0, 3),
        said_j=said,
        interval_j=interval,
        resolved=resolved,
    )


# -- the table -------------------------------------------------------------------------------------


def cell(answer: Answer | None) -> str:
    """One answer as a cell."""
    if answer is None:
        return ""
    if answer.failure is not None:
        short = answer.failure
        if "reads no" in short:
            return "n/a"
        return "hangs" if short == "hangs" else "fails"
    if answer.said_j is None:
        return "unmeasured"
    error = answer.error or 0.0
    shown = f"{100 * error:+.1f} %" if abs(error) >= 0.0005 else "0.0 %"
    text = "0 J" if answer.said_j == 0 else shown
    if answer.interval_j is not None:
        half_j = max(answer.interval_j[1] - answer.said_j, answer.said_j - answer.interval_j[0])
        text += f" (±{100 * half_j / answer.truth_j:.1f})"
    if answer.edges > _OUTLASTING:
        return "**its edges outlast the work**"
    if answer.edges > _SLOW:
        text = f"{100 * (answer.said_j / answer.truth_j - 1):+.0f} % with its own edges"
        return f"**{text}**"
    if not answer.resolved:
        text = f"not resolved, {text}"
    return text if answer.is_right else f"**{text}**"


def markdown(scenarios: Sequence[Scenario], answers: Sequence[Answer], tools: Sequence[str]) -> str:
    """The whole table, then what failed and how."""
    by_place = {(answer.scenario, answer.tool): answer for answer in answers}
    versions = {answer.tool: answer.version for answer in answers if answer.version}
    heads = [versions.get(tool, tool) for tool in tools]
    lines = [f"| case | {' | '.join(heads)} |", f"|---|{'---|' * len(tools)}"]
    for each in scenarios:
        cells = [cell(by_place.get((each.name, tool))) for tool in tools]
        lines.append(f"| {each.name}: {each.what} | {' | '.join(cells)} |")
    failures = {
        f"{versions.get(answer.tool, answer.tool)}, {answer.scenario}: {answer.failure}"
        for answer in answers
        if answer.failure is not None and "reads no" not in answer.failure
    }
    return "\n".join([*lines, "", *(f"- {text}" for text in sorted(failures))]).rstrip() + "\n"


def _tell(answer: Answer) -> None:
    words = f"{answer.scenario:22} {answer.tool:14} {cell(answer):24} {answer.failure or ''}"
    print(words.rstrip(), flush=True)


def _keep(answer: Answer, path: Path | None) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(answer)) + "\n")


def _read_kept(path: Path | None) -> list[Answer]:
    """Answers of earlier runs."""
    if path is None or not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Answer(**json.loads(line)) for line in lines]


def install(folder: Path) -> None:
    """The other tools, into a virtual environment of the kit's own."""
    venv.create(folder, with_pip=True)
    requirements = str(HERE / "requirements.txt")
    subprocess.run([str(folder / "bin/pip"), "install", "-q", "-r", requirements], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--install", action="store_true", help="make the venv of the other tools")
    parser.add_argument("--venv", type=Path, default=HERE / ".venv", help="that venv")
    parser.add_argument("--only", default="", metavar="A,B", help="tools, by name")
    parser.add_argument(
        "--case", default="", metavar="TEXT", help="scenarios whose name holds this"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add answers; use those in it")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    arguments = parser.parse_args()
    if arguments.install:
        install(arguments.venv)
    tools = [tool for tool in TOOLS if not arguments.only or tool in arguments.only.split(",")]
    scenarios = [each for each in table() if arguments.case in each.name]
    pythons = {tool: str(arguments.venv / "bin/python") for tool in tools} | {OWN: sys.executable}
    answers = _read_kept(arguments.keep)
    known = {(answer.tool, answer.scenario) for answer in answers}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        asked = [
            pool.submit(ask, tool, each, pythons[tool])
            for each in scenarios
            for tool in tools
            if (tool, each.name) not in known
        ]
        for future in as_completed(asked):
            answer = future.result()
            answers.append(answer)
            _tell(answer)
            _keep(answer, arguments.keep)
    text = markdown(scenarios, answers, tools)
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    else:
        print(text)
    wrong = [a for a in answers if a.tool == OWN and not (a.is_right or a.is_bounded)]
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
