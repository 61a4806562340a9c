"""The command line: each verb turns options into calls of a Service, and answers into output."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from vizdash import output
from vizdash.cli.common import cli
from vizdash.errors import VizdashError, shortened

__all__ = ["cli", "main"]


def main() -> None:
    """The console script: errors are one line on stderr; exit codes are 0, 1 and 2.

    VIZDASH_DEBUG lets a fault of vizdash's own through, with where it happened.
    """
    output.prepare()
    try:
        # Not cli.main(), which takes a broken pipe for a failure.
        with cli.make_context("vizdash", sys.argv[1:]) as context:
            cli.invoke(context)
    except VizdashError as e:
        output.talk(e.line)
        sys.exit(e.exit_code)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.ClickException as e:
        output.talk(_click_words(e))
        sys.exit(2)
    except BrokenPipeError:
        output.quiet_stdout()
        sys.exit(141)  # 128 + SIGPIPE, as a shell says it of cat(1)
    except (KeyboardInterrupt, EOFError, asyncio.CancelledError, click.Abort):
        sys.exit(130)
    except OSError as e:
        output.talk(f"{e.filename or 'output'}: {e.strerror or e}")
        output.quiet_stdout()
        sys.exit(1)
    except Exception as e:
        if os.environ.get("VIZDASH_DEBUG"):
            raise
        words = " ".join(f"{type(e).__name__}: {e}".split())
        output.talk(f"a fault of vizdash's own: {words} (VIZDASH_DEBUG=1 shows where)")
        sys.exit(1)


def _click_words(e: click.ClickException) -> str:
    words = shortened(" ".join(e.format_message().split()).rstrip("."))
    if not isinstance(e, click.UsageError):
        return words
    where = f" {e.ctx.info_name}" if e.ctx and e.ctx.parent else ""
    return f"{words} (see vizdash{where} --help)"
