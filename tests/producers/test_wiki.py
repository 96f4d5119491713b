"""Edits of wikis: each once, whatever happens to the connection or the process, and all else accounted for."""

from __future__ import annotations

import json
import re
import threading
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from producers.persons.keys import PersonKeys
from producers.persons.letters import opened
from producers.publisher import Publisher
from producers.runner import Options, Run, Stop
from producers.sources import source
from producers.wiki import edits
from producers.wiki import source as wiki
from producers.wiki.edits import UnreadableChange
from producers.wiki.seen import Seen
from producers.wiki.sse import Message, Reader
from schemas.catalogue import Event
from schemas.codec import Encoder
from schemas.errors import BrokerUnavailable, PoisonEvent
from tests.shops.recent_changes import BEGAN_MS, RecentChanges


class Dead(NamedTuple):
    """A dead letter as it is published, and what is said of it in plain."""

    value: bytes
    said: dict[str, Any]


@dataclass
class Kept:
    """A publisher without a broker, which refuses what the contract refuses, and may lose its broker once."""

    records: list[dict[str, Any]] = field(default_factory=list)
    letters: list[Dead] = field(default_factory=list)
    away_after: int | None = None

    def publish(self, event: Event, record: dict[str, Any]) -> None:
        Encoder(event, 1).encode(record)
        self.records.append(record)

    def dead_letter(self, event: Event, value: bytes, *, error: Exception, **said: Any) -> None:
        assert event is wiki.WIKI_EDITED
        self.letters.append(Dead(value, said))

    def poll(self) -> None:
        pass

    def flush(self) -> None:
        if self.away_after is not None and len(self.records) >= self.away_after:
            self.away_after = None
            raise BrokerUnavailable("Kafka is away")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of milliseconds."""
    for name, seconds in {
        "TICK_SECONDS": 0.02,
        "STALLED_SECONDS": 0.3,
        "FIRST_WAIT_SECONDS": 0.001,
        "LONGEST_WAIT_SECONDS": 0.01,
    }.items():
        monkeypatch.setattr(wiki, name, seconds)


def run_until_all_told(server: RecentChanges, folder: Path, kept: Kept, **options: Any) -> list[dict[str, Any]]:
    """The source runs until it was told everything, and read it. Returns its log."""
    stop = Stop()
    this = Run(
        source=source("wiki"),
        options=Options(state=folder, url=server.stream, private=True, **options),
        publisher=cast(Publisher, kept),
        stop=stop,
        log=structlog.get_logger(),
    )

    def end() -> None:
        server.told_all.wait(30)
        asked = len(server.asked)
        for _ in range(600):  # the next request comes after everything of this one was taken
            if len(server.asked) > asked or stop.wait(0.05):
                break
        stop.request()

    thread = threading.Thread(target=end)
    thread.start()
    try:
        with capture_logs() as logs:
            wiki.run(this)
    finally:
        stop.request()
        server.told_all.set()
        thread.join()
        server.told_all.clear()
    return cast("list[dict[str, Any]]", logs)


def revisions(server: RecentChanges) -> list[str]:
    return sorted(change["notify_url"] for change in server.edits)


def told(kept: Kept) -> list[str]:
    return sorted(record["url"] for record in kept.records)


def counted(logs: list[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in logs:
        if line["event"] == "messages read":
            for name, value in line.items():
                if isinstance(value, int):
                    found[name] = found.get(name, 0) + value
    return found


@pytest.mark.usefixtures("hurried")
def test_edits_are_published_and_canaries_and_other_changes_are_not(tmp_path: Path) -> None:
    kept = Kept()
    with RecentChanges(300).serving() as server:
        logs = run_until_all_told(server, tmp_path, kept, contact="ops@shop.example")
    assert told(kept) == revisions(server)
    assert server.asked[0]["User-Agent"] == "InsightsHubWiki/1.0 (+ops@shop.example)"
    assert "Last-Event-ID" not in server.asked[0]
    counts = counted(logs)
    assert counts["canaries"] >= sum(change["meta"]["domain"] == "canary" for change in server.changes)
    assert counts["published"] == len(server.edits)
    assert counts["other_changes"] > 0
    by_url = {record["url"]: record for record in kept.records}
    edit = server.edits[0]
    record = by_url[edit["notify_url"]]
    assert record["page_id"] == f"{edit['wiki']}:{edit['title']}"
    assert record["occurred_at"] == datetime.fromtimestamp(edit["timestamp"], UTC)
    assert record["is_bot"] == edit["bot"]
    created = next(change for change in server.edits if change["type"] == "new")
    assert (by_url[created["notify_url"]]["old_length"], by_url[created["notify_url"]]["new_length"]) == (None, 35)


@pytest.mark.usefixtures("hurried")
def test_an_editors_name_is_on_the_log_as_a_pseudonym_only(tmp_path: Path) -> None:
    kept, server = Kept(), RecentChanges(60)
    server.changes[-1] |= {"user": "203.0.113.9"}
    for change, name in zip(server.edits, ("Ada", "ADA", "Ada"), strict=False):
        change["user"] = name
    with server.serving():
        run_until_all_told(server, tmp_path, kept)
    ada, shouted, again = [record["user_name"] for record in kept.records[:3]]
    assert ada == again != shouted
    assert re.fullmatch(r"wiki-editor-[0-9a-f]{16}", ada)
    published = str(kept.records)
    assert [change["user"] for change in server.edits if repr(change["user"]) in published] == []
    assert len({record["user_name"] for record in kept.records}) == len({change["user"] for change in server.edits})


def test_a_dead_letter_is_sealed_and_says_nothing_of_the_editor(tmp_path: Path) -> None:
    kept, server = Kept(), RecentChanges(30)
    bad = server.edits[0]
    bad |= {"timestamp": "no", "user": "203.0.113.9"}
    with server.serving():
        run_until_all_told(server, tmp_path, kept)
    (letter,) = kept.letters
    assert b"203.0.113.9" not in letter.value
    assert "203.0.113.9" not in str(letter.said)
    assert "Expected `int`" in letter.said["message"]
    with closing(PersonKeys(tmp_path)) as keys:
        unsealed = opened(keys, letter.said["origin"]["sealed"], letter.value)
    assert unsealed is not None
    assert json.loads(unsealed.original)["user"] == "203.0.113.9"


@pytest.mark.usefixtures("hurried")
def test_no_edit_is_lost_or_doubled_across_cuts_silence_refusals_and_nonsense(tmp_path: Path) -> None:
    kept = Kept()
    server = RecentChanges(1_500)
    server.faults = [
        *("end", "cut", "429", "stall", "500", "page", "nonsense", "cut", "endless", "no positions", "end", "cut")
    ]
    with server.serving():
        logs = run_until_all_told(server, tmp_path, kept)
    assert told(kept) == revisions(server)
    assert len(kept.records) == len({record["event_id"] for record in kept.records})
    resumed = [json.loads(headers["Last-Event-ID"])[0]["timestamp"] for headers in server.asked[1:]]
    assert BEGAN_MS < resumed[-1] < server.changes[-1]["at_ms"] - 29_000
    problems = " ".join(line["problem"] for line in logs if line["event"] == "stream cut")
    for part in ("returned 429", "returned 500", "text/html", "no whole line", "ended the stream"):
        assert part in problems
    reasons = [letter.said["message"].partition(":")[0] for letter in kept.letters]
    assert reasons == ["the message is no change of a page"] * 4  # the nonsense, once each
    assert any(line["event"] == "position not kept" for line in logs)


@pytest.mark.usefixtures("hurried")
def test_a_source_that_starts_again_reads_on_without_loss_or_double(tmp_path: Path) -> None:
    kept, server = Kept(), RecentChanges(400)
    with server.serving():
        for limit in (1, 50, 100):
            run_until_all_told(server, tmp_path, kept, max_events=limit)
        assert len(kept.records) == 151
        run_until_all_told(server, tmp_path, kept)
    assert told(kept) == revisions(server)


@pytest.mark.usefixtures("hurried")
def test_what_kafka_did_not_acknowledge_is_published_again_under_the_same_ids(tmp_path: Path) -> None:
    kept, server = Kept(away_after=100), RecentChanges(400)
    with server.serving():
        with pytest.raises(BrokerUnavailable):
            run_until_all_told(server, tmp_path, kept)
        run_until_all_told(server, tmp_path, kept)
    assert sorted(set(told(kept))) == revisions(server)
    assert len({record["event_id"] for record in kept.records}) == len(server.edits)


def test_one_edit_has_one_event_id_in_whichever_message_it_is_told() -> None:
    change = next(iter(RecentChanges(50).edits))
    again = {**change, "meta": {**change["meta"], "id": "another", "dt": "2026-11-30T00:00:09Z"}}
    first, second = (edits.record(json.dumps(each).encode(), "wiki", str) for each in (change, again))
    assert first["event_id"] == second["event_id"]
    later = {**change, "revision": {"new": 1}}
    assert edits.record(json.dumps(later).encode(), "wiki", str)["event_id"] != first["event_id"]


@pytest.mark.usefixtures("hurried")
def test_a_connection_that_is_cut_often_gets_on(tmp_path: Path) -> None:
    """60 changes are 20 seconds of the stream, fewer than are read again after a cut."""
    kept, server = Kept(), RecentChanges(900, after=600)
    with server.serving():
        server.faults = ["end"]
        run_until_all_told(server, tmp_path, kept, max_events=500)
        server.after, server.faults, kept.records = 60, ["end"] * 30, []
        run_until_all_told(server, tmp_path, kept, max_events=200)
    asked = [json.loads(headers["Last-Event-ID"])[0]["timestamp"] for headers in server.asked[1:]]
    assert len(kept.records) == 200
    assert server.faults  # each connection was cut
    assert min(asked) == asked[0]


def test_edits_whose_messages_have_no_id_are_all_published(tmp_path: Path) -> None:
    kept, server = Kept(), RecentChanges(50)
    for change in server.changes:
        change["meta"]["id"] = ""
    with server.serving():
        run_until_all_told(server, tmp_path, kept)
    assert told(kept) == revisions(server)


def test_keys_are_kept_across_restarts_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "s", "here", most_keys=3)
    assert all(seen.take(bytes([n])) for n in range(5))
    assert not seen.take(b"\x04")
    seen.commit("there")
    seen.close()
    seen = Seen(tmp_path / "s", "here", most_keys=3)
    assert (seen.position, Seen(tmp_path / "s", "elsewhere").position) == ("there", None)
    assert [seen.take(bytes([n])) for n in range(5)] == [True, True, False, False, False]


def messages(text: bytes, cuts: list[int], most_bytes: int = 1_000) -> list[Message]:
    reader, found = Reader(most_bytes), []
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    for begin, end in zip(edges, edges[1:], strict=False):
        found += reader.feed(text[begin:end])
        assert len(reader._line) <= most_bytes
    return found


STREAM = (
    b"\xef\xbb\xbf:ok\n\nid: 1\r\nevent: message\r\ndata: one\r\ndata:  two\r\n\r\n:comment\rdata\rid\r\r"
    b"id: a\0b\nretry: 12\nunknown: 1\nevent: other\ndata: three\n\nevent: none\n\nid: 4\ndata: cut"
)
EXPECTED = [
    Message(id="1", event="message", data=b"one\n two"),
    Message(id="", event="message", data=b""),
    Message(id="", event="other", data=b"three"),
]


@given(cuts=st.lists(st.integers(0, len(STREAM))))
def test_a_stream_says_the_same_however_it_is_cut_into_pieces(cuts: list[int]) -> None:
    assert messages(STREAM, cuts) == EXPECTED


def test_a_message_that_is_too_large_is_left_out_and_the_next_one_read() -> None:
    text = b"id: 7\ndata: " + b"x" * 5_000 + b"\n\nid: 8\ndata: ok\n\n" + b":" + b"c" * 900 + b"\n"
    found = messages(text + b": c\n" * 500 + b"data: too\n\n", list(range(0, 9_000, 100)))
    assert [(m.id, m.is_whole, m.data[:3]) for m in found] == [
        ("7", False, b"xxx"),
        ("8", True, b"ok"),
        ("8", True, b"too"),
    ]
    assert len(found[0].data) <= 1_000


PIECES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\n\n", b"data: ", b"id: ", b"event: ", b"retry: ", b":", b"\xef\xbb\xbf"]
    ),
    st.sampled_from([RecentChanges(1).message(change) for change in RecentChanges(12).changes]),
)


@pytest.mark.fuzz
@given(pieces=st.lists(PIECES, max_size=30), cuts=st.lists(st.integers(0, 3_000), max_size=8))
def test_any_bytes_are_messages_or_none_and_none_ends_the_reader(pieces: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(pieces)
    assert messages(whole, cuts) == messages(whole, [])
    for message in messages(whole, cuts):
        _judged(message.data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.fuzz
@given(data=st.data())
def test_a_spoiled_change_is_an_edit_that_can_be_published_or_refused_with_a_reason(data: st.DataObject) -> None:
    change: dict[str, Any] = dict(data.draw(st.sampled_from(RecentChanges(12).changes)))
    for name in data.draw(st.lists(st.sampled_from([*change, "length", "revision"]), max_size=3)):
        change[name] = data.draw(VALUES)
    raw = bytearray(json.dumps(change, ensure_ascii=data.draw(st.booleans())).encode(errors="surrogatepass"))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=2)):
        raw[at] = data.draw(st.integers(0, 255))
    _judged(bytes(raw))


def _judged(raw: bytes) -> None:
    """As the source does, with the contract."""
    with suppress(PoisonEvent):
        told_of = edits.change(raw)
        if edits.is_edit(told_of):
            record = edits.record(raw, "wiki", str)
            Encoder(wiki.WIKI_EDITED, 1).encode(record)


def test_waits_grow_and_a_server_that_asks_for_more_gets_it() -> None:
    assert [wiki.wait_seconds(n, 0, 0.0) for n in (0, 1, 2, 20)] == [1, 2, 4, 300]
    assert wiki.wait_seconds(3, 0, 1.0) == 4
    assert wiki.wait_seconds(0, 120, 0.5) == 120
    assert wiki.wait_seconds(0, 1e12, 0.5) == 3_600


@pytest.mark.usefixtures("hurried")
def test_the_streams_own_wish_to_wait_is_followed_up_to_the_longest_wait(tmp_path: Path) -> None:
    server = RecentChanges(50)
    server.retry_ms = 3_000_000
    with server.serving():
        logs = run_until_all_told(server, tmp_path, Kept())
    cuts = [line["again_in_seconds"] for line in logs if line["event"] == "stream cut"]
    assert cuts
    assert max(cuts) <= 0.1


def test_what_is_no_change_is_refused() -> None:
    with pytest.raises(UnreadableChange, match="no change of a page"):
        edits.change(b'{"type": 1}')
