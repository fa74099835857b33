"""What people and programs read, character for character.

After a wanted change run ``python tests/golden/test_golden.py`` and read the difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sample

from pyprof.carbon import Scenario, account
from pyprof.energy import EnergyReport, Event
from pyprof.export.json import load_schema, report_dict, report_json
from pyprof.export.text import render

HERE = Path(__file__).parent
REPORTS: dict[str, Callable[[], EnergyReport]] = {
    "server": lambda: sample.priced(sample.server_report()),
    "modelled": sample.modelled_report,
    "unknown": sample.unknown_report,
}
WIDTHS = (100, 60)


def outputs(name: str) -> dict[str, str]:
    report = REPORTS[name]()
    pages = {f"{name}-{width}.txt": render(report, width=width) for width in WIDTHS}
    return pages | {f"{name}.json": report_json(report)}


@pytest.mark.parametrize("name", REPORTS)
def test_report_is_as_agreed(name: str) -> None:
    for file, text in outputs(name).items():
        assert text == (HERE / file).read_text(encoding="utf-8"), file


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_asked(name: str, width: int) -> None:
    assert max(map(len, render(REPORTS[name](), width=width).splitlines())) <= width


@pytest.mark.parametrize("name", REPORTS)
def test_json_follows_the_shipped_schema(name: str) -> None:
    schema = load_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(
        json.loads(report_json(REPORTS[name]())), schema, cls=jsonschema.Draft202012Validator
    )


@pytest.mark.parametrize("zone", ["FR", "DE", "US"])
def test_json_with_a_real_footprint_follows_the_schema(zone: str) -> None:
    report = sample.server_report()
    footprint = account(report, Scenario(zone=zone, pue=1.1))
    document = report_dict(replace(report, footprint=footprint))
    jsonschema.validate(document, load_schema(), cls=jsonschema.Draft202012Validator)
    assert sum(document["footprint"]["by_stage"].values()) == pytest.approx(
        document["footprint"]["kg_co2e"]
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda doc: doc["run"].pop("complete"),
        lambda doc: doc["channels"][0].update(energy_j="0"),
        lambda doc: doc["channels"][-1].update(energy_j=0),
        lambda doc: doc["total"].update(energy_j=-1),
        lambda doc: doc["events"][0].update(kind="surprise"),
        lambda doc: doc["run"].update(exit_status=0, signal=9),
        lambda doc: doc["footprint"].update(pue=0.9),
        lambda doc: doc.update(schema="pyprof.report/2"),
    ],
)
def test_schema_refuses_what_the_contract_forbids(
    spoil: Callable[[dict[str, Any]], object],
) -> None:
    document = report_dict(REPORTS["server"]())
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, load_schema())


def test_schema_accepts_what_later_versions_add() -> None:
    document = report_dict(REPORTS["server"]())
    document["run"]["new"] = document["new"] = {"anything": 1}
    jsonschema.validate(document, load_schema())


def test_what_is_not_a_number_becomes_null() -> None:
    report = sample.server_report()
    channel = replace(report.channel_rows[0], mean_w=float("nan"), peak_w=float("inf"))
    row = report_dict(replace(report, channel_rows=(channel,)))["channels"][0]
    assert row["mean_w"] is None
    assert row["peak_w"] is None


def test_colour_only_adds_escapes() -> None:
    report = REPORTS["server"]()
    coloured = render(report, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9]*m", "", coloured) == render(report)


NAMES = [
    "\x1b[31mred",
    "a\rb",
    "bell\a",
    "\x1b]52;c;aGk=\a",
    "\u202egnp.exe",
    "two\nlines",
    "nul\0",
    "\x9b31m",
    "lone\ud800",
    "line\u2028separator",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_never_drive_the_terminal(name: str) -> None:
    report = sample.server_report()
    hostile = replace(
        report,
        run=replace(report.run, command=name, host=name, covers=name),
        sources=tuple(
            replace(row, available=False, reason=name, remedy=name) for row in report.sources
        ),
        channel_rows=tuple(
            replace(row, id=f"{row.id}{name}", device=name, reason=name)
            for row in report.channel_rows
        ),
        stage_rows=tuple(
            replace(row, path=f"{row.path}{name}") if row.path else row for row in report.stage_rows
        ),
        events=(*report.events, Event(1.0, "note", name, 1, name)),
    )
    text = render(hostile)
    assert all(character == "\n" or character.isprintable() for character in text)
    text.encode("utf-8")
    json.loads(json.dumps(report_dict(hostile)))


def test_stages_beyond_the_number_asked_are_counted_not_lost() -> None:
    report = sample.server_report()
    text = render(report, most_stages=1)
    assert "train" in text
    assert "forward" not in text
    assert "4 more with less energy" in text
    assert "more with less" not in render(report, most_stages=None)


def test_slash_in_a_name_is_no_level() -> None:
    report = sample.server_report()
    inner = [sample.make_stage(path, 5.0) for path in ("a\\/b", "a\\/b/c")]
    rows = (report.stage_rows[0], *inner)
    lines = render(replace(report, stage_rows=rows)).splitlines()
    assert any(line.startswith("  a/b ") for line in lines)
    assert any(line.startswith("    c ") for line in lines)


if __name__ == "__main__":
    for each in REPORTS:
        for file_name, content in outputs(each).items():
            (HERE / file_name).write_text(content, encoding="utf-8")
