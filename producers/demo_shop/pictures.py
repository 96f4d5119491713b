"""Product pictures as SVG, drawn from simple shapes: the shape by category, the colours by product. Pure."""

from __future__ import annotations

from collections.abc import Callable

from producers.shop.assortment import Product
from producers.shop.seeded_random import mixed

VIEWS = 3
ROUND = 'stroke-linecap="round" stroke-linejoin="round"'
TINTS = (
    ("#e8efe9", "#2f6f5e", "#183a32"),
    ("#f3ebe1", "#c2602b", "#5b2d17"),
    ("#e6ecf4", "#33598f", "#1b2f4d"),
    ("#f4e9ea", "#a13a45", "#521c22"),
    ("#f0eee2", "#8a7b2c", "#453d14"),
    ("#ebe7f2", "#62519b", "#2f2650"),
)


def picture(product: Product, view: int) -> str:
    """The SVG of one of ``VIEWS`` views: whole, close, and on colour."""
    ground, main, dark = TINTS[mixed(product.price_seed, 21) % len(TINTS)]
    if view == 2:
        ground, main = main, ground
    zoom = 'transform="translate(-120 -90) scale(1.55)"' if view == 1 else ""
    turn = mixed(product.price_seed, 22) % 9 - 4
    inner = DRAWN[product.category](main, dark)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 600" role="img">'
        f'<rect width="600" height="600" fill="{ground}"/>'
        f'<ellipse cx="300" cy="486" rx="190" ry="16" fill="{dark}" opacity=".13"/>'
        f'<g {zoom}><g transform="rotate({turn} 300 300)" {ROUND}>{inner}</g></g>'
        "</svg>"
    )


def _ring(x: int, y: int, r: int, colour: str, width: int) -> str:
    return f'<circle cx="{x}" cy="{y}" r="{r}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _line(points: str, colour: str, width: int) -> str:
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _box(x: int, y: int, width: int, height: int, radius: int, colour: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{colour}"/>'


def _shape(path: str, colour: str) -> str:
    return f'<path d="{path}" fill="{colour}"/>'


def _around(shape: str, count: int) -> str:
    """The shape repeated ``count`` times, rotated around the middle of the picture."""
    return "".join(f'<g transform="rotate({360 * i / count:.1f} 300 300)">{shape}</g>' for i in range(count))


def _spokes(x: int, y: int, r: int, count: int, colour: str, width: int) -> str:
    turns = (f"rotate({360 * i / count:.1f} {x} {y})" for i in range(count))
    each = (f'<line x1="{x}" y1="{y}" x2="{x + r}" y2="{y}" transform="{turn}"/>' for turn in turns)
    return f'<g stroke="{colour}" stroke-width="{width}">{"".join(each)}</g>'


def _bike(main: str, dark: str) -> str:
    wheels = "".join(_spokes(x, 380, 88, 16, dark, 1) + _ring(x, 380, 92, dark, 9) for x in (165, 435))
    frame = _line("165,380 245,250 390,250 285,380 165,380", main, 13) + _line("285,380 238,228", main, 13)
    fork = _line("435,380 385,225 420,210", main, 11) + _line("215,222 262,222", dark, 14)
    return wheels + frame + fork + _ring(285, 380, 24, dark, 7) + _line("420,210 440,232", dark, 10)


def _wheel(main: str, dark: str) -> str:
    rim = _ring(300, 300, 168, main, 30) + _ring(300, 300, 186, dark, 10)
    return _spokes(300, 300, 150, 24, dark, 2) + rim + _ring(300, 300, 18, dark, 12)


def _chainring(main: str, dark: str) -> str:
    teeth = _around(_box(292, 118, 16, 26, 4, dark), 36)
    return teeth + _ring(300, 300, 150, main, 26) + _spokes(300, 300, 130, 5, main, 26) + _ring(300, 300, 34, dark, 20)


def _rotor(main: str, dark: str) -> str:
    holes = _around(f'<circle cx="300" cy="150" r="11" fill="{dark}"/>', 18)
    return _ring(300, 300, 150, main, 44) + holes + _spokes(300, 300, 124, 6, dark, 12) + _ring(300, 300, 38, main, 18)


def _jersey(main: str, dark: str) -> str:
    body = (
        "M220 130 L150 170 L120 270 L185 290 L195 250 V470 H405 V250 L415 290 L480 270 L450 170 l-70 -40 q-80 50 -160 0"
    )
    return _shape(body, main) + _line("300,160 300,470", dark, 5) + _box(195, 330, 210, 50, 0, dark)


def _helmet(main: str, dark: str) -> str:
    shell = _shape("M110 350 Q110 160 310 160 Q490 170 495 340 L440 360 L150 385 Z", main)
    vent = "M{} 330 q20 -115 62 -135 q-7 55 -20 135 Z"
    vents = "".join(_shape(vent.format(x), dark) for x in (170, 255, 340))
    return shell + vents + _line("190,382 250,460 350,452 420,362", dark, 7)


def _light(main: str, dark: str) -> str:
    beam = f'<g opacity=".28">{_shape("M345 245 L560 150 V450 L345 355 Z", main)}</g>'
    return (
        beam + _box(110, 250, 200, 100, 26, dark) + _box(290, 232, 58, 136, 18, main) + _box(170, 350, 60, 64, 12, main)
    )


def _bag(main: str, dark: str) -> str:
    body = _shape("M150 240 H450 L425 470 H175 Z", main) + _shape("M140 190 H460 V290 Q300 330 140 290 Z", dark)
    return body + _line("220,190 220,140 380,140 380,190", dark, 12) + _box(270, 285, 60, 54, 8, main)


def _wrench(main: str, dark: str) -> str:
    jaw = f'<circle cx="470" cy="300" r="62" fill="{dark}"/>' + _box(486, 274, 70, 52, 6, main)
    end = f'<circle cx="140" cy="300" r="52" fill="{dark}"/><circle cx="140" cy="300" r="24" fill="{main}"/>'
    return f'<g transform="rotate(-38 300 300)">{_box(150, 276, 300, 48, 20, dark)}{jaw}{end}</g>'


def _bar(main: str, dark: str) -> str:
    ends = _box(96, 225, 34, 150, 4, dark) + _box(470, 225, 34, 150, 4, dark)
    label = _box(190, 272, 220, 22, 11, dark) + _box(190, 312, 140, 16, 8, dark)
    return f'<g transform="rotate(-14 300 300)">{_box(110, 225, 380, 150, 16, main)}{ends}{label}</g>'


DRAWN: dict[str, Callable[[str, str], str]] = {
    "Bikes": _bike,
    "Wheels & Tyres": _wheel,
    "Drivetrain": _chainring,
    "Brakes": _rotor,
    "Clothing": _jersey,
    "Helmets": _helmet,
    "Lights": _light,
    "Bags": _bag,
    "Tools": _wrench,
    "Nutrition": _bar,
}
