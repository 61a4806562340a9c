"""The command line: each verb turns options into calls of a Service, and answers into output."""

from __future__ import annotations

import asyncio
import sys

import click

from vizdash import output
from vizdash.cli import build, cluster, images, sessions
from vizdash.cli.common import cli
from vizdash.errors import VizdashError

__all__ = ["build", "cli", "cluster", "images", "main", "sessions"]


def main() -> None:
    """The console script: errors are one line on stderr; exit codes are 0, 1 and 2."""
    try:
        cli.main(standalone_mode=False)
    except VizdashError as e:
        output.talk(e.line)
        sys.exit(e.exit_code)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.UsageError as e:
        where = f" {e.ctx.info_name}" if e.ctx and e.ctx.parent else ""
        output.talk(f"{e.format_message().rstrip('.')} (see vizdash{where} --help)")
        sys.exit(2)
    except click.ClickException as e:
        output.talk(e.format_message())
        sys.exit(2)
    except BrokenPipeError:
        output.quiet_stdout()
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError, click.Abort):
        sys.exit(130)
