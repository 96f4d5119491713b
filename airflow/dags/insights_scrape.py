"""Reads the product pages of the shop that the variable ``insights_shop_url`` names."""

from __future__ import annotations

from datetime import timedelta

from insights_airflow import insights_dag

dag = insights_dag(
    "scrape",
    *("produce", "catalog", "--once", "--url={{ var.value.insights_shop_url }}"),
    about="Read every product page of a shop once",
    schedule="5 * * * *",
    within=timedelta(minutes=50),
)
