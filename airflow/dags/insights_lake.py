"""Compacts the lake's small files, and removes old snapshots and orphan files."""

from __future__ import annotations

from datetime import timedelta

from insights_airflow import insights_dag

dag = insights_dag(
    "lake",
    *("lake", "maintain"),
    about="Maintain the lake",
    schedule="50 * * * *",
    within=timedelta(hours=1),
)
