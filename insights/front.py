"""How every command of `insights` behaves: options they share, errors as one paragraph, a quiet Ctrl-C."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from schemas.errors import InsightsError

out = Console()
errors = Console(stderr=True)


class FrontDoor(TyperGroup):
    """A group of commands whose errors are for people; `--debug` lets them through as tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. An error of ours becomes one paragraph on stderr, and exit code 1."""
        try:
            return super().invoke(ctx)
        except InsightsError as error:
            if ctx.params.get("debug"):
                raise
            complain(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def run(app: typer.Typer) -> None:
    """Run the whole command line, and end the process."""
    debug = "--debug" in sys.argv
    if not debug:
        # Libraries warn each other's authors; whoever types a command can do nothing about it.
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
        complain(f"{kind}: {error}. This was not foreseen; `insights --debug` before the command shows where it was")
        sys.exit(1)


def complain(text: str) -> None:
    """One paragraph on stderr."""
    paragraph = " ".join(text.split())
    errors.print(f"[bold red]insights:[/] {escape(paragraph)}", highlight=False, soft_wrap=not errors.is_terminal)


def escape(text: str) -> str:
    """Keep rich from reading brackets in the text as markup."""
    return text.replace("[", "\\[")


def group(help_text: str) -> typer.Typer:
    """A group of commands, without anything that a newcomer would trip over."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
