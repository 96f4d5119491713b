"""Any source of dlt (https://dlthub.com) as a producer: a file of the user says what to read and which event a row is.

A row is an event by the names of its columns (values.py). dlt reads, remembers how far it has read, and keeps what it
has read on disk until this package's destination has published it (source.py). Deletions are published too (intake.py).

It must not know the synthetic shop's simulation.
"""

import os

# dlt starts to send its statistics when its configuration is first looked at, and nothing stops it afterwards. Of all
# that configures it, the environment counts most.
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
