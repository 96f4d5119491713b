"""A recipe: for which dead letters it is, and the steps by which one becomes an event. A YAML file, with examples.

Its examples are checked when it is read: a recipe that does not do what they say is refused. docs/dead-letters.md
describes the file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import jmespath
import yaml
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from producers.redrive import steps
from producers.redrive.event import Anybody, Origin
from producers.redrive.event import made as event_of
from producers.redrive.steps import CannotFix, Form, Kind
from schemas import catalogue
from schemas.binary import EPOCH
from schemas.codec import Encoder
from schemas.errors import Misconfigured, PoisonEvent, advice

Path_ = Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)*$")]
Text = Annotated[str, Field(min_length=1)]
MOST_SAID: Final = 200


def compiled(expression: str) -> str:
    """The expression, if it is one of JMESPath. Raises ValueError."""
    try:
        jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(
            f"{expression!r} is not a JMESPath expression: {' '.join(str(error).split())};"
            " texts are in single quotes, as in error == 'BadEvent'"
        ) from error
    return expression


Expression = Annotated[str, AfterValidator(compiled)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Replace(_Model):
    """What ``replace`` needs: all that ``pattern`` matches in the text ``field`` becomes ``by``."""

    field: Path_
    pattern: Text
    by: str

    @model_validator(mode="after")
    def _is_pattern(self) -> Self:
        try:
            # Whether what it is replaced by fits is said before anything is matched.
            re.compile(self.pattern).sub(self.by, "")
        except (re.error, IndexError) as error:
            said = f"{self.pattern!r} by {self.by!r} can't be replaced"
            raise ValueError(f"{said}: {error}; one of them is not a regular expression") from error
        return self


class Translate(_Model):
    """What ``map`` needs: a value that is in the table ``values`` becomes what stands there."""

    field: Path_
    values: dict[str, Any] = Field(min_length=1)


class Step(_Model):
    """One of these, each for as many fields as it names."""

    set: dict[Path_, Any] | None = None
    default: dict[Path_, Any] | None = None
    take: dict[Path_, Expression] | None = None
    rename: dict[Path_, Path_] | None = None
    cast: dict[Path_, Kind] | None = None
    parse: dict[Path_, Form] | None = None
    drop: tuple[Path_, ...] | None = None
    keep: tuple[Path_, ...] | None = None
    replace: Replace | None = None
    map: Translate | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"has {len(self.model_fields_set)} keys; a step is one of {known}")
        return self

    def apply(self, value: dict[str, Any], document: Mapping[str, Any]) -> None:
        """Change ``value``. ``document`` is the letter with it. Raises CannotFix."""
        for path, what in (self.set or {}).items():
            steps.put(value, path, steps.exact(what))
        for path, what in (self.default or {}).items():
            steps.default(value, path, steps.exact(what))
        for path, expression in (self.take or {}).items():
            steps.put(value, path, steps.exact(steps.found(expression, document)))
        for old, new in (self.rename or {}).items():
            steps.rename(value, old, new)
        for path, kind in (self.cast or {}).items():
            steps.cast(value, path, kind)
        for path, form in (self.parse or {}).items():
            steps.parse(value, path, form)
        for path in self.drop or ():
            steps.drop(value, path)
        if self.keep is not None:
            steps.keep(value, self.keep)
        if self.replace is not None:
            steps.replace(value, self.replace.field, re.compile(self.replace.pattern), self.replace.by)
        if self.map is not None:
            steps.translate(value, self.map.field, self.map.values)


class Example(_Model):
    """A letter, and what the steps make of it: ``expected``, or nothing because it is not for this recipe.

    ``given`` is an object, or the text as it came; ``headers`` and ``reason`` are the letter's.
    """

    given: Any
    headers: dict[str, str] = {}
    reason: str = ""
    error: str = ""
    expected: dict[str, Any] | None = None
    left_out: bool = False

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.expected is None) is not self.left_out:
            raise ValueError("must have either expected, or left_out: true")
        return self


class Recipe(_Model):
    """See the module.

    Attributes:
        name: of the file, without ``.yaml``.
        sha256: of what it does: its title and its examples may change.
        title: what it mends.
        event: the contract of the events that it makes.
        letters: the topic or contract of the letters that it is for; by default that of ``event``.
        where: which of them; by default all.
        read: what the letter's bytes are. CSV has no header: ``columns`` names them.
        steps: done one after the other.
        examples: at least one with what is expected.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    sha256: str
    title: Text
    event: Text
    letters: str | None = None
    where: Expression | None = None
    read: Literal["json", "csv", "text"] = "json"
    columns: tuple[str, ...] = ()
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    steps: tuple[Step, ...] = Field(min_length=1)
    examples: tuple[Example, ...] = Field(min_length=1)

    @field_validator("event")
    @classmethod
    def _is_event(cls, name: str) -> str:
        known = [each.name for each in catalogue.events() if each.format == "avro"]
        if name not in known:
            raise ValueError(f"{name!r} is no event that can be published; use one of {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.read == "csv") is not bool(self.columns):
            raise ValueError("columns are named where, and only where, read is csv")
        if all(each.left_out for each in self.examples):
            raise ValueError("has no example with what is expected; add one")
        return self

    def is_for(self, topic: str, document: Mapping[str, Any]) -> bool:
        """Whether a letter is one of those. Raises CannotFix as ``steps.holds`` does."""
        wanted = self.letters or self.event
        return topic in (wanted, f"{wanted}.v1") and (self.where is None or steps.holds(self.where, document))

    def parsed(self, value: bytes) -> Any:
        """The letter's bytes as what they are. Raises CannotFix."""
        return parsed(value, self.read, self.columns, self.delimiter)

    def fixed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """What the steps make of ``document["value"]``, which stays as it is. Raises CannotFix."""
        given = document["value"]
        if not isinstance(given, dict):
            raise CannotFix("", f"is {type(given).__name__}, and the steps need an object")
        try:
            value: dict[str, Any] = steps.exact(given)
            for step in self.steps:
                step.apply(value, {**document, "value": value})
        except RecursionError as error:
            raise CannotFix("", "is nested too deeply") from error
        return value


def parsed(value: bytes, form: str, columns: tuple[str, ...] = (), delimiter: str = ",") -> Any:
    """Bytes read as ``json``, ``csv`` or ``text``. Raises CannotFix."""
    if form == "json":
        return steps.read_json(value)
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise CannotFix("", "is not UTF-8") from error
    if form == "text":
        return {"text": text}
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise CannotFix("", f"is not CSV: {error}") from error
    if len(rows) != 1 or len(rows[0]) != len(columns):
        raise CannotFix("", f"is not one row of {len(columns)} columns")
    return dict(zip(columns, rows[0], strict=True))


def load(path: Path) -> Recipe:
    """The recipe in a file, whose examples hold. Raises Misconfigured, a line a problem, with what to do."""
    try:
        content = path.read_bytes()
        document = yaml.safe_load(content)
    except OSError as error:
        raise Misconfigured(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise Misconfigured(f"{path}: is not a mapping; docs/dead-letters.md shows a recipe")
    for name in ("name", "sha256"):
        if name in document:
            raise Misconfigured(f"{path}: field {name}: is not a field here; remove it")
    try:
        recipe = _with_hash(Recipe.model_validate({**document, "name": path.stem, "sha256": ""}))
    except ValidationError as error:
        raise Misconfigured("\n".join(f"{path}: {_explain(dict(e))}" for e in error.errors())) from error
    if problems := [problem for n, each in enumerate(recipe.examples, 1) if (problem := _problem(recipe, n, each))]:
        raise Misconfigured("\n".join(f"{path}: {problem}" for problem in problems))
    return recipe


def _with_hash(recipe: Recipe) -> Recipe:
    does = recipe.model_dump_json(exclude={"name", "sha256", "title", "examples"}, exclude_unset=True)
    return recipe.model_copy(update={"sha256": hashlib.sha256(does.encode()).hexdigest()})


def _explain(error: dict[str, Any]) -> str:
    field = ".".join(str(step) for step in error["loc"])
    said = str(error["ctx"]["error"]) if error["type"] == "value_error" else advice(error)
    return f"field {field}: {said}" if field else said


def _problem(recipe: Recipe, number: int, example: Example) -> str | None:
    """What an example says otherwise than the recipe does, or why its event does not fit the contract."""
    given = example.given if isinstance(example.given, str) else _plain(steps.exact(example.given))
    document: dict[str, Any] = {"reason": example.reason, "error": example.error, "headers": example.headers}
    document |= {"topic": recipe.letters or recipe.event, "offset": 0}
    try:
        document["value"] = recipe.parsed(given.encode())
        if not recipe.is_for(document["topic"], document):
            return None if example.left_out else f"example {number}: where leaves it out, and something is expected"
        if example.left_out:
            return f"example {number}: where takes it, and it should be left out"
        made = recipe.fixed(document)
        wanted = steps.exact(example.expected)
        if _plain(made) != _plain(wanted):
            return f"example {number}: {_difference(wanted, made)}"
        _check_contract(recipe.event, made, example.headers, document["value"])
    except PoisonEvent as error:
        return f"example {number}: {error}"
    return None


def _check_contract(name: str, made: Mapping[str, Any], headers: Mapping[str, str], said: Mapping[str, Any]) -> None:
    contract = catalogue.event(name)
    letter = Origin(offset=0, dead_at=EPOCH, headers={**headers, "skew_ms": "0"}, said=said)
    Encoder(contract, 0).encode(event_of(contract, made, letter, Anybody()))


def _plain(value: Any) -> str:
    """JSON, equal for what is equal: a decimal is a number."""
    return json.dumps(value, sort_keys=True, default=lambda what: int(what) if what == int(what) else float(what))


def _difference(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> str:
    wrong = sorted(name for name in wanted.keys() | got.keys() if _said(wanted, name) != _said(got, name))
    return "; ".join(f"{name} is {_said(got, name)}, and {_said(wanted, name)} is expected" for name in wrong)


def _said(fields: Mapping[str, Any], name: str) -> str:
    return _plain(fields[name])[:MOST_SAID] if name in fields else "not there"
