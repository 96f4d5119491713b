"""A stand-in for Managed Service for Apache Flink: the requests that `insights deploy` sends, by AWS' own definitions.

moto has none of updates, starts and snapshots. Requests go through botocore, which checks them against the service's
definition, and so are the answers here. A change of state is under way until somebody has looked at it once.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.validate import ParamValidator

REGION = "eu-central-1"


@dataclass
class Refused(Exception):
    code: str
    text: str = "of the stand-in"
    status: int = 400


@dataclass
class ManagedFlink:
    """One application at most. ``broken``: parts of a package's name that does not start. ``asked``: all operations.

    ``failures``: of so many starts. ``before`` is told of each operation, and may refuse it. ``lost``: operations that
    are done, and whose answer is lost once.
    """

    status: str = ""
    version: int = 0
    versions: dict[int, dict[str, Any]] = field(default_factory=dict)
    snapshots: list[int] = field(default_factory=list)
    snapshot_times: list[datetime] = field(default_factory=list)
    operations: list[dict[str, Any]] = field(default_factory=list)
    failures: int = 0
    lost: set[str] = field(default_factory=set)
    restored: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda operation: None
    after: str = ""
    can_stop: bool = True

    def client(self) -> Any:
        made = boto3.client(
            "kinesisanalyticsv2", region_name=REGION, aws_access_key_id="of-tests", aws_secret_access_key="of-tests"
        )
        for name in made.meta.service_model.operation_names:
            made.meta.events.register(f"before-call.kinesis-analytics-v2.{name}", self._answer)
        return made

    def _answer(self, model: Any, params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        name, asked = model.name, json.loads(params["body"])
        try:
            self.before(name)
            self.asked.append(name)
            found, status = getattr(self, name)(asked), 200
            if name in self.lost:
                self.lost.remove(name)
                raise Refused("InternalFailure", status=503)
            report = ParamValidator().validate(found, model.output_shape)
            assert not report.has_errors(), report.generate_report()
        except Refused as refused:
            found, status = {"Error": {"Code": refused.code, "Message": refused.text}}, refused.status
        found["ResponseMetadata"] = {"HTTPStatusCode": status}
        return AWSResponse(params["url"], status, {}, None), found

    # ---- the service's operations ----

    def DescribeApplication(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if not self.status:
            raise Refused("ResourceNotFoundException")
        shown = self._detail(self.version, self.status)
        if self.after:
            self.status, self.after = self.after, ""
        return {"ApplicationDetail": shown}

    def DescribeApplicationVersion(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"ApplicationVersionDetail": self._detail(asked["ApplicationVersionId"], "READY")}

    def DescribeApplicationOperation(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        info = {"ErrorString": "the jar lacks a class."}
        return {
            "ApplicationOperationInfoDetails": {
                "Operation": "StartApplication",
                "StartTime": 0,
                "EndTime": 1,
                "OperationStatus": "FAILED",
                "OperationFailureDetails": {"ErrorInfo": info},
            }
        }

    def CreateApplication(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self.status:
            raise Refused("ResourceInUseException")
        wanted = asked["ApplicationConfiguration"]
        code = wanted["ApplicationCodeConfiguration"]["CodeContent"]["S3ContentLocation"]
        flink = wanted["FlinkApplicationConfiguration"]
        self._keep(
            {
                "runtime": asked["RuntimeEnvironment"],
                "role": asked["ServiceExecutionRole"],
                "code": dict(code),
                "interval": flink["CheckpointConfiguration"]["CheckpointInterval"],
                "parallelism": flink["ParallelismConfiguration"]["Parallelism"],
                "groups": wanted["EnvironmentProperties"]["PropertyGroups"],
                "network": wanted["VpcConfigurations"][0],
            }
        )
        self.status = "READY"
        return {"ApplicationDetail": self._detail(self.version, self.status)}

    def UpdateApplication(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if asked["CurrentApplicationVersionId"] != self.version:
            raise Refused("ConcurrentModificationException")
        if self.status not in ("READY", "RUNNING"):
            raise Refused("ResourceInUseException")
        wanted = asked["ApplicationConfigurationUpdate"]
        code = wanted["ApplicationCodeConfigurationUpdate"]["CodeContentUpdate"]["S3ContentLocationUpdate"]
        flink = wanted["FlinkApplicationConfigurationUpdate"]
        network = wanted["VpcConfigurationUpdates"][0]
        self._keep(
            {
                "runtime": asked.get("RuntimeEnvironmentUpdate", self.versions[self.version]["runtime"]),
                "role": asked["ServiceExecutionRoleUpdate"],
                "code": {"BucketARN": code["BucketARNUpdate"], "FileKey": code["FileKeyUpdate"]},
                "interval": flink["CheckpointConfigurationUpdate"]["CheckpointIntervalUpdate"],
                "parallelism": flink["ParallelismConfigurationUpdate"]["ParallelismUpdate"],
                "groups": wanted["EnvironmentPropertyUpdates"]["PropertyGroups"],
                "network": {
                    "SubnetIds": network["SubnetIdUpdates"],
                    "SecurityGroupIds": network["SecurityGroupIdUpdates"],
                },
            }
        )
        return {"ApplicationDetail": self._detail(self.version, self.status)}

    def StopApplication(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self.status != "RUNNING":
            raise Refused("ResourceInUseException")
        assert asked["Force"] is False, "a stop by force takes no snapshot"
        self.status, self.after = "STOPPING", "READY" if self.can_stop else "RUNNING"
        self._done("StopApplication", succeeded=self.can_stop)
        if self.can_stop:
            self.snapshots.append(self.version)
            self.snapshot_times.append(self._now())
        return {"OperationId": "stop"}

    def StartApplication(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self.status != "READY":
            raise Refused("ResourceInUseException")
        restore = asked["RunConfiguration"]["ApplicationRestoreConfiguration"]["ApplicationRestoreType"]
        if restore == "RESTORE_FROM_LATEST_SNAPSHOT":
            assert self.snapshots, "there is no snapshot"
        self.restored.append(restore)
        code = self.versions[self.version]["code"]["FileKey"]
        starts = not self.failures and not any(part in code for part in self.broken)
        self.failures = max(0, self.failures - 1)
        self.status, self.after = "STARTING", "RUNNING" if starts else "READY"
        self._done("StartApplication", succeeded=starts)
        return {"OperationId": "start"}

    def ListApplicationSnapshots(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        """The oldest first, one on a page."""
        at = int(asked.get("NextToken", "0"))
        found = [
            {
                "SnapshotName": f"of-{version}",
                "SnapshotStatus": "READY",
                "ApplicationVersionId": version,
                "SnapshotCreationTimestamp": time,
            }
            for version, time in zip(self.snapshots, self.snapshot_times, strict=True)
        ]
        more = {"NextToken": str(at + 1)} if at + 1 < len(found) else {}
        return {"SnapshotSummaries": found[at : at + 1], **more}

    def ListApplicationOperations(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = [each for each in self.operations if each["OperationStatus"] == asked["OperationStatus"]]
        return {"ApplicationOperationInfoList": found[::-1]}

    # ---- what happens without a request of ours ----

    def stopped_by_force(self) -> None:
        """As in the console: without a snapshot."""
        self.status, self.after = "READY", ""
        self._done("StopApplication", succeeded=True)

    # ---- small things ----

    def _now(self) -> datetime:
        """Later with each operation."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=len(self.operations))

    def _done(self, operation: str, *, succeeded: bool) -> None:
        status = "SUCCESSFUL" if succeeded else "FAILED"
        self.operations.append({"Operation": operation, "StartTime": self._now(), "OperationStatus": status})

    def _keep(self, version: dict[str, Any]) -> None:
        self.version += 1
        self.versions[self.version] = copy.deepcopy(version)

    def _detail(self, number: int, status: str) -> dict[str, Any]:
        kept = self.versions[number]
        return {
            "ApplicationARN": "arn:aws:kinesisanalytics:eu-central-1:123456789012:application/live",
            "ApplicationName": "live",
            "RuntimeEnvironment": kept["runtime"],
            "ServiceExecutionRole": kept["role"],
            "ApplicationStatus": status,
            "ApplicationVersionId": number,
            "ApplicationConfigurationDescription": {
                "ApplicationCodeConfigurationDescription": {
                    "CodeContentType": "ZIPFILE",
                    "CodeContentDescription": {"S3ApplicationCodeLocationDescription": dict(kept["code"])},
                },
                "FlinkApplicationConfigurationDescription": {
                    "CheckpointConfigurationDescription": {"CheckpointInterval": kept["interval"]},
                    "ParallelismConfigurationDescription": {"Parallelism": kept["parallelism"]},
                },
                "EnvironmentPropertyDescriptions": {"PropertyGroupDescriptions": copy.deepcopy(kept["groups"])},
                "VpcConfigurationDescriptions": [
                    {"VpcConfigurationId": "1.1", "VpcId": "vpc-1", **copy.deepcopy(kept["network"])}
                ],
            },
        }
