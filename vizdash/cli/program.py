"""The console script: runs a verb or the dashboard, and logs the call without its secrets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence

from vizdash.cli import output
from vizdash.cli.options import COMPLETION_VARIABLE, Options
from vizdash.errors import VizdashError
from vizdash.util import command_log, error_log

#: The common options that a value follows.
_WITH_VALUE = ("--config", "--host", "--cluster")
_LEFT_OUT = "…"


def main() -> None:
    """Run the console script. Errors are one line on stderr; exit codes: docs/commands.md.

    Each call and each command that it runs is logged (util/command_log.py). VIZDASH_DEBUG shows the
    log live on stderr, and the traceback of an internal error.
    """
    output.prepare()
    _leave_memory_out_of_cores()
    if os.environ.get(COMPLETION_VARIABLE):
        from vizdash.cli.common import cli
        from vizdash.cli.completion import complete

        sys.exit(complete(cli))
    debug = bool(os.environ.get("VIZDASH_DEBUG"))
    command_log.start()
    began, code = time.monotonic(), 0
    try:
        code = _run(debug=debug)
    except BaseException:
        code = 1
        raise
    finally:
        words = ["vizdash", *_logged_words(sys.argv[1:])]
        command_log.record(words, f"exit {code}", time.monotonic() - began)
        command_log.stop()
    sys.exit(code)


def _leave_memory_out_of_cores() -> None:
    """A core dump of vizdash, or of the programs that it starts, holds no password: it leaves out
    their memory (core(5), coredump_filter). Sessions on this machine restore it for the app.
    """
    with contextlib.suppress(OSError), open("/proc/self/coredump_filter", "w") as file:
        file.write("0")


def _run(*, debug: bool) -> int:
    try:
        return _run_words(sys.argv[1:])
    except VizdashError as e:
        output.print_message(e.line)
        return e.exit_code
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(bool(e.code))
    except BrokenPipeError:
        output.quiet_stdout()
        return 141  # 128 + SIGPIPE, as for cat(1) in a shell
    except (KeyboardInterrupt, EOFError, asyncio.CancelledError):
        return 130
    except OSError as e:
        output.print_message(f"{e.filename or 'output'}: {e.strerror or e}")
        output.quiet_stdout()
        return 1
    except Exception as e:
        line = error_log.report(e, "vizdash", soon=False)
        if debug:
            raise
        output.print_message(line.removeprefix("vizdash: "))
        return 1


def _run_words(words: list[str]) -> int:
    """Run a verb, or without words the dashboard, whose first screen waits for no parser."""
    if words:
        from vizdash.cli.common import run_verb

        return run_verb(words)
    from vizdash.cli.dashboard import show_dashboard

    show_dashboard(Options())
    return 0


def _logged_words(words: Sequence[str]) -> list[str]:
    """``words`` without the command of ``ssh``, what follows ``--`` (arguments of sbatch), and the
    values of ``--arg`` (of a definition file).
    """
    if "ssh" in words:
        words = _without_command(words, words.index("ssh") + 1)
    return [*_without_values(words)]


def _without_command(words: Sequence[str], at: int) -> Sequence[str]:
    """Cut after the session, which follows the options of ``ssh``."""
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in _WITH_VALUE else 1
    return [*words[: at + 1], _LEFT_OUT] if at + 1 < len(words) else words


def _without_values(words: Sequence[str]) -> Iterator[str]:
    before = ""
    for word in words:
        if before == "--arg" or word.startswith("--arg="):
            name, equals, _ = word.removeprefix("--arg=").partition("=")
            prefix = "--arg=" if before != "--arg" else ""
            yield f"{prefix}{name}{equals}{_LEFT_OUT}"
        else:
            yield word
        if word == "--":
            yield _LEFT_OUT
            return
        before = word
