"""What an application of Managed Service for Apache Flink is, what it should be, and the request between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from insights.managed_flink.package import RUN_OPTIONS
from spark.aws import split_uri

RUNTIME = "FLINK-2_2"
OWN_GROUP = "insights"
RUN_GROUP = "kinesis.analytics.flink.run.options"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the application should be. ``code``: URI of the package; ``job``: URI of the live job's definition.

    ``secret_version``: the one of the secret's versions that the job asks for, so that another password is an update.
    """

    code: str
    job: str
    role: str
    secret: str
    secret_version: str
    parallelism: int
    checkpoint_seconds: int
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]

    @property
    def properties(self) -> dict[str, dict[str, str]]:
        """Its property groups."""
        own = {"secret": self.secret, "secret_version": self.secret_version, "job": self.job}
        return {RUN_GROUP: dict(RUN_OPTIONS), OWN_GROUP: own}

    @property
    def facts(self) -> dict[str, str]:
        """What is compared and shown, by name."""
        return {
            "runtime": RUNTIME,
            "code": self.code,
            "role": self.role,
            "parallelism": str(self.parallelism),
            "checkpoints": f"every {self.checkpoint_seconds} s",
            "network": _network(self.subnets, self.security_groups),
            **_flat(self.properties),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The application as the service has it."""

    status: str
    version: int
    detail: Mapping[str, Any]

    @property
    def configuration(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.detail["ApplicationConfigurationDescription"]
        return found

    @property
    def properties(self) -> dict[str, dict[str, str]]:
        groups = self.configuration.get("EnvironmentPropertyDescriptions", {}).get("PropertyGroupDescriptions", [])
        return {group["PropertyGroupId"]: dict(group["PropertyMap"]) for group in groups}

    @property
    def definition(self) -> str | None:
        """URI of the live job's definition, if `insights deploy` made the application."""
        return self.properties.get(OWN_GROUP, {}).get("job")

    @property
    def code(self) -> str:
        at = self.configuration["ApplicationCodeConfigurationDescription"]["CodeContentDescription"]
        place = at["S3ApplicationCodeLocationDescription"]
        return f"s3://{place['BucketARN'].rpartition(':')[2]}/{place['FileKey']}"

    @property
    def facts(self) -> dict[str, str]:
        flink = self.configuration["FlinkApplicationConfigurationDescription"]
        checkpoints = flink["CheckpointConfigurationDescription"]
        network = _first_network(self.configuration)
        return {
            "runtime": self.detail["RuntimeEnvironment"],
            "code": self.code,
            "role": self.detail["ServiceExecutionRole"],
            "parallelism": str(flink["ParallelismConfigurationDescription"]["Parallelism"]),
            "checkpoints": f"every {checkpoints['CheckpointInterval'] // 1000} s",
            "network": _network(network.get("SubnetIds", ()), network.get("SecurityGroupIds", ())),
            **_flat(
                {name: {k: v for k, v in group.items() if k != "previous"} for name, group in self.properties.items()}
            ),
        }


def _first_network(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    found: list[dict[str, Any]] = configuration.get("VpcConfigurationDescriptions", [])
    return found[0] if found else {}


def _network(subnets: Any, groups: Any) -> str:
    return f"{', '.join(sorted(subnets))} with {', '.join(sorted(groups))}"


def _flat(groups: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {f"property {name} {key}": value for name, group in groups.items() for key, value in group.items()}


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """One line for each fact that differs."""
    return [
        f"{name}: {found.get(name, 'none')} → {wanted.get(name, 'none')}"
        for name in dict.fromkeys([*wanted, *found])
        if found.get(name) != wanted.get(name)
    ]


def restoring(found: Found, target: Found) -> dict[str, Any]:
    """The update that makes what is found what the target was."""
    flink = target.configuration["FlinkApplicationConfigurationDescription"]
    network = _first_network(target.configuration)
    return update_of(
        found,
        runtime=target.detail["RuntimeEnvironment"],
        code=target.code,
        role=target.detail["ServiceExecutionRole"],
        parallelism=flink["ParallelismConfigurationDescription"]["Parallelism"],
        checkpoint_ms=flink["CheckpointConfigurationDescription"]["CheckpointInterval"],
        properties=target.properties,
        network=(network.get("SubnetIds", ()), network.get("SecurityGroupIds", ())),
    )


def update_of(
    found: Found,
    *,
    runtime: str,
    code: str,
    role: str,
    parallelism: int,
    checkpoint_ms: int,
    properties: Mapping[str, Mapping[str, str]],
    network: tuple[Any, Any],
) -> dict[str, Any]:
    """The request that changes what is found to this. ``network``: subnets and security groups."""
    bucket, key = split_uri(code)
    known = [each["VpcConfigurationId"] for each in found.configuration.get("VpcConfigurationDescriptions", ())]
    return {
        # A runtime is only sent to be changed.
        **({"RuntimeEnvironmentUpdate": runtime} if runtime != found.detail["RuntimeEnvironment"] else {}),
        "ServiceExecutionRoleUpdate": role,
        "ApplicationConfigurationUpdate": {
            "ApplicationCodeConfigurationUpdate": {
                "CodeContentUpdate": {
                    "S3ContentLocationUpdate": {"BucketARNUpdate": _bucket_arn(bucket, role), "FileKeyUpdate": key}
                }
            },
            "FlinkApplicationConfigurationUpdate": {
                "CheckpointConfigurationUpdate": {"CheckpointIntervalUpdate": checkpoint_ms},
                "ParallelismConfigurationUpdate": {"ParallelismUpdate": parallelism},
            },
            "EnvironmentPropertyUpdates": {"PropertyGroups": _groups(properties)},
            "VpcConfigurationUpdates": [
                {
                    "VpcConfigurationId": each,
                    "SubnetIdUpdates": [*network[0]],
                    "SecurityGroupIdUpdates": [*network[1]],
                }
                for each in known[:1]
            ],
        },
    }


def _bucket_arn(bucket: str, role: str) -> str:
    """In the role's partition: AWS in China and GovCloud have others than ``aws``."""
    return f"arn:{role.split(':')[1]}:s3:::{bucket}"


def _groups(properties: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    return [{"PropertyGroupId": name, "PropertyMap": dict(group)} for name, group in properties.items()]


def first(wanted: Wanted) -> dict[str, Any]:
    """The request that makes the application."""
    bucket, key = split_uri(wanted.code)
    return {
        "RuntimeEnvironment": RUNTIME,
        "ServiceExecutionRole": wanted.role,
        "ApplicationMode": "STREAMING",
        "ApplicationConfiguration": {
            "ApplicationCodeConfiguration": {
                "CodeContentType": "ZIPFILE",
                "CodeContent": {"S3ContentLocation": {"BucketARN": _bucket_arn(bucket, wanted.role), "FileKey": key}},
            },
            "FlinkApplicationConfiguration": {
                "CheckpointConfiguration": {
                    "ConfigurationType": "CUSTOM",
                    "CheckpointingEnabled": True,
                    "CheckpointInterval": wanted.checkpoint_seconds * 1000,
                    "MinPauseBetweenCheckpoints": 1000,
                },
                "MonitoringConfiguration": {
                    "ConfigurationType": "CUSTOM",
                    "MetricsLevel": "TASK",
                    "LogLevel": "INFO",
                },
                "ParallelismConfiguration": {
                    "ConfigurationType": "CUSTOM",
                    "Parallelism": wanted.parallelism,
                    "ParallelismPerKPU": 1,
                    # Another parallelism is another state: only a deployment changes it.
                    "AutoScalingEnabled": False,
                },
            },
            "EnvironmentProperties": {"PropertyGroups": _groups(wanted.properties)},
            "ApplicationSnapshotConfiguration": {"SnapshotsEnabled": True},
            # Ours starts from the snapshot of the stop; the service's own would not.
            "ApplicationSystemRollbackConfiguration": {"RollbackEnabled": False},
            "VpcConfigurations": [{"SubnetIds": [*wanted.subnets], "SecurityGroupIds": [*wanted.security_groups]}],
        },
    }
