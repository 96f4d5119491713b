"""Builds the marts, and runs their tests."""

from __future__ import annotations

from datetime import timedelta

from insights_airflow import insights_dag

dag = insights_dag(
    "marts",
    *("dbt", "build"),
    about="Build the marts",
    schedule="*/15 * * * *",
    within=timedelta(minutes=30),
)
