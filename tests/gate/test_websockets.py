"""Websockets through the gate, and those who try to open or to use one that they may not."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
import requests
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import ConnectionClosedError
from websockets.frames import CloseCode
from websockets.sync.client import connect

from dashboards.gate import sockets
from tests.gate.serving import Running, visitor_of

PING = BackMsg(app_heartbeat=True).SerializeToString()
DOWNLOAD = BackMsg()
DOWNLOAD.backend_operation_request.request_id = "1"
DOWNLOAD.backend_operation_request.deferred_file.file_id = "rows"


def shake(gate: Running, cookie: str | None, **headers: str) -> Any:
    """A connection, as Streamlit's own script opens it."""
    more = {"Origin": gate.url, **({"Cookie": f"{gate.cookie}={cookie}"} if cookie else {}), **headers}

    async def talk() -> Any:
        url = f"{gate.url}/_stcore/stream"
        async with (
            ClientSession() as client,
            client.ws_connect(url, headers=more, protocols=("streamlit", "xsrf", "another-session")) as line,
        ):
            heard = json.loads((await line.receive()).data)
            await line.send_bytes(PING)
            return heard, (await line.receive()).data, line.protocol

    return asyncio.run(talk())


def test_a_websocket_with_a_session_passes_both_ways(gate: Running) -> None:
    client, _ = gate.log_in("vera")
    heard, echoed, protocol = shake(gate, client.cookies[gate.cookie])
    assert (echoed, protocol) == (PING, "streamlit")
    assert visitor_of(heard)["role"] == "viewer"
    assert heard["headers"]["Sec-WebSocket-Protocol"] == "streamlit"
    assert {"Cookie", "Origin"}.isdisjoint(heard["headers"])


def test_a_websocket_without_a_session_or_from_another_site_is_refused(gate: Running) -> None:
    cookie = gate.log_in("otto")[0].cookies[gate.cookie]
    tries: list[tuple[str | None, dict[str, str], int]] = [
        (None, {}, 401),
        ("made-up", {}, 401),
        (cookie, {"Origin": "https://evil.example"}, 403),
        (cookie, {"Origin": ""}, 403),
    ]
    for known, headers, status in tries:
        with pytest.raises(WSServerHandshakeError) as refused:
            shake(gate, known, **headers)
        assert refused.value.status == status


def test_a_websockets_end_comes_with_its_sessions(gate: Running) -> None:
    client, _ = gate.log_in("otto")

    async def talk() -> Any:
        headers = {"Origin": gate.url, "Cookie": f"{gate.cookie}={client.cookies[gate.cookie]}"}
        async with (
            ClientSession() as session,
            session.ws_connect(f"{gate.url}/_stcore/stream", headers=headers) as line,
        ):
            await line.receive()
            await asyncio.to_thread(client.post, f"{gate.url}/logout")
            ended = await line.receive(timeout=10)
            return ended.type, ended.data

    assert asyncio.run(talk()) == (WSMsgType.CLOSE, 1008)


def test_of_a_browsers_messages_the_page_gets_those_that_its_role_needs(gate: Running) -> None:
    harmful = [BackMsg(clear_cache=True), BackMsg(debug_shutdown_runtime=True)]

    async def echoes(cookie: str) -> list[bytes]:
        headers = {"Origin": gate.url, "Cookie": f"{gate.cookie}={cookie}"}
        url = f"{gate.url}/_stcore/stream"
        async with ClientSession() as client, client.ws_connect(url, headers=headers) as line:
            await line.receive()
            for message in (*harmful, DOWNLOAD):
                await line.send_bytes(message.SerializeToString())
            await line.send_str("text")
            await line.send_bytes(PING)
            heard = [(await line.receive(timeout=10)).data]
            while heard[-1] != PING:
                heard.append((await line.receive(timeout=10)).data)
            return heard

    assert asyncio.run(echoes(gate.log_in("vera")[0].cookies[gate.cookie])) == [PING]
    assert asyncio.run(echoes(gate.log_in("anna")[0].cookies[gate.cookie])) == [DOWNLOAD.SerializeToString(), PING]


@pytest.mark.parametrize(("of_session", "of_guests", "who"), [(2, 9, "vera"), (9, 2, "guest")])
def test_a_page_too_many_is_refused_until_one_is_closed(
    gate: Running, monkeypatch: pytest.MonkeyPatch, of_session: int, of_guests: int, who: str
) -> None:
    monkeypatch.setattr(sockets, "MOST_OF_A_SESSION", of_session)
    monkeypatch.setattr(sockets, "MOST_OF_GUESTS", of_guests)
    if who == "guest":
        share = gate.doing(lambda: gate.access.share("stock", gate.clock.now + 3600))
        client = gate.client()
        client.get(f"{gate.url}/share/{share.token}")
    else:
        client = gate.log_in(who)[0]
    headers = {"Origin": gate.url, "Cookie": f"{gate.cookie}={client.cookies[gate.cookie]}"}

    async def talk() -> int:
        async with ClientSession() as session:

            async def opened() -> Any:
                return await session.ws_connect(f"{gate.url}/_stcore/stream", headers=headers)

            lines = [await opened(), await opened()]
            with pytest.raises(WSServerHandshakeError) as refused:
                await opened()
            await lines[0].close()
            async with asyncio.timeout(10):
                while True:
                    try:
                        lines.append(await opened())
                        break
                    except WSServerHandshakeError:
                        await asyncio.sleep(0.01)
            for line in lines:
                await line.close()
            return refused.value.status

    assert asyncio.run(talk()) == 429


def test_a_message_that_is_too_large_ends_the_connection(gate: Running) -> None:
    cookie = gate.log_in("otto")[0].cookies[gate.cookie]
    headers = {"Cookie": f"{gate.cookie}={cookie}"}
    with connect(
        f"ws://127.0.0.1:{gate.port}/_stcore/stream",
        origin=gate.url,
        additional_headers=headers,
        compression=None,  # type: ignore[arg-type]
    ) as line:
        line.recv(timeout=10)
        with suppress(ConnectionClosedError):  # it may end while it is sent
            line.send(b"x" * 3_000_000)
        # The reason, 1009, may not arrive: what was sent and never read makes TCP reset the connection.
        with pytest.raises(ConnectionClosedError):
            line.recv(timeout=10)
        assert line.close_code in (CloseCode.MESSAGE_TOO_BIG, CloseCode.ABNORMAL_CLOSURE)
    assert requests.get(f"{gate.url}/_stcore/health", timeout=10).ok
