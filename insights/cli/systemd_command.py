"""``insights systemd-unit``: a unit by which systemd starts the stack at boot and stops it with a savepoint."""

from __future__ import annotations

import sys
from pathlib import Path

from insights.settings import PROJECT, load_settings

STOP_SECONDS = 300
UNIT = """\
# Started at boot by systemd. Install it for your user:
#   insights systemd-unit > ~/.config/systemd/user/insights-hub.service
#   systemctl --user daemon-reload && systemctl --user enable --now insights-hub
#   loginctl enable-linger    (so that it runs while you are not logged in)
# Settings, also those of the first start (INSIGHTS_RATE, INSIGHTS_SEED, INSIGHTS_HISTORY): lines in
#   {environment}
[Unit]
Description=Insights Hub ({home})

[Service]
Type=exec
WorkingDirectory={project}
Environment="INSIGHTS_HOME={home}"
EnvironmentFile=-{environment}
ExecStart="{python}" -m insights up --foreground
Restart=on-failure
RestartSec=10
# `up` stops everything itself, the live job with a savepoint; what is left after that is killed.
KillMode=mixed
TimeoutStopSec={stop}
TimeoutStartSec=infinity

[Install]
WantedBy=default.target
"""


def systemd_unit() -> None:
    """Print a systemd unit that runs this stack from boot on.

    Example: insights systemd-unit > ~/.config/systemd/user/insights-hub.service
    """
    home = load_settings().home
    sys.stdout.write(
        UNIT.format(
            home=_quoted(home),
            project=_quoted(PROJECT),
            python=_quoted(Path(sys.executable)),
            environment=_quoted(home.with_name(f"{home.name}.env")),
            stop=STOP_SECONDS,
        )
    )


def _quoted(path: Path) -> str:
    """As systemd reads it: % begins a specifier."""
    return str(path).replace("%", "%%")
