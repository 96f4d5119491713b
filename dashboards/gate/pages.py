"""The gate's own pages: login, account, and what can't be shown. No script, and style by a nonce."""

from __future__ import annotations

from dataclasses import asdict
from html import escape

from dashboards.theme import DARK, FONT, LIGHT, Palette

CSS = """
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px 16px;background:var(--page);
 color:var(--text);font:16px/1.5 FONT}
main{width:100%;max-width:384px;background:var(--card);border:1px solid var(--edge);border-radius:14px;
 box-shadow:var(--shadow);padding:32px}
h1{margin:0;font-size:26px;font-weight:700;letter-spacing:-.022em;line-height:1.2}
p{margin:8px 0 0;color:var(--muted);font-size:15px}
label{display:block;margin:18px 0 6px;font-size:14px;font-weight:600}
input{width:100%;height:44px;padding:0 12px;font:inherit;color:var(--text);background:var(--page);
 border:1px solid var(--faint);border-radius:8px}
button,.button{display:block;width:100%;margin-top:24px;min-height:44px;padding:9px 16px;font:inherit;font-weight:650;
 text-align:center;text-decoration:none;color:var(--card);
 background:var(--accent);border:0;border-radius:8px;cursor:pointer}
a{color:var(--accent);font-weight:600}
a.button{color:var(--card)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.wrong{margin-top:16px;padding:10px 12px;border-radius:8px;
 color:var(--loss);background:var(--loss-soft);font-size:14.5px}
""".replace("FONT", FONT)


def login(*, with_password: bool, onwards: str, wrong: str = "", name: str = "") -> str:
    """The form for name and password, or the button that leads to the provider."""
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    hidden = f'<input type="hidden" name="next" value="{escape(onwards)}">'
    if not with_password:
        form = f'<form method="get" action="/login/oidc">{hidden}<button>Log in</button></form>'
        return _page("Log in", f"<h1>Insights Hub</h1><p>Log in to see the dashboards.</p>{said}{form}")
    focus = ("", " autofocus") if name else (" autofocus", "")
    form = (
        f'<form method="post" action="/login">{hidden}'
        f'<label for="name">Name</label><input id="name" name="name" value="{escape(name)}" autocomplete="username"'
        f' autocapitalize="none" spellcheck="false" required maxlength="64"{focus[0]}>'
        '<label for="password">Password</label><input id="password" name="password" type="password"'
        f' autocomplete="current-password" required maxlength="1024"{focus[1]}><button>Log in</button></form>'
    )
    return _page("Log in", f"<h1>Insights Hub</h1><p>Log in to see the dashboards.</p>{said}{form}")


def account(name: str, role: str) -> str:
    """Who is logged in, and the button that ends it."""
    form = '<form method="post" action="/logout"><button>Log out</button></form>'
    said = f"<p>You are logged in as <b>{escape(name)}</b>, with the role {escape(role)}.</p>"
    return _page("Account", f'<h1>Insights Hub</h1>{said}{form}<p><a href="/">Back to the dashboards</a></p>')


def notice(title: str, text: str) -> str:
    """Something that can't be shown, and why."""
    return _page(title, f'<h1>{escape(title)}</h1><p>{escape(text)}</p><p><a href="/">To the dashboards</a></p>')


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · Insights Hub</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme"'
        f' content="light dark"><style nonce="NONCE">:root{{{_colours(LIGHT)}}}'
        f"@media(prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}{CSS}</style></head>"
        f"<body><main>{body}</main></body></html>"
    )


def _colours(palette: Palette) -> str:
    return "".join(f"--{name.replace('_', '-')}:{value};" for name, value in asdict(palette).items())
