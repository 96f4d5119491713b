"""The whole stack as a list: servers, what must be done on them, what recurs, and the daemons that use them.

Adding a daemon is one entry in ``daemons``; a source that the stack runs is marked in its line in
producers/sources.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic

from flink import live_job
from flink.finality import FinalityRecorder
from flink.health import EVERY_SECONDS, HealthRecorder
from flink.progress import REPORT_SECONDS
from insights import upgrade
from insights.canary.send import canary_job
from insights.settings import PROJECT, Settings
from insights.stack.live_jobs import LiveJobs
from insights.stack.managed_job import ManagedJob
from insights.stack.page import page
from insights.stack.part import SYSTEM_PATH, Part, Recurring, Task, http_ok, in_json
from insights.stack.past import AfterPast, LateRuns, Past
from insights.stack.recurring_jobs import INSIGHTS, Command, RecurringJobsRecorder
from insights.stack.servers import servers
from insights.wiring import alert_config, deployment, producer_environment
from producers.runner import Source
from producers.sources import SOURCES
from reconciliation.recorder import ReconciliationRecorder
from schemas.catalogue import Event, events
from schemas.errors import BrokerUnavailable, RowsRefused
from schemas.kafka import Kafka, logged_in
from schemas.plural import counted
from warehouse.deployment import Deployment

CONNECTIONS = "connections"
UPGRADE_SECONDS = 300.0
AGREEMENT_SECONDS = 3600.0  # a shop is compared once a day: one that is due and away is asked again within the hour
# Recurring jobs whose first run may take long, or waits until the past is counted.
NOT_AWAITED = ("marts", "agreement", "upgrade", "canary")
# With which codes a source ends that has read all of its file.
FILE_ENDS = {
    0: "finished",
    RowsRefused.exit_code: "finished; some rows of the file were rejected: see `insights dead-letters`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpPlan:
    """What to start besides the servers.

    Attributes:
        daemons: run producers, the demo shop and the page.
        history: past of the synthetic shop (``12h``); None takes the setting.
        history_file: real order history to begin with, instead of a synthetic past, read by
        mapping: the TOML file that describes its columns.
        rate: events per second of the synthetic shop; None takes the setting.
        seed: of the synthetic shop; None takes the setting.
        connected: follow the connected shops, instead of the synthetic one.
    """

    daemons: bool = True
    history: str | None = None
    history_file: Path | None = None
    mapping: Path | None = None
    rate: float | None = None
    seed: int | None = None
    connected: bool = False

    @property
    def source(self) -> str:
        """The part that publishes the past."""
        if self.connected:
            return CONNECTIONS
        return "orders" if self.history_file else "shop-events"


def plan_in(config: Path) -> UpPlan:
    """The plan in the file that `insights up` wrote for the supervisor."""
    plan = json.loads(config.read_text())["plan"]
    return UpPlan(**{**plan, **{key: Path(plan[key]) for key in ("history_file", "mapping") if plan[key]}})


def everything(settings: Settings, plan: UpPlan) -> list[Part | Task | Recurring]:
    """Every part, task and recurring job, each after those that it needs."""
    started = daemons(settings, plan) if plan.daemons else []
    followed: list[Part | Recurring] = [_connections(settings), _agreement(settings)] if plan.connected else []
    if plan.connected or (plan.daemons and plan.history_file):  # orders of a real shop may be in another currency
        followed.append(_producer(settings, "rates", settings.rates_metrics_port, [], ("job",)))
    return [*servers(settings), *tasks(settings), *recurring_jobs(settings, plan), *started, *followed]


def tasks(settings: Settings) -> list[Task]:
    """What makes servers into a stack: topics, contracts, tables, and the live job."""
    stream = settings.deploy_stream
    job = ManagedJob(settings, stream) if stream else LiveJobs(deployment(settings))
    return [
        Task(name="topics", run=partial(create_topics, settings.kafka), after=("kafka",)),
        Task(name="contracts", run=partial(_register, settings.registry_url), after=("registry",)),
        Task(
            name="tables",
            run=partial(_create_tables, settings),
            after=("postgres", "bucket") if settings.external_lake else ("postgres",),
        ),
        Task(
            name="job",
            run=job.run,
            still_done=job.still_done,
            # Not the TaskManager: it comes up while the job is planned, which takes as long.
            after=("topics", "contracts", "tables", "jobmanager"),
        ),
        Task(name="metrics", run=partial(_serve_metrics, settings)),
    ]


def recurring_jobs(settings: Settings, plan: UpPlan) -> list[Recurring]:
    """What is repeated for as long as the stack is up."""
    target, stream = deployment(settings), settings.deploy_stream
    health = HealthRecorder(target, look=ManagedJob(settings, stream).health if stream else None)
    return [
        Recurring(
            name="finality",
            step=FinalityRecorder(target).step,
            says="kept in ops.finality",
            every_seconds=1.0 if target.flink_url else REPORT_SECONDS,
            after=("job",),
        ),
        Recurring(
            name="health",
            step=health.step,
            says="kept in ops.live_jobs",
            every_seconds=EVERY_SECONDS,
            after=("tables",),  # and not the job: it records when that is gone
        ),
        Recurring(
            name="reconciliation",
            step=ReconciliationRecorder(target).step,
            says="kept in ops.log_counts and ops.dead_letters",
            every_seconds=60.0,
            after=("topics", "tables"),
        ),
        Recurring(
            name="recurring",
            step=RecurringJobsRecorder(settings, target).step,
            says="kept in ops.recurring_jobs",
            every_seconds=10.0,
            after=("tables",),
        ),
        *([_lake(settings)] if settings.lake_maintenance_minutes else []),
        *(_late(settings) if settings.restate_late_minutes else []),
        *([] if stream else [_upgrade(settings, target)]),
        *([_marts(settings, plan)] if settings.dbt_minutes else []),
        *([canary_job(target)] if settings.canary else []),
    ]


def _serve_metrics(settings: Settings) -> str:
    from insights.metrics import serve  # only the supervisor needs it

    return serve(settings)


def _command(settings: Settings, name: str, *arguments: str) -> Command:
    return Command(settings, name, (*INSIGHTS, *arguments))


def _repeated(name: str, command: Command | LateRuns, done: str, minutes: int) -> Recurring:
    return Recurring(
        name=name,
        step=command.run,
        says=f"{done} every {counted(minutes, 'minute')}",
        every_seconds=minutes * 60.0,
        first_after_seconds=minutes * 60.0,
        after=("tables",),
        cancel=command.cancel,
    )


def _lake(settings: Settings) -> Recurring:
    maintain = _command(settings, "lake", "lake", "maintain")
    return _repeated("lake", maintain, "tidied", settings.lake_maintenance_minutes)


def _late(settings: Settings) -> list[Recurring]:
    runs = LateRuns(_command(settings, "late", "replay", "late"), settings)
    hourly = _repeated("late", runs, "late events counted", settings.restate_late_minutes)
    after_histories = Recurring(
        name="histories",
        step=runs.after_histories,
        says="late events counted when a shop's history was read",
        every_seconds=30.0,
        after=("tables",),
        cancel=runs.cancel,
    )
    return [hourly, after_histories]


def _upgrade(settings: Settings, target: Deployment) -> Recurring:
    """A process of its own only where something is to be brought: the rest of the time it is a question to Postgres."""
    command = _command(settings, "upgrade", "upgrade")

    def step() -> None:
        if upgrade.is_needed(target):
            command.run()

    return Recurring(
        name="upgrade",
        step=step,
        says="adds what a newer release computes",
        every_seconds=UPGRADE_SECONDS,
        after=("job",),
        cancel=command.cancel,
    )


def _marts(settings: Settings, plan: UpPlan) -> Recurring:
    """Built soon after the start, so that the first dashboard that is opened shows something."""
    build = _command(settings, "marts", "dbt", "build")
    job = _repeated("marts", build, "built", settings.dbt_minutes)
    if not plan.daemons:
        return replace(job, first_after_seconds=60.0)
    after_past = AfterPast(build, Past(settings, plan.source))
    return replace(job, step=after_past.run, cancel=after_past.cancel, first_after_seconds=0.0)


def _agreement(settings: Settings) -> Recurring:
    """Connected shops are compared with the tables as soon as their history is there, and then every day."""
    compare = AfterPast(_command(settings, "agreement", "agree", "--due"), Past(settings, CONNECTIONS))
    return Recurring(
        name="agreement",
        step=compare.run,
        says="every connected shop is compared once a day",
        every_seconds=AGREEMENT_SECONDS,
        after=("tables",),
        cancel=compare.cancel,
    )


def daemons(settings: Settings, plan: UpPlan) -> list[Part]:
    """The page, alerts, the collector, and what is synthetic unless a shop is connected: demo shop and producers."""
    python = _python_environment()
    seed = settings.seed if plan.seed is None else plan.seed
    rate = settings.rate if plan.rate is None else plan.rate
    shop_site = [sys.executable, "-m", "producers.demo_shop", "--port", str(settings.shop_port), "--seed", str(seed)]
    shop_site += ["--currency", settings.currency, "--collector", settings.collect_url]
    found: list[Part] = [
        page(settings, python),
        _alerts(settings, python),
        _collect(settings),
        *further_sources(settings, SOURCES),
        *([_gate(settings, settings.gate_events)] if settings.gate_events else []),
    ]
    if plan.connected:
        return found
    shop = Part(
        name="shop",
        command=[*shop_site, "--state", str(settings.producers_dir)],
        environment=python,
        healthy=partial(http_ok, f"{settings.shop_url}/robots.txt"),
        endpoint=settings.shop_url,
        cwd=PROJECT,
    )
    found.append(in_json(shop, settings))
    pages = ["--url", settings.shop_url, "--private", "--seed", str(seed)]
    past = [] if plan.history_file else ["--history", plan.history or settings.history]
    catalog = _producer(settings, "catalog", settings.catalog_metrics_port, [*pages, *past], ("job", "shop"))
    found.append(catalog)
    if plan.history_file:
        columns = ["--mapping", str(plan.mapping)] if plan.mapping else []
        arguments = ["--from-file", str(plan.history_file), *columns]
        orders = _producer(settings, "orders", settings.metrics_port, arguments, ("job",))
        return [*found, replace(orders, ends=FILE_ENDS)]
    arguments = ["--rate", str(rate), "--seed", str(seed), *past]
    return [*found, _producer(settings, "shop", settings.metrics_port, arguments, ("job",), name="shop-events")]


def further_sources(settings: Settings, sources: Sequence[Source]) -> list[Part]:
    """The sources that the stack runs, as their lines state. Their metrics are on ports in a row."""
    chosen = [(source, source.in_stack) for source in sources if source.in_stack is not None]
    return [
        _producer(settings, source.name, settings.sources_metrics_port + number, list(options), ("job",))
        for number, (source, options) in enumerate(chosen)
    ]


def _alerts(settings: Settings, python: dict[str, str]) -> Part:
    config = alert_config(settings)
    file = settings.run_dir / "alerts.json"
    serving = ["--port", str(settings.alerts_port), "--listen", settings.listen, "--log-format", settings.log_format]
    return Part(
        name="alerts",
        command=[sys.executable, "-m", "alerts", "--config", str(file), *serving],
        environment=python,
        healthy=partial(http_ok, f"{settings.alerts_url}/health"),
        endpoint=f"{settings.alerts_url}/health",
        after=("tables",),
        prepare=partial(config.write, file),
        cwd=PROJECT,
    )


def _producer(
    settings: Settings, source: str, port: int, arguments: list[str], after: tuple[str, ...], name: str | None = None
) -> Part:
    return Part(
        name=name or source,
        command=[
            *(sys.executable, "-m", "producers.main", source, "--state", str(settings.producers_dir)),
            *("--listen", settings.listen),
            *("--currency", settings.currency, "--metrics-port", str(port), *arguments),
        ],
        environment={**_python_environment(), **producer_environment(settings)},
        healthy=partial(http_ok, f"http://127.0.0.1:{port}/metrics"),
        endpoint=f"http://127.0.0.1:{port}/metrics",
        after=after,
        cwd=PROJECT,
        stop_seconds=30,
    )


def _collect(settings: Settings) -> Part:
    """Web events of shops' pages, also of the demo shop's."""
    port = ["--collect-port", str(settings.collect_port)]
    part = _producer(settings, "collect", settings.collect_metrics_port, port, ("job",))
    health = f"{settings.collect_url}/health"
    return replace(part, healthy=partial(http_ok, health), endpoint=health)


def _gate(settings: Settings, events: str) -> Part:
    """What other programs publish to ingress topics."""
    return _producer(settings, "gate", settings.gate_metrics_port, ["--events", events], ("job",))


def _connections(settings: Settings) -> Part:
    """The connected shops: their webhooks, their history, and what changed."""
    every = ["--every", f"{settings.connected_minutes}m", "--hooks-port", str(settings.hooks_port)]
    part = _producer(settings, CONNECTIONS, settings.metrics_port, every, ("job",))
    health = f"{settings.hooks_url}/health"
    return replace(part, healthy=partial(http_ok, health), endpoint=health)


def _python_environment() -> dict[str, str]:
    return {"PATH": SYSTEM_PATH, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _register(url: str) -> str:
    from schemas.registry import Registry  # a second to load, which only the supervisor should pay

    return f"{counted(len(Registry(url).register_all()), 'contract')} registered"


def _create_tables(settings: Settings) -> str:
    from insights.shops_clock import adopt  # the same
    from warehouse.tables import archived_fields, create_tables

    adopt(settings.home)  # it may have been changed since this process began
    target = deployment(settings)
    live_job.note_events(target, archived_fields(target))
    live_job.refuse_gained_within(live_job.kept_jobs(target))
    create_tables(target, live_job.written(target))
    return "Postgres and lake tables are ready"


def create_topics(kafka: Kafka) -> str:
    """Creates each contract's topic, and brings partitions and settings of those that exist up to their contracts.

    Raises BrokerUnavailable when Kafka does not answer.
    """
    admin = logged_in(AdminClient({**kafka.librdkafka, "log_level": 0}))
    try:
        there = admin.list_topics(timeout=10).topics
        new = [NewTopic(e.topic, e.partitions, config=e.topic_config) for e in events() if e.topic not in there]
        for future in admin.create_topics(new).values() if new else ():
            future.result()
        for e in events():
            if e.topic in there:
                _bring_up_to_contract(admin, e, len(there[e.topic].partitions))
    except KafkaException as error:
        raise BrokerUnavailable(f"Kafka at {kafka} could not set up the topics: {error}") from error
    return f"{len(new)} created, {len(events()) - len(new)} existed"


def _bring_up_to_contract(admin: AdminClient, e: Event, partitions: int) -> None:
    if partitions < e.partitions:
        for future in admin.create_partitions([NewPartitions(e.topic, e.partitions)]).values():
            future.result()
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in e.topic_config.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, e.topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
