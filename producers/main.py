"""The command that runs a source: ``insights produce SOURCE``, or by itself ``python -m producers.main SOURCE``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from producers import runner
from producers.runner import Options
from producers.scraping import profiles
from producers.sources import SOURCES, source
from schemas.currency import problem_as_shops
from schemas.duration import length_of_time
from schemas.errors import InsightsError, Misconfigured, RowsRefused
from schemas.kafka import Kafka


def produce(name: str, options: Options) -> int:
    """Run a source in this process until it is done or asked to stop. Returns how many events it published.

    Raises InsightsError with a text for people; logs to stderr.
    """
    from schemas.registry import Registry  # half a second to load, which `--help` need not take

    runner.log_to(sys.stderr, name, options.log_format)
    return runner.run(source(name), options, Registry(options.registry_url))


def read_length(text: str) -> timedelta:
    """``90s``, ``10m``, ``12h``, ``30d`` or a sum like ``1d12h``. Raises Misconfigured for anything else."""
    try:
        return length_of_time(text)
    except ValueError as error:
        raise Misconfigured(str(error)) from error


def moment(text: str) -> datetime:
    """A time in ISO 8601; without a zone it is UTC. Raises Misconfigured for anything else."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Misconfigured(f"{text!r} is not a time; write it as 2026-11-23T08:00:00Z") from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def money(code: str) -> str:
    """A currency that a shop may report in. Raises Misconfigured for anything else."""
    if problem := problem_as_shops(code):
        raise Misconfigured(f"--currency {code} {problem}")
    return code


SourceName = Annotated[str, typer.Argument(metavar="SOURCE", help="One of the sources above.")]
Brokers = Annotated[
    str,
    typer.Option(
        "--kafka",
        metavar="ADDRESS",
        envvar="INSIGHTS_EXTERNAL_KAFKA",
        show_envvar=False,
        show_default="the stack's",
        help="Kafka.",
    ),
]
# Who asks Kafka: from the environment alone, for a command line can be read by all on the machine.
KafkaUser = Annotated[str | None, typer.Option(hidden=True, envvar="INSIGHTS_EXTERNAL_KAFKA_USER")]
KafkaPassword = Annotated[str, typer.Option(hidden=True, envvar="INSIGHTS_EXTERNAL_KAFKA_PASSWORD")]
KafkaCaFile = Annotated[Path | None, typer.Option(hidden=True, envvar="INSIGHTS_EXTERNAL_KAFKA_CA_FILE")]
KafkaIamRegion = Annotated[str | None, typer.Option(hidden=True, envvar="INSIGHTS_EXTERNAL_KAFKA_IAM_REGION")]
LogFormat = Annotated[str, typer.Option(hidden=True, envvar="INSIGHTS_LOG_FORMAT")]
RegistryUrl = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="URL",
        envvar="INSIGHTS_EXTERNAL_REGISTRY",
        show_envvar=False,
        show_default="the stack's",
        help="The registry's Confluent API.",
    ),
]
State = Annotated[
    Path, typer.Option(metavar="FOLDER", show_default="the stack's", help="Folder for cursors, keys and answer keys.")
]
Listen = Annotated[
    str,
    typer.Option(metavar="ADDRESS", help="Address that the webhook receiver, the collector and the metrics listen on."),
]
Rate = Annotated[
    float | None,
    typer.Option(min=0.001, metavar="NUMBER", show_default="the source's", help="Average events per second."),
]
MaxEvents = Annotated[int | None, typer.Option(min=1, metavar="NUMBER", help="Stop after this many events.")]
ShopsCurrency = Annotated[
    str, typer.Option(metavar="CODE", show_default="the stack's", help="The shop's only currency.")
]
Seed = Annotated[int, typer.Option(metavar="NUMBER", help="The same seed generates the same shop and events.")]
History = Annotated[
    str, typer.Option(metavar="LENGTH", help="Publish this much history first, then go live: 12h, 30d.")
]
Start = Annotated[
    str | None, typer.Option(metavar="TIME", help="When history starts, instead of --history: 2026-11-01T00:00Z.")
]
MetricsPort = Annotated[int | None, typer.Option(metavar="PORT", help="Serve Prometheus metrics on this port.")]
FromFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="For orders and finance: import this file. On a stack with newer orders, older ones are late.",
    ),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|NAME|auto",
        help="With --from-file: a TOML column mapping, the name of a built-in one, or auto to detect it.",
    ),
]
Check = Annotated[
    bool,
    typer.Option("--check", metavar="", help="Show what --from-file or --url would publish, and publish nothing."),
]
Yes = Annotated[
    bool, typer.Option("--yes", metavar="", help="With --mapping auto: use the detected mapping without asking.")
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="For catalog: the shop to read. For rates: its files. For wiki: the stream."),
]
Feeds = Annotated[
    list[str] | None,
    typer.Option(
        "--feed",
        metavar="[NAME=]URL",
        envvar="INSIGHTS_VEHICLE_FEEDS",
        show_envvar=False,
        show_default=False,
        help="For vehicles: a GTFS-Realtime feed with positions; several are read when it is given several times.",
    ),
]
ProductPath = Annotated[
    str | None,
    typer.Option(metavar="PATTERN", help="For catalog: pattern of product page paths, for example ^/shop/[^/]+/$."),
]
ShopProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        show_default="found on its front page",
        help=f"For catalog: the shop's software: {', '.join(profiles.NAMES)}.",
    ),
]
Private = Annotated[
    bool,
    typer.Option(
        "--private",
        metavar="",
        help="For catalog, wiki, vehicles: also read addresses of this machine and its network.",
    ),
]
AtOnce = Annotated[
    int | None,
    typer.Option(min=1, max=8, metavar="NUMBER", show_default="1", help="For catalog: pages asked for at once."),
]
Contact = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="For catalog, wiki, vehicles: web or e-mail address to send with each request."
    ),
]
Every = Annotated[
    str | None,
    typer.Option(
        metavar="LENGTH", help="For catalog, connections, dlt, vehicles: time between rounds, for example 5m or 1h."
    ),
]
Once = Annotated[
    bool, typer.Option("--once", metavar="", help="For catalog: end after one round, for a schedule that calls it.")
]
HooksPort = Annotated[
    int | None, typer.Option(metavar="PORT", help="For connections: receive the shops' webhooks on this port.")
]
PipelineFile = Annotated[
    Path | None, typer.Option("--pipeline", metavar="FILE", help="For dlt: the Python file that says what to read.")
]
CollectPort = Annotated[int | None, typer.Option(metavar="PORT", help="For collect: receive web events on this port.")]
Events = Annotated[
    str | None,
    typer.Option(
        "--events",
        metavar="NAMES",
        help="For gate: events that other programs may publish, with commas: sales.order_placed.",
    ),
]

# What only one source takes.
ONLY_FOR = {
    "--from-file": ("orders", "finance"),
    **dict.fromkeys(("--mapping", "--yes"), ("orders",)),
    "--check": ("orders", "catalog"),
    "--url": ("catalog", "rates", "wiki"),
    **dict.fromkeys(("--product-path", "--profile", "--at-once"), ("catalog",)),
    **dict.fromkeys(("--private", "--contact"), ("catalog", "wiki", "vehicles")),
    "--every": ("catalog", "connections", "dlt", "vehicles"),
    "--once": ("catalog",),
    "--pipeline": ("dlt",),
    "--feed": ("vehicles",),
    "--hooks-port": ("connections",),
    "--collect-port": ("collect",),
    "--events": ("gate",),
}
DEFAULTS = Options()
HELP = """Publish a source's events, until it finishes or is stopped.

\b
Sources:
{sources}

Example: insights produce orders --rate 50 --max-events 1000
""".format(sources="\n".join(f"  {s.name:<11}  {s.summary}" for s in SOURCES))

app = typer.Typer(add_completion=False)


def _refuse_misplaced(name: str, given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if value is not None and name not in (allowed := ONLY_FOR[option]):
            raise Misconfigured(f"{option} only applies to the source {' or '.join(allowed)}, not to {name}")


def ready_mapping(file: Path | None, mapping: Path | None, *, confirmed: bool) -> Path | None:
    """The mapping's file: the one given, a ready one by its name, or for ``auto`` the ready one that fits the file.

    What was found is printed on stderr, and confirmed on the terminal unless it is already. Raises Misconfigured.
    """
    from producers.order_file import export

    if mapping is None or file is None or mapping.is_file():
        return mapping
    if str(mapping) != "auto":
        return export.ready().get(str(mapping), mapping)
    found, why = export.detected(file)
    said = f"{file.name} matches the built-in mapping {found.stem} ({found}): {why}"
    typer.echo(said, err=True)
    if confirmed:
        return found
    if not sys.stdin.isatty():
        raise Misconfigured(
            f"confirm the mapping {found.stem} with --yes; preview it with --check, or choose another with --mapping"
        )
    if not typer.confirm("Publish with this mapping?", err=True):
        raise Misconfigured("nothing was published; choose a mapping with --mapping FILE, or preview with --check")
    return found


def check_orders(options: Options) -> int:
    """Show what an order file would count as; publishes nothing and asks no server. Returns the exit code."""
    from rich.console import Console

    from producers.order_file import check, export, source

    if options.from_file is None or options.mapping is None:
        raise Misconfigured(
            "--check previews an order file: give --from-file FILE and --mapping FILE, or --mapping auto"
        )
    file = export.opened(options.from_file, options.mapping)
    source.refuse_hopeless(file, options.from_file)
    finding = check.found(file, options.state, datetime.now(UTC), options.currency)
    console = Console(highlight=False)
    check.show(finding, console if console.is_terminal else Console(width=10_000, highlight=False))
    return RowsRefused.exit_code if finding.refused else 0


def check_pages(options: Options) -> int:
    """Show what would be read of a shop or of one of its pages; publishes nothing. Returns the exit code."""
    from producers.scraping.check import show

    if options.url is None:
        raise Misconfigured("--check previews a shop, or one product page: give --url URL")
    return show(options)


def _pattern(text: str | None) -> str | None:
    try:
        re.compile(text or "")
    except re.error as error:
        raise Misconfigured(f"--product-path {text!r} is not a regular expression: {error}") from error
    return text


def _profile(name: str | None) -> str | None:
    if name is not None and name not in profiles.NAMES:
        raise Misconfigured(f"--profile {name!r} is unknown; the profiles are {', '.join(profiles.NAMES)}")
    return name


def _contact(text: str | None) -> str | None:
    if text is not None and not (text.isascii() and text.isprintable() and len(text) <= 200):  # noqa: PLR2004
        raise Misconfigured("--contact is sent in a header: use up to 200 letters, digits and signs of ASCII")
    return text


@app.command(help=HELP)
def main(
    name: SourceName,
    kafka: Brokers = DEFAULTS.kafka.bootstrap,
    kafka_user: KafkaUser = None,
    kafka_password: KafkaPassword = "",
    kafka_ca_file: KafkaCaFile = None,
    kafka_iam_region: KafkaIamRegion = None,
    registry: RegistryUrl = DEFAULTS.registry_url,
    state: State = DEFAULTS.state,
    listen: Listen = DEFAULTS.listen,
    rate: Rate = None,
    max_events: MaxEvents = None,
    currency: ShopsCurrency = DEFAULTS.currency,
    seed: Seed = DEFAULTS.seed,
    history: History = "0s",
    start: Start = None,
    metrics_port: MetricsPort = None,
    from_file: FromFile = None,
    mapping: MappingFile = None,
    check: Check = False,
    yes: Yes = False,
    url: Url = None,
    feeds: Feeds = None,
    product_path: ProductPath = None,
    profile: ShopProfile = None,
    private: Private = False,
    at_once: AtOnce = None,
    contact: Contact = None,
    every: Every = None,
    once: Once = False,
    hooks_port: HooksPort = None,
    collect_port: CollectPort = None,
    events: Events = None,
    pipeline: PipelineFile = None,
    log_format: LogFormat = "text",
) -> None:
    """Run one source until it ends or is stopped."""
    try:
        given: dict[str, object] = {
            "--from-file": from_file,
            "--mapping": mapping,
            "--check": check or None,
            "--yes": yes or None,
        }
        given |= {"--url": url, "--product-path": product_path, "--every": every, "--hooks-port": hooks_port}
        given |= {"--collect-port": collect_port, "--profile": profile, "--private": private or None}
        given |= {"--at-once": at_once, "--contact": contact, "--events": events, "--feed": feeds or None}
        given |= {"--pipeline": pipeline, "--once": once or None}
        _refuse_misplaced(name, given)
        mapping = ready_mapping(from_file, mapping, confirmed=yes or check)
        options = Options(
            kafka=Kafka(kafka, kafka_user, kafka_password, kafka_ca_file, kafka_iam_region),
            registry_url=registry,
            state=state,
            listen=listen,
            rate=rate,
            max_events=max_events,
            currency=money(currency),
            seed=seed,
            history=read_length(history),
            start=moment(start) if start else None,
            metrics_port=metrics_port,
            from_file=from_file,
            mapping=mapping,
            feeds=tuple(feeds or ()),
            url=url,
            product_path=_pattern(product_path),
            profile=_profile(profile),
            private=private,
            at_once=at_once or 1,
            contact=_contact(contact),
            every=read_length(every) if every else None,
            once=once,
            hooks_port=hooks_port,
            collect_port=collect_port,
            events=tuple(filter(None, map(str.strip, (events or "").split(",")))),
            pipeline=pipeline,
            log_format=log_format,
        )
        if check:
            raise typer.Exit(check_pages(options) if name == "catalog" else check_orders(options))
        produce(name, options)
    except InsightsError as error:
        typer.echo(f"insights produce: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    app()
