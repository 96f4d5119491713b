"""The part of bench/decode.py that runs in Spark's environment: decodes files of records and prints the time taken."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "spark"))

import job  # noqa: E402
from pyspark.sql import functions as f  # noqa: E402
from pyspark.sql.avro.functions import from_avro  # noqa: E402
from task import Input  # noqa: E402

request = json.loads(Path(sys.argv[1]).read_text())
schemas = {int(number): text for number, text in request["schemas"].items()}
orders = Input(
    event="sales.order_placed",
    table="order_placed",
    topic="bench",
    schema=schemas[1],
    schemas=schemas,
    log=(),
    lake=(),
    late={},
)
spark = job.session()
raw = {way: spark.read.parquet(f"{request['folder']}/{way}.parquet") for way in request["ways"]}
position = [f.col(name).alias(f"kafka_{name}") for name in ("partition", "offset", "timestamp")]
native = from_avro(f.expr("substring(value, 6)"), schemas[1]).alias("record")
decoded = {
    "three ids": job.decoded(raw["three ids"], orders, schemas[1]),
    "from_avro": raw["from_avro"].select(*position, native).select(*job.POSITION, "record.*"),
}
for repeat in range(request["repeats"] + 1):
    for way in request["ways"]:
        began = time.monotonic()
        decoded[way].write.format("noop").mode("overwrite").save()
        if repeat:  # the first is for Java to get warm
            job.say(event="timed", way=way, seconds=time.monotonic() - began)
spark.stop()
