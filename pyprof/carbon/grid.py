"""From a place to a factor: by code, name, eGRID subregion or cloud region; never by guess."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from pyprof.carbon.factor import DIRECT, KIND_WORDS, LIFECYCLE, SIGNALS, Factor, check_kind
from pyprof.carbon.table import Row, data_path, read_rows
from pyprof.errors import UnknownZoneError, UsageError

GRID_COLUMNS = (
    "zone", "name", "gCO2e_per_kWh", "kind", "basis", "year", "source", "licence",
)  # fmt: skip
_KINDS_IN_TABLES = {
    "lifecycle average": LIFECYCLE,
    "lifecycle": LIFECYCLE,
    "life-cycle": LIFECYCLE,
    "direct": DIRECT,
    "operational (provider published)": DIRECT,
}
_PROVIDER_PUBLISHED = "operational (provider published)"
SEE_ALL = "'pyprof factors' lists all zones"
# A subregion whose country has a code of its own, apart from the prefix.
_COUNTRY_EXCEPTIONS = {"US-EGRID-PRMS": "PR"}


@dataclass(frozen=True, slots=True)
class Place:
    """A zone that can be priced: its own factors by kind, and where to look next.

    ``alpha3`` is the ISO code of three letters of the country that it is or lies in.
    """

    code: str
    name: str
    own: Mapping[str, Factor]
    parent: str | None = None
    pue: float | None = None
    pue_basis: str = ""
    alpha3: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The factor used for a zone; if it is not the zone's own, ``substituted`` says so.

    ``beside`` is the zone's own figure of the other kind: printed on a line below, outside
    every total.
    """

    zone: str
    factor: Factor
    substituted: str | None = None
    beside: Factor | None = None
    place: Place | None = None

    def to_dict(self) -> dict[str, Any]:
        """The resolution as JSON values."""
        return {
            "zone": self.zone,
            "factor": self.factor.to_dict(),
            "substituted": self.substituted,
            "beside": None if self.beside is None else self.beside.to_dict(),
        }


@dataclass(frozen=True)
class Grid:
    """All zones of the tables, found under any of their spellings."""

    places: Mapping[str, Place]
    spellings: Mapping[str, tuple[str, ...]]
    covers: Mapping[str, str] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)

    def place(self, text: str) -> Place:
        """The one place that ``text`` names, or a refusal with the nearest names."""
        if not isinstance(text, str) or not text.strip():
            raise UnknownZoneError(
                "the zone is empty: give a code such as FR, US-CA or aws:eu-west-3"
            )
        spelling = _spelling(text)
        if spelling in self.gaps:
            why = self.gaps[spelling]
            raise UnknownZoneError(f"no factor for {text!r}: {why}; {SEE_ALL}")
        codes = self.spellings.get(spelling, ())
        if not codes:
            raise UnknownZoneError(f"unknown zone {text!r}{self._hint(text)}")
        if len(codes) > 1:
            names = " or ".join(f"{code} ({self.places[code].name})" for code in codes)
            raise UnknownZoneError(f"zone {text!r} could be {names}: give the code")
        return self.places[codes[0]]

    def nearest(self, text: str, count: int = 5) -> list[str]:
        """Codes whose spellings come closest to ``text``, best first."""
        import difflib

        close = difflib.get_close_matches(_spelling(text), self.spellings, n=3 * count, cutoff=0.6)
        codes = [code for spelling in close for code in self.spellings[spelling]]
        return list(dict.fromkeys(codes))[:count]

    def search(self, words: str) -> list[Place]:
        """Places whose code or name contains every word."""
        wanted = [_spelling(word) for word in words.split()]
        return [
            place
            for place in self.places.values()
            if all(word in _spelling(f"{place.code} {place.name}") for word in wanted)
        ]

    def cover(self, text: str) -> str | None:
        """What to say when ``text`` names an area that its place only covers for the most part."""
        return self.covers.get(_spelling(text))

    def country_factor(self, country: str, kind: str) -> Factor | None:
        """The row of that kind for a whole country: its own, else the official national one."""
        own = self.places.get(country)
        if own is not None and kind in own.own:
            return own.own[kind]
        for code, place in self.places.items():
            if code.startswith(f"{country}-NATIONAL-") or code == f"{country}-EGRID-{country}":
                factor = place.own.get(kind)
                if factor is not None:
                    return factor
        return None

    def _hint(self, text: str) -> str:
        """The nearest names, or how to see all of them."""
        word = text.strip()
        region = [code for code in self.places if code.endswith(f":{word.lower()}")]
        country = country_of(word.upper()) if "-" in word else None
        around = [] if country is None or country not in self.places else [country]
        near = region or [*around, *self.nearest(text, 5 - len(around))]
        listed = ", ".join(f"{code} ({self.places[code].name})" for code in near)
        return f"; nearest: {listed}; {SEE_ALL}" if listed else f": {SEE_ALL}"


def find_factor(zone: str, kind: str = LIFECYCLE, table: str | None = None) -> Resolution:
    """The factor of ``kind`` for ``zone``.

    A zone without that kind uses its country's row of it and says so in ``substituted``, with
    the zone's own figure of the other kind in ``beside``; without a country row it is refused.
    ``table`` is a user's CSV whose rows replace or extend the shipped ones.
    """
    check_kind(kind)
    grid = load_grid(table)
    place = grid.place(zone)
    other = place.own.get(DIRECT if kind == LIFECYCLE else LIFECYCLE)
    own = place.own.get(kind) or _mapped(grid, place, kind)
    if own is not None:
        return Resolution(place.code, own, grid.cover(zone), other, place)
    factor, beside = _from_parents(grid, place, kind)
    if factor is None:
        raise UsageError(_refusal(place, kind, other or beside))
    sentence = _substitution(place, factor, kind)
    covered = grid.cover(zone)
    spoken = f"{covered}; {sentence}" if covered else sentence
    return Resolution(place.code, factor, spoken, other or beside, place)


def _mapped(grid: Grid, place: Place, kind: str) -> Factor | None:
    """The grid zone's factor, for a cloud region that states no figure of its own."""
    if place.own or place.parent is None:
        return None
    return grid.places[place.parent].own.get(kind)


def _from_parents(grid: Grid, place: Place, kind: str) -> tuple[Factor | None, Factor | None]:
    """The row of ``kind`` of the grid zone or the country, and the grid zone's other figure."""
    beside: Factor | None = None
    if place.parent is not None:
        parent = grid.places[place.parent]
        if kind in parent.own:
            return parent.own[kind], None
        beside = next(iter(parent.own.values()), None)
    country = country_of(place.parent or place.code)
    return (None if country is None else grid.country_factor(country, kind)), beside


def country_of(code: str) -> str | None:
    """The country of a zone code; None for the world and for groups of countries."""
    if code in _COUNTRY_EXCEPTIONS:
        return _COUNTRY_EXCEPTIONS[code]
    country = code.partition("-")[0]
    return country if len(country) == 2 else None


def _substitution(place: Place, factor: Factor, kind: str) -> str:
    """What is said aloud when another row stands in."""
    year = "" if factor.year is None else f", {factor.year}"
    return (
        f"{place.code} has no {KIND_WORDS[kind]} factor of its own: that of {factor.name} "
        f"({factor.zone}{year}) is used"
    )


def _refusal(place: Place, kind: str, other: Factor | None) -> str:
    """Why a kind can't be had, and what can."""
    country = country_of(place.parent or place.code)
    also = ", and neither has its country" if country not in (None, place.code) else ""
    sentence = f"{place.code} ({place.name}) has no {KIND_WORDS[kind]} factor{also}"
    if other is None:
        return f"{sentence}: give your own with factor_g_per_kwh"
    return (
        f"{sentence}: ask for kind '{other.kind}' ({other.g_per_kwh:g} g/kWh, {other.year}) or "
        "give your own with factor_g_per_kwh"
    )


def load_grid(table: str | None = None) -> Grid:
    """The shipped tables, with a user's rows over them; read once per state of the file."""
    return _load_grid(table, None if table is None else _stamp(table))


def _stamp(path: str) -> tuple[int, int] | None:
    """What changes when a file changes."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8)
def _load_grid(table: str | None, stamp: tuple[int, int] | None) -> Grid:
    """The shipped tables, with a user's rows over them."""
    if table is None:
        return _shipped()
    shipped = _load_grid(None, None)
    places = dict(shipped.places)
    spellings = {text: list(codes) for text, codes in shipped.spellings.items()}
    _merge_user_table(table, places, spellings)
    gaps = {text: why for text, why in shipped.gaps.items() if text not in spellings}
    return Grid(places, _frozen(spellings), shipped.covers, gaps)


def _shipped() -> Grid:
    """The shipped tables alone."""
    rows = read_rows(data_path("grid_factors.csv"), GRID_COLUMNS)
    places = _grid_places(rows)
    spellings: dict[str, list[str]] = {}
    for row in rows:
        _add_grid_spellings(spellings, row)
    for place in _cloud_places():
        parent = places.get(place.parent or "")
        places[place.code] = replace(place, alpha3=parent.alpha3 if parent else "")
        _add(spellings, place.code, place.code)
    covers, gaps = _aliases(spellings)
    return Grid(places, _frozen(spellings), covers, gaps)


def _frozen(spellings: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Every code once, under each of its spellings."""
    return {text: tuple(dict.fromkeys(codes)) for text, codes in spellings.items()}


def _grid_places(rows: Iterable[Row]) -> dict[str, Place]:
    """Places by code; one zone may have a row of each kind."""
    places: dict[str, Place] = {}
    for row in rows:
        factor = grid_factor(row)
        code = row.required("zone")
        known = places.get(code)
        own = dict(known.own) if known else {}
        if factor.kind in own:
            raise UsageError(f"{row.where}: zone {code!r} has two rows of the kind {factor.kind!r}")
        kinds = {**own, factor.kind: factor}
        places[code] = Place(code, factor.name, kinds, alpha3=row.text("alpha3"))
    return places


def grid_factor(row: Row) -> Factor:
    """A row of the grid table as a factor."""
    return Factor(
        g_per_kwh=row.number("gCO2e_per_kWh"),
        zone=row.required("zone"),
        name=row.required("name"),
        year=row.year(),
        kind=_kind_of(row),
        basis=row.required("basis"),
        source=row.required("source"),
        licence=row.required("licence"),
        note=row.text("note"),
        gases=row.text("gases") or "CO2e",
        signal=_signal_of(row),
    )


def _signal_of(row: Row) -> str:
    """Average unless a user's row says marginal; contracts are no factor of a place."""
    signal = row.text("signal") or "average"
    if signal not in SIGNALS:
        raise UsageError(f"{row.where}: signal must be 'average' or 'marginal', not {signal!r}")
    if row.text("accounting") == "market":
        raise UsageError(f"{row.where}: a market-based factor is given as market_g_per_kwh")
    return signal


def _kind_of(row: Row) -> str:
    """The kind of a row, in the two words that pyprof uses."""
    text = row.required("kind")
    kind = _KINDS_IN_TABLES.get(text.lower())
    if kind is None:
        raise UsageError(f"{row.where}: kind must be 'lifecycle' or 'direct', not {text!r}")
    return kind


def _cloud_places() -> Iterable[Place]:
    """Cloud regions; one that only repeats its grid zone's row points to that zone."""
    required = ("provider", "region", "location", "grid_zone", "gCO2e_per_kWh", "kind")
    for row in read_rows(data_path("cloud_regions.csv"), required):
        code = f"{row.required('provider')}:{row.required('region')}"
        name = f"{row.required('location')}, {row.required('provider')}"
        factor = _cloud_factor(row, code, name)
        own = {factor.kind: factor} if _is_own_figure(row) else {}
        yield Place(
            code=code,
            name=name,
            own=own,
            parent=row.required("grid_zone"),
            pue=row.optional_number("pue"),
            pue_basis=row.text("pue_basis"),
        )


def _is_own_figure(row: Row) -> bool:
    """Whether a cloud row states a figure of its own, not that of its grid zone."""
    return not row.text("source").startswith("zone mapping")


def _cloud_factor(row: Row, code: str, name: str) -> Factor:
    """The figure that a cloud row states."""
    return Factor(
        g_per_kwh=row.number("gCO2e_per_kWh"),
        zone=code,
        name=name,
        year=row.year(),
        kind=_kind_of(row),
        basis="production",
        source=row.required("source"),
        licence=row.required("licence"),
        note=row.text("note"),
    )


def _aliases(spellings: dict[str, list[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Adds other names to ``spellings``; returns what to say of near matches and of gaps."""
    covers: dict[str, str] = {}
    gaps: dict[str, str] = {}
    for row in read_rows(data_path("zone_aliases.csv"), ("alias", "zone", "kind", "note")):
        alias, zone = row.required("alias"), row.text("zone")
        if not zone:
            gaps[_spelling(alias)] = row.required("note")
            continue
        _add(spellings, alias, zone)
        if row.required("kind") == "cover":
            covers[_spelling(alias)] = f"{alias} ({row.required('note')}) is priced as {zone}"
    return covers, gaps


def _add_grid_spellings(spellings: dict[str, list[str]], row: Row) -> None:
    """The spellings under which a grid row is found."""
    code, name = row.required("zone"), row.required("name")
    texts = {code, name, name.partition(" (")[0]}
    if len(code) == 2 and row.text("alpha3"):
        texts.add(row.text("alpha3"))
    if code.startswith("US-EGRID-") and len(code) == len("US-EGRID-XXXX"):
        texts.add(code.removeprefix("US-EGRID-"))
    for text in sorted(texts):
        _add(spellings, text, code)


def _add(spellings: dict[str, list[str]], text: str, code: str) -> None:
    """Records that ``text`` may mean ``code``."""
    spellings.setdefault(_spelling(text), []).append(code)


def _merge_user_table(
    table: str, places: dict[str, Place], spellings: dict[str, list[str]]
) -> None:
    """Lays a user's rows over the shipped ones."""
    rows = read_rows(table, GRID_COLUMNS)
    for code, place in _grid_places(rows).items():
        known = places.get(code)
        own = {**(known.own if known else {}), **place.own}
        parent = known.parent if known else None
        alpha3 = place.alpha3 or (known.alpha3 if known else "")
        places[code] = Place(code, place.name, own, parent, alpha3=alpha3)
    for row in rows:
        if _spelling(row.required("zone")) not in spellings:
            _add_grid_spellings(spellings, row)


@lru_cache(maxsize=4096)
def _spelling(text: str) -> str:
    """``text`` without case, accents and doubled spaces."""
    import unicodedata

    stripped = text.strip()
    # A code has no accents: AÙ is not Australia.
    plain = unicodedata.normalize("NFKD", stripped) if len(stripped) > 3 else stripped
    letters = "".join(char for char in plain if not unicodedata.combining(char))
    return " ".join(letters.casefold().replace("_", "-").split())
