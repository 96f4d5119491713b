"""``python -m insights`` is the ``insights`` command."""

from insights.cli.main import main

main()
