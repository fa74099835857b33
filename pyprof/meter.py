"""Where an external meter is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyprof.energy import Source

if TYPE_CHECKING:
    from pyprof import _native
    from pyprof.bmc import Feed

METER = "meter"
"""Name of the source and of its channel."""


class Meter:
    """Where an external meter's lines are read. A controller's are written by a thread of ours."""

    def __init__(self, place: str | None) -> None:
        """Ask a controller for the first time; ``refused`` says if it does not tell."""
        self.path = place or ""
        self.refused: Source | None = None
        self._feed: Feed | None = None
        self._name = ""
        if place is None:
            return
        from pyprof import bmc

        if not place.startswith(bmc.PREFIXES):
            return
        self.path = ""
        try:
            controller = bmc.connect(place)
            self._feed, self._name = bmc.Feed(controller), controller.name
            self.path = self._feed.path
        except bmc.BmcError as error:
            self.refused = Source(METER, False, str(error), error.remedy or None)

    def hand_over(self, hardware: _native.Hardware) -> None:
        """The source has opened its end."""
        if self._feed is None:
            return
        self._feed.hand_over()
        for channel in hardware.channels:
            if channel.source == METER:
                hardware.adopt(channel.replace(device=self._name))
