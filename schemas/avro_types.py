"""The types of Avro that contracts use, walked in one place for every system that names them differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from schemas.binary import kind_of

T = TypeVar("T")


class TypeVisitor(ABC, Generic[T]):
    """Translates an Avro type for another system: one method per kind of type, which visits the inner types itself."""

    def visit(self, avro: Any) -> T:
        """The other type. Raises KeyError when there is none."""
        match kind_of(avro):
            case "union":
                return self.nullable(avro[1])
            case "decimal":
                return self.decimal(avro["precision"], avro["scale"])
            case "array":
                return self.array(avro["items"])
            case "map":
                return self.map(avro["values"])
            case "record":
                return self.record(avro["fields"])
            case kind:
                return self.primitive(kind)

    def nullable(self, avro: Any) -> T:
        """A type whose values may be null; as the type itself, where the visitor makes no difference."""
        return self.visit(avro)

    @abstractmethod
    def primitive(self, kind: str) -> T:
        """``string``, ``bytes``, ``enum``, ``int``, ``long``, ``date``, ``timestamp-millis`` and their like."""

    @abstractmethod
    def decimal(self, precision: int, scale: int) -> T:
        """An exact number of ``precision`` digits, ``scale`` of them after the point."""
        ...

    @abstractmethod
    def array(self, items: Any) -> T:
        """``items`` is the Avro type of an item."""
        ...

    @abstractmethod
    def map(self, values: Any) -> T:
        """Its keys are strings."""

    @abstractmethod
    def record(self, fields: Sequence[Any]) -> T:
        """``fields`` are the record's own, each with a name and a type."""


def record_arrays(schema: Any) -> dict[str, list[Any]]:
    """The fields of a record that are arrays of records, nullable or not: name to the fields of an item."""
    kinds = {f["name"]: f["type"][1] if is_nullable(f["type"]) else f["type"] for f in schema["fields"]}
    arrays = {name: kind["items"] for name, kind in kinds.items() if kind_of(kind) == "array"}
    return {name: items["fields"] for name, items in arrays.items() if kind_of(items) == "record"}


def place_of(array: str) -> str:
    """What the place of an item is called in the view of such an array, from 1: ``line`` of ``lines``."""
    return array.removesuffix("s")


def is_nullable(avro: Any) -> bool:
    """Is it a union? The contracts have only unions with null."""
    return isinstance(avro, list)
