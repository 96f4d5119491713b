"""Counts late events whose windows are final."""

from __future__ import annotations

from datetime import timedelta

from insights_airflow import insights_dag

dag = insights_dag(
    "late_events",
    *("replay", "late"),
    about="Count late events",
    schedule="20 * * * *",
    within=timedelta(hours=2),
)
