"""``python -m pyprof``: the same command, without the current folder among the modules."""

import os
import sys

if __name__ == "__main__":
    # -m puts the current folder first, where a user's json.py would be taken for Python's.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]

    from pyprof.cli import main

    sys.exit(main())
