"""Who this process is to AWS."""

from __future__ import annotations

import os

# AWS' codes for a login that is over, or that it does not know.
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException")


def login() -> dict[str, str]:
    """The variables in which AWS' clients look for who they are: for a child that gets an environment of its own.

    They may be keys, or, in a container of ECS, where its role's keys are asked for.
    """
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
