"""A contract compiled into one Python expression: the hot path of every producer.

A generic encoder looks at the schema again for every field of every record. Here each contract becomes a function
whose body is a single ``"".join((…))`` over the parts of a record. The parts are text in which each character stands
for one byte (Latin-1), because joining text that is mostly text already spares encoding every string by itself.
Tables and memos hold what comes again: lengths, timestamps' digits, prices, and strings of few distinct values; a
field that turns out to have many is compiled again without its memo.

It takes only what is surely right. At anything else it raises one of MISFITS, and schemas/binary.py has the word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from schemas.binary import EPOCH, MILLISECOND, PRIMITIVES, decimal_bytes, kind_of, string, zigzag
from schemas.rules import currency_problem, source_of

Record = Mapping[str, Any]

REMEMBERED_STRINGS = 2048
LONGEST_REMEMBERED = 256
REMEMBERED_DECIMALS = 65_536


def _text(encoded: bytes) -> str:
    return encoded.decode("latin-1")


class _Lengths(dict[int, str]):
    """A string's length, encoded, with something before it."""

    def __init__(self, before: str) -> None:
        super().__init__((n, before + _text(zigzag(n))) for n in range(1024))
        self._before = before

    def __missing__(self, length: int) -> str:
        return self._before + _text(zigzag(length))


class _HighDigits(dict[int, str]):
    """The digits of a timestamp above its 28 low bits: they change every day and a half."""

    def __missing__(self, high: int) -> str:
        if high <= 0:
            raise ValueError("a time so near to 1970, or before it, has other low digits")
        digits = self[high] = _text(zigzag(high >> 1)) if high % 2 == 0 else _text(zigzag(-(high + 1) >> 1))
        return digits


class _Strings(dict[str | None, str]):
    """Encoded strings, remembered while they are few."""

    def __init__(self, before: str, too_many: Callable[[], None]) -> None:
        super().__init__({None: "\x00"} if before else {})
        self._before = before
        self._too_many = too_many

    def __missing__(self, value: str) -> str:
        encoded = self._before + _text(string(value))
        if len(self) < REMEMBERED_STRINGS and len(encoded) <= LONGEST_REMEMBERED:
            self[value] = encoded
        else:
            self._too_many()
        return encoded


class _Currencies(dict[str, str]):
    """The shop's currency; without one, those that there are."""

    def __init__(self, shops: str | None) -> None:
        super().__init__({} if shops is None else {shops: _text(string(shops))})
        self._shops = shops

    def __missing__(self, value: str) -> str:
        if currency_problem(value, self._shops):
            _refuse()
        encoded = self[value] = _text(string(value))
        return encoded


class _Decimals(dict[Decimal, str]):
    """Encoded decimals, remembered: a shop has few distinct prices and very many order lines."""

    def __init__(self, scale: int, precision: int, minimum: int | None) -> None:
        super().__init__()
        self._scale = scale
        self._precision = precision
        self._minimum = minimum

    def __missing__(self, value: Decimal) -> str:
        if self._minimum is not None and value < self._minimum:
            _refuse()
        encoded = _text(decimal_bytes(value, self._scale, self._precision))
        if len(self) < REMEMBERED_DECIMALS:
            self[value] = encoded
        return encoded


def _refuse() -> NoReturn:
    raise TypeError("left to the careful encoder")


def _foreign(value: str) -> str:
    """A string beyond ASCII, whose length is that of its UTF-8, or one that is refused."""
    return _text(string(value))


def _foreign_present(value: str) -> str:
    return "\x02" + _text(string(value))


SMALL = tuple(_text(zigzag(n)) for n in range(1024))
# Two digits of seven bits each, both with the mark that more follow.
LOW_DIGITS = tuple(chr(n & 0x7F | 0x80) + chr(n >> 7 | 0x80) for n in range(1 << 14))
SCOPE: dict[str, Any] = {
    "Decimal": Decimal,
    "EPOCH": EPOCH,
    "MILLISECOND": MILLISECOND,
    "SMALL": SMALL,
    "LOW": LOW_DIGITS,
    "HIGH": _HighDigits(),
    "LENGTH": _Lengths(""),
    "PRESENT": _Lengths("\x02"),
    "join": "".join,
    "refuse": _refuse,
    "foreign": _foreign,
    "foreign_present": _foreign_present,
}


class CompiledEncoder:
    """``encode(record)`` for one contract, as text of one character a byte turned into bytes at the end."""

    def __init__(self, schema: dict[str, Any], header: bytes, currency: str | None = None) -> None:
        self._schema = schema
        self._currency = currency
        self._header = _text(header)
        self._various: set[str] = set()
        self._size = len(schema["fields"])
        self._compile()

    def encode(self, record: Record) -> bytes:
        """The record's bytes, header first. Raises one of MISFITS when it is not surely right, or not simple."""
        return (self._exact if len(record) == self._size else self._sparse)(record)

    def _compile(self) -> None:
        parts = (self._schema, self._header, self._various, self._compile, self._currency)
        self._exact = _Compilation(*parts).function(sparse=False)
        self._sparse = _Compilation(*parts).function(sparse=True)


class _Compilation:
    """Writes one function. Methods named after a kind give the source of an expression, or of several after commas."""

    def __init__(
        self,
        schema: dict[str, Any],
        header: str,
        various: set[str],
        again: Callable[[], None],
        currency: str | None,
    ) -> None:
        self._schema = schema
        self._various = various
        self._again = again
        self._currency = currency
        self._scope = {**SCOPE, "HEADER": header}
        self._functions: list[str] = []
        self._names = 0

    def function(self, *, sparse: bool) -> Callable[[Record], bytes]:
        """``sparse`` lets nullable fields be left out and so has to look for unknown ones."""
        fields = self._schema["fields"]
        parts = ", ".join(self._field(field, "r", "", sparse=sparse) for field in fields)
        known = self._bind(frozenset(field["name"] for field in fields))
        check = f"    if not r.keys() <= {known}: refuse()\n" if sparse else ""
        check += "".join(f"    if {broken}: refuse()\n" for broken in _bounds(fields))
        source = f"def encode(r):\n{check}    return join((HEADER, {parts})).encode('latin-1')\n"
        code = compile("".join(self._functions) + source, f"<encoder of {self._schema['name']}>", "exec")
        exec(code, self._scope)  # noqa: S102 the source is built from our own contracts
        encode: Callable[[Record], bytes] = self._scope["encode"]
        return encode

    def _name(self) -> str:
        self._names += 1
        return f"_{self._names}"

    def _bind(self, value: Any) -> str:
        name = self._name()
        self._scope[name] = value
        return name

    def _field(self, field: dict[str, Any], record: str, path: str, *, sparse: bool = False) -> str:
        name = field["name"]
        optional = sparse and isinstance(field["type"], list)
        value = f"{record}.get({name!r})" if optional else f"{record}[{name!r}]"
        if "currency" in field:
            return f"{self._bind(_Currencies(self._currency))}[{value}]"
        rules = (field.get("minimum"), field.get("min_items", 0))
        return self._value(field["type"], value, f"{path}.{name}", *rules)

    def _value(self, schema: Any, value: str, path: str, minimum: int | None = None, min_items: int = 0) -> str:
        kind = kind_of(schema)
        if kind == "union":
            return self._nullable(schema[1], value, path, minimum)
        if kind == "string":
            return self._string(value, path)
        if kind in ("record", "array", "map"):
            return f"{self._composite(schema, path, min_items)}({value})"
        name = self._name()
        if kind == "timestamp-millis":
            low = f"LOW[({name} := ({value} - EPOCH) // MILLISECOND << 1) & 16383]"
            return f"{low}, LOW[{name} >> 14 & 16383], HIGH[{name} >> 28]"
        if kind == "int":
            integer = self._bind(
                _latin(PRIMITIVES["int"]) if minimum is None else _at_least(minimum, PRIMITIVES["int"])
            )
            small = f"({name} := {value}).__class__ is int and {max(minimum or 0, 0)} <= {name} < 1024"
            return f"(SMALL[{name}] if {small} else {integer}({name}))"
        if kind == "decimal":
            memo = self._bind(_Decimals(schema["scale"], schema["precision"], minimum))
            # An int or float may equal a remembered Decimal; it is still refused.
            return f"{memo}[{name} if ({name} := {value}).__class__ is Decimal else refuse()]"
        if kind == "enum":
            return f"{self._bind({symbol: _text(zigzag(n)) for n, symbol in enumerate(schema['symbols'])})}[{value}]"
        encode = _latin(PRIMITIVES[kind]) if minimum is None else _at_least(minimum, PRIMITIVES[kind])
        return f"{self._bind(encode)}({value})"

    def _string(self, value: str, path: str, *, nullable: bool = False) -> str:
        if path not in self._various:
            memo = _Strings("\x02" if nullable else "", lambda: self._give_up_memo(path))
            return f"{self._bind(memo)}[{value}]"
        name = self._name()
        length, foreign = ("PRESENT", "foreign_present") if nullable else ("LENGTH", "foreign")
        plain = f"{{}}.isascii() and '\\0' not in {name}"
        known = f"{length}[len({name})] + {name} if {plain} else {foreign}({name})"
        if not nullable:
            return f"({known.format(f'({name} := {value})')})"
        return f"('\\0' if ({name} := {value}) is None else {known.format(name)})"

    def _nullable(self, schema: Any, value: str, path: str, minimum: int | None) -> str:
        if kind_of(schema) == "string":
            return self._string(value, path, nullable=True)
        name = self._name()
        present = self._value(schema, name, path, minimum)
        return f"('\\0' if ({name} := {value}) is None else join(('\\2', {present})))"

    def _composite(self, schema: dict[str, Any], path: str, min_items: int = 0) -> str:
        """The name of a function that encodes a record, an array or a map."""
        kind, name = kind_of(schema), self._name()
        if kind == "record":
            parts = ", ".join(self._field(field, "r", path) for field in schema["fields"])
            fits = [f"len(r) == {len(schema['fields'])}", *(f"not ({b})" for b in _bounds(schema["fields"]))]
            body = f"join(({parts},)) if {' and '.join(fits)} else refuse()"
        elif kind == "array":
            item = self._item(schema["items"], f"{path}[]")
            none = "refuse()" if min_items else "'\\0'"
            some = f" and len(r) >= {min_items}" if min_items > 1 else ""
            body = (
                f"(join((SMALL[len(r)], *map({item}, r), '\\0')) if r else {none})"
                f" if r.__class__ is list{some} else refuse()"
            )
        else:
            key, item = self._item("string", f"{path}<key>"), self._item(schema["values"], f"{path}<value>")
            entries = f"*[{key}(k) + {item}(v) for k, v in r.items()]"
            body = f"(join((SMALL[len(r)], {entries}, '\\0')) if r else '\\0') if r.__class__ is dict else refuse()"
        self._functions.append(f"def {name}(r):\n    return {body}\n")
        return name

    def _item(self, schema: Any, path: str) -> str:
        if kind_of(schema) in ("record", "array", "map"):
            return self._composite(schema, path)
        name = self._name()
        self._functions.append(f"def {name}(r):\n    return join(({self._value(schema, 'r', path)},))\n")
        return name

    def _give_up_memo(self, path: str) -> None:
        if path not in self._various:
            self._various.add(path)
            self._again()


def _bounds(fields: list[dict[str, Any]]) -> list[str]:
    """Conditions on a record r that break its rules. No discount, the usual one, is asked nothing more."""
    found = []
    for field in fields:
        # A nullable field may be left out.
        value = f"r.get({field['name']!r})" if isinstance(field["type"], list) else f"r[{field['name']!r}]"
        if "at_most" in field:
            nothing = f"{value} and " if field.get("minimum") == 0 else ""
            found.append(f"{nothing}{value} > {source_of(field['at_most'], 'r')}")
        if "at_least" in field:
            found.append(f"{value} < {source_of(field['at_least'], 'r')}")
    return found


def _at_least(minimum: int, encode: Callable[[Any], bytes]) -> Callable[[Any], str]:
    def checked(value: Any) -> str:
        return encode(value).decode("latin-1") if value >= minimum else _refuse()

    return checked


def _latin(encode: Callable[[Any], bytes]) -> Callable[[Any], str]:
    return lambda value: encode(value).decode("latin-1")
