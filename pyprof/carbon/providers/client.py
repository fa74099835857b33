"""HTTP with patience and memory: time-outs, few retries, a cache on disk that holds no secret."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from pyprof.errors import PyprofError

if TYPE_CHECKING:
    import http.client
    import urllib.request

T = TypeVar("T")

LARGEST_ANSWER = 32 * 1024 * 1024
_RETRIED = (429, 500, 502, 503, 504)


class ProviderError(PyprofError):
    """A provider that did not answer, or not with what it documents."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, the seconds the server asks to wait, and the body."""

    status: int
    retry_after_s: float | None
    body: bytes


def default_cache_dir() -> str:
    """The user's cache folder for answers of providers."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "pyprof", "intensity")


@dataclass
class Client:
    """GET with time-outs, retries on what may pass, and a cache.

    ``timeout_s`` is for each wait, ``deadline_s`` for a whole answer. The cache key is the address
    without anything secret; ``keep_s`` is how long an answer stays good, and answers about the
    past stay good for long. Only what could be read is kept.
    """

    timeout_s: float = 10.0
    deadline_s: float = 60.0
    retries: int = 3
    longest_wait_s: float = 30.0
    keep_s: float = 30 * 86400.0
    cache_dir: str | None = ""
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """An empty cache folder means the user's own; None means no cache."""
        if self.cache_dir == "":
            self.cache_dir = default_cache_dir()

    def get(
        self,
        name: str,
        url: str,
        read: Callable[[bytes], T],
        headers: Mapping[str, str] | None = None,
        *,
        secret_query: str = "",
        keep_s: float | None = None,
    ) -> T:
        """What ``read`` makes of a 200 answer. ``secret_query`` is sent, never kept or shown."""
        kept = self._recall(url, self.keep_s if keep_s is None else keep_s)
        if kept is not None:
            with suppress(ProviderError):  # what was damaged on disk is asked for anew
                return read(kept)
        body = self._ask(name, url, url + secret_query, headers or {})
        made = read(body)
        self._remember(url, body)
        return made

    def get_json(
        self,
        name: str,
        url: str,
        pick: Callable[[Any], T],
        headers: Mapping[str, str] | None = None,
        *,
        keep_s: float | None = None,
    ) -> T:
        """What ``pick`` takes from an answer in JSON."""

        def read(body: bytes) -> T:
            """The parsed body, picked from."""
            try:
                answer = json.loads(body)
            except (ValueError, RecursionError):
                raise ProviderError(f"{name} answered something that is not JSON") from None
            return pick(answer)

        return self.get(name, url, read, headers, keep_s=keep_s)

    def _ask(self, name: str, shown: str, url: str, headers: Mapping[str, str]) -> bytes:
        """Ask until there is an answer, or no more patience."""
        wait_s = 0.5
        for attempt in range(self.retries + 1):
            reply = _send(name, url, headers, self.timeout_s, self.deadline_s)
            if reply.status == 200:
                return reply.body
            last = attempt == self.retries
            if last or reply.status not in (*_RETRIED, 0):
                raise ProviderError(_refusal(name, shown, reply, attempt + 1))
            asked = reply.retry_after_s
            if asked is not None and asked > self.longest_wait_s:
                raise ProviderError(
                    f"{name} asks to wait {asked:.0f} s (too many requests): try again later"
                )
            self.sleep(wait_s if asked is None else asked)
            wait_s *= 2.0
        raise AssertionError("the loop always ends inside")

    def _path(self, url: str) -> str | None:
        """Where the answer to an address is kept."""
        if self.cache_dir is None:
            return None
        digest = hashlib.sha256(url.encode()).hexdigest()
        return os.path.join(self.cache_dir, digest)

    def _recall(self, url: str, keep_s: float) -> bytes | None:
        """A kept answer that is still good."""
        path = self._path(url)
        if path is None or keep_s <= 0.0:
            return None
        try:
            if time.time() - os.stat(path).st_mtime > keep_s:
                return None
            with open(path, "rb") as file:
                return file.read()
        except OSError:
            return None

    def _remember(self, url: str, body: bytes) -> None:
        """Keep an answer; a full or read-only disk only costs the next request."""
        path = self._path(url)
        if path is None or self.cache_dir is None:
            return
        try:
            os.makedirs(self.cache_dir, mode=0o700, exist_ok=True)
            partial = f"{path}.{os.getpid()}"
            with open(partial, "wb") as file:
                file.write(body)
            os.replace(partial, path)
        except OSError:
            return


def _send(
    name: str, url: str, headers: Mapping[str, str], timeout_s: float, deadline_s: float
) -> Reply:
    """One request; a connection that fails, or an answer that is cut short, is status 0."""
    import http.client
    import urllib.error
    import urllib.request

    if not url.startswith(("https://", "http://")):
        raise ProviderError(f"{name}: the address must begin with https://")
    request = urllib.request.Request(url, headers={"User-Agent": "pyprof", **headers})
    try:
        try:
            with _opener().open(request, timeout=timeout_s) as answer:
                return Reply(answer.status, None, _body(name, answer, deadline_s))
        except urllib.error.HTTPError as error:
            with error:
                wait_s = _seconds(error.headers.get("Retry-After"))
                return Reply(error.code, wait_s, error.read(2000))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return Reply(0, None, str(reason).encode())


def _body(name: str, answer: http.client.HTTPResponse, deadline_s: float) -> bytes:
    """The whole body: not longer than makes sense, not slower, and not cut short."""
    parts, size, begun_s = [], 0, time.monotonic()
    while part := answer.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise ProviderError(f"{name} answered more than {LARGEST_ANSWER} bytes")
        if time.monotonic() - begun_s > deadline_s:
            raise TimeoutError(f"no whole answer within {deadline_s:g} s")
    if answer.length:
        raise ConnectionError(f"the answer ended {answer.length} bytes early")
    return b"".join(parts)


@lru_cache(maxsize=1)
def _opener() -> urllib.request.OpenerDirector:
    """An opener that follows no redirect: it would carry the token to another host."""
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        """Makes a redirect an answer like any other."""

        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            """No further request."""

    return urllib.request.build_opener(Stay)


def _seconds(text: str | None) -> float | None:
    """A Retry-After, a number or a date, in seconds from now."""
    from email.utils import parsedate_to_datetime

    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _refusal(name: str, shown: str, reply: Reply, attempts: int) -> str:
    """Why there is no answer, in one sentence without secrets."""
    host = shown.partition("?")[0]
    if reply.status == 0:
        why = " ".join(reply.body.decode("utf-8", "replace").split())
        return f"{name} can't be reached at {host} ({why}; {attempts} attempts)"
    said = _own_words(reply.body)
    if reply.status in (401, 403):
        return f"{name} refused the credentials (HTTP {reply.status}{said}): check the token"
    if reply.status == 404:
        return f"{name} has nothing at {host} (HTTP 404{said}): check the zone and the time"
    return f"{name} answered HTTP {reply.status}{said} at {host} ({attempts} attempts)"


def _own_words(body: bytes) -> str:
    """What the provider itself says about an error, in JSON or in XML."""
    import re

    text = body.decode("utf-8", "replace")
    found = re.search(r'"(?:message|error)"\s*:\s*"([^"]+)"|<text>([^<]+)</text>', text)
    if found is None:
        return ""
    words = "".join(char if char.isprintable() else " " for char in found[1] or found[2])
    return f", {' '.join(words.split())[:120]!r}"
