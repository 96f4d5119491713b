"""The types of Avro that contracts use, walked in one place for every system that names them differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from schemas.binary import kind_of

T = TypeVar("T")


class TypeVisitor(ABC, Generic[T]):
    """What an Avro type is somewhere else: a method a kind of type. Each visits the types within by itself."""

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


def is_nullable(avro: Any) -> bool:
    """Is it a union? The contracts have only unions with null."""
    return isinstance(avro, list)
