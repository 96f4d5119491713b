"""Colours and type, light and dark, for the page's own style sheet and for the charts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Mode = Literal["light", "dark"]
FONT = '"Source Sans", "Source Sans 3", "Segoe UI", system-ui, -apple-system, sans-serif'


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Colours by their part. Text on ``card`` has a contrast of at least 4.5, ``faint`` of 3 (large or decorative)."""

    page: str
    card: str
    edge: str
    grid: str
    text: str
    muted: str
    faint: str
    accent: str
    accent_soft: str
    quiet: str
    second: str
    third: str
    gain: str
    gain_soft: str
    loss: str
    loss_soft: str
    warn: str
    shadow: str


LIGHT = Palette(
    page="#f4f6f5",
    card="#ffffff",
    edge="#e2e8e6",
    grid="#edf1f0",
    text="#14211f",
    muted="#566663",
    faint="#8b9a97",
    accent="#0f766e",
    accent_soft="#d5ece8",
    quiet="#a9b7b4",
    second="#c2761a",
    third="#4f5fc4",
    gain="#12734b",
    gain_soft="#e0f3e9",
    loss="#a93a28",
    loss_soft="#fbe8e4",
    warn="#c98a12",
    shadow="0 1px 2px rgba(20,33,31,.04), 0 4px 16px -8px rgba(20,33,31,.10)",
)
DARK = Palette(
    page="#0d1413",
    card="#141d1b",
    edge="#24302e",
    grid="#1e2927",
    text="#e8efed",
    muted="#9badaa",
    faint="#6e807c",
    accent="#3ec6b5",
    accent_soft="#173a36",
    quiet="#5d706c",
    second="#e8a23d",
    third="#8e9bf0",
    gain="#4fd09a",
    gain_soft="#12342a",
    loss="#f0806b",
    loss_soft="#3c201b",
    warn="#e6b04a",
    shadow="none",
)
PALETTES: dict[Mode, Palette] = {"light": LIGHT, "dark": DARK}


def style(mode: Mode) -> str:
    """The page's style sheet with the mode's colours as custom properties."""
    colours = "".join(f"--{name.replace('_', '-')}:{value};" for name, value in asdict(PALETTES[mode]).items())
    sheet = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    heat = "74%" if mode == "light" else "46%"  # of the accent, at most, behind the text of a heat map
    return f"<style>:root{{{colours}--heat:{heat};color-scheme:{mode}}}\n{sheet}</style>"


def chart_config(mode: Mode) -> dict[str, Any]:
    """Vega-Lite's ``config`` block: quiet axes, no frame, no ticks, the page's type."""
    colours = PALETTES[mode]
    axis = {
        "domain": False,
        "ticks": False,
        "gridColor": colours.grid,
        "labelColor": colours.muted,
        "labelFont": FONT,
        "labelFontSize": 12,
        "labelPadding": 8,
        "title": None,
    }
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "axisX": {"grid": False, "labelFlush": True, "labelOverlap": True},
        "axisY": {"tickCount": 4},
        "text": {"font": FONT, "fontSize": 13, "color": colours.text},
    }
