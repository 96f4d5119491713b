"""Notices when a shop's pages can no longer be read, as after a new design: the share that lost a field. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from schemas.errors import InsightsError

FEWEST_LOST: Final = 5
MOST_LOST_SHARE: Final = 0.2
ENOUGH_PAGES: Final = 100  # a few broken pages may stand side by side
MARK: Final = "nothing of this shop is published until its pages can be read again"


class Drifted(InsightsError):
    """Too many pages lost a field. ``url`` is one of them, and ``lacks`` what it lost."""

    def __init__(self, problem: str, url: str, lacks: str) -> None:
        super().__init__(problem)
        self.url = url
        self.lacks = lacks


@dataclass(slots=True)
class Drift:
    """The pages of one round. ``is_new``: no page of the shop could ever be read, so each should be readable."""

    is_new: bool
    most_lost_share: float = MOST_LOST_SHARE
    _looked: int = 0
    _lost: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, str] = field(default_factory=dict)

    def readable(self, *, had_product: bool) -> None:
        """A page had all that a product has."""
        self._looked += had_product or self.is_new

    def lost(self, url: str, lacks: str, *, had_product: bool) -> None:
        """A page lacked something."""
        if had_product or self.is_new:
            self._looked += 1
            self._lost[lacks] += 1
            self._examples[lacks] = url

    def judge(self, *, is_last: bool) -> bool:
        """Whether the pages so far can be trusted; False while too few were looked at to tell.

        Raises Drifted when so many pages lost a field that what the others say can't be trusted either.
        """
        lost = self._lost.total()
        most = self._looked - 1 if self.is_new else self.most_lost_share * self._looked
        if lost < FEWEST_LOST or lost <= most:
            return True
        if self._looked < ENOUGH_PAGES and not is_last:
            return False
        ((lacks, times),) = self._lost.most_common(1)
        url = self._examples[lacks]
        had = "that were read" if self.is_new else "that had a product when they were read last"
        raise Drifted(
            f"{url}: {lost} of {self._looked} pages {had} have none now; {times} lack the {lacks}, such as this one;"
            f" {MARK}: look at the page with --check, and adapt the profile",
            url,
            lacks,
        )
