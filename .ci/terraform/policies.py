"""What was applied allows nobody too much: policies without stars, and no rule that lets in the whole internet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

A_KEYS_OWN = {"aws_kms_key"}  # whose policy says `*` for itself
OPEN = {"0.0.0.0/0", "::/0"}
# Actions that AWS offers for no resource in particular.
WITHOUT_RESOURCE = re.compile(
    r"(ec2:Describe\w+|ecr:GetAuthorizationToken|ecs:(Describe|Register)TaskDefinition"
    r"|secretsmanager:GetRandomPassword|ssmmessages:\w+)$"
)


def too_much(module: dict[str, Any]) -> list[str]:
    """A line for each, of a module as ``tofu show -json`` has its values."""
    return [problem for resource in resources(module) for problem in of_resource(resource)]


def resources(module: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All resources, of inner modules too."""
    yield from module.get("resources", ())
    for inner in module.get("child_modules", ()):
        yield from resources(inner)


def of_resource(resource: dict[str, Any]) -> Iterator[str]:
    """What one resource allows that it should not."""
    values, kind = resource["values"], resource["type"]
    for field in ("policy", "assume_role_policy"):
        text = values.get(field)
        if isinstance(text, str) and text.startswith("{") and "Statement" in text:
            for statement in json.loads(text)["Statement"]:
                for problem in of_statement(statement, is_of_key=kind in A_KEYS_OWN):
                    yield f"{resource['address']}: {field}: {problem}"
    if "ingress" in kind and OPEN & {values.get("cidr_ipv4"), values.get("cidr_ipv6")}:
        yield f"{resource['address']}: lets in the whole internet"
    for rule in values.get("ingress") or () if kind.endswith("security_group") else ():
        if OPEN & {*(rule.get("cidr_blocks") or ()), *(rule.get("ipv6_cidr_blocks") or ())}:
            yield f"{resource['address']}: lets in the whole internet"


def of_statement(statement: dict[str, Any], *, is_of_key: bool) -> Iterator[str]:
    """Stars in a statement that allows something, but for those that AWS leaves no choice about."""
    if statement["Effect"] != "Allow":
        return
    actions, allowed = listed(statement.get("Action")), listed(statement.get("Resource"))
    may_all_of_key = is_of_key and ":root" in str(statement.get("Principal"))
    if any("*" in action for action in actions) and not may_all_of_key:
        yield f"a star in the actions {', '.join(actions)}"
    if "*" in allowed and not is_of_key and not all(WITHOUT_RESOURCE.match(action) for action in actions):
        yield f"every resource, for {', '.join(actions)}"
    principal = statement.get("Principal", {})
    if "*" in listed(principal.get("AWS") if isinstance(principal, dict) else principal):
        yield f"everybody, for {', '.join(actions)}"
    equals = statement.get("Condition", {}).get("StringEquals", {})
    if "Federated" in principal and not any(claim.endswith(":sub") for claim in equals):
        yield f"whoever {principal['Federated']} knows, for {', '.join(actions)}"
    if "NotAction" in statement or "NotResource" in statement:
        yield "all but some: name what is allowed"


def listed(value: Any) -> list[str]:
    """A policy has one text, or a list of them."""
    return [value] if isinstance(value, str) else list(value or ())
