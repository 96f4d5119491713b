"""A first `insights up` on an empty data folder: how long it takes, and what is there afterwards.

    python -m bench.first_look
    python -m bench.first_look --pictures docs/images

It starts a stack of its own, on free ports and in a folder that it removes, with the jars of INSIGHTS_JARS, which
should be there already; and prints when the past was published and counted, when `up` returned, how many events it
counted, and the processor time and memory of each part until then. ``--pictures`` saves the README's pictures of the
dashboards and needs chromium and chromedriver on the path. Options after ``--`` go to `insights up`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import psycopg
from PIL import Image

from bench.producer import machine
from insights import stack
from insights.settings import PROJECT, Settings
from insights.stack import PartState
from tests.conftest import environment_of, own_settings
from tests.web.browser import Browser

PICTURES = {"sales-overview": "", "customers": "?dashboard=customers", "web-funnel": "?dashboard=web"}
WIDTH = 1100
COUNTED = "select coalesce(sum(counted), 0), min(window_start), max(last_event_at) from ops.event_counts"


def main() -> None:
    """Print the figures; save the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("up", nargs="*", metavar="OPTION", help="of `insights up`, after --")
    options = parser.parse_args()
    print(machine(), flush=True)
    as_users_have_it = {name: Settings.model_fields[name].default for name in ("quick_start", "dbt_minutes")}
    with tempfile.TemporaryDirectory() as made:
        settings = own_settings(Path(made) / "home", **as_users_have_it)
        try:
            measure(settings, options.up)
            if options.pictures:
                take_pictures(settings, options.pictures, Path(made) / "browser")
        finally:
            stack.down(settings, lambda step: None)


def measure(settings: Settings, options: Sequence[str]) -> None:
    """Start the stack as a user does, and report the result."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "insights", "up", *options]
    environment = {**os.environ, **environment_of(settings), "PYTHONPATH": str(PROJECT)}
    subprocess.run(command, env=environment, cwd=PROJECT, check=True)  # noqa: S603 our own command
    seconds = time.perf_counter() - began
    with psycopg.connect(settings.postgres_dsn) as connection:
        events, first_day, newest = connection.execute(COUNTED).fetchone() or (0, None, None)
        late = (connection.execute("select count(*) from ops.late_events").fetchone() or (0,))[0]
    print(f"\nup after {seconds:.0f} s: {events:,} events counted, {late:,} late")
    print(f"from {first_day:%Y-%m-%d} to {newest:%Y-%m-%d %H:%M}")
    used = sorted(((*_used(state), state.name) for state in stack.part_states(settings) if state.pid), reverse=True)
    print(f"processor {sum(cpu for cpu, *_ in used):.0f} s, memory {sum(mb for _, mb, _ in used):,.0f} MB:")
    for cpu, megabytes, name in used:
        print(f"  {name:<12} {cpu:5.0f} s {megabytes:7,.0f} MB")


def _used(state: PartState) -> tuple[float, float]:
    """Processor seconds, of children that ended too, and megabytes of a part's processes, shared pages by share."""
    process = psutil.Process(state.pid)
    # All parts are the supervisor's children, and have lines of their own.
    family = [process] if state.name == "supervisor" else [process, *process.children(recursive=True)]
    return sum(sum(p.cpu_times()[:4]) for p in family), sum(p.memory_full_info().pss for p in family) / 1e6


def take_pictures(settings: Settings, folder: Path, profile: Path) -> None:
    """Each dashboard, whole, in as few colours as it looks the same in."""
    browser = Browser(profile, (WIDTH, 900), dark=False)
    try:
        for name, query in PICTURES.items():
            browser.show(f"{settings.page_url}/{query}")
            path = folder / f"{name}.png"
            browser.save(path)
            Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    finally:
        browser.chrome.quit()


if __name__ == "__main__":
    main()
