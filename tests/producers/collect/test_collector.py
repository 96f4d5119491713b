"""Web events over real HTTP: what is answered, and what is on the log by then."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from producers.collect import keys
from producers.collect.collector import MOST_BYTES, OF_ADDRESS
from producers.collect.intake import INTERACTION
from producers.metrics import ANSWERS
from producers.publisher import Publisher
from schemas import catalogue
from schemas.kafka import Kafka
from tests.conftest import free_ports, wait_until
from tests.producers.collect.conftest import ORIGIN, Collecting, answers, batch_of, collecting, event, now_ms
from tests.producers.collect.test_batches import ANY_EVENT, ANY_JSON
from tests.producers.collect.test_batches import body as body_of
from tests.producers.conftest import Running
from tests.producers.sealed import unsealed

LETTERS = catalogue.event("ops.dead_letter")
Published = Callable[[], list[dict[str, Any]]]


class OneSchema:
    """A registry that knows every schema by one id, for a publisher that reaches no Kafka."""

    def register(self, event: Any) -> int:
        return 1


def tallies(collector: Collecting) -> dict[str, int]:
    found = keys.tallies(collector.folder, now_ms() // 86_400_000 - 1)
    return {outcome: events for (name, outcome), events in found.items() if name == collector.key.name}


def test_a_batch_is_answered_when_it_is_on_the_log(collector: Collecting, interactions: Published) -> None:
    began = now_ms()
    answer = collector.send(
        event(referrer="search.example", campaign="spring", page="/p?email=a@b.c#x", region="DE"),
        event(interaction="product_view", product_id="P1"),
        event(interaction="purchase", order_id="1001", user_id="7"),
    )
    assert (answer.status_code, answer.json()) == (200, {"accepted": 3, "bot": 0, "refused": []})
    first, second, third = sorted(interactions(), key=lambda each: each["occurred_at"])
    name = collector.key.name
    assert [each["interaction"] for each in (first, second, third)] == ["page_view", "product_view", "purchase"]
    assert len({(each["session_id"], each["session_started_at"]) for each in (first, second, third)}) == 1
    assert {(each["referrer"], each["campaign"]) for each in (first, second, third)} == {("search.example", "spring")}
    assert (first["page"], first["region"], second["region"]) == ("/p", "DE", "unknown")
    assert (third["order_id"], third["user_id"]) == (f"{name}-1001", f"{name}-7")
    assert abs(first["occurred_at"].timestamp() * 1000 - began) < 5_000
    assert "192.0.2.1" not in str(first)


def test_what_is_sent_again_counts_once(collector: Collecting, interactions: Published) -> None:
    again = batch_of(event(), event())
    for _ in range(3):
        assert collector.post(again).json()["accepted"] == 2
    found = interactions()
    assert len(found) == 6
    assert len({(each["event_id"], each["occurred_at"]) for each in found}) == 2


def test_what_is_sent_again_after_a_kill_counts_once(
    produce: Callable[..., Running], log_of: Callable[..., Any], tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    log, key = log_of(INTERACTION), keys.add(tmp_path / "state", f"shop-{uuid.uuid4().hex[:12]}", [ORIGIN])
    collector = Collecting(f"http://127.0.0.1:{port}", tmp_path / "state", key)
    batch = batch_of(event(), event())
    for _ in range(2):
        running = produce("collect", "--collect-port", str(port))
        wait_until(lambda: answers(f"{collector.url}/health"), what="the collector answers")
        assert collector.post(batch).json()["accepted"] == 2
        running.kill()
    found = [each for each in log.records(INTERACTION.topic) if each["source"] == key.name]
    assert len(found) == 4
    assert len({(each["event_id"], each["occurred_at"], each["session_id"]) for each in found}) == 2
    assert tallies(collector) == {"published": 4}


def test_the_good_ones_are_kept_and_each_refused_is_named_and_a_dead_letter(
    collector: Collecting, interactions: Published, log_of: Callable[..., Any]
) -> None:
    letters = log_of(LETTERS)
    day_old = event(at=now_ms() - 25 * 3_600_000)
    ahead = event(at=now_ms() + 120_000)
    nul = event(page="/\0")
    answer = collector.send(event(), {"id": 1}, day_old, ahead, nul, event())
    told = answer.json()
    assert (answer.status_code, told["accepted"]) == (200, 2)
    assert [(each["index"], each["field"]) for each in told["refused"]] == [
        (1, "id"),
        (2, "at"),
        (3, "at"),
        (4, "page"),
    ]
    assert "25.0 h before it arrived" in told["refused"][1]["reason"]
    assert "after it was sent" in told["refused"][2]["reason"]
    assert len(interactions()) == 2
    bodies = [json.loads(unsealed(collector.folder, one).original) for one in letters.messages(LETTERS.topic)]
    assert sorted(bodies, key=str) == sorted([{"id": 1}, day_old, ahead, nul], key=str)
    assert collector.send({"id": 1}).status_code == 400
    wait_until(lambda: tallies(collector) == {"published": 2, "refused": 5}, what="all are counted")


def test_a_clock_that_is_wrong_is_put_right(collector: Collecting, interactions: Published) -> None:
    there = now_ms() + 7 * 86_400_000
    body = json.dumps({"sent_at": there, "events": [event(at=there - 3_000)]}).encode()
    assert collector.post(body).json()["accepted"] == 1
    (found,) = interactions()
    assert abs(found["occurred_at"].timestamp() * 1000 - (now_ms() - 3_000)) < 3_000


def test_bots_are_counted_apart(collector: Collecting, interactions: Published) -> None:
    answer = collector.send(event(), event(), User_Agent="Mozilla/5.0 (compatible; Googlebot/2.1)")
    assert (answer.status_code, answer.json()) == (200, {"accepted": 0, "bot": 2, "refused": []})
    assert interactions() == []
    assert tallies(collector) == {"bot": 2}


def test_a_shops_server_says_who_the_visitor_is(collector: Collecting, interactions: Published) -> None:
    refused = collector.send(event(), Origin=None, User_Agent="python-requests/2")
    assert (refused.status_code, refused.json()["field"]) == (400, "visitor")
    said = batch_of(event(), visitor="v1")
    assert collector.post(said, Origin=None, User_Agent="python-requests/2", Content_Type="application/json").ok
    assert len(interactions()) == 1


def test_who_may_not_send_is_refused(collector: Collecting) -> None:
    right = batch_of(event())
    assert requests.post(f"{collector.url}/v1/events?key=wk_x", data=right, timeout=9).status_code == 401
    assert requests.post(f"{collector.url}/v1/events", data=right, timeout=9).status_code == 401
    other = collector.post(right, Origin="https://other.example")
    assert other.status_code == 403
    assert "Access-Control-Allow-Origin" not in other.headers
    assert collector.post(right, Content_Type="application/x-www-form-urlencoded").status_code == 415
    keys.remove(collector.folder, collector.key.name)
    wait_until(lambda: collector.post(right).status_code == 401, what="the key is gone")


def test_a_browser_may_read_the_answer_on_the_keys_origins_alone(collector: Collecting) -> None:
    sent = collector.send(event())
    assert sent.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert collector.post(b"{").headers["Access-Control-Allow-Origin"] == ORIGIN
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    allowed = requests.options(collector.events_url, headers=asks, timeout=9)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
    assert "Content-Encoding" in allowed.headers["Access-Control-Allow-Headers"]
    refused = requests.options(collector.events_url, headers={**asks, "Origin": "https://other.example"}, timeout=9)
    assert (refused.status_code, refused.headers.get("Access-Control-Allow-Origin")) == (403, None)


def test_gzip_is_taken_and_what_swells_up_is_not(collector: Collecting, interactions: Published) -> None:
    packed = gzip.compress(batch_of(event()))
    assert collector.post(packed, Content_Encoding="gzip").json()["accepted"] == 1
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    began = time.monotonic()
    assert collector.post(bomb, Content_Encoding="gzip").status_code == 413
    assert time.monotonic() - began < 5
    assert collector.post(batch_of(event(page="/" + "x" * MOST_BYTES))).status_code == 413
    assert collector.post(b"not gzip", Content_Encoding="gzip").status_code == 400
    assert collector.post(packed[:-12], Content_Encoding="gzip").status_code == 400
    assert len(interactions()) == 1


def counted_refusals() -> float:
    """In Prometheus' numbers."""
    samples = [sample for family in ANSWERS.collect() for sample in family.samples if sample.name.endswith("_total")]
    return sum(sample.value for sample in samples if sample.labels == {"source": "collect", "status": "429"})


def test_too_many_of_an_address_are_to_come_again_later(collector: Collecting) -> None:
    before = counted_refusals()
    body = batch_of(*(event() for _ in range(200)))
    answers = [collector.post(body) for _ in range(int(OF_ADDRESS.burst) // 200 + 1)]
    assert {each.status_code for each in answers[:-1]} == {200}
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 4
    assert collector.send(event(), address="192.0.2.2").status_code == 200
    assert collector.answers() == {"200": 11, "429": 1}
    assert counted_refusals() == before + 1


def test_without_kafka_it_is_503_within_a_second_and_a_half(tmp_path: Path) -> None:
    nowhere = Publisher(Kafka("127.0.0.1:1"), OneSchema(), client_id="test")
    with collecting(nowhere, tmp_path, [ORIGIN]) as collector:
        for _ in range(2):
            began = time.monotonic()
            answer = collector.send(event())
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert time.monotonic() - began < 1.5
        assert tallies(collector) == {}
    nowhere._producer.purge()


def test_slow_and_broken_clients_hold_nobody_up(collector: Collecting) -> None:
    address = ("127.0.0.1", int(collector.url.rpartition(":")[2]))
    head = f"POST /v1/events?key={collector.key.key} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
    with ExitStack() as opened:
        for _ in range(20):
            slow = opened.enter_context(socket.create_connection(address))
            slow.sendall(f"{head}Origin: {ORIGIN}\r\nContent-Length: 1000\r\n\r\n{{".encode())
        large = opened.enter_context(socket.create_connection(address, timeout=10))
        large.sendall(f"{head}X-Large: {'x' * 100_000}\r\n\r\n".encode())
        assert large.recv(100).startswith(b"HTTP/1.0 400")
        began = time.monotonic()
        assert collector.send(event()).status_code == 200
        assert time.monotonic() - began < 1


def test_a_body_that_does_not_come_is_not_waited_for(collector: Collecting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.collect.collector.BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", int(collector.url.rpartition(":")[2])), timeout=10) as slow:
        head = f"POST /v1/events?key={collector.key.key} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
        slow.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_the_tracker_is_kept_by_browsers(collector: Collecting) -> None:
    url = f"{collector.url}/v1/tracker.js"
    first = requests.get(url, timeout=9)
    assert first.headers["Content-Type"].startswith("text/javascript")
    assert "max-age" in first.headers["Cache-Control"]
    assert first.headers["Content-Encoding"] == "gzip"
    assert b"insights" in first.content
    assert requests.get(url, headers={"If-None-Match": first.headers["ETag"]}, timeout=9).status_code == 304
    assert requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=9).content == first.content


BODIES = st.binary(max_size=200) | st.lists(ANY_EVENT | ANY_JSON, max_size=5).map(lambda each: body_of(*each))
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content_Type": st.sampled_from(["application/json", "text/plain", "text/plain; charset=latin-9", ";", "é"]),
        "Content_Encoding": st.sampled_from(["gzip", "deflate", "br", "x", "identity"]),
        "User_Agent": st.text(st.characters(min_codepoint=33, max_codepoint=255)),
        "Origin": st.sampled_from([ORIGIN, "null", ""]),
        "address": st.sampled_from(["192.0.2.9", "", "::1", ",", "x" * 300]),
    },
)


def test_no_request_is_a_fault_of_ours_and_every_event_that_was_taken_is_published(
    collector: Collecting, interactions: Published
) -> None:
    accepted = 0

    @given(body=BODIES, headers=HEADERS, is_packed=st.booleans())
    def holds(body: bytes, headers: dict[str, str], is_packed: bool) -> None:
        nonlocal accepted
        said = {name: value.encode("latin-1") if name != "address" else value for name, value in headers.items()}
        packed = gzip.compress(body) if is_packed and headers.get("Content_Encoding") == "gzip" else body
        answer = collector.post(packed, **said)  # type: ignore[arg-type]
        assert answer.status_code < 500, (answer.status_code, answer.text)
        if answer.status_code in (200, 400) and answer.text.startswith("{"):
            accepted += answer.json().get("accepted", 0)

    holds()
    assert len(interactions()) == accepted > 0


def test_no_key_and_nobodys_address_is_logged(
    collector: Collecting, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        collector.send(event(user_id="a@mail.example"), event())
        collector.post(b"\xff")
        with socket.create_connection(("127.0.0.1", int(collector.url.rpartition(":")[2])), timeout=10) as broken:
            broken.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nUser-Agent: Chrome/141\x01\r\n\r\n")
            assert broken.recv(100).startswith(b"HTTP/1.0 400")
    ours = [caplog.handler.format(each) for each in caplog.records if each.name.partition(".")[0] != "urllib3"]
    said = "\n".join([*ours, *capfd.readouterr()])
    assert not any(text in said for text in (collector.key.key, "192.0.2.1", "Chrome/141", "mail.example"))
