"""What a rule is: the YAML files in ``rules/``, one a rule, read into frozen models. A rule's name is its file's.

- SQL is plain Postgres, one read-only statement. ``{{now}}`` stands for the time of the check.
- It returns ``label``, a text that distinguishes findings; without that column there is one finding at most.
  Every other column can be put into ``message`` as ``{column}``. What else each kind needs is documented at its class.
- Lengths of time are ``90s``, ``10m``, ``2h``, ``3d``, ``1d12h``; ``for`` may be ``3 checks`` too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from schemas.duration import length_of_time
from schemas.errors import Misconfigured, advice

RULES = Path(__file__).parent / "rules"
CHECKS = re.compile(r"(\d+)\s+checks?")
PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
MOST_CLEAR = timedelta(minutes=10)

Severity = Literal["critical", "warning", "info"]
ChannelName = Literal["webhook", "slack", "email"]


def _length(value: object) -> timedelta:
    return value if isinstance(value, timedelta) else length_of_time(str(value))


Length = Annotated[timedelta, BeforeValidator(_length)]
Text = Annotated[str, Field(min_length=1)]


class _Rule(BaseModel):
    """What every kind has.

    Attributes:
        name: of the file, without ``.yaml``.
        title: what people read first.
        severity: how loud.
        sql: the query.
        every: time between two checks.
        hold: (``for``) how long a finding must be there, check after check, before it fires.
        clear: how long it must be gone before it is over; by default as ``for``, ten minutes at most.
        remind: time after which one that still fires is sent again.
        message: the notification of one finding.
        runbook: what to do.
        channels: where it is sent; by default every configured channel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: Text
    severity: Severity = "warning"
    sql: Text
    every: Length = timedelta(minutes=1)
    hold: timedelta = Field(default=timedelta(0), alias="for")
    clear: Length = timedelta(0)
    remind: Length = timedelta(hours=24)
    message: Text
    runbook: Text
    channels: tuple[ChannelName, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _times(cls, values: Any) -> Any:
        """``for`` may count checks, and ``clear`` goes by it."""
        if not isinstance(values, dict):
            return values
        wanted, every = values.get("for", timedelta(0)), values.get("every", "1m")
        if isinstance(wanted, str) and (counted := CHECKS.fullmatch(wanted.strip())):
            wanted = (int(counted[1]) - 1) * _or(every, timedelta(minutes=1)) if int(counted[1]) else timedelta(0)
            values = {**values, "for": wanted}
        return values if "clear" in values else {**values, "clear": min(_or(wanted, timedelta(0)), MOST_CLEAR)}

    @field_validator("hold", mode="before")
    @classmethod
    def _hold(cls, value: object) -> timedelta:
        try:
            return _length(value)
        except ValueError as error:
            raise ValueError(f"{error}, or 3 checks") from error

    @field_validator("every", "remind")
    @classmethod
    def _not_none(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("is zero; write at least 1s")
        return value

    @field_validator("sql")
    @classmethod
    def _one_query(cls, sql: str) -> str:
        text = sql.strip()
        if not re.match(r"(with|select)\b", text, re.IGNORECASE):
            raise ValueError("is not a query: it must start with 'with' or 'select'")
        if ";" in text:
            raise ValueError("has a semicolon: give one statement, without one at its end")
        if unknown := {name for name in PLACEHOLDER.findall(text) if name != "now"}:
            raise ValueError(f"{{{{{min(unknown)}}}}} is not defined; use {{{{now}}}}")
        return text

    @field_validator("message")
    @classmethod
    def _plain_columns(cls, message: str) -> str:
        try:
            names = columns_in(message)
        except ValueError as error:
            raise ValueError(f"can't be read ({error}); a brace is written twice, {{{{ and }}}}") from error
        if wrong := [name for name in names if not re.fullmatch(r"[a-z_][a-z0-9_]*", name)]:
            raise ValueError(f"{{{wrong[0]}}} is not a column name; write {{label}} or another column of the SQL")
        return message

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that the SQL must return."""
        return ()

    @property
    def provides(self) -> tuple[str, ...]:
        """What ``message`` may hold besides the SQL's columns."""
        return ("label",)


def _or(text: object, otherwise: timedelta) -> timedelta:
    """The length, or ``otherwise`` if it is wrong: the field's own validation reports that."""
    try:
        return _length(text)
    except ValueError:
        return otherwise


def columns_in(message: str) -> list[str]:
    """Names in braces. Raises ValueError when the braces don't match."""
    return [name for _, name, _, _ in Formatter().parse(message) if name is not None]


class Empty(_Rule):
    """A SQL that should return no rows: each row is a finding."""

    kind: Literal["empty"]


class Threshold(_Rule):
    """A number for each label, in ``value``. One that is null is not known: no finding, and an alert of it stays.

    It is a finding when it is ``above`` or ``below`` that. ``message`` may hold ``{limit}``.
    """

    kind: Literal["threshold"]
    above: Decimal | None = None
    below: Decimal | None = None

    @model_validator(mode="after")
    def _a_limit(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("has no limit: add 'above' or 'below'")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that its SQL must return."""
        return ("value",)

    @property
    def provides(self) -> tuple[str, ...]:
        """What its message may name besides those columns."""
        return ("label", "limit")


class Freshness(_Rule):
    """The newest time for each label, in ``at`` (timestamptz). One that is null is not known, as in a threshold.

    It is a finding when it is longer ago than ``limit``, or than the row's own ``limit_seconds`` where it has one.
    ``message`` may hold ``{age}`` and ``{limit}``.
    """

    kind: Literal["freshness"]
    limit: Length

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that its SQL must return."""
        return ("at",)

    @property
    def provides(self) -> tuple[str, ...]:
        """What its message may name besides those columns."""
        return ("label", "age", "limit")


Rule = Empty | Threshold | Freshness
KINDS: dict[str, type[_Rule]] = {"empty": Empty, "threshold": Threshold, "freshness": Freshness}
_ADAPTER: TypeAdapter[Rule] = TypeAdapter(Annotated[Rule, Field(discriminator="kind")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a folder, by name, and a line for each problem: a file with one is not among the rules."""

    rules: tuple[Rule, ...]
    problems: tuple[str, ...]


def read_rules(folder: Path = RULES) -> Rules:
    """All rules of a folder. A file that is wrong keeps no other from being read; it is named with field and cause."""
    rules: list[Rule] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            rules.append(load(path))
        except Misconfigured as error:
            problems += str(error).splitlines()
    if not folder.is_dir():
        problems.append(f"{folder}: has no rules; name a folder with *.yaml files")
    return Rules(rules=tuple(rules), problems=tuple(problems))


def load(path: Path) -> Rule:
    """The rule in ``path``. Raises Misconfigured, a line a problem, with file, field and what to do."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{path}: can't be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise Misconfigured(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise Misconfigured(f"{path}: is not a mapping; start it with 'title:' like the others in {path.parent}")
    if "name" in document:
        raise Misconfigured(f"{path}: field name: a rule is named after its file; remove it")
    try:
        return _ADAPTER.validate_python({**document, "name": path.stem})
    except ValidationError as error:
        raise Misconfigured("\n".join(f"{path}: {_explain(dict(e))}" for e in error.errors())) from error


def _explain(error: dict[str, Any]) -> str:
    field = ".".join(str(step) for step in error["loc"] if step not in KINDS)
    place = f"field {field}: " if field else ""
    if error["type"] == "value_error":
        return f"{place}{error['ctx']['error']}"
    if error["type"].startswith("union_tag"):
        return f"field kind: is one of {', '.join(KINDS)}"
    return f"{place}{advice(error)}"
