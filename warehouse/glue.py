"""What AWS Glue says where it lists the lake's tables, for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import InsightsError, Misconfigured, Retryable
from warehouse.deployment import Deployment

REFUSED = ("AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "ExpiredTokenException")


class GlueAway(Retryable):
    """AWS Glue, which lists the lake's tables, does not answer, or is overloaded."""


@contextmanager
def glue_answers(deployment: Deployment) -> Iterator[None]:
    """What boto3 raises within it is raised as Misconfigured or GlueAway. Nothing where Postgres lists the tables."""
    if deployment.lake_catalog != "glue":
        yield
        return
    from botocore.exceptions import BotoCoreError, ClientError  # a quarter of a second to load

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _said(error, deployment.lake_storage.get("client.region", "?")) from error


def _said(error: Exception, region: str) -> InsightsError:
    from botocore.exceptions import ClientError, NoCredentialsError

    what = f"AWS Glue in {region}, which lists the lake's tables (INSIGHTS_EXTERNAL_LAKE_CATALOG)"
    code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""
    said = " ".join(str(error).split())
    if isinstance(error, NoCredentialsError):
        return Misconfigured(f"{what}: there are no AWS credentials: set AWS_PROFILE or AWS' other variables")
    if code in REFUSED:
        return Misconfigured(f"{what}, refuses: {said}. docs/deploy.md has the rights that the lake needs")
    return GlueAway(f"{what}, can't be used: {said}")
