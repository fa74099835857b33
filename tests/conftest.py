"""Signals as a terminal has them, and property tests that no busy machine can fail by its clock."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

# nohup and background jobs hand some down as ignored.

for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)
