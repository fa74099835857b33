"""Live and historical intensities from the network: off by default, cached, never needed.

Nothing here is reached while a run is sampled; a provider is asked afterwards, for the hours of a
recording, and only when it is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pyprof.carbon.intensity import Intensity
from pyprof.carbon.providers.client import Client, ProviderError
from pyprof.errors import UsageError

__all__ = ["NAMES", "Client", "Provider", "ProviderError", "make_provider"]


class Provider(Protocol):
    """Something that knows the intensity of a zone over time."""

    def history(self, zone: str, start_s: float, end_s: float) -> Intensity:
        """The intensity from ``start_s`` to ``end_s``, seconds of Unix time."""


#: name: the environment variables that hold what it asks for.
NAMES: Mapping[str, tuple[str, ...]] = {
    "electricity-maps": ("PYPROF_ELECTRICITY_MAPS_TOKEN",),
    "watttime": ("PYPROF_WATTTIME_USER", "PYPROF_WATTTIME_PASSWORD"),
    "uk": (),
    "entsoe": ("PYPROF_ENTSOE_TOKEN",),
}


def make_provider(
    name: str,
    environ: Mapping[str, str],
    client: Client | None = None,
    kind: str = "lifecycle",
    base_url: str | None = None,
) -> Provider:
    """A provider by name, with its tokens from the environment; what is missing is named."""
    if name not in NAMES:
        raise UsageError(f"unknown provider {name!r}: use {', '.join(NAMES)}")
    missing = [variable for variable in NAMES[name] if not environ.get(variable)]
    if missing:
        raise UsageError(f"{name} needs {' and '.join(missing)} in the environment")
    secrets = [environ[variable] for variable in NAMES[name]]
    return _build(name, secrets, client or Client(), kind, base_url)


def _build(
    name: str, secrets: list[str], client: Client, kind: str, base_url: str | None
) -> Provider:
    """The provider itself; only the one that is named is imported."""
    if name == "electricity-maps":
        from pyprof.carbon.providers import electricity_maps as em

        return em.ElectricityMaps(secrets[0], client, kind, base_url or em.BASE_URL)
    if name == "watttime":
        from pyprof.carbon.providers import watttime as wt

        return wt.WattTime(secrets[0], secrets[1], client, base_url or wt.BASE_URL)
    if name == "entsoe":
        from pyprof.carbon.providers import entsoe as en

        return en.Entsoe(secrets[0], client, kind, base_url or en.BASE_URL)
    from pyprof.carbon.providers import uk

    return uk.UnitedKingdom(client, base_url or uk.BASE_URL)
