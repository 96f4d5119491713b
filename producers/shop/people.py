"""The shop's customers: who they are follows from their number alone."""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from faker import Faker

from producers.shop.chance import mixed
from producers.shop.rhythm import REGIONS

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
    return f"C{number:08}"


def region_index(number: int) -> int:
    """Where customer ``number`` lives, as an index of REGIONS."""
    return REGION_OF_SLOT[number % 100]


def age_band(seed: int, number: int) -> str:
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
    """A returning customer of a region: one of the ``active`` numbers up to ``newest``, the newer the likelier."""
    number = newest - int(active * rng.random() ** 1.5)
    slots = SLOTS_OF_REGION[region]
    number += slots[int(rng.random() * len(slots))] - number % 100
    return number if number <= newest else number - 100
