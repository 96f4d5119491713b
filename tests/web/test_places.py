"""A map's axes: every place is on it, in its true shape."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.charts import SHORTEST_DEGREE, extents, places

PLACES = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=30)


def on_a_card(expression: str, width: int, height: int) -> float:
    """What the browser makes of it: an expression of Vega's that is one of Python's, too."""
    return float(eval(expression, {"max": max, "width": width, "height": height}))


@given(PLACES, st.integers(200, 1_500), st.integers(100, 900))
def test_every_place_is_on_the_map_and_a_kilometre_is_as_long_upwards_as_sidewards(
    found: list[tuple[float, float]], width: int, height: int
) -> None:
    latitudes, longitudes = [latitude for latitude, _ in found], [longitude for _, longitude in found]
    across, up = extents(latitudes, longitudes)
    west, east, south, north = (on_a_card(expression, width, height) for expression in (*across, *up))
    assert all(west < x < east and south < y < north for y, x in found)
    middle = math.radians((min(latitudes) + max(latitudes)) / 2)
    shrunk = max(math.cos(middle), SHORTEST_DEGREE)
    assert (east - west) * shrunk / width == pytest.approx((north - south) / height)


def test_one_vehicle_is_a_dot_amid_its_neighbourhood() -> None:
    at = datetime(2026, 3, 2, 10, 15, tzinfo=UTC)
    row = {"label": "city:1", "note": None, "at": at, "latitude": 52.5, "longitude": 13.4}
    chart = places([row], "light", 300).to_dict()
    (data,) = chart["datasets"].values()
    assert data == [{"latitude": 52.5, "longitude": 13.4, "label": "city:1", "note": "", "when": "Mon 2 Mar, 10:15"}]
    scale = chart["layer"][0]["encoding"]["x"]["scale"]
    west, east = (on_a_card(scale[name]["expr"], 600, 300) for name in ("domainMin", "domainMax"))
    assert west < 13.4 < east
    assert east - west < 0.03
