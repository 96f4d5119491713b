"""Recomputes all of yesterday from the log, and compares it with the live tables cell by cell."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param
from insights_airflow import insights_dag

dag = insights_dag(
    "verification",
    *("replay", "check-day", "{{ params.day }}"),
    about="Recompute yesterday and compare it with the live tables",
    schedule="30 3 * * *",
    within=timedelta(hours=3),
    params={
        "day": Param(
            "yesterday",
            type="string",
            pattern=r"^(yesterday|\d{4}-\d{2}-\d{2})$",
            description="yesterday, or a date such as 2026-11-08; the shop's day",
        )
    },
)
