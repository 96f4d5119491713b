"""Submits a JobPlan: `flink run -py job.py PLAN.json`.

On Managed Service for Apache Flink the same file is main.py, without an argument. Its plan comes with the jar, its
secrets from AWS Secrets Manager. It runs before any package is installed: the standard library and pyflink only.
"""

import json
import os
import sys
from pathlib import Path

from pyflink.common import Configuration
from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment

PROPERTIES = "etc/flink/application_properties.json"  # the service writes it
GROUP = "insights"
PLAN = "insights-plan.json"


def main(arguments: "list[str]") -> None:
    """Executes the plan's statements and submits its inserts as one job."""
    plan = json.loads(Path(arguments[0]).read_text()) if arguments else plan_of_service()
    configuration = Configuration()
    for key, value in plan["settings"].items():
        configuration.set_string(key, value)
    builder = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration)
    environment = TableEnvironment.create(builder.build())
    for statement in plan["statements"]:
        environment.execute_sql(statement)
    inserts = environment.create_statement_set()
    for insert in plan["inserts"]:
        inserts.add_insert_sql(insert)
    if "--explain" in arguments:
        print(inserts.explain())
        return
    inserts.execute()


def plan_of_service() -> dict:
    """The plan in the jar, with its secrets filled in. Raises SystemExit when the properties lack what it needs."""
    # A test has another root.
    file = Path(os.environ.get("INSIGHTS_ROOT", "/")) / PROPERTIES
    groups = {group["PropertyGroupId"]: group["PropertyMap"] for group in json.loads(file.read_text())}
    loader = get_gateway().jvm.Thread.currentThread().getContextClassLoader()
    plan = json.loads(bytes(loader.getResourceAsStream(PLAN).readAllBytes()))
    if not plan["secrets"]:
        return plan
    own = groups.get(GROUP, {})
    arn = own.get("secret")
    if not arn:
        raise SystemExit(f"{file} has no property 'secret' in the group {GROUP!r}: run `insights deploy apply` again")
    found = json.loads(secret(arn, own.get("secret_version")))
    if missing := [name for name in plan["secrets"] if name not in found]:
        raise SystemExit(f"the secret {arn} lacks {', '.join(missing)}: run `insights deploy apply` again")
    return {**plan, "statements": [filled(text, plan["secrets"], found) for text in plan["statements"]]}


def filled(statement: str, places: "dict[str, str]", secrets: "dict[str, str]") -> str:
    """The statement with each secret, as text within quotes of SQL, in its place."""
    for name, place in places.items():
        statement = statement.replace(place, secrets[name].replace("'", "''"))
    return statement


def secret(arn: str, version: "str | None") -> str:
    """Its value in AWS Secrets Manager, asked by AWS' client for Java, which comes with the jar.

    That of a version, as a deployment that is taken back needs the password it had; without one, the current value.
    """
    jvm = get_gateway().jvm
    aws = jvm.software.amazon.awssdk
    region = aws.regions.Region.of(arn.split(":")[3])
    client = aws.services.secretsmanager.SecretsManagerClient.builder().region(region).build()
    wanted = aws.services.secretsmanager.model.GetSecretValueRequest.builder().secretId(arn)
    if version:
        wanted = wanted.versionId(version)
    try:
        return client.getSecretValue(wanted.build()).secretString()
    finally:
        client.close()


if __name__ == "__main__":
    main(sys.argv[1:])
