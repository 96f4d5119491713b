"""`insights sales-by` in a data folder that has counted nothing yet: no server runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import environment_of, own_settings


def sales_by(home: Path, date: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "insights", "sales-by", date],
        env={**os.environ, **environment_of(own_settings(home))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def test_who_chooses_payment_date_is_told_that_refunds_of_unpaid_orders_count(tmp_path: Path) -> None:
    said = sales_by(tmp_path, "payment-date")
    assert "Sales will be by payment date from the first event on." in said
    assert "Known limit: a refund counts although its order was never paid" in said
    assert "refund" not in sales_by(tmp_path, "order-date")
