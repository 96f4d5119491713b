"""The currency of a data folder's shop, which never changes."""

from __future__ import annotations

from insights.settings import Settings
from schemas.errors import Misconfigured

FILE = "currency"


def check_currency(settings: Settings) -> None:
    """Raises Misconfigured when the data folder was made for a shop with another currency."""
    kept = currency_of(settings)
    if kept != settings.currency:
        raise Misconfigured(
            f"the data in {settings.home} is in {kept}, and INSIGHTS_CURRENCY is {settings.currency}: amounts in two"
            f" currencies can't be added. Set INSIGHTS_CURRENCY={kept}, or choose another folder with INSIGHTS_HOME"
        )


def currency_of(settings: Settings) -> str:
    """The data folder's currency, or the one that it would be created with."""
    path = settings.home / FILE
    return path.read_text().strip() if path.exists() else settings.currency


def keep_currency(settings: Settings) -> None:
    """The same, and from now on the folder is this currency's."""
    check_currency(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / FILE).write_text(f"{settings.currency}\n")
