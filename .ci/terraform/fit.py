"""What was applied fits together where no schema says so: AWS would refuse it, or do something by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from policies import listed, resources

# Where the agent of ECS Exec writes: https://github.com/aws/containers-roadmap/issues/1359.
AGENT = {"/managed-agents", "/var/lib/amazon/ssm", "/var/log/amazon/ssm"}
Resource = Mapping[str, Any]


def unfit(module: dict[str, Any]) -> list[str]:
    """A line for each misfit, of a module as ``tofu show -json`` has its values."""
    of: dict[str, list[Resource]] = {}
    for resource in resources(module):
        of.setdefault(resource["type"], []).append(resource)
    groups = of.get("aws_cloudwatch_log_group", [])
    named = {group["values"]["name"] for group in groups if group["values"]["retention_in_days"]}
    return [
        *(problem for task in of.get("aws_ecs_task_definition", ()) for problem in of_task(task)),
        *(problem for service in of.get("aws_ecs_service", ()) for problem in of_service(service)),
        *(problem for database in of.get("aws_db_instance", ()) for problem in of_database(database, named)),
        *(problem for group in groups for problem in of_group(group, of.get("aws_kms_key", []))),
        *one_sided(of),
    ]


def one_sided(of: Mapping[str, list[Resource]]) -> Iterator[str]:
    """Rules by which one security group lets out what the other does not let in, or the other way round."""
    out = {way(rule, is_out=True): rule for rule in of.get("aws_vpc_security_group_egress_rule", ())}
    into = {way(rule, is_out=False): rule for rule in of.get("aws_vpc_security_group_ingress_rule", ())}
    for key, rule in {**out, **into}.items():
        if rule["values"]["referenced_security_group_id"] and not (key in out and key in into):
            yield f"{rule['address']}: the other security group has no rule for it, so nothing passes"


def way(rule: Resource, *, is_out: bool) -> tuple[str, ...]:
    """From which group to which, and how."""
    values = rule["values"]
    ends = (values["security_group_id"], values["referenced_security_group_id"])
    return (*(ends if is_out else ends[::-1]), *(str(values[of]) for of in ("ip_protocol", "from_port", "to_port")))


def of_task(task: Resource) -> Iterator[str]:
    """Volumes that there are not, and a task in which no container takes commands."""
    volumes = {volume["name"] for volume in task["values"]["volume"]}
    containers = json.loads(task["values"]["container_definitions"])
    for container in containers:
        for mount in container["mountPoints"]:
            if mount["sourceVolume"] not in volumes:
                yield f"{task['address']}: {container['name']} mounts {mount['sourceVolume']}, no volume of the task"
    names = {container["name"] for container in containers}
    for container in containers:
        yield from of_container(task, container, names)
    if not any(takes_commands(container) for container in containers):
        yield f"{task['address']}: no container takes commands: its root or {', '.join(sorted(AGENT))} must be writable"


def of_container(task: Resource, container: Mapping[str, Any], names: set[str]) -> Iterator[str]:
    """Who waits for a container that is not there; and a live job in the task and elsewhere, or nowhere."""
    for other in {of["containerName"] for of in container.get("dependsOn", ())} - names:
        yield f"{task['address']}: {container['name']} waits for {other}, no container of the task"
    named = {of["name"] for of in container.get("environment", ())}
    if container["name"] == "hub" and ("jobmanager" in names) == ("INSIGHTS_DEPLOY_STREAM" in named):
        yield f"{task['address']}: the live job should run in the task or on Managed Flink"
    if "INSIGHTS_EXTERNAL_FLINK" in named and "jobmanager" not in names:
        yield f"{task['address']}: {container['name']} would ask a Flink that the task doesn't have"


def takes_commands(container: Mapping[str, Any]) -> bool:
    """Can the agent of ECS Exec write where it must?"""
    writable = {mount["containerPath"] for mount in container["mountPoints"] if not mount.get("readOnly")}
    return not container["readonlyRootFilesystem"] or writable >= AGENT


def of_service(service: Resource) -> Iterator[str]:
    """ECS refuses a target group that no load balancer has yet."""
    if service["values"]["load_balancer"] and not waits_for(service, "aws_lb_listener"):
        yield f"{service['address']}: does not wait for the load balancer's listener"


def of_database(database: Resource, groups: set[str]) -> Iterator[str]:
    """RDS makes a group that is not there for each log, and keeps it for ever."""
    logs = database["values"]["enabled_cloudwatch_logs_exports"] or ()
    for name in (f"/aws/rds/instance/{database['values']['identifier']}/{log}" for log in logs):
        if name not in groups:
            yield f"{database['address']}: {name} would be kept for ever"
    if logs and not waits_for(database, "aws_cloudwatch_log_group"):
        yield f"{database['address']}: does not wait for the groups of its logs"


def of_group(group: Resource, keys: list[Resource]) -> Iterator[str]:
    """CloudWatch uses a key only for the groups that the key's policy names."""
    name = group["values"]["name"]
    own = [key for key in keys if key["values"]["arn"] == group["values"]["kms_key_id"]]
    statements = [one for key in own for one in json.loads(key["values"]["policy"])["Statement"]]
    conditions = [one.get("Condition", {}).get("ArnLike", {}) for one in statements]
    patterns = [arn for of in conditions for arn in listed(of.get("kms:EncryptionContext:aws:logs:arn"))]
    if not any(fnmatchcase(name, pattern.partition(":log-group:")[2]) for pattern in patterns):
        yield f"{group['address']}: its key's policy does not let CloudWatch encrypt {name}"


def waits_for(resource: Resource, kind: str) -> bool:
    """Was something of this type made first, whatever the order of the rest?"""
    return any(kind in address.split(".") for address in resource.get("depends_on", ()))
