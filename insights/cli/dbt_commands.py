"""``insights dbt``: builds the marts and documents them. The stack builds them by itself, every 5 minutes."""

from __future__ import annotations

from typing import Annotated

import typer

from insights.cli import runtime
from insights.settings import load_settings
from schemas.plural import counted

app = runtime.group("The marts that dbt builds from the live tables.", example="insights dbt build")
Select = Annotated[
    str | None,
    typer.Option(metavar="MODELS", help="Only these, in dbt's syntax: daily_sales, +rfm, marts.web. Default: all."),
]
FullRefresh = Annotated[
    bool, typer.Option("--full-refresh", metavar="", help="Rebuild every day, not only those that may have changed.")
]
CheckOnly = Annotated[
    bool, typer.Option("--check", metavar="", help="Only show which of the files are out of date; write nothing.")
]


@app.command()
def build(select: Select = None, full_refresh: FullRefresh = False) -> None:
    """Build the marts and run their tests. Models built by day compute only the days that may have changed.

    Example: insights dbt build --select +daily_sales
    """
    from insights import dbt_run
    from insights.cli.status_views import failures_lines

    settings = load_settings()
    with runtime.progressing("dbt") as say:
        built = dbt_run.build(settings, select, full_refresh=full_refresh, say=say)
    models = sum(model.status in ("ok", "failed tests") for model in built.models)
    tests = counted(built.tests, "test") if built.tests else "no test"
    if built.outcome == "ok":
        runtime.say(
            f"{counted(models, 'model was', 'models were')} built and {tests} passed, in {built.seconds:.1f} s.",
            style="bold green",
        )
        return
    runtime.show(failures_lines(built.failures))
    skipped = sum(model.status == "skipped" for model in built.models)
    runtime.say(
        f"{counted(models, 'model was', 'models were')} built, {skipped:,} skipped;"
        f" {counted(len(built.failures), 'model or test', 'models and tests')} failed, in {built.seconds:.1f} s."
        f" dbt's log: {dbt_run.log_path(settings)}",
        style="bold red",
    )
    raise typer.Exit(1)


@app.command()
def docs() -> None:
    """Write the marts' documentation, with columns and lineage, as one HTML file.

    Example: insights dbt docs
    """
    from insights import dbt_run

    with runtime.progressing("dbt") as say:
        page = dbt_run.documents(load_settings(), say)
    runtime.say(f"The documentation is in {page}; open it in a browser.")


@app.command()
def sources(check: CheckOnly = False) -> None:
    """Regenerate dbt's sources and exposures after a change in aggregates/ or dashboards/.

    Example: insights dbt sources
    """
    from insights.dbt_files import files, outdated

    if check:
        for path in (found := outdated()):
            runtime.say(
                f"{path} does not match aggregates/ and dashboards/: `insights dbt sources` regenerates it",
                style="red",
            )
        raise typer.Exit(1 if found else 0)
    for path, text in files().items():
        path.write_text(text)
        runtime.say(f"{path} was written.")
