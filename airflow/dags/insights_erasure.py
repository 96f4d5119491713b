"""Erases a person. Whoever triggers it names them; Airflow keeps that name, so it is no e-mail address."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param
from insights_airflow import insights_dag

dag = insights_dag(
    "erasure",
    *("privacy", "erase", "--yes", "--", "{{ params.customer }}"),
    about="Erase a person, for good",
    schedule=None,
    within=timedelta(minutes=30),
    params={
        "customer": Param(
            type="string",
            minLength=1,
            maxLength=200,
            pattern=r"^[^\s@-][^@\r\n]*$",
            description="Their id in the tables, such as bikes-17. Not an e-mail address: Airflow keeps what is given",
        )
    },
)
