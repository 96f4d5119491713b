"""The shop's customers: who they are follows from their number alone."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from faker import Faker

from producers.shop.seeded_random import mixed
from producers.shop.shopping_hours import REGIONS

LOCALES: Final = {
    "EU": ("de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL"),
    "NA": ("en_MS", "en_CA"),
    "UK": ("en_GB",),
    "APAC": ("en_AU", "en_IN", "en_NZ"),
    "LATAM": ("es_MX", "pt_BR"),
}
MAIL_HOSTS: Final = ("example.com", "example.net", "example.org")  # reserved: no mail ever leaves (RFC 2606)
AGE_BANDS: Final = (
    ("under_25", 14),
    ("from_25_to_34", 27),
    ("from_35_to_49", 31),
    ("from_50_to_64", 18),
    ("over_64", 6),
    ("unknown", 4),
)
AGE_TABLE: Final = tuple(band for band, percent in AGE_BANDS for _ in range(percent))
NAMES_IN_A_POOL: Final = 250
OLDER_SHARE: Final = 0.2  # of the visits of customers who come back: by one older than the active ones
DOUBLINGS: Final = 5


def _interleaved() -> tuple[int, ...]:
    """100 region indexes in the regions' proportions, well spread."""
    slots = sorted((i / region.percent, n) for n, region in enumerate(REGIONS) for i in range(region.percent))
    return tuple(n for _, n in slots)


REGION_OF_SLOT: Final = _interleaved()
SLOTS_OF_REGION: Final = tuple(
    tuple(slot for slot, region in enumerate(REGION_OF_SLOT) if region == n) for n in range(len(REGIONS))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What only the customer and the shop should know."""

    name: str
    email: str


def customer_id(number: int) -> str:
    """The id of customer ``number``: C00000042."""
    return f"C{number:08}"


def region_index(number: int) -> int:
    """Where customer ``number`` lives, as an index of REGIONS."""
    return REGION_OF_SLOT[number % 100]


def age_band(seed: int, number: int) -> str:
    """The age band of a customer, which never changes."""
    return AGE_TABLE[mixed(seed, number, 11) % len(AGE_TABLE)]


def person(seed: int, number: int, version: int) -> Person:
    """Name and e-mail address of a customer; the address is another one in each ``version``."""
    locales = LOCALES[REGIONS[region_index(number)].name]
    bits = mixed(seed, number, 12)
    first_names, last_names = _names(locales[bits % len(locales)])
    first = first_names[(bits >> 8) % len(first_names)]
    last = last_names[(bits >> 24) % len(last_names)]
    again = mixed(seed, number, version, 13)
    address = f"{ascii_letters(first)}.{ascii_letters(last)}{again % 997}@{MAIL_HOSTS[again % len(MAIL_HOSTS)]}"
    return Person(name=f"{first} {last}", email=address)


@lru_cache(maxsize=32)
def _names(locale: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """First and last names of a locale. faker is slow, so a few hundred stand for all."""
    faker = Faker(locale)
    faker.seed_instance(locale)
    return (
        tuple(faker.first_name() for _ in range(NAMES_IN_A_POOL)),
        tuple(faker.last_name() for _ in range(NAMES_IN_A_POOL)),
    )


@lru_cache(maxsize=8192)
def ascii_letters(name: str) -> str:
    """A name in lower case, letters and digits of ASCII only."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "".join(letter for letter in plain if letter.isalnum())


def pick(rng: random.Random, region: int, newest: int, active: int) -> int:
    """A customer of a region who comes back, of the numbers up to ``newest``.

    Mostly one of the ``active`` newest, the newer the likelier; else one of the few older ones that have stayed
    (``who_may_come_back``).
    """
    slots = SLOTS_OF_REGION[region]
    slot = slots[int(rng.random() * len(slots))]
    if rng.random() < OLDER_SHARE:
        doubling = int(rng.random() * DOUBLINGS)
        oldest = newest - int(active * (1 << doubling) * (1 + rng.random()))
        apart = 100 * _hundreds_per_one_that_stays(doubling)
        number = -(-oldest // apart) * apart + slot
        if 0 <= number <= newest:
            return number
    number = newest - int(active * rng.random() ** 1.5)
    number += slot - number % 100
    return number if number <= newest else number - 100


def who_may_come_back(newest: int, active: int) -> Iterator[int]:
    """Everyone whom ``pick`` finds now, or will find as time goes on and who is there already; by number.

    That is each of the ``active`` newest, and of those older than that ever fewer: an eighth of the hundreds up to
    twice that age, a sixteenth up to four times, and so on for some doublings of the age; so customers that joined
    together are still there after a year, but few of them.
    """
    first = max(0, (newest - (active << DOUBLINGS)) // 100)
    for hundred in range(first, newest // 100 + 1):
        age = newest - (hundred * 100 + 99)  # of the newest of them
        doubling = ((max(age, 1) - 1) // active).bit_length() - 1
        if doubling < 0 or hundred % _hundreds_per_one_that_stays(doubling) == 0:
            yield from range(hundred * 100, min(hundred * 100 + 100, newest + 1))


def _hundreds_per_one_that_stays(doubling: int) -> int:
    """Of how many hundreds one is still there, when its age is so many doublings of that of the active ones."""
    return 8 << doubling
