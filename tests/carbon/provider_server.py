"""A local server that speaks the documented shapes of the intensity providers, and their moods."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, str], bytes]
TOKEN = "secret-token"


def as_json(value: object, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def hours(start: str, end: str, step: timedelta = timedelta(hours=1)) -> Iterator[datetime]:
    at = datetime.fromisoformat(start.replace("Z", "+00:00"))
    last = datetime.fromisoformat(end.replace("Z", "+00:00"))
    while at < last:
        yield at
        at += step


class Moods:
    """What the server does next: queued answers first, then the documented ones."""

    def __init__(self) -> None:
        self.queue: list[Answer | Callable[[], Answer]] = []
        self.seen: Counter[str] = Counter()
        self.requests: list[str] = []


def electricity_maps(path: str, query: dict[str, str], headers) -> Answer:
    if headers.get("auth-token") != TOKEN:
        return as_json({"status": "error", "message": "Invalid auth-token"}, 401)
    if query.get("zone") not in ("FR", "DE"):
        return as_json({"error": "Zone not found"}, 404)
    kind = query["emissionFactorType"]

    def row(at: datetime) -> dict[str, object]:
        return {
            "zone": query["zone"],
            "carbonIntensity": None if at.hour == 5 else 40 + at.hour,
            "datetime": at.isoformat().replace("+00:00", ".000Z"),
            "updatedAt": "2026-01-02T00:00:00.000Z",
            "emissionFactorType": kind,
            "isEstimated": False,
            "estimationMethod": None,
        }

    if path.endswith("/latest"):
        return as_json(row(datetime(2026, 1, 1, 9, tzinfo=timezone.utc)))
    return as_json(
        {"zone": query["zone"], "data": [row(at) for at in hours(query["start"], query["end"])]}
    )


def watttime(path: str, query: dict[str, str], headers) -> Answer:
    if path.endswith("/login"):
        wanted = "Basic " + base64.b64encode(b"user:pass").decode()
        granted = headers.get("Authorization") == wanted
        return as_json({"token": TOKEN}) if granted else as_json({"error": "no"}, 401)
    if headers.get("Authorization") != f"Bearer {TOKEN}":
        return as_json({"error": "expired"}, 401)
    if path.endswith("/region-from-loc"):
        full = {"region": "CAISO_NORTH", "region_full_name": "California ISO Northern"}
        return as_json({**full, "signal_type": query["signal_type"]})
    if query.get("region") != "CAISO_NORTH":
        return as_json({"message": "You don't have permission for this region"}, 403)
    five = timedelta(minutes=5)
    start = query.get("start", "2026-01-01T00:00:00Z")
    end = query.get("end", "2026-01-01T01:00:00Z")
    data = [{"point_time": at.isoformat(), "value": 1000.0} for at in hours(start, end, five)]
    meta = {
        "region": "CAISO_NORTH",
        "signal_type": query["signal_type"],
        "units": "lbs_co2_per_mwh",
        "data_point_period_seconds": 300,
    }
    return as_json({"data": data, "meta": meta})


def united_kingdom(path: str, query: dict[str, str], headers) -> Answer:
    parts = path.split("/intensity/")[1].split("/")
    half = timedelta(minutes=30)
    rows = []
    for at in hours(parts[0], parts[1], half):
        actual = None if at.hour == 3 else 120
        both_missing = at.hour == 4
        rows.append(
            {
                "from": at.strftime("%Y-%m-%dT%H:%MZ"),
                "to": (at + half).strftime("%Y-%m-%dT%H:%MZ"),
                "intensity": {
                    "forecast": None if both_missing else 130,
                    "actual": None if both_missing else actual,
                    "index": "moderate",
                },
            }
        )
    if "postcode" in path:
        return as_json({"data": {"regionid": 13, "postcode": parts[3], "data": rows}})
    return as_json({"data": rows})


def entsoe_series(production: str, quantities, *, pumping: bool = False, skip: int = 0) -> str:
    side = "out" if pumping else "in"
    points = "".join(
        f"<Point><position>{i}</position><quantity>{q}</quantity></Point>"
        for i, q in enumerate(quantities, start=1)
        if i != skip
    )
    return (
        f"<TimeSeries><{side}BiddingZone_Domain.mRID>10Y</{side}BiddingZone_Domain.mRID>"
        f"<curveType>A03</curveType><MktPSRType><psrType>{production}</psrType></MktPSRType>"
        "<Period><timeInterval><start>2026-01-01T00:00Z</start><end>2026-01-01T03:00Z</end>"
        f"</timeInterval><resolution>PT60M</resolution>{points}</Period></TimeSeries>"
    )


def entsoe(path: str, query: dict[str, str], headers) -> Answer:
    if query.get("securityToken") != TOKEN:
        return 401, {}, b"<html>unauthorized</html>"
    xml = {"Content-Type": "text/xml"}
    if query["in_Domain"] != "10YFR-RTE------C":
        reason = "<Reason><code>999</code><text>No matching data found</text></Reason>"
        space = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
        name = "Acknowledgement_MarketDocument"
        return 200, xml, f'<{name} xmlns="{space}">{reason}</{name}>'.encode()
    series = (
        entsoe_series("B14", [3000, 3000, 3000], skip=2)
        + entsoe_series("B04", [1000, 1000, 1000])
        + entsoe_series("B20", [0, 1000, 0])
        + entsoe_series("B10", [5000, 5000, 5000], pumping=True)
    )
    space = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
    return 200, xml, f'<GL_MarketDocument xmlns="{space}">{series}</GL_MarketDocument>'.encode()


ROUTES = {"em": electricity_maps, "wt": watttime, "uk": united_kingdom, "en": entsoe}


@contextmanager
def provider_server() -> Iterator[tuple[str, Moods]]:
    moods = Moods()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            split = urlsplit(self.path)
            moods.requests.append(self.path)
            route = split.path.split("/")[1]
            moods.seen[route] += 1
            if moods.queue:
                item = moods.queue.pop(0)
                status, headers, body = item() if callable(item) else item
            else:
                query = {key: values[0] for key, values in parse_qs(split.query).items()}
                status, headers, body = ROUTES[route](split.path, query, self.headers)
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                return

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", moods
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def drip_server() -> Iterator[str]:
    """A server whose answers never end: a byte now and then."""
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                self.send_response(200)
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                while not stop.wait(0.05):
                    self.wfile.write(b" ")
            except OSError:
                return

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
