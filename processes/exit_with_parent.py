"""Runs a script that must not outlive its parent: ``exit_with_parent.py SCRIPT ARGUMENTS``.

The parent holds the other end of its standard input. When that closes, even by kill -9, this process ends at once, and
Spark's Java with it, because pyspark does the same for Java. It uses only the standard library.
"""

import os
import runpy
import sys
import threading


def end_with_input() -> None:
    """Blocks until standard input is closed, then ends the process without a word."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_input, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
