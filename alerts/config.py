"""The daemon's configuration at start: where Postgres is, and where messages go."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alerts.channels import Channel, ChannelSettings, channels_of
from alerts.rule import RULES
from schemas.errors import Misconfigured


class DaemonConfig(BaseModel):
    """``step_seconds`` is the time between two looks at what is due."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    dsn: str = Field(repr=False)
    rules: Path = RULES
    channels: ChannelSettings = Field(ChannelSettings(), repr=False)
    step_seconds: float = Field(5.0, gt=0)

    def open_channels(self) -> tuple[Channel, ...]:
        """Raises Misconfigured naming the setting that is wrong."""
        return channels_of(self.channels)

    def write(self, path: Path) -> None:
        """Readable by its owner only, from the first byte on."""
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.model_dump_json())
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> DaemonConfig:
        """Raises Misconfigured naming the file and what is wrong, never a value."""
        try:
            return cls.model_validate_json(path.read_text())
        except OSError as error:
            raise Misconfigured(f"{path} can't be read: {error.strerror}") from error
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(str(s) for s in e['loc'])}: {e['msg']}" for e in error.errors())
            raise Misconfigured(f"{path} is not a valid configuration of the alert daemon: {wrong}") from None
