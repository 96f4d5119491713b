"""What a page's address chooses, while there is nothing to choose from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest


@pytest.fixture(autouse=True)
def main_stays_what_it_was() -> Iterator[None]:
    """AppTest leaves its page as the main module, which a process that is spawned later would run."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


def page(dsn: str) -> None:
    from dashboards.viewer import main

    main(["--dsn", dsn])


def test_what_an_address_chooses_is_kept_while_the_lists_to_choose_from_can_not_be_read(
    new_database: Callable[[], str],
) -> None:
    chosen = {"dashboard": "customers", "region": "EU", "customer": "C-7"}
    shown = AppTest.from_function(page, args=(new_database(),))
    for name, value in chosen.items():
        shown.query_params[name] = value
    shown.run(timeout=60)
    st.cache_resource.clear()  # it would go on asking
    assert not shown.exception
    assert "is not built yet" in " ".join(html.proto.body for html in shown.get("html"))
    assert {name: "".join(value) for name, value in shown.query_params.items()} == chosen
