"""The shop's time zone, as a data folder has it: every process reads it as it starts."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from aggregates.catalogue import ShopsClock, go_by
from aggregates.zones import Zone
from insights.settings import TIME_ZONE_FILE
from schemas.errors import Misconfigured

JSON = TypeAdapter(ShopsClock)


def clock_of(home: Path) -> ShopsClock:
    """The data folder's; UTC where none was chosen. Raises Misconfigured when its file can't be read."""
    path = home / TIME_ZONE_FILE
    try:
        return JSON.validate_json(path.read_bytes()) if path.exists() else ShopsClock()
    except (OSError, ValidationError) as error:
        raise Misconfigured(f"{path} is not what `insights time-zone` writes: {error}") from error


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
    return ShopsClock(
        zone=zone, changed_days=clock.changed_days + 1, changed_hours=clock.changed_hours + int(has_own_hours)
    )
