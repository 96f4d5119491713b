"""The schema registry: Apicurio, with Confluent's API, stored in Postgres."""

from __future__ import annotations

from insights.settings import HOST, Settings
from insights.stack import jars
from insights.stack.java import JAVA, java_environment
from insights.stack.layout import Layout
from insights.stack.part import Part, answers_http
from insights.stack.postgres import USER


def registry_part(settings: Settings, layout: Layout) -> Part:
    """The registry as a part of the stack."""
    folder = jars.unpacked_registry(layout.jars)
    environment = {
        **java_environment(),
        "QUARKUS_HTTP_HOST": HOST,
        "QUARKUS_HTTP_PORT": str(settings.registry_port),
        # Its second interface would be open to the world on port 9000.
        "QUARKUS_MANAGEMENT_HOST": HOST,
        "QUARKUS_MANAGEMENT_PORT": "0",
        "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
        "QUARKUS_LOG_LEVEL": "WARN",
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "postgresql",
        "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{HOST}:{settings.postgres_port}/registry",
        "APICURIO_DATASOURCE_USERNAME": USER,
        "APICURIO_DATASOURCE_PASSWORD": settings.postgres_password,
        "APICURIO_DATASOURCE_JDBC_INITIAL-SIZE": "1",
        "APICURIO_DATASOURCE_JDBC_MIN-SIZE": "1",
        "APICURIO_DATASOURCE_JDBC_MAX-SIZE": "6",
    }
    return Part(
        name="registry",
        command=(
            *(JAVA, f"-Xmx{settings.registry_heap_mb}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"),
            *("-Duser.timezone=UTC", "-jar", "quarkus-run.jar"),
        ),
        environment=environment,
        folder=folder,
        healthy=lambda: answers_http(f"{settings.registry}/subjects"),
        endpoint=settings.registry,
        ports=("registry_port",),
        depends_on=("postgres",),
    )
