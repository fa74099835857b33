from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from pyprof.carbon import Scenario, footprint
from pyprof.carbon.cases import check_cases, published_cases_path
from pyprof.carbon.intensity import read_intensity
from pyprof.carbon.lifecycle_file import life_cycle_from
from pyprof.carbon.scenario import read_scenario
from pyprof.carbon.table import data_path
from pyprof.carbon.toml import parse_toml, read_toml
from pyprof.cli import main
from pyprof.errors import PyprofError

SCENARIO = (
    'schema = 1\nzone = "FR"\npue = 1.2\nwue_l_per_kwh = 1.1\nloss_fraction = 0.05\n'
    '[[embodied]]\ncomponent = "NVIDIA A100 SXM4 80GB"\nhours = 100\nclock = "reserved"\n'
)
TABLE = (
    "zone,alpha3,name,gCO2e_per_kWh,kind,basis,gases,year,source,licence,note\n"
    'FR,FRA,France,44.18,lifecycle average,production,CO2e,2024,"Ember, 2025",CC-BY-4.0,\n'
    "ZZ,,Lab,10,direct,consumption,CO2e,2026,meter,mine,none\n"
)
SERIES = "start_utc,g_per_kwh,zone\n2026-01-01T00:00Z,50,FR\n2026-01-01T01:00Z,60,FR\n"
TOKENS = (
    "", '"', "'", "\x00", "\n", "[", "]", "{", "}", "=", ",", "-", "nan", "inf", "1e999", "true",
    "[[", "]]", "\\u12", "\u2028", "é", "9" * 400, "x.y", '"""', "#", "-1", "1979-05-27", "\r",
)  # fmt: skip


def as_scenario(path: str) -> None:
    footprint({"training": 1.0}, read_scenario(path))


def as_table(path: str) -> None:
    footprint({"training": 1.0}, Scenario(zone="ZZ", kind="direct", factor_table=path))


def as_life_cycle(path: str) -> None:
    life_cycle_from(read_toml(path), path)


def as_cases(path: str) -> None:
    check_cases(read_toml(path), path)


def as_series(path: str) -> None:
    read_intensity(path)


def shipped(name: str) -> str:
    with open(data_path(name), encoding="utf-8") as file:
        return file.read()


def published() -> str:
    with open(published_cases_path(), encoding="utf-8") as file:
        return file.read()


KINDS: dict[str, tuple[Callable[[], str], Callable[[str], None]]] = {
    "scenario": (lambda: SCENARIO, as_scenario),
    "table": (lambda: TABLE, as_table),
    "life cycle": (lambda: shipped("bloom.toml"), as_life_cycle),
    "cases": (published, as_cases),
    "series": (lambda: SERIES, as_series),
}


def break_text(text: str, draw: random.Random) -> bytes:
    """One to three wounds: cut, drop, repeat, replace, or a byte that is no text."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(text) + 1)
        until = min(len(text), at + draw.randint(1, 12))
        token = draw.choice(TOKENS)
        text = draw.choice(
            (
                text[:at],
                text[:at] + text[until:],
                text[:until] + text[at:],
                text[:at] + token + text[until:],
                text[:at] + token + text[at:],
            )
        )
    raw = text.encode("utf-8", "surrogatepass")
    if draw.random() < 0.1:
        at = draw.randrange(len(raw) + 1)
        raw = raw[:at] + bytes([draw.randint(128, 255)]) + raw[at:]
    return raw


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_files_are_one_clear_sentence_each(tmp_path, kind: str) -> None:
    original, read = KINDS[kind][0](), KINDS[kind][1]
    draw = random.Random(f"malformed {kind}")
    path = tmp_path / "file"
    refused = 0
    for _ in range(250):
        path.write_bytes(break_text(original, draw))
        try:
            read(str(path))
        except PyprofError as error:
            refused += 1
            said = str(error)
            assert said
            assert len(said) < 600
            assert all(char.isprintable() for char in said), repr(said)
    assert refused >= 120


COMMANDS = {
    "scenario": "carbon --kwh 1 --scenario",
    "table": "carbon --kwh 1 --zone ZZ --kind direct --factor-table",
    "life cycle": "lifecycle",
    "cases": "lifecycle --json",
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_command_says_it_in_one_line_and_by_its_status(tmp_path, capsys, kind: str) -> None:
    original, words = KINDS[kind][0](), COMMANDS[kind].split()
    draw = random.Random(f"command {kind}")
    path = tmp_path / "file"
    refused = 0
    for _ in range(40):
        path.write_bytes(break_text(original, draw))
        status = main([*words, str(path)])
        out, said = capsys.readouterr()
        assert status in (0, 1, 2, 3, 4)
        assert said.count("\n") == (status > 1), said
        assert "fault of pyprof" not in said
        assert bool(out) == (status < 2)
        refused += status > 1
    assert refused >= 15


@pytest.mark.parametrize("value", ["1e308", "1e-320", "9007199254740993000000000000000000"])
@pytest.mark.parametrize(
    "text",
    [
        "[[phase]]\nphase='training'\nzone='FR'\nenergy_kwh={}\n",
        "[[phase]]\nphase='training'\nfactor_g_per_kwh={0}\ngpu_hours={0}\ngpu_watts={0}\n",
        "[[embodied]]\nkg={0}\nhours={0}\nlifetime_years={0}\n",
        "[[phase]]\nphase='deployment'\nzone='FR'\nwh_per_request={0}\nrequests={0}\n",
    ],
)
def test_no_number_is_large_or_small_enough_to_lose_it(text: str, value: str) -> None:
    try:
        cycle = life_cycle_from(parse_toml(text.format(value), "m.toml"), "m.toml")
    except PyprofError:
        return
    json.dumps(cycle.to_dict(), allow_nan=False)
