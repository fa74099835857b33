"""The table of footprint documents: a name, what it is, and the function that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from pyprof.errors import UsageError
from pyprof.export.subject import Subject


@dataclass(frozen=True, slots=True)
class Manifest:
    """One format: where its function is, so that only the one asked for is imported."""

    help: str
    module: str
    function: str

    def render(self, subject: Subject) -> str:
        """The document as text."""
        writer: Callable[[Subject], str] = getattr(import_module(self.module), self.function)
        return writer(subject)


FORMATS: Mapping[str, Manifest] = {
    "sci": Manifest("SCI score, ISO/IEC 21031", "pyprof.export.sci", "render_sci"),
    "ghg": Manifest("GHG Protocol scopes 2 and 3", "pyprof.export.ghg", "render_ghg"),
    "model-card": Manifest(
        "block of a model card", "pyprof.export.model_card", "render_model_card"
    ),
    "boamps": Manifest("BoAmps report", "pyprof.export.boamps", "render_boamps"),
    "impact-framework": Manifest(
        "Impact Framework manifest", "pyprof.export.impact_framework", "render_impact_framework"
    ),
    "codecarbon": Manifest(
        "row of an emissions.csv", "pyprof.export.codecarbon_row", "render_codecarbon"
    ),
    "ai-energy-score": Manifest(
        "Wh per 1000 queries", "pyprof.export.ai_energy_score", "render_ai_energy_score"
    ),
}


def render_manifest(name: str, subject: Subject) -> str:
    """The document of that format; an unknown one is refused by name."""
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}: use {', '.join(FORMATS)}")
    return FORMATS[name].render(subject)
