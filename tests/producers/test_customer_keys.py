"""A customer's name and address live and die with the customer's key."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.shop.customer_keys import BLOCK, KeyStore
from producers.shop.people import customer_id, person


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.sqlite")


def test_what_is_sealed_can_be_read_again_also_by_another_process(store: KeyStore, tmp_path: Path) -> None:
    sealed = store.seal(5, "name", "Zoë Ünal")
    assert sealed is not None
    assert "Zoë".encode() not in sealed
    assert KeyStore(tmp_path / "keys.sqlite").unseal(5, "name", sealed) == "Zoë Ünal"


def test_sealing_again_gives_the_same_bytes(store: KeyStore) -> None:
    assert store.seal(5, "name", "Ada") == store.seal(5, "name", "Ada")
    assert store.seal(5, "name", "Ada") != store.seal(6, "name", "Ada")


def test_sealed_bytes_are_bound_to_the_customer_and_to_the_field(store: KeyStore) -> None:
    sealed = store.seal(5, "name", "Ada")
    assert sealed is not None
    assert store.unseal(5, "email", sealed) is None
    assert store.unseal(6, "name", sealed) is None


def test_a_deleted_key_makes_its_customer_unreadable_for_good_and_no_other(store: KeyStore, tmp_path: Path) -> None:
    sealed = {number: store.seal(number, "name", "Ada") for number in (5, 6)}
    other_process = KeyStore(tmp_path / "keys.sqlite")
    assert other_process.seal(5, "name", "Ada") == sealed[5]
    store.delete(5)
    for each in (store, other_process, KeyStore(tmp_path / "keys.sqlite")):
        assert each.unseal(5, "name", sealed[5] or b"") is None
        assert each.seal(5, "name", "Ada") is None
        assert each.unseal(6, "name", sealed[6] or b"") == "Ada"


def test_two_processes_that_meet_a_customer_first_have_one_key(store: KeyStore, tmp_path: Path) -> None:
    other_process = KeyStore(tmp_path / "keys.sqlite")
    number = 3 * BLOCK + 1
    assert store.seal(number, "name", "Ada") == other_process.seal(number, "name", "Ada")


def test_a_person_follows_from_the_number_and_moves_to_a_new_address_with_the_version() -> None:
    assert person(1, 42, 0) == person(1, 42, 0)
    assert person(1, 42, 0).name == person(1, 42, 9).name
    assert person(1, 42, 0).email != person(1, 42, 9).email
    assert person(1, 42, 0).email.isascii()
    assert customer_id(42) == "C00000042"
