"""The shop's time zone, and whether orders count when they are paid, as a data folder has them.

Every process reads them as it starts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from aggregates.catalogue import ShopsClock, go_by
from aggregates.zones import Zone
from insights.settings import TIME_ZONE_FILE
from schemas.errors import Misconfigured
from schemas.versions import ByPayment

JSON = TypeAdapter(ShopsClock)


def clock_of(home: Path) -> ShopsClock:
    """The data folder's; UTC where none was chosen. Raises Misconfigured when its file can't be read."""
    path = home / TIME_ZONE_FILE
    try:
        return JSON.validate_json(path.read_bytes()) if path.exists() else ShopsClock()
    except (OSError, ValidationError) as error:
        raise Misconfigured(f"{path} is not what `insights time-zone` or `insights sales-by` wrote: {error}") from error


def adopt(home: Path) -> None:
    """From now on this process counts as the data folder says. Raises Misconfigured."""
    go_by(clock_of(home))


def keep(home: Path, clock: ShopsClock) -> None:
    """From now on the data folder, and this process, have this one."""
    home.mkdir(parents=True, exist_ok=True)
    part = home / f"{TIME_ZONE_FILE}.part"
    part.write_bytes(JSON.dump_json(clock))
    part.replace(home / TIME_ZONE_FILE)
    go_by(clock)


def changed(clock: ShopsClock, zone: Zone | None) -> ShopsClock:
    """The clock of a shop that goes by another zone from now on, or by what is known of the same one now."""
    has_own_hours = any(each is not None and not each.has_whole_hours for each in (clock.zone, zone))
    return replace(
        clock, zone=zone, changed_days=clock.changed_days + 1, changed_hours=clock.changed_hours + int(has_own_hours)
    )


def counting(clock: ShopsClock, payment: ByPayment | None) -> ShopsClock:
    """The clock of a shop whose orders count by this rule from now on; None is when they are placed."""
    return replace(clock, payment=payment, changed_payment=clock.changed_payment + 1)
