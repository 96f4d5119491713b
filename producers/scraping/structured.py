"""Data that a page holds for machines: JSON-LD, microdata and OpenGraph, each as schema.org's things. Pure.

A thing has its kinds as a list under ``@type``, without schema.org's address; its properties have plain names too.
https://www.w3.org/TR/json-ld11/#embedding-json-ld-in-html-documents, https://html.spec.whatwg.org/multipage/microdata.html,
https://ogp.me
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import Any, Final
from urllib.parse import urljoin

import pyjson5
from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

Thing = dict[str, Any]
DEEPEST: Final = 50  # levels of things in things; no product has a tenth of it
LONGEST_LENIENT: Final = 1_000_000  # characters of a block that is tried once more as JSON5
MOST_WRAPPERS: Final = 5  # around one script
MOST_STEPS: Final = 500_000  # from tag to tag, for all microdata of a page
MOST_PROPERTIES: Final = 500  # of one microdata item
# What people wrap a script in so that it hides from old browsers and from XML, and a semicolon as after a statement.
OPENINGS: Final = ("\ufeff", "<!--", "<![CDATA[", "//<![CDATA[", "// <![CDATA[", "/*<![CDATA[*/", "/* <![CDATA[ */")
CLOSINGS: Final = (";", "-->", "]]>", "//-->", "// -->", "//]]>", "// ]]>", "/*]]>*/", "/* ]]> */")
VOCABULARY: Final = re.compile(r"^(?:https?://(?:www\.)?schema\.org/|schema:)", re.IGNORECASE)
# OpenGraph's words for a product, and schema.org's for the same.
OPEN_GRAPH_OFFER: Final = {
    "price": ("product:sale_price:amount", "product:price:amount", "og:price:amount"),
    "priceCurrency": ("product:sale_price:currency", "product:price:currency", "og:price:currency"),
    "availability": ("product:availability", "og:availability"),
}
OPEN_GRAPH_PRODUCT: Final = {
    "name": ("og:title",),
    "productID": ("product:retailer_item_id",),
    "brand": ("product:brand", "og:brand"),
    "description": ("og:description",),
    "image": ("og:image",),
    "url": ("og:url",),
    "originalPrice": ("product:original_price:amount", "og:price:standard_amount"),
}


class _Broken(Exception):
    """A block that is no JSON; the message says where and why."""


@dataclass(frozen=True)
class Structured:
    """The structured data of one page."""

    soup: BeautifulSoup
    url: str

    @cached_property
    def _blocks(self) -> tuple[list[Thing], list[str]]:
        things: list[Thing] = []
        problems: list[str] = []
        for script in self.soup.find_all("script", type=re.compile(r"^\s*application/ld\+json", re.IGNORECASE)):
            try:
                things += _things(_plain(_parsed(script)))
            except _Broken as broken:
                problems.append(str(broken))
        return things, problems

    @property
    def problems(self) -> list[str]:
        """Blocks of JSON-LD that can't be read, each with line and column of the page."""
        return self._blocks[1]

    @cached_property
    def json_ld(self) -> list[Thing]:
        """The things at the top of JSON-LD, of graphs, and what a page is about; references by ``@id`` are resolved."""
        return self._blocks[0]

    @cached_property
    def named(self) -> dict[str, Thing]:
        """Things of JSON-LD by their ``@id``, for references to them."""
        return {t["@id"]: t for t in self.json_ld if isinstance(t.get("@id"), str) and len(t) > 1}

    @cached_property
    def microdata(self) -> list[Thing]:
        """The items at the top, as JSON-LD would have them."""
        steps = iter(range(MOST_STEPS))
        return [_item(tag, self.url, 0, steps) for tag in self.soup.select("[itemscope]:not([itemprop])")]

    @cached_property
    def open_graph(self) -> list[Thing]:
        """One product, when the page has a price; OpenGraph has no nested objects."""
        given: dict[str, str] = {}
        for meta in self.soup.find_all("meta", content=True):
            name = str(meta.get("property") or meta.get("name") or "").lower()
            given.setdefault(name, str(meta["content"]))
        offer = _first_given(given, OPEN_GRAPH_OFFER)
        if not offer.get("price"):
            return []
        return [
            {"@type": ["Product"], **_first_given(given, OPEN_GRAPH_PRODUCT), "offers": {"@type": ["Offer"], **offer}}
        ]

    def resolved(self, value: Any) -> Any:
        """The thing that a bare reference names, else the value."""
        if isinstance(value, dict) and value.keys() == {"@id"} and isinstance(value["@id"], str):
            return self.named.get(value["@id"], value)
        return value

    def summary(self) -> str:
        """The page's structured data in words, for the reason why it was not understood."""
        parts = [f"{name} of {', '.join(kinds)}" for name, kinds in self._kinds() if kinds]
        title = self.soup.title.get_text(" ", strip=True) if self.soup.title else ""
        parts += [f"the title {title[:80]!r}"] if title else []
        has = f"it has {' and '.join(parts)}" if parts else "it has no structured data and no title"
        return "; ".join([has, *self.problems[:3]])

    def _kinds(self) -> Iterator[tuple[str, list[str]]]:
        for name, things in (("JSON-LD", self.json_ld), ("microdata", self.microdata), ("OpenGraph", self.open_graph)):
            yield name, list(dict.fromkeys(kind[:40] for thing in things for kind in thing["@type"]))[:6]


def listed(value: Any) -> list[Any]:
    """A list as it is, nothing as none, and anything else as one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def bare(name: Any) -> str:
    """A name of schema.org's vocabulary without its address: ``https://schema.org/InStock/`` is InStock."""
    return VOCABULARY.sub("", str(name).strip()).strip("/")


def _first_given(given: Mapping[str, str], names: Mapping[str, tuple[str, ...]]) -> Thing:
    found = {to: next((given[name] for name in among if given.get(name)), None) for to, among in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def _parsed(script: Tag) -> Any:
    """The block's JSON: as the standard has it, else as shops write it. Raises _Broken with line and column."""
    text = script.get_text()
    begins, inner = _unwrapped(text)
    if not inner:
        return None
    try:
        # Real shops put line breaks into strings: not strict.
        return json.loads(inner, strict=False, parse_float=Decimal)
    except RecursionError as error:
        raise _Broken(f"the JSON-LD at {_place(script, text, begins)} is nested too deep") from error
    except ValueError as error:
        problem, at = (error.msg, error.pos) if isinstance(error, json.JSONDecodeError) else (str(error), 0)
    try:
        if len(inner) <= LONGEST_LENIENT:
            return pyjson5.decode(inner, DEEPEST)
    except (pyjson5.Json5Exception, ValueError, RecursionError):
        pass  # the standard parser's message names the place
    raise _Broken(f"the JSON-LD can't be read at {_place(script, text, begins + at)}: {problem[:200]}")


def _unwrapped(text: str) -> tuple[int, str]:
    """Where the JSON begins, and the JSON."""
    inner = text
    for _ in range(MOST_WRAPPERS):
        inner = inner.lstrip()
        inner = inner[max((len(o) for o in OPENINGS if inner.startswith(o)), default=0) :]
    begins = len(text) - len(inner)
    for _ in range(MOST_WRAPPERS):
        inner = inner.rstrip()
        inner = inner[: len(inner) - max((len(c) for c in CLOSINGS if inner.endswith(c)), default=0)]
    return begins, inner.strip()


def _place(script: Tag, text: str, at: int) -> str:
    """Line and column of the page, from 1."""
    line, column = script.sourceline or 1, script.sourcepos or 0
    before = text[:at]
    newlines = before.count("\n")
    if newlines:
        return f"line {line + newlines}, column {at - before.rfind(chr(10))}"
    # The tag itself stands before the text; how its attributes are spaced varies, so it is found from its end.
    opening = len("<script>") + sum(len(f' {name}="{value}"') for name, value in script.attrs.items())
    return f"line {line}, column {column + opening + at + 1}"


def _plain(value: Any, depth: int = 0) -> Any:
    """With plain names, and the kinds of each thing as a list. Raises _Broken for what is nested too deep."""
    if depth > DEEPEST:
        raise _Broken(f"a block of JSON-LD is nested more than {DEEPEST} levels deep")
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    thing = {bare(name): _plain(inner, depth + 1) for name, inner in value.items()}
    if "@value" in thing:
        return thing["@value"]
    return thing | {"@type": [bare(kind) for kind in listed(thing["@type"])]} if "@type" in thing else thing


def _things(document: Any) -> Iterator[Thing]:
    for thing in listed(document):
        if isinstance(thing, list):
            yield from _things(thing)
        elif isinstance(thing, dict):
            yield {"@type": [], **thing}
            for inside in ("@graph", "mainEntity", "mainEntityOfPage"):
                yield from _things(thing.get(inside))


def _item(tag: Tag, url: str, depth: int, steps: Iterator[int]) -> Thing:
    """One microdata item with the items in it. What is nested too deep, or beyond all ``steps``, is left out."""
    thing: Thing = {"@type": [bare(kind) for kind in str(tag.get("itemtype") or "").split()]}
    if depth > DEEPEST:
        return thing
    for prop in islice(_properties(tag, steps), MOST_PROPERTIES):
        value = _item(prop, url, depth + 1, steps) if prop.has_attr("itemscope") else _value(prop, url, steps)
        for name in {bare(name) for name in str(prop["itemprop"]).split()} - {"@type", "@id"}:
            thing[name] = [*listed(thing[name]), value] if name in thing else value
    return thing


def _properties(tag: Tag, steps: Iterator[int]) -> Iterator[Tag]:
    """Tags with an itemprop that belong to this item and to none within."""
    waiting = [child for child in reversed(tag.contents) if isinstance(child, Tag)]
    while waiting and next(steps, None) is not None:
        child = waiting.pop()
        if child.has_attr("itemprop"):
            yield child
        if not child.has_attr("itemscope"):
            waiting += [inner for inner in reversed(child.contents) if isinstance(inner, Tag)]


def _value(tag: Tag, url: str, steps: Iterator[int]) -> str:
    for attribute in ("content", "href", "src", "datetime", "value"):
        if tag.has_attr(attribute):
            given = str(tag[attribute])
            return joined(url, given) or given if attribute in ("href", "src") else given
    texts = (node for node, _ in zip(tag.descendants, steps, strict=False) if type(node) is NavigableString)
    return " ".join(" ".join(texts).split())


def joined(base: str, address: str) -> str | None:
    """The absolute address, or None when what is given is no address."""
    try:
        return urljoin(base, address.strip())
    except ValueError:
        return None
