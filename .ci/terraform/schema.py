"""The AWS provider's schema, out of a wheel: PyPI's ``cdktn-provider-aws`` is generated from it.

The wheel's JavaScript says of each argument whether it is required, optional or computed, and of which type, in text
that a generator wrote. Read here, it becomes what ``tofu providers schema -json`` prints of the provider itself, which
.ci/terraform/provider then serves. Missing in the wheel, and so here: which values are sensitive, the limits of a
block's number but for 0, 1 and many, and whatever the provider checks by code. Standard library only.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = {
    "TerraformResource": "resource_schemas",
    "TerraformDataSource": "data_source_schemas",
    "TerraformEphemeralResource": "ephemeral_resource_schemas",
    "TerraformProvider": "provider",
}
CLASS = re.compile(r"^class (\w+) extends cdktn\.(\w+) \{\n(.*?)^\}", re.M | re.S)
RESOURCE_TYPE = re.compile(r'static tfResourceType = "(\w+)"')
FIELD = re.compile(
    r"// (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n"
    r"((?:(?!    // \w+ - ).*\n){1,6})"
)
NESTED = re.compile(r'= new (?:(?!cdktn)\w+\.)?(\w+?)(OutputReference|List|Map)\(this, "\w+"(?:, (true|false))?\)')
MAP = re.compile(r"= new cdktn\.(String|Number|Boolean|Any)Map(List)?\(this, ")
GETTER = re.compile(r"return (.*?)this\.get(\w+)Attribute\(")
GIVEN = re.compile(
    r'^ +(\w+): \{\n +value: .*\n +isBlock: (true|false),\n +type: "(\w+)",\n +storageClassType: "(\w+)",', re.M
)
STRUCTS = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", re.M | re.S)
BLOCKS = ("list", "set", "struct")
REFERENCE = "OutputReference"
SIMPLE = {"String": "string", "Number": "number", "Boolean": "bool", "Any": "dynamic"}


class Unreadable(Exception):
    """The wheel is not as this program knows it: read how it differs, and change the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One resource's JavaScript: its classes, and what may be given to each: is it a block, its kind and type."""

    classes: dict[str, str]
    given: dict[str, dict[str, tuple[bool, str, str]]]

    def block(self, name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
        """The block that a class stands for. What holds itself is left out there."""
        attributes: dict[str, Any] = {}
        blocks: dict[str, Any] = {}
        given = self.given.get(name.removesuffix(REFERENCE).lower(), {})
        for field, *flags, code in FIELD.findall(self.classes[name]):
            computed, optional, required = (flag == "true" for flag in flags)
            is_block, kind, held = given.get(field, (False, "", ""))
            nested = NESTED.search(code)
            if nested and nested[1] + REFERENCE in above:
                continue
            if is_block and not nested:
                inner = self._optional(held.removesuffix("List").lower())
                blocks[field] = {"nesting_mode": kind, "block": inner, "min_items": 0, "max_items": 0}
            elif nested and is_block and not computed and kind in BLOCKS:
                blocks[field] = self._nested(nested, kind, required, (*above, name))
            else:
                # That is the provider's own way of naming what is write-only: the wheel says it nowhere.
                flagged = {"computed": computed, "optional": optional, "required": required}
                flagged["write_only"] = field.endswith("_wo")
                kind_of = self._compound(nested, kind, (*above, name)) if nested else _plain(code, kind, held)
                attributes[field] = {"type": kind_of, **{flag: True for flag, is_set in flagged.items() if is_set}}
        return {"attributes": attributes, "block_types": blocks}

    def _optional(self, struct: str) -> dict[str, Any]:
        """A block of the provider itself, which has no class: all that is in it counts as optional."""
        simple = {
            name: _plain("", kind, held) for name, (is_block, kind, held) in self.given[struct].items() if not is_block
        }
        return {"attributes": {name: {"type": of, "optional": True} for name, of in simple.items()}, "block_types": {}}

    def _nested(self, nested: re.Match[str], kind: str, required: bool, above: tuple[str, ...]) -> dict[str, Any]:
        inner = self.block(nested[1] + REFERENCE, above)
        if kind == "struct":
            return {"nesting_mode": "single", "block": inner}
        # A set may hold nothing of any type, which is what this program says where it knows no better.
        return {
            "nesting_mode": "list" if '"dynamic"' in json.dumps(inner) else kind,
            "block": inner,
            "min_items": int(required),
            "max_items": int(nested[2] == REFERENCE),
        }

    def _compound(self, nested: re.Match[str], kind: str, above: tuple[str, ...]) -> Any:
        name, form, is_set = nested.groups()
        inner = self._object(self.block(name + REFERENCE, above))
        if form == REFERENCE and kind == "struct":
            return inner
        return ["set" if is_set == "true" or kind == "set" else form.lower() if form == "Map" else "list", inner]

    def _object(self, block: dict[str, Any]) -> Any:
        fields = {field: attribute["type"] for field, attribute in block["attributes"].items()}
        for field, nested in block["block_types"].items():
            inner = self._object(nested["block"])
            fields[field] = inner if nested["nesting_mode"] == "single" else [nested["nesting_mode"], inner]
        return ["object", fields]


def _plain(code: str, kind: str, held: str) -> Any:
    """The type of what has no fields of its own. Those of the provider itself have no getter that says it."""
    if getter := GETTER.search(code):
        around, read = getter.groups()
        is_set = "tolist" in around
    elif maps := MAP.search(code):
        return ["list", ["map", SIMPLE[maps[1]]]] if maps[2] else ["map", SIMPLE[maps[1]]]
    elif "interpolationForAttribute" in code:  # lists of maps and the like: any value is accepted
        return "dynamic"
    elif held:
        read, is_set = held[0].upper() + held[1:], kind == "set"
    else:
        raise Unreadable(f"no type in: {code}")
    if read in SIMPLE:
        return SIMPLE[read]
    collection = "Map" if read.endswith("Map") else "List"
    plain = SIMPLE[read.removesuffix(collection) or "String"]
    return ["map" if collection == "Map" else "set" if is_set else "list", plain]


def read_module(code: str) -> Module:
    """What the JavaScript of one resource defines."""
    classes = {name: body for name, _, body in CLASS.findall(code)}
    given = {name.lower(): _given(body) for name, body in STRUCTS.findall(code)}
    given |= {name.lower(): _given(body) for name, body in classes.items() if RESOURCE_TYPE.search(body)}
    return Module(classes=classes, given=given)


def _given(body: str) -> dict[str, tuple[bool, str, str]]:
    return {name: (is_block == "true", kind, held) for name, is_block, kind, held in GIVEN.findall(body)}


def schema(wheel: Path) -> dict[str, Any]:
    """The provider's schema, as ``tofu providers schema -json`` has one provider's. Raises Unreadable."""
    found: dict[str, Any] = {kind: {} for kind in KINDS.values()}
    for javascript in _modules(wheel):
        module = read_module(javascript)
        for name, base, body in CLASS.findall(javascript):
            if base in KINDS and (resource := RESOURCE_TYPE.search(body)):
                of = {"version": 0, "block": module.block(name)}
                if base == "TerraformProvider":
                    found["provider"] = of
                else:
                    found[KINDS[base]][resource[1]] = of
    if not all(found.values()):
        raise Unreadable(f"{wheel.name} holds no {' and no '.join(kind for kind, of in found.items() if not of)}")
    return found


def _modules(wheel: Path) -> list[str]:
    """The code of each resource, which has a folder of one file, or of several."""
    with zipfile.ZipFile(wheel) as files:
        (inner,) = (name for name in files.namelist() if name.endswith(".jsii.tgz"))
        archive = io.BytesIO(files.read(inner))
    found: dict[str, str] = {}
    with tarfile.open(fileobj=archive) as modules:
        for member in modules:
            folder = re.match(r"package/lib/([^/]+)/.*\.js$", member.name)
            if folder and (file := modules.extractfile(member)):
                code = file.read().decode().partition("//# sourceMappingURL")[0]
                found[folder[1]] = found.get(folder[1], "") + code
    return list(found.values())
