"""Logs as JSON: each entry is one object a line, whoever writes it, and `insights logs` shows them to people."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from insights import jars
from insights.cli.log_tail import readable_lines
from insights.java import java_home
from insights.settings import PROJECT, Settings, load_settings
from insights.stack.composition import UpPlan, everything
from insights.stack.flink_java import log4j
from insights.stack.part import Part
from insights.stack.process_record import last_words
from insights.stack.recurring_jobs import Command, CommandFailed
from processes import JSON_LINES
from processes.json_lines import as_json, entry, readable
from processes.json_logs import MOST_CHARACTERS, _dumped, _Printed
from tests.conftest import own_settings, wait_until

NAMES = ["time", "level", "part", "message"]
TRACE = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>', "ValueError: no"]


def objects(lines: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in lines.splitlines()]
    assert all(list(each)[:4] == NAMES for each in found), found
    return found


@pytest.mark.parametrize("line", ['{"a":' + "[" * 100_000, '{"a": NaN}', '{"a": -Infinity}', '{"a"'])
def test_a_line_that_only_looks_like_an_object_is_text(line: str, tmp_path: Path) -> None:
    (found,) = objects("\n".join(as_json("page", [line])))
    assert found["message"] == line
    assert readable(line) == line
    (tmp_path / "page.out").write_text(line[-3000:])
    assert last_words(tmp_path / "page.out") == f": {line[-3000:][:200]}"


@pytest.mark.parametrize(
    ("said", "shown"), [({"v": float("nan")}, "nan"), ({"v": {("a", 1): 2}}, "{('a', 1): 2}")], ids=["NaN", "a key"]
)
def test_an_entry_with_what_json_has_no_form_for_says_it_as_text(said: dict[str, Any], shown: str) -> None:
    assert json.loads(_dumped({"message": "m", **said})) == {"message": "m", "v": shown}


def test_what_is_printed_in_pieces_is_a_line_and_one_without_an_end_is_cut() -> None:
    out = io.StringIO()
    printed = _Printed("page", out)
    for piece in ("be", "gun", "\nnext"):
        printed.write(piece)
    assert [each["message"] for each in objects(out.getvalue())] == ["begun"]
    for _ in range(MOST_CHARACTERS // 100 + 1):
        printed.write("." * 100)
    assert [len(each["message"]) for each in objects(out.getvalue())][1] > MOST_CHARACTERS - 100


def test_a_line_is_an_object_and_the_lines_of_a_traceback_are_one() -> None:
    first, second, third = objects("\n".join(as_json("page", ["It runs\n", "\n", *TRACE, "on"])))
    assert (first["part"], first["level"], first["message"]) == ("page", "info", "It runs")
    assert (second["level"], second["message"]) == ("error", "ValueError: no")
    assert second["exception"] == "\n".join(TRACE)
    assert third["message"] == "on"


def test_an_object_stays_as_it_is_and_half_a_traceback_is_not_lost() -> None:
    said = entry("lake", "info", "tidied", rows="3")
    kept, last = as_json("lake", [said, *TRACE[:2]])
    assert kept == said
    assert json.loads(last)["exception"] == "\n".join(TRACE[:2])


def test_people_see_time_level_message_and_what_else_was_said() -> None:
    line = (
        '{"time":"2026-03-01T12:00:00Z","level":"error","part":"alerts","message":"no","rule":"x","exception":"a\\nb"}'
    )
    assert readable(line) == "2026-03-01T12:00:00Z ERROR   no rule=x\na\nb"
    assert [readable(other) for other in ("plain", '{"a": 1}', "{broken")] == ["plain", '{"a": 1}', "{broken"]


def test_a_line_that_comes_in_pieces_is_shown_once_it_is_whole() -> None:
    line = '{"time":"12:00","level":"info","part":"x","message":"hello"}\n'
    pieces = [line[:10], line[10:] + "pla", "in"]
    assert list(readable_lines(pieces)) == ["12:00 INFO    hello\n", "plain"]


PROGRAM = """
import logging, sys, threading, warnings, structlog
from processes.json_logs import write_json
write_json("shop-events")
structlog.get_logger().bind(source="shop").info("published", topics=["a"])
logging.getLogger("aiohttp").warning("slow %s", "client")
warnings.warn("old")
print("printed", file=sys.stderr)
threading.Thread(target=lambda: 1 / 0, name="worker").start()
raise ValueError("the end")
"""


def test_all_that_a_process_says_is_json_exceptions_warnings_and_prints_included() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=PROJECT, capture_output=True, text=True, check=False)
    found = objects(done.stderr)
    assert done.returncode == 1
    assert {each["part"] for each in found} == {"shop-events"}
    said = {each["message"].splitlines()[0]: each for each in found}
    assert said["published"]["topics"] == ["a"]
    assert said["published"]["source"] == "shop"
    assert said["slow client"]["level"] == "warning"
    assert any("UserWarning: old" in message for message in said)
    assert "printed" in said
    assert "ZeroDivisionError" in said["thread worker ended"]["exception"]
    assert "ValueError: the end" in said["the end"]["exception"]


def test_a_wrapped_program_gets_the_signal_and_its_exit_code_is_kept(tmp_path: Path) -> None:
    program = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    with log.open("wb") as out:
        command = [sys.executable, str(JSON_LINES), "page", sys.executable, "-c", program]
        process = subprocess.Popen(command, stdout=out)
    wait_until(lambda: log.read_text(), what="the program is up")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 7
    assert [each["message"] for each in objects(log.read_text())] == ["up"]


def test_a_recurring_command_writes_objects_and_its_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    settings = own_settings(tmp_path, log_format="json")
    settings.logs_dir.mkdir()
    failing = Command(settings, "lake", (sys.executable, "-c", "print('begun'); raise OSError('the disk is full')"))
    with pytest.raises(CommandFailed, match=r"ended with code 1: OSError: the disk is full\. Its log"):
        failing.run()
    assert [each["part"] for each in objects((settings.logs_dir / "lake.out").read_text())] == ["lake", "lake"]
    assert last_words(settings.logs_dir / "lake.out") == ": OSError: the disk is full"


def parts(settings: Settings) -> dict[str, Part]:
    return {part.name: part for part in everything(settings, UpPlan()) if isinstance(part, Part)}


def test_the_setting_reaches_every_part_and_is_off_unless_it_is_set(tmp_path: Path) -> None:
    plain, as_objects = parts(own_settings(tmp_path)), parts(own_settings(tmp_path, log_format="json"))
    assert load_settings().log_format == "text"
    assert plain["alerts"].command[-2:] == ["--log-format", "text"]
    assert as_objects["alerts"].command[-2:] == ["--log-format", "json"]
    assert as_objects["page"].command[1:3] == [str(JSON_LINES), "page"]
    assert as_objects["collect"].environment["INSIGHTS_LOG_FORMAT"] == "json"
    assert as_objects["registry"].environment["QUARKUS_LOG_CONSOLE_JSON_ENABLED"] == "true"
    assert plain.keys() == as_objects.keys()
    assert "QUARKUS_LOG_CONSOLE_JSON_ENABLED" not in plain["registry"].environment


def test_a_java_server_writes_objects_also_of_an_exception(tmp_path: Path) -> None:
    """Kafka without a configuration logs why it does not start."""
    settings = Settings()
    conf = tmp_path / "log4j2.properties"
    conf.write_text(log4j("${sys:log.file}", "json", "kafka"))
    class_path = ":".join(str(jar) for jar in jars.of_part("kafka", settings.jars))
    log = tmp_path / "kafka.log"
    missing = tmp_path / 'not "there"'
    java = [str(java_home() / "bin" / "java"), f"-Dlog4j2.configurationFile={conf}", f"-Dlog.file={log}"]
    subprocess.run([*java, "-cp", class_path, "kafka.Kafka", str(missing)], capture_output=True, check=False)
    found = objects(log.read_text())
    assert {each["part"] for each in found} == {"kafka"}
    (failed,) = [each for each in found if "exception" in each]
    assert failed["level"] in ("error", "fatal")
    assert 'not "there"' in failed["exception"]
    assert "\n\tat " in failed["exception"]
