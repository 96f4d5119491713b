"""Compares each connected shop that was not compared for a day with the tables, order by order."""

from __future__ import annotations

from datetime import timedelta

from insights_airflow import insights_dag

dag = insights_dag(
    "agreement",
    *("agree", "--due"),
    about="Compare connected shops with the tables",
    schedule="40 * * * *",
    within=timedelta(hours=1),
)
