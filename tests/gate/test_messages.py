"""A browser's messages, as Streamlit itself writes them, and bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.proto.BackMsg_pb2 import BackMsg

from dashboards.gate.messages import is_passed_on

NEEDED = {"rerun_script", "app_heartbeat", "stop_script"}


def message_of(name: str) -> BackMsg:
    made, kind = BackMsg(), BackMsg.DESCRIPTOR.fields_by_name[name]
    if kind.message_type:
        getattr(made, name).SetInParent()
    else:
        setattr(made, name, True)
    return made


@pytest.mark.parametrize("name", sorted(BackMsg.DESCRIPTOR.fields_by_name))
def test_a_viewer_sends_what_reading_needs_and_an_analyst_also_asks_for_files(name: str) -> None:
    sent = message_of(name).SerializeToString()
    assert is_passed_on(sent, may_export=False) == (name in NEEDED)
    assert is_passed_on(sent, may_export=True) == (name in NEEDED | {"backend_operation_request"})


def test_a_rerun_with_all_that_a_browser_adds_is_passed_on() -> None:
    sent = BackMsg()
    sent.rerun_script.query_string = "dashboard=stock&" + "x" * 1000
    sent.rerun_script.widget_states.widgets.add(id="shop", string_value="bikes")
    assert is_passed_on(sent.SerializeToString(), may_export=False)


@pytest.mark.parametrize("name", ["install_skills", "dismiss_skills_nudge", "dataframe_chunk"])
def test_of_the_operations_of_the_server_only_a_download_is_passed_on(name: str) -> None:
    sent = BackMsg()
    getattr(sent.backend_operation_request, name).SetInParent()
    assert not is_passed_on(sent.SerializeToString(), may_export=True)


def test_what_is_harmful_is_not_passed_on_behind_what_is_needed() -> None:
    needed, harmful = (message_of(name).SerializeToString() for name in ("rerun_script", "clear_cache"))
    for sent in (needed + harmful, harmful + needed):
        assert not is_passed_on(sent, may_export=True)


@given(st.binary(max_size=40), st.booleans())
def test_what_is_passed_on_streamlit_reads_as_what_is_needed(sent: bytes, may_export: bool) -> None:
    if is_passed_on(sent, may_export=may_export):
        read = BackMsg()
        try:
            read.ParseFromString(sent)
        except Exception:  # noqa: BLE001 it is dropped there, too
            return
        assert read.WhichOneof("type") in {*NEEDED, "backend_operation_request", None}
