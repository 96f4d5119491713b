"""Executes a Task: ``job.py TASK.json``. The Task is described in task.py, which travels with this file.

Spark's own environment, here or on EMR Serverless: the standard library and pyspark only. Longer than 400 lines,
because it travels alone: it can import nothing else of this project.

For each topic: its records from the log, decoded with the schema that each was written with, and from the lake; a
check that they are all there, once each; the places of those that are in no number, which are the late ones of the
variant and all but the first record of an event_id. Then, chunk by chunk, each query runs over what is left.

Two records with one event_id are of one partition, as they have one key, and there the lower offset is the first; of
different partitions it is the one that was published first. The live job takes the one that it reads first.

Where the engines differ although the SQL is the same: a sum that does not fit its type fails here (ANSI), while Flink
lets a 64-bit integer wrap, and makes null of a decimal, which its sinks then refuse. Casting what can't be cast fails
in both, and so does dividing an integer by zero.
"""

import json
import re
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import or_
from urllib.parse import unquote, urlsplit

from pyspark import StorageLevel
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as f
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.types import ArrayType, StructType
from task import read_task

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.adaptive.enabled": "true",
    # Shuffles are cut finely, so that none is ever large, and put together again by size.
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
RECORDS_A_SHUFFLE_PARTITION = 250_000
OFFSETS_A_ROW = 100_000
# Of a topic: a place is a number below this and an offset times it.
MOST_PARTITIONS = 65_536
PLACE = ("kafka_partition", "kafka_offset")
POSITION = (*PLACE, "kafka_timestamp")
# Properties of the lake that say how its S3 is reached.
STORAGE = ("s3.", "client.")
TYPES = {
    "timestamp": "timestamp",
    "date": "date",
    "string": "string",
    "bytes": "binary",
    "int": "int",
    "count": "bigint",
    "money": "decimal(38, 2)",
    "charge": "decimal(38, 3)",
    "rate": "decimal(38, 12)",
    "boolean": "boolean",
    "double": "double",
}


class Refused(Exception):
    """The task can't be completed; the message has the reason."""


def main(path):
    """Prints what happens as lines of JSON; the last one is ``failed`` with a reason when something is wrong."""
    spark = session()
    try:
        task = read_task(spark.read.text(path, wholetext=True).first()[0])
        recompute(spark, task, lambda topic: log_records(spark, task, topic), say)
    except Exception as error:
        say(event="failed", reason=reason(error))
        raise
    spark.stop()


def say(**event):
    """Prints a line of JSON, which the submitting process reads."""
    print(json.dumps(event), flush=True)


def session():
    """The Spark session with our settings, created on the first call."""
    builder = SparkSession.builder.appName("insights-replay")
    return builder.config(map=SETTINGS).getOrCreate()


def recompute(spark, task, raw, said):
    """Writes all chunks of the task that are not there yet.

    ``raw(input)`` gives the records of its log slices: partition, offset, timestamp, value. ``said(event=…)`` reports
    progress.
    """
    open_lake(spark, task.lake)
    todo = []
    for variant in task.variants:
        for computation in task.computations:
            for chunk in computation.chunks:
                if exists(spark, task.folder(variant, computation.aggregate, chunk) + "/_SUCCESS"):
                    said(event="chunk", variant=variant, aggregate=computation.aggregate, chunk=chunk.name, reused=True)
                else:
                    todo.append((variant, computation, chunk))
    used = {name for _, computation, _ in todo for name in computation.inputs}
    inputs = {i.event: i for i in task.inputs if i.event in used}
    records = sum(count(i.log + i.lake) for i in task.inputs)
    work = sum(count(i.log) for i in inputs.values()) + sum(weight(inputs, c) for _, c, _ in todo)
    progress = Progress(spark, said, records, work)
    most = max((count(i.log + i.lake) for i in inputs.values()), default=0)
    spark.conf.set("spark.sql.shuffle.partitions", str(max(4, most // RECORDS_A_SHUFFLE_PARTITION)))
    topics = {}
    for name, i in inputs.items():
        with progress.step(count(i.log), f"reading {i.topic}"):
            topics[name] = Topic(spark, i, [c for _, c, _ in todo if name in c.inputs], raw)
    for variant, computation, chunk in todo:
        with progress.step(weight(inputs, computation), f"{computation.aggregate} {chunk.name}"):
            began = time.monotonic()
            for name in computation.inputs:
                topics[name].show(variant, computation, chunk)
            rows = write(spark, computation, task.folder(variant, computation.aggregate, chunk))
            for name in computation.inputs:
                topics[name].hide()
        said(
            event="chunk",
            variant=variant,
            aggregate=computation.aggregate,
            chunk=chunk.name,
            reused=False,
            rows=rows,
            seconds=round(time.monotonic() - began, 3),
        )
    for topic in topics.values():
        topic.forget()


def count(slices):
    """Number of records in the slices."""
    return sum(s.records for s in slices)


def weight(inputs, computation):
    """An estimate of a chunk's records; at least one, because no run is without work."""
    records = sum(count(inputs[name].log + inputs[name].lake) for name in computation.inputs)
    return max(1, records // len(computation.chunks))


def write(spark, computation, folder):
    """Runs the query over the views of the moment into a folder; the number of rows."""
    found = spark.sql(computation.sql)
    if found.columns != list(computation.columns):
        raise Refused(f"the query gives {', '.join(found.columns)} and should give {', '.join(computation.columns)}")
    typed = found.select(*(f.col(f"`{name}`").cast(TYPES[kind]) for name, kind in computation.columns.items()))
    typed.sortWithinPartitions(*(f"`{name}`" for name in computation.columns)).write.mode("overwrite").parquet(folder)
    return spark.read.parquet(folder).count()


class Topic:
    """One input: its records, whole and decoded, and for each variant the places of those that are in no number."""

    def __init__(self, spark, i, computations, raw):
        self.spark = spark
        self.input = i
        refuse_overlap(i)
        times, queries = {c.time_column for c in computations}, [c.sql for c in computations]
        by_payment = any(is_by_payment(c, i) for c in computations)
        self.reader = needed(json.loads(i.schema), i.table, times | fields_of(i.versions, by_payment), queries)
        self.columns = schema_of(spark, self.reader)
        self.left_out = {}
        self.parts = []
        self.persisted = []
        if count(i.log):
            # Before anything is decoded: what can't be read lies between the slices.
            records = raw(i).where(within(i.log, ("partition", "offset")))
            decoded_log = decoded(records, i, json.dumps(self.reader))
            self.persisted.append(decoded_log.persist(StorageLevel.DISK_ONLY))
            check_whole(spark, decoded_log, i.log, f"the log of {i.topic}")
            # Flink passes over a record without a value too.
            self.parts.append(decoded_log.where("event_id is not null"))
        if count(i.lake):
            archived = lake_records(spark, i, self.columns)
            check_whole(spark, archived, i.lake, f"the lake's table events.{i.table}", may_have_holes=i.compacted)
            self.parts.append(archived)

    def show(self, variant, computation, chunk):
        """Makes the views that a query reads: what counts in the variant, in the time of the chunk."""
        if variant not in self.left_out:
            self.left_out[variant] = self._left_out(variant)
        by_payment = is_by_payment(computation, self.input)
        # All states of an order have one time, and it counts at that time or later.
        near = replace(chunk, from_time=None) if by_payment else chunk
        parts = [during(self._counted(part, variant), computation.time_column, near) for part in self.parts]
        parts = parts or [
            self.spark.range(0).select(*(f.lit(None).cast(c.dataType).alias(c.name) for c in self.columns))
        ]
        whole = [part.select(*conformed(part, self.columns)) for part in parts]
        records = reduce(lambda a, b: a.unionByName(b), whole)
        if self.input.versions:
            records = newest(records, self.input.versions)
            if by_payment:
                counting = when_paid(records, self.input.versions, computation.undated)
                records = during(counting, "occurred_at", chunk)
            parts = [records]
        records.createOrReplaceTempView(self.input.table)
        for array in record_arrays(self.columns):
            items = [items_of(part, self.columns, array) for part in parts]
            reduce(lambda a, b: a.unionByName(b), items).createOrReplaceTempView(f"{self.input.table}_{array}")

    def hide(self):
        """Takes the views away: a query that reads what is not among its inputs must not find another's."""
        table = self.input.table
        for name in (table, *(f"{table}_{array}" for array in record_arrays(self.columns))):
            self.spark.catalog.dropTempView(name)

    def forget(self):
        """Frees the memory of what was kept."""
        for frame in self.persisted:
            frame.unpersist()

    def _counted(self, part, variant):
        left_out = self.left_out[variant]
        return part if left_out is None else without(part, left_out)

    def _left_out(self, variant):
        """Places of the records that do not count; None when all do."""
        if not self.parts:
            return None
        records = reduce(lambda a, b: a.unionByName(b), [part.select("event_id", *POSITION) for part in self.parts])
        late = self.input.late[variant]
        late_places = self.spark.read.parquet(late).select(place("partition", "offset")) if late else None
        if late_places is not None:
            records = without(records, late_places)
        found = self._copies(records)
        if late_places is not None:
            found = found.unionByName(late_places)
        return found if self._keep(found) else None

    def _copies(self, records):
        """Places of all records but the first of each event_id.

        Ids that may have come twice are found by their hash, which is all that goes through a shuffle of every record.
        """
        hashed = records.withColumn("hash", f.xxhash64("event_id"))
        twice = hashed.groupBy("hash").count().where("count > 1").select("hash")
        # Before Spark knows that they are few it would shuffle all records to look for theirs.
        self._keep(twice)
        return later_ones(hashed.join(twice, "hash", "left_semi"))

    def _keep(self, frame):
        """Computes it once and for all; the number of its rows."""
        self.persisted.append(frame.persist(StorageLevel.DISK_ONLY))
        return frame.count()


def later_ones(records):
    """Places of all but the first record of each event_id."""
    of_partition = Window.partitionBy("event_id", "kafka_partition")
    in_order = Window.partitionBy("event_id").orderBy("began", *PLACE)
    return (
        records.withColumn("began", f.min_by("kafka_timestamp", "kafka_offset").over(of_partition))
        .withColumn("copy", f.row_number().over(in_order))
        .where("copy > 1")
        .select(place())
    )


def newest(records, versions):
    """Those that count: the newest state of each thing, unless that is void. schemas/versions.py says it in SQL."""
    counts = ~f.coalesce(f.col(versions["void"]), f.lit(False))
    in_order = Window.partitionBy(*versions["of"]).orderBy(f.col(versions["by"]).desc(), f.col("event_id").desc())
    states = records.where(f.col(versions["by"]).isNotNull()).withColumn("newness", f.row_number().over(in_order))
    single = records.where(f.col(versions["by"]).isNull())
    return states.where("newness = 1").drop("newness").unionByName(single).where(counts)


def is_by_payment(computation, i):
    """Does the computation count the input's events when they are paid?"""
    return computation.undated is not None and bool((i.versions or {}).get("paid"))


def when_paid(records, versions, undated):
    """Those that count by payment, with when each does as occurred_at. schemas/versions.py says it in SQL."""
    paid, placed = f.col(versions["paid"]), f.col("occurred_at")
    at = f.when(paid > placed, paid).when(paid.isNotNull(), placed)
    at = at.when(f.col(versions["by"]).isNull() | f.col("source").isin(*undated), placed)
    dated = records.withColumns({"placed_at": placed, "occurred_at": at})
    return dated.where("occurred_at is not null")


def fields_of(versions, by_payment):
    """Names of the fields that say which state is the newest, and when it counts."""
    found = {*versions["of"], versions["by"], versions["void"]} if versions else set()
    return found | {versions["paid"], "source"} if by_payment else found


def place(partition="kafka_partition", offset="kafka_offset"):
    """Both as one number, which is looked up much quicker than two. An offset too large for it fails (ANSI)."""
    return (f.col(offset) * MOST_PARTITIONS + f.col(partition)).alias("kafka_place")


def without(records, places):
    """The records that are not at these places."""
    return records.withColumn("kafka_place", place()).join(places, "kafka_place", "left_anti")


def during(frame, time_column, chunk):
    """The rows whose time is within the chunk."""
    if chunk.from_time is not None:
        frame = frame.where(f.col(time_column) >= f.lit(chunk.from_time).cast("timestamp"))
    if chunk.until_time is not None:
        frame = frame.where(f.col(time_column) < f.lit(chunk.until_time).cast("timestamp"))
    return frame


def record_arrays(columns):
    """Names of the columns that are arrays of records."""
    kinds = {column.name: column.dataType for column in columns}
    return [name for name, kind in kinds.items() if isinstance(getattr(kind, "elementType", None), StructType)]


def items_of(part, wanted, array):
    """One row an item of the array, whose fields hide the event's of the same name. An event without items has none.

    The place of an item, from 1, is ``line`` for an array called lines, and so for any other.
    """
    items = wanted[array].dataType.elementType
    own = [c for c in wanted.names if c != array and c not in items.names]
    exploded = part.select(
        *conformed(part, StructType([wanted[c] for c in own])),
        f.posexplode(fitted(f.col(array), part.schema, wanted[array])).alias("place", "item"),
    )
    return exploded.select(
        *own,
        *(f.col("item")[field.name].alias(field.name) for field in items),
        (f.col("place") + 1).alias(array.removesuffix("s")),
    )


def conformed(part, wanted):
    """The columns that are wanted of a part; one that it lacks is null."""
    return [fitted(f.col(field.name), part.schema, field).alias(field.name) for field in wanted]


def fitted(column, there, field):
    """The field of that name with the wanted type; null if the record has none."""
    if field.name not in there.names:
        return f.lit(None).cast(field.dataType)
    return fit(column, there[field.name].dataType, field.dataType)


def fit(column, there, wanted):
    """The column with the type that is wanted; what a record in it lacks is null."""
    if shape(there) == shape(wanted):
        return column
    if isinstance(wanted, ArrayType):
        return f.transform(column, lambda item: fit(item, there.elementType, wanted.elementType))
    if isinstance(wanted, StructType):
        fields = [fitted(column[field.name], there, field).alias(field.name) for field in wanted]
        return f.when(column.isNotNull(), f.struct(*fields))
    return column.cast(wanted)


def shape(kind):
    """The type as text, which is equal for equal types."""
    return kind.simpleString()


# ---- what is needed of a contract ----


def needed(schema, table, times, queries):
    """The contract with only the fields that the queries over its views may read, and those that every replay does."""
    words = {"event_id", *times}.union(*(mentioned(sql) for sql in queries))
    names = {field["name"] for field in schema["fields"]}
    return pruned(schema, words | {name for name in names if f"{table}_{name}" in words})


def mentioned(sql):
    """Every word of a query: no column is read that is not among them. A star alone when it may stand for columns."""
    if re.search(r"(select(\s+distinct)?|,|\.)\s*\*", sql, re.IGNORECASE):
        return {"*"}
    return {word.lower() for word in re.findall(r"\w+", sql)}


def pruned(schema, words):
    """The contract with only the fields that are named, in the records of an array too."""
    if "*" in words:
        return schema
    kept = [field for field in schema["fields"] if field["name"].lower() in words]
    return {**schema, "fields": [{**field, "type": pruned_type(field["type"], words)} for field in kept]}


def pruned_type(kind, words):
    """An array of records without the fields that ``words`` lacks; any other type as it is."""
    if isinstance(kind, list):
        return [pruned_type(each, words) for each in kind]
    if (
        isinstance(kind, dict)
        and kind["type"] == "array"
        and isinstance(kind["items"], dict)
        and "fields" in kind["items"]
    ):
        items = pruned(kind["items"], words)
        # A record of no fields has no Parquet.
        return {**kind, "items": items if items["fields"] else {**items, "fields": kind["items"]["fields"][:1]}}
    return kind


def schema_of(spark, avro):
    """Spark's columns of an Avro record."""
    empty = spark.range(0).select(from_avro(f.lit(b""), json.dumps(avro)).alias("record"))
    return empty.schema["record"].dataType


# ---- the log ----


def log_records(spark, task, i):
    """The records of the log's slices as Kafka has them. No group's offsets are touched."""
    bounds = {}
    for s in i.log:
        if s.records:
            least, most = bounds.get(s.partition, (s.from_offset, s.until_offset))
            bounds[s.partition] = (min(least, s.from_offset), max(most, s.until_offset))
    return (
        spark.read.format("kafka")
        .options(**{f"kafka.{name}": value for name, value in task.kafka_options.items()})
        .option("kafka.bootstrap.servers", task.kafka)
        .option("assign", json.dumps({i.topic: sorted(bounds)}))
        .option("startingOffsets", json.dumps({i.topic: {str(p): least for p, (least, _) in bounds.items()}}))
        .option("endingOffsets", json.dumps({i.topic: {str(p): most for p, (_, most) in bounds.items()}}))
        .option("failOnDataLoss", "true")
        .option("kafkaConsumer.pollTimeoutMs", "60000")
        .load()
        .select("partition", "offset", "timestamp", "value")
    )


def decoded(records, i, reader):
    """Their fields and their position. A record that was written with no known schema fails with its position."""
    header, body = f.expr("substring(value, 1, 5)"), f.expr("substring(value, 6)")
    record = f.when(f.col("value").isNull(), f.lit(None))
    for number, writer in i.schemas.items():
        is_this = header == f.lit(b"\0" + number.to_bytes(4, "big"))
        record = record.when(is_this, from_avro(body, writer, {"avroSchema": reader}))
    problem = f.concat(
        f.lit(f"{i.topic} partition "),
        "partition",
        f.lit(" offset "),
        "offset",
        f.lit(": the record begins with the bytes "),
        f.hex(header),
        f.lit(
            f", and not with a zero and one of the schema ids that were planned for: {', '.join(map(str, i.schemas))}"
        ),
    )
    record = record.otherwise(f.raise_error(problem))
    position = [f.col(name).alias(f"kafka_{name}") for name in ("partition", "offset", "timestamp")]
    return records.select(*position, record.alias("record")).select(*POSITION, "record.*")


# ---- the lake ----


def open_lake(spark, properties):
    """Makes the catalog known under the name lake; ``properties`` are pyiceberg's."""
    if not properties:
        return
    prefix = "spark.sql.catalog.lake"
    options = {"": "org.apache.iceberg.spark.SparkCatalog", ".warehouse": properties["warehouse"]}
    if properties["type"] == "glue":
        options[".type"] = "glue"
    else:
        uri = urlsplit(properties["uri"])
        options |= {
            ".catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
            ".uri": f"jdbc:postgresql://{uri.hostname}:{uri.port or 5432}{uri.path}{uri.query and f'?{uri.query}'}",
            ".jdbc.user": unquote(uri.username or ""),
            ".jdbc.password": unquote(uri.password or ""),
            ".jdbc.schema-version": "V1",
        }
    if properties["warehouse"].startswith("s3://"):
        options[".io-impl"] = "org.apache.iceberg.aws.s3.S3FileIO"
        options |= {f".{name}": value for name, value in properties.items() if name.startswith(STORAGE)}
    for name, value in options.items():
        spark.conf.set(prefix + name, value)


def lake_records(spark, i, columns):
    """The records of the lake's slices, as the table is now and stays for this reading."""
    name = f"lake.events.{i.table}"
    newest = spark.table(f"{name}.refs").where("name = 'main'").select("snapshot_id").first()
    if newest is None:
        raise Refused(f"the lake's table events.{i.table} is empty, and should hold {count(i.lake):,} records")
    table = spark.read.option("versionAsOf", newest[0]).table(name)
    there = [field.name for field in columns if field.name in table.columns]
    return table.where(within(i.lake)).select(*POSITION, *there)


# ---- whole or not at all ----


def within(slices, place=PLACE):
    """Is the record in one of the slices?"""
    partition, offset = (f.col(name) for name in place)
    ranges = [(s.partition, s.from_offset, s.until_offset) for s in slices if s.records]
    return reduce(or_, [(partition == p) & (offset >= least) & (offset < most) for p, least, most in ranges])


def refuse_overlap(i):
    """Raises Refused when an offset is in two slices: its record would be a copy of itself."""
    ordered = sorted((s.partition, s.from_offset, s.until_offset) for s in i.log + i.lake if s.records)
    for (partition, _, until), (next_partition, start, _) in pairwise(ordered):
        if partition == next_partition and start < until:
            raise Refused(f"{i.topic} partition {partition} offset {start} is to be read twice: its slices overlap")


def check_whole(spark, frame, slices, where, may_have_holes=False):
    """Raises Refused unless every offset of the slices is there once. The frame has no others."""
    # A row is 64 neighbouring offsets, each of them a bit.
    rows = frame.groupBy("kafka_partition", f.shiftright("kafka_offset", 6)).agg(
        f.count("*").alias("records"), f.bit_or(f.expr("shiftleft(1L, cast(kafka_offset & 63 as int))")).alias("bits")
    )
    records, places = rows.agg(f.sum("records"), f.sum(f.bit_count("bits"))).first()
    if records == places and (may_have_holes or places == count(slices)):
        return
    twice = frame.groupBy(*PLACE).count().where("count > 1").orderBy(*PLACE).first()
    if twice is not None:
        raise Refused(f"{where} holds partition {twice[0]} offset {twice[1]} {twice[2]} times instead of once")
    missing = offsets(spark, slices).join(frame.select(*PLACE), list(PLACE), "left_anti")
    first = missing.orderBy(*PLACE).first()
    raise Refused(
        f"{where} lacks {missing.count():,} of the {count(slices):,} records that were planned for, the first of them"
        f" partition {first[0]} offset {first[1]}. A replay needs all records: plan again"
    )


def offsets(spark, slices):
    """Every place of the slices."""
    rows = [
        f"({s.partition}, {start}L, {min(start + OFFSETS_A_ROW, s.until_offset) - 1}L)"
        for s in slices
        for start in range(s.from_offset, s.until_offset, OFFSETS_A_ROW)
    ]
    # A list of Python's would go through a worker of Python's.
    ranges = spark.sql(f"values {', '.join(rows)} as ranges (kafka_partition, first, last)")
    return ranges.select("kafka_partition", f.explode(f.sequence("first", "last")).alias("kafka_offset"))


# ---- progress ----


class Progress:
    """Reports progress in records of the task; within a step, by Spark's finished tasks.

    ``work`` is the sum of all steps: a record is in several of them.
    """

    EVERY_SECONDS = 1.0

    def __init__(self, spark, said, records, work):
        self.tracker = spark.sparkContext.statusTracker()
        self.said = said
        self.records = records
        self.work = work
        self.done = 0

    @contextmanager
    def step(self, work, doing):
        """Reports progress while the block runs. An error in it is raised as Refused, with ``doing``."""
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(work, doing, ended), daemon=True)
        thread.start()
        try:
            yield
        except Exception as error:
            raise Refused(f"{doing}: {reason(error)}") from error
        finally:
            ended.set()
            thread.join()
        self.done += work
        self._say(self.done, doing)

    def _watch(self, work, doing, ended):
        share = 0.0
        while not ended.wait(self.EVERY_SECONDS):
            share = max(share, self._share())
            self._say(self.done + work * share, doing)

    def _say(self, done, doing):
        self.said(event="progress", records=int(self.records * done / self.work), of=self.records, doing=doing)

    def _share(self):
        stages = [self.tracker.getStageInfo(stage) for stage in self.tracker.getActiveStageIds()]
        tasks = sum(stage.numTasks for stage in stages if stage)
        return sum(stage.numCompletedTasks for stage in stages if stage) / tasks if tasks else 0.0


def reason(error):
    """What went wrong, in words: the innermost cause that has any."""
    text = str(error)
    java = getattr(error, "_origin", None) or getattr(error, "java_exception", None)
    while java is not None:
        text = java.getMessage() or text
        java = java.getCause()
    # What follows is Spark's own plan or the text of the query.
    text = re.split(r"(?<=pos \d);|(?<=pos \d\d);|\n== ", text)[0]
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("at ")]
    text = re.sub(r"\s*SQLSTATE: \w+", "", " ".join(lines[:3]))
    return re.sub(r"^\[[A-Z0-9_.]+\]\s*", "", text)[:1000]


def exists(spark, uri):
    """Is there a file or folder at ``uri``?"""
    path = spark.sparkContext._jvm.org.apache.hadoop.fs.Path(uri)
    return path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()).exists(path)


if __name__ == "__main__":
    main(sys.argv[1])
