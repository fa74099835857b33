"""A recording written anew, row by row, in the present schema."""

from __future__ import annotations

import sqlite3

from pyprof import _native
from pyprof.container import insert, transaction
from pyprof.layout import incident_row, mark_row, process_row, rollup_row, sealed
from pyprof.recording import Recording
from pyprof.rollups import GRAINS_S
from pyprof.sealing import insert_blocks
from pyprof.store import Head, first_tally, insert_identity, make_tables
from pyprof.tally import KEY

_BATCH = 200


def fill(connection: sqlite3.Connection, recording: Recording) -> None:
    """All of ``recording`` into an empty database, with counts of what there is."""
    first, *others = recording.processes
    meta = {key: text for key, text in recording.meta.items() if key not in ("channels", KEY)}
    head = Head(
        meta=meta,
        process=first,
        sources=recording.sources,
        channels=recording.channels,
        sampled=len({block.channel for block in recording.blocks}),
        incidents=recording.incidents,
    )
    make_tables(connection, head)
    tally = first_tally(head)
    tally.thinned = dict(recording.thinned)
    with transaction(connection):
        insert(connection, "process", [process_row(process) for process in others])
        tally.rows["process"] = len(recording.processes)
        for process, frame in recording.marks:
            seq = tally.marks.get(process, 0)
            insert(connection, "mark", [mark_row(process, seq, None, frame)])
            tally.add_marks(process, seq)
        rows = [incident_row(number, each) for number, each in enumerate(recording.findings)]
        insert(connection, "finding", rows)
        tally.findings = len(rows)
        stats = [sealed(name, value) for name, value in recording.stats.items()]
        insert(connection, "stats", stats)
        tally.rows["stats"] = len(stats)
        always = [(i, g, 0, 1 << 62) for i in range(len(recording.channels)) for g in GRAINS_S]
        rolled = recording.shelf.rollups(always)
        insert(connection, "rollup", [rollup_row(rollup) for rollup in rolled])
    for at in range(0, len(recording.blocks), _BATCH):
        with transaction(connection):
            for sealed_frame in recording.shelf.frames(recording.blocks[at : at + _BATCH]):
                if sealed_frame is not None:
                    insert_blocks(connection, sealed_frame)
                    for channel, first_seq, count, _, _ in _native.frame_info(sealed_frame):
                        tally.add_changes(channel, first_seq, count)
    with transaction(connection):
        for data in recording.tail:
            connection.execute("INSERT INTO tail VALUES(NULL,?,?)", (recording.end_ns, data))
            for channel, first_seq, count, _, _ in _native.frame_info(data):
                tally.add_changes(channel, first_seq, count)
        insert(connection, "meta", [sealed(KEY, tally.to_text())])
        insert_identity(connection, recording.end_ns)
