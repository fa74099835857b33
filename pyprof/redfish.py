"""A management controller's power by Redfish (DMTF DSP0266), over HTTPS."""

from __future__ import annotations

import base64
import json
import math
import netrc
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pyprof.bmc import BmcError

_TIMEOUT_S = 10.0
_LARGEST_ANSWER = 1 << 20
_CHASSIS = "/redfish/v1/Chassis"
_MOST_CHASSIS = 32
_LOCAL = ("localhost", "127.0.0.1", "::1")
_NAME, _WORD = "PYPROF_BMC_USER", "PYPROF_BMC_PASSWORD"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A password goes to the host that was named, and to no other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Redfish:
    """The one chassis at ``url`` that tells a power; ``url`` may name its resource itself."""

    def __init__(self, url: str) -> None:
        """Find the resource (BmcError)."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BmcError(f"'{url}' is no address", "write --meter redfish:https://HOST")
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise BmcError(
                f"{url} would send the password in the clear", "write https:// instead of http://"
            )
        if parts.username or parts.password:
            raise BmcError(
                "a password in an address ends up in logs", f"set {_NAME} and {_WORD}, or ~/.netrc"
            )
        self._base = f"{parts.scheme}://{parts.netloc}"
        self.name = f"Redfish at {parts.netloc}"
        self._authorization = _authorization(parts.hostname)
        handlers = (urllib.request.ProxyHandler({}), _NoRedirect())
        self._opener = urllib.request.build_opener(*handlers)
        named = parts.path.rstrip("/")
        self._path = named if named not in ("", "/redfish", "/redfish/v1") else self._discover()

    def power_w(self) -> float:
        """Watts as the controller last took them."""
        power_w = _power_of(self._get(self._path))
        if power_w is None:
            raise BmcError(f"{self._base}{self._path} tells no power")
        return power_w

    def _discover(self) -> str:
        found = [path for path in self._resources() if _power_of(self._get(path)) is not None]
        if not found:
            raise BmcError(
                f"no chassis at {self._base} tells its power",
                "some controllers tell it only with a licence, or by --meter dcmi:",
            )
        if len(found) > 1:
            listed = ", ".join(found)
            raise BmcError(
                f"several chassis tell a power ({listed}), and which is this machine is not known",
                f"name one: --meter redfish:{self._base}{found[0]}",
            )
        return found[0]

    def _resources(self) -> Iterator[str]:
        """Of each chassis the resource with its power, the newer form first."""
        members = self._get(_CHASSIS).get("Members")
        for member in (members if isinstance(members, list) else [])[:_MOST_CHASSIS]:
            chassis = self._get(_link(member))
            links = (_link(chassis.get(key)) for key in ("EnvironmentMetrics", "Power"))
            link = next(filter(None, links), "")
            if link:
                yield link

    def _get(self, path: str) -> Mapping[str, Any]:
        if not path.startswith("/"):
            raise BmcError(f"{self._base} gives a link that leads nowhere: {path!r}")
        request = urllib.request.Request(self._base + path, headers={"Accept": "application/json"})
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as reply:
                answer = json.loads(reply.read(_LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            error.close()
            remedy = f"set {_NAME} and {_WORD}, or the host in ~/.netrc"
            denied = error.code in (401, 403)
            raise BmcError(
                f"{self._base}{path}: HTTP {error.code}", remedy if denied else ""
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise BmcError(f"{self._base}{path}: {reason}") from None
        if not isinstance(answer, dict):
            raise BmcError(f"{self._base}{path} is no Redfish resource")
        return answer


def _link(value: object) -> str:
    """Where a reference of a resource leads, or ""."""
    link = value.get("@odata.id") if isinstance(value, dict) else None
    return link if isinstance(link, str) else ""


def _power_of(resource: Mapping[str, Any]) -> float | None:
    """``PowerWatts`` of environment metrics, else ``PowerControl`` of the older resource."""
    metrics = resource.get("PowerWatts")
    if isinstance(metrics, dict):
        return _watts(metrics.get("Reading"))
    control = resource.get("PowerControl")
    first = control[0] if isinstance(control, list) and control else None
    return _watts(first.get("PowerConsumedWatts")) if isinstance(first, dict) else None


def _watts(value: object) -> float | None:
    """A power; 0 is what a controller says that does not meter."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


def _authorization(host: str) -> str | None:
    """Basic authentication from the environment or ~/.netrc; None without either."""
    user, password = os.environ.get(_NAME), os.environ.get(_WORD)
    if user is None or password is None:
        try:
            entry = netrc.netrc().authenticators(host)
        except (OSError, netrc.NetrcParseError):
            entry = None
        if entry is None or not entry[2]:
            return None
        user, password = entry[0], entry[2]
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
