"""The command line: each verb turns options into calls of a Service, and answers into output."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import click

from vizdash import commandlog, errorlog, output
from vizdash.cli.common import cli
from vizdash.cli.complete import answer
from vizdash.errors import VizdashError, shortened

__all__ = ["cli", "main"]


def main() -> None:
    """The console script: errors are one line on stderr; exit codes are 0, 1 and 2.

    Each call and each command that it runs is logged (commandlog.py). VIZDASH_DEBUG shows the log
    live on stderr, and lets an internal error through, with where it happened.
    """
    output.prepare()
    if (code := answer(cli)) is not None:
        sys.exit(code)
    debug = bool(os.environ.get("VIZDASH_DEBUG"))
    commandlog.start()
    began, code = time.monotonic(), 0
    try:
        code = _run(debug=debug)
    except BaseException:
        code = 1
        raise
    finally:
        commandlog.record(["vizdash", *sys.argv[1:]], f"exit {code}", time.monotonic() - began)
        commandlog.stop()
    sys.exit(code)


def _run(*, debug: bool) -> int:
    try:
        # Not cli.main(), which takes a broken pipe for a failure.
        with cli.make_context("vizdash", sys.argv[1:]) as context:
            cli.invoke(context)
    except VizdashError as e:
        output.talk(e.line)
        return e.exit_code
    except click.exceptions.Exit as e:
        return e.exit_code
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(bool(e.code))
    except click.ClickException as e:
        output.talk(_click_words(e))
        return 2
    except BrokenPipeError:
        output.quiet_stdout()
        return 141  # 128 + SIGPIPE, as a shell says it of cat(1)
    except (KeyboardInterrupt, EOFError, asyncio.CancelledError, click.Abort):
        return 130
    except OSError as e:
        output.talk(f"{e.filename or 'output'}: {e.strerror or e}")
        output.quiet_stdout()
        return 1
    except Exception as e:
        words = errorlog.report(e, "vizdash", soon=False)
        if debug:
            raise
        output.talk(words)
        return 1
    return 0


def _click_words(e: click.ClickException) -> str:
    words = shortened(" ".join(e.format_message().split()).rstrip("."))
    if not isinstance(e, click.UsageError):
        return words
    where = f" {e.ctx.info_name}" if e.ctx and e.ctx.parent else ""
    return f"{words} (see vizdash{where} --help)"
