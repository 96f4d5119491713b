"""A state file whose owner was killed while creating it reads as empty."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from producers import state
from producers.answer_key import answers
from producers.order_file.memory import Known, Memory, published
from producers.shop.shop_state import ShopState, stock_levels


@pytest.mark.parametrize("read", [published, stock_levels, lambda path: any(answers(path).values())])
def test_a_file_without_its_tables_reads_as_one_that_is_not_there(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "state.sqlite"
    missing = read(path)
    state.opened(path).close()
    assert path.exists()
    assert read(path) == missing
    assert not missing


def test_a_file_may_be_created_by_several_at_once(tmp_path: Path) -> None:
    """As a source does while somebody looks how far it is."""
    together = Barrier(6)

    def create(path: Path) -> None:
        together.wait()
        with closing(state.opened(path)) as database:
            database.execute("create table if not exists known (key text)")

    with ThreadPoolExecutor(together.parties) as pool:
        for number in range(150):
            list(pool.map(create, [tmp_path / f"{number}.sqlite"] * together.parties))


def test_an_owner_makes_what_is_missing_in_a_file_that_was_only_begun(tmp_path: Path) -> None:
    for name in ("memory", "shop_state"):
        state.opened(tmp_path / name).close()
    memory, shop_state = Memory(tmp_path / "memory"), ShopState(tmp_path / "shop_state", {"seed": "1"})
    memory.note("row", Known(b"digest"))
    memory.commit()
    memory.close()
    assert published(tmp_path / "memory") == 1
    assert shop_state.cursor() is None
    shop_state.close()
