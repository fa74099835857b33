"""Published results, computed again from their published inputs: the ``[[case]]`` form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyprof.carbon.case_inputs import read_inputs
from pyprof.carbon.quantities import Quantity, find_quantity
from pyprof.carbon.table import data_path
from pyprof.carbon.toml import Section, check_schema, read_toml
from pyprof.carbon.units import require_number
from pyprof.errors import UsageError

# What may be said about a case without meaning anything to the computation.
_ABOUT = ("source", "note", "title", "name", "comment", "url", "doi", "year", "page", "licence")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One published figure beside the computed one; ``model`` where a table has several.

    ``allowed`` is how far they may be apart.
    """

    id: str
    quantity: str
    expected: float
    computed: float
    allowed: float
    model: str | None = None

    @property
    def passes(self) -> bool:
        """Whether the figure comes out."""
        return abs(self.computed - self.expected) <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """The outcome in the form of the JSON contract."""
        row: dict[str, Any] = {
            "id": self.id,
            "quantity": self.quantity,
            "expected": self.expected,
            "computed": self.computed,
            "pass": self.passes,
        }
        return row if self.model is None else {**row, "model": self.model}


def published_cases_path() -> str:
    """Where the shipped cases lie."""
    return data_path("published_cases.toml")


def check_file(path: str) -> list[Outcome]:
    """Every expectation of every case of a file."""
    return check_cases(read_toml(path), path)


def check_cases(table: Mapping[str, Any], where: str) -> list[Outcome]:
    """Every expectation of every ``[[case]]`` of a document."""
    check_schema(table, where)
    document = Section(table, where)
    for key in ("schema", *_ABOUT):
        document.get(key)
    cases = document.sections("case")
    document.finish()
    if not cases:
        raise UsageError(f"{where}: no [[case]] in it")
    seen: set[str] = set()
    return [outcome for case in cases for outcome in _check_case(case, seen)]


def _check_case(case: Section, seen: set[str]) -> Iterator[Outcome]:
    """The expectations of one case."""
    case_id = case.needed_text("id")
    if case_id in seen:
        raise UsageError(f"{case.where}: the id {case_id!r} is used twice")
    seen.add(case_id)
    for key in _ABOUT:
        case.get(key)
    inputs = case.section("inputs")
    expectations = case.sections("expect")
    case.finish()
    if inputs is None or not expectations:
        raise UsageError(f"{case.where} ({case_id}): [case.inputs] and [[case.expect]] are needed")
    for expect in expectations:
        expect.where = f"case {case_id!r}, {expect.where.rpartition(', ')[2]}"
        yield from _check_expectation(case_id, inputs.table, expect)


def _check_expectation(
    case_id: str, inputs: Mapping[str, Any], expect: Section
) -> Iterator[Outcome]:
    """One expectation: a figure, or one per model."""
    name = expect.needed_text("quantity")
    quantity = find_quantity(name, f"case {case_id!r}")
    expected, by_model = expect.get("expected"), expect.section("expected_by_model")
    rel, absolute = expect.number("tolerance_rel"), expect.number("tolerance_abs")
    for key in _ABOUT:
        expect.get(key)
    expect.finish()
    if (expected is None) == (by_model is None):
        raise UsageError(f"{expect.where}: give either expected or expected_by_model")
    if rel is None and absolute is None:
        raise UsageError(f"{expect.where}: tolerance_rel or tolerance_abs is missing")
    where = f"case {case_id!r}"
    if by_model is not None and not by_model.table:
        raise UsageError(f"{expect.where}: expected_by_model is empty")
    if by_model is None:
        figure = _expected(expected, expect.where)
        computed = _compute(quantity, name, inputs, where)
        yield _outcome(case_id, name, figure, computed, (rel, absolute), None)
        return
    for model, value in by_model.table.items():
        figure = _expected(value, f"{expect.where}, {model}")
        computed = quantity.of(read_inputs(_for_model(inputs, model, where), where))
        yield _outcome(case_id, name, figure, computed, (rel, absolute), model)


def _compute(quantity: Quantity, name: str, inputs: Mapping[str, Any], where: str) -> float:
    """One figure; where inputs differ by model, the sum over the models."""
    models = _models(inputs)
    if not models:
        return quantity.of(read_inputs(inputs, where))
    if not quantity.adds_up:
        raise UsageError(f"{where}: {name} differs by model: use expected_by_model")
    return sum(quantity.of(read_inputs(_for_model(inputs, m, where), where)) for m in models)


def _models(inputs: Mapping[str, Any]) -> list[str]:
    """The models that the inputs tell apart, in their order."""
    tables = [v for k, v in inputs.items() if isinstance(v, dict) and not k.startswith("rows_")]
    return list(dict.fromkeys(model for table in tables for model in table))


def _for_model(inputs: Mapping[str, Any], model: str, where: str) -> dict[str, Any]:
    """The inputs with the values of one model in place of tables."""
    return {name: _pick(value, name, model, where) for name, value in inputs.items()}


def _pick(value: Any, name: str, model: str, where: str) -> Any:
    """The value of one model; what is no table is the same for all."""
    if not isinstance(value, dict) or name.startswith("rows_"):
        return value
    if model not in value:
        raise UsageError(f"{where}: the input {name!r} has no value for the model {model!r}")
    return value[model]


def _expected(value: object, where: str) -> float:
    """A published figure."""
    return require_number(value, f"{where}: expected", low=float("-inf"))


def _outcome(
    case_id: str,
    quantity: str,
    expected: float,
    computed: float,
    tolerances: tuple[float | None, float | None],
    model: str | None,
) -> Outcome:
    """A figure held against its expectation."""
    rel, absolute = tolerances
    allowed = max(0.0 if rel is None else rel * abs(expected), absolute or 0.0)
    return Outcome(case_id, quantity, expected, computed, allowed, model)
