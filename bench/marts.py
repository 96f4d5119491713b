"""How long the marts take to be brought up to date after 1 % new rows, against a build of everything. In one run.

    python -m bench.marts --lines 2000000

full          `dbt run --full-refresh` over a year of orders, visits, refunds and stock moves
incremental   `dbt run` after 1 % more of everything came in
again         `dbt run` after nothing came in

dbt's own start counts in all of them; its project was parsed before, as in a stack that runs. With --build the tests of
the data are in as well, as in `insights dbt build`. Postgres is one of its own, which is gone afterwards.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from bench.producer import machine
from bench.year import orders_of, trade, year
from insights import dbt_run
from insights.settings import Settings


def measured(settings: Settings, *arguments: str) -> tuple[float, dict[str, float]]:
    """Seconds of a run of dbt, and by model what the longest took."""
    began = time.perf_counter()
    wrong = dbt_run.run(settings, arguments, lambda text: None)
    seconds = time.perf_counter() - began
    if wrong:
        raise SystemExit(f"dbt {' '.join(arguments)}: {wrong}")
    results = json.loads((settings.dbt_dir / "target" / "run_results.json").read_text())["results"]
    took = {r["unique_id"].rsplit(".", 1)[1]: r["execution_time"] for r in results}
    return seconds, dict(sorted(took.items(), key=lambda item: -item[1])[:12])


def main() -> None:
    """Print the seconds of each run and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--build", action="store_true", help="with the tests of the data")
    options = parser.parse_args()
    orders = orders_of(options.lines)
    what = ["build", "--exclude-resource-type", "unit_test"] if options.build else ["run"]
    print(machine())
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, year(Path(folder), options.lines) as settings:
        print(f"{options.lines:,} order lines were made in {time.perf_counter() - began:.0f} s", flush=True)
        dbt_run.run(settings, ["parse"], lambda text: None)
        full, by_model = measured(settings, *what, "--full-refresh")
        print(f"full         {full:7.1f} s   {_shown(by_model)}", flush=True)
        trade(settings.postgres_dsn, orders, orders, orders + orders // 100)
        incremental, by_model = measured(settings, *what)
        print(f"incremental  {incremental:7.1f} s   {_shown(by_model)}", flush=True)
        again, by_model = measured(settings, *what)
        print(f"again        {again:7.1f} s   {_shown(by_model)}")
        print(f"incremental / full = {incremental / full:.3f}")


def _shown(by_model: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in by_model.items())


if __name__ == "__main__":
    main()
