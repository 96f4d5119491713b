"""How every command of `insights` behaves: options they share, errors as one paragraph, a quiet Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.text import Text
from typer.core import TyperGroup

from insights.cli.terminal_table import Screenful, folded
from schemas.errors import InsightsError

out = Console()
errors = Console(stderr=True)
endless = Console(width=100_000)


class FrontDoor(TyperGroup):
    """A group of commands whose errors are for people; `--debug` lets them through as tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. An error of ours becomes one paragraph on stderr, and its exit code."""
        try:
            return super().invoke(ctx)
        except InsightsError as error:
            if ctx.params.get("debug"):
                raise
            complain(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def run(app: typer.Typer) -> None:
    """Run the command line, and end the process."""
    debug = "--debug" in sys.argv
    if not debug:
        # Library warnings are for developers; the user of a command can do nothing about them.
        warnings.showwarning = lambda *_, **__: None
    try:
        app(prog_name="insights")
    except BrokenPipeError:
        # `insights logs kafka | head` has seen enough. Nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        complain(f"{kind}: {error}. This is an unexpected error; `insights --debug` before the command shows where")
        sys.exit(1)


def show(shown: RenderableType) -> None:
    """Fit it to the terminal. Elsewhere a row is one line, however long, so that an address is never split."""
    if out.is_terminal:
        # A line longer than the terminal is wide is wrapped by the terminal, and copied as one.
        out.print(shown, overflow="ignore", crop=False)
    else:
        endless.print(shown)


def keep_showing(
    look: Callable[[], RenderableType], *, every_seconds: float, wait: Callable[[float], None] = time.sleep
) -> NoReturn:
    """Show what it sees again and again, in place on a terminal and one after the other elsewhere. Does not return."""
    from rich.live import Live

    if not out.is_terminal:
        while True:
            show(look())
            say("")
            wait(every_seconds)
    with Live(Screenful(look()), console=out, screen=True, auto_refresh=False) as live:
        while True:
            wait(every_seconds)
            live.update(Screenful(look()), refresh=True)


@contextmanager
def progressing(what: str) -> Iterator[Callable[[str], None]]:
    """Gives a function that shows what is under way, in place on a terminal and nowhere else."""
    if not out.is_terminal:
        yield lambda text: None
        return
    with out.status(what) as status:
        yield lambda text: status.update(f"{what}: {escape(text)}")


def say(text: str | Text, style: str = "") -> None:
    """One paragraph, wrapped at words on a terminal; a line anywhere else."""
    _paragraph(out, Text(text, style=style) if isinstance(text, str) else text)


def complain(text: str) -> None:
    """One paragraph on stderr."""
    _paragraph(errors, Text.assemble(("insights:", "bold red"), " ", " ".join(text.split())))


def _paragraph(console: Console, text: Text) -> None:
    width = console.width if console.is_terminal else endless.width
    for line in folded(text, width, whole_words=True):
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


def group(help_text: str, *, example: str) -> typer.Typer:
    """A group of commands, without anything that a newcomer would trip over."""
    return typer.Typer(
        help=f"{help_text}\n\nExample: {example}",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
