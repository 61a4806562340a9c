"""The command line: verbs turn options into calls of a Service, and its answers into output."""

from vizdash.cli import garbage

__all__ = ["main"]


def main() -> None:
    """Run the console script; see ``vizdash.cli.program``."""
    garbage.pause()
    from vizdash.cli.program import main as run

    garbage.resume()
    run()
