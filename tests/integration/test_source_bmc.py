"""Power of the whole machine from its management controller: DCMI and Redfish."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sysfs_tree import NO_NVML

from pyprof import bmc, dcmi
from pyprof.hardware import Look, open_machine
from pyprof.redfish import Redfish
from pyprof.session import Session

# -- Redfish ---------------------------------------------------------------------------------------

OLD: dict[str, Any] = {
    "/redfish/v1/Chassis": {"Members": [{"@odata.id": "/redfish/v1/Chassis/1"}]},
    "/redfish/v1/Chassis/1": {"Power": {"@odata.id": "/redfish/v1/Chassis/1/Power"}},
    "/redfish/v1/Chassis/1/Power": {"PowerControl": [{"PowerConsumedWatts": 412}]},
}
NEW: dict[str, Any] = {
    "/redfish/v1/Chassis": {"Members": [{"@odata.id": "/redfish/v1/Chassis/Self"}]},
    "/redfish/v1/Chassis/Self": {
        "EnvironmentMetrics": {"@odata.id": "/redfish/v1/Chassis/Self/EnvironmentMetrics"}
    },
    "/redfish/v1/Chassis/Self/EnvironmentMetrics": {"PowerWatts": {"Reading": 377.5}},
}
ADMIN = "Basic " + base64.b64encode(b"reader:secret").decode()


@contextmanager
def controller(
    resources: Mapping[str, Any], *, password: str | None = None, delay_s: float = 0.0
) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay_s)
            if password is not None and self.headers.get("Authorization") != password:
                return self.send_error(401)
            resource = resources.get(self.path)
            if resource is None:
                return self.send_error(404)
            if isinstance(resource, int):
                self.send_response(resource)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                return self.end_headers()
            body = json.dumps(resource() if callable(resource) else resource).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def nobody_s_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PYPROF_BMC_USER", "PYPROF_BMC_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(("resources", "power_w"), [(OLD, 412.0), (NEW, 377.5)])
def test_the_chassis_is_found(resources: dict[str, Any], power_w: float) -> None:
    with controller(resources) as url:
        assert Redfish(url).power_w() == power_w
        assert Redfish(f"{url}/redfish/v1/").power_w() == power_w


def test_the_resource_may_be_named() -> None:
    with controller({"/redfish/v1/Chassis/7/Power": OLD["/redfish/v1/Chassis/1/Power"]}) as url:
        assert Redfish(f"{url}/redfish/v1/Chassis/7/Power").power_w() == 412.0


def test_of_several_chassis_none_is_guessed() -> None:
    two = {"Members": [{"@odata.id": f"/redfish/v1/Chassis/{n}"} for n in (1, 2)]}
    second = {"Power": {"@odata.id": "/redfish/v1/Chassis/2/Power"}}
    more = {
        "/redfish/v1/Chassis": two,
        "/redfish/v1/Chassis/2": second,
        "/redfish/v1/Chassis/2/Power": {"PowerControl": [{"PowerConsumedWatts": 90}]},
    }
    with controller({**OLD, **more}) as url, pytest.raises(bmc.BmcError, match="several") as error:
        Redfish(url)
    assert "/redfish/v1/Chassis/1/Power" in error.value.remedy


@pytest.mark.parametrize("reading", [None, 0, "412", True, -3])
def test_what_is_no_power_is_not_0(reading: object) -> None:
    power = {"/redfish/v1/Chassis/1/Power": {"PowerControl": [{"PowerConsumedWatts": reading}]}}
    with controller({**OLD, **power}) as url, pytest.raises(bmc.BmcError, match="no chassis"):
        Redfish(url)


def test_a_password_comes_from_the_environment_or_netrc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with controller(OLD, password=ADMIN) as url:
        with pytest.raises(bmc.BmcError, match="HTTP 401") as error:
            Redfish(url)
        assert "PYPROF_BMC_USER" in error.value.remedy
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login reader password secret\n")
        netrc.chmod(0o600)
        assert Redfish(url).power_w() == 412.0
        netrc.unlink()
        monkeypatch.setenv("PYPROF_BMC_USER", "reader")
        monkeypatch.setenv("PYPROF_BMC_PASSWORD", "secret")
        assert Redfish(url).power_w() == 412.0


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "no address"),
        ("bmc.example", "no address"),
        ("http://bmc.example", "in the clear"),
        ("https://me:word@bmc.example", "in logs"),
        ("http://127.0.0.1:9", "refused"),
    ],
)
def test_an_address_that_wont_do_is_a_sentence(url: str, says: str) -> None:
    with pytest.raises(bmc.BmcError, match=says):
        Redfish(url)


def test_a_redirection_is_not_followed() -> None:
    with controller({"/redfish/v1/Chassis": 307}) as url, pytest.raises(bmc.BmcError, match="307"):
        Redfish(url)


# -- DCMI ------------------------------------------------------------------------------------------

LAYOUT = """
#include <sys/ioctl.h>
#include <linux/ipmi.h>
#include <stddef.h>
#include <stdio.h>
int main(void) {
  printf("%zu %zu %zu %zu %zu %zu %zu %zu %u %u %d %d\\n",
         sizeof(struct ipmi_system_interface_addr), sizeof(struct ipmi_msg),
         sizeof(struct ipmi_req), sizeof(struct ipmi_recv),
         offsetof(struct ipmi_msg, data), offsetof(struct ipmi_req, msg),
         offsetof(struct ipmi_recv, msgid), offsetof(struct ipmi_recv, msg),
         (unsigned)IPMICTL_SEND_COMMAND, (unsigned)IPMICTL_RECEIVE_MSG_TRUNC,
         IPMI_SYSTEM_INTERFACE_ADDR_TYPE, IPMI_BMC_CHANNEL);
  return 0;
}
"""


def test_structures_and_numbers_are_the_kernel_s(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/linux/ipmi.h").exists():
        pytest.skip("needs a C compiler and the kernel's headers")
    (tmp_path / "layout.c").write_text(LAYOUT)
    subprocess.run([compiler, "layout.c", "-o", "layout"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True).stdout
    own = (
        *map(ctypes.sizeof, (dcmi.Address, dcmi.Message, dcmi.Request, dcmi.Reply)),
        dcmi.Message.data.offset,
        dcmi.Request.message.offset,
        dcmi.Reply.number.offset,
        dcmi.Reply.message.offset,
        dcmi.SEND,
        dcmi.RECEIVE,
        0x0C,
        0x0F,
    )
    assert tuple(map(int, said.split())) == own


class Kernel:
    """Stands for the kernel's side of the device: takes a request, gives answers."""

    def __init__(self, answers: Callable[[bytes], bytes], *, stale: int = 0) -> None:
        self._answers = answers
        self._stale = stale
        self._queue: list[tuple[int, bytes]] = []

    def ioctl(self, fd: int, number: int, structure: Any, mutate: bool) -> int:
        assert mutate
        message = structure.message
        if number == dcmi.SEND:
            address = dcmi.Address.from_address(structure.address)
            assert (address.type, address.channel) == (0x0C, 0x0F)
            assert (message.netfn, message.command) == (0x2C, 0x02)
            asked = ctypes.string_at(message.data, message.length)
            self._queue += [(structure.number - 100, b"\xff")] * self._stale
            self._queue.append((structure.number, self._answers(asked)))
        else:
            assert number == dcmi.RECEIVE
            structure.number, answer = self._queue.pop(0)
            ctypes.memmove(message.data, answer, len(answer))
            message.length = len(answer)
        return 0


@pytest.fixture
def device() -> Iterator[str]:
    """A descriptor that is always readable, as the device is while answers wait."""
    read, write = os.pipe()
    os.write(write, b"x")
    yield f"/proc/self/fd/{read}"
    os.close(read)
    os.close(write)


def reading(power_w: int, *, state: int = 0x40, group: int = 0xDC) -> bytes:
    words = b"".join(value.to_bytes(2, "little") for value in (power_w, 100, 900, 333))
    return bytes((0, group)) + words + (7).to_bytes(4, "little") * 2 + bytes((state,))


def test_dcmi_reads_the_power_of_now(device: str) -> None:
    asked: list[bytes] = []
    kernel = Kernel(lambda data: asked.append(data) or reading(487))  # type: ignore[func-returns-value]
    assert dcmi.Dcmi(device, kernel.ioctl).power_w() == 487.0
    assert asked == [b"\xdc\x01\x00\x00"]


def test_answers_to_others_are_passed_over(device: str) -> None:
    assert dcmi.Dcmi(device, Kernel(lambda _: reading(487), stale=3).ioctl).power_w() == 487.0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"\xc1", "knows no DCMI"),
        (b"\xc0", "the command failed"),
        (b"", "the command failed"),
        (reading(487, state=0), "not measured"),
        (reading(0), "not measured"),
        (reading(487, group=0xDE), "no power reading"),
        (reading(487)[:10], "no power reading"),
    ],
)
def test_what_is_no_reading_is_a_sentence(device: str, answer: bytes, says: str) -> None:
    with pytest.raises(bmc.BmcError, match=says):
        dcmi.Dcmi(device, Kernel(lambda _: answer).ioctl).power_w()


def test_a_device_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(bmc.BmcError, match="No such file") as error:
        bmc.connect(f"dcmi:{tmp_path}/ipmi0")
    assert "modprobe" in error.value.remedy
    with pytest.raises(bmc.BmcError, match="ioctl"):
        bmc.connect("dcmi:/dev/null").power_w()


# -- as a meter ------------------------------------------------------------------------------------


class Steady:
    """A controller that takes its time."""

    name = "steady"

    def __init__(self, power_w: float = 300.0) -> None:
        self.power = power_w
        self.asked = 0

    def power_w(self) -> float:
        self.asked += 1
        time.sleep(0.02)
        if self.asked in (5, 6):
            raise bmc.BmcError("busy")
        return self.power


def test_a_feed_writes_a_meter_s_lines_and_ends_with_its_reader() -> None:
    steady = Steady()
    feed = bmc.Feed(steady, period_s=0.05)
    reader = os.open(feed.path, os.O_RDONLY)
    feed.hand_over()
    time.sleep(0.6)
    lines = os.read(reader, 65536).decode().splitlines()
    os.close(reader)
    assert 3 <= len(lines) <= 12
    assert all(line.endswith(" 300.000 W") for line in lines)
    stamps = [float(line.split()[0]) for line in lines]
    assert stamps == sorted(stamps)
    deadline = time.monotonic() + 10
    while any(thread.name == "pyprof-bmc" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_controller_is_the_reference_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bmc, "PERIOD_S", 0.2)
    with controller(OLD) as url:
        look = Look(nvml=NO_NVML, sources=("meter",), model=False, meter=f"redfish:{url}")
        session = Session(look, out=None)
        session.start()
        time.sleep(2.5)
        session.stop()
    report = session.recording.report()
    row = report.channels["meter"]
    assert (row.domain, row.quality, row.counted) == ("host", "derived", True)
    assert row.device == f"Redfish at {url.removeprefix('http://')}"
    assert row.mean_w == pytest.approx(412.0, rel=0.02)


def test_a_controller_that_refuses_is_said_and_ends_nothing() -> None:
    look = Look(nvml=NO_NVML, sources=("meter",), model=False, meter="redfish:http://127.0.0.1:9")
    (source,) = open_machine(look).sources
    assert not source.available
    assert source.reason is not None
    assert "refused" in source.reason


def test_the_command_takes_a_meter(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("1 250 W\n2 250 W\n")
    words = [sys.executable, "-m", "pyprof", "doctor", "--json", "--meter", str(lines)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    (meter,) = (row for row in json.loads(done.stdout)["sources"] if row["name"] == "meter")
    assert meter["available"], meter
    assert meter["channels"] == ["meter"]
