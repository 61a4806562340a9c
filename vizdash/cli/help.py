"""The help of each verb, with examples, and which of its options can be combined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from vizdash.cli.completion import NAMES, Name

#: Common options of every verb; its help lists them last.
SHARED = ("cluster", "host", "config_path", "read_only", "help")


#: Key in a context's ``meta``: the number of arguments after ``--``.
AFTER = "vizdash.after"


class Verb(click.Command):
    """A click command with examples in its help.

    ``needs``: options (by parameter name) that have an effect only with one of others;
    ``excludes``: options with which others have no effect. Both are refused, not ignored.
    """

    def __init__(
        self,
        *args: Any,
        needs: Mapping[str, tuple[str, ...]] | None = None,
        excludes: Mapping[str, tuple[str, ...]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        for param in self.params:
            if param.name in NAMES and param.type is click.STRING:
                param.type = Name(param.name)
        self._needs = needs or {}
        self._excludes = excludes or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and raise click.UsageError for options without effect."""
        # Arguments after it are for another program, even if the verb takes any number.
        ctx.meta[AFTER] = len(args) - args.index("--") - 1 if "--" in args else 0
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:
            return rest
        for name, partners in self._needs.items():
            if _given(ctx, name) and not any(_given(ctx, partner) for partner in partners):
                beside = " or ".join(self._option(partner) for partner in partners)
                raise click.UsageError(f"{self._option(name)} needs {beside}", ctx)
        for name, others in self._excludes.items():
            for other in others:
                if _given(ctx, name) and _given(ctx, other):
                    words = f"{self._option(other)} has no effect with {self._option(name)}"
                    raise click.UsageError(words, ctx)
        return rest

    def _option(self, name: str) -> str:
        options = (param.opts for param in self.params if param.name == name)
        return max(next(options), key=len)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb's own options in their order, then the common ones."""
        params = self.get_params(ctx)
        for title, rows in (
            ("Options", _rows(ctx, [p for p in params if p.name not in SHARED])),
            ("Common options", _rows(ctx, [p for p in params if p.name in SHARED])),
        ):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(self.name or "", formatter)


def _given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _rows(ctx: click.Context, params: list[click.Parameter]) -> list[tuple[str, str]]:
    records = [p.get_help_record(ctx) for p in params if isinstance(p, click.Option)]
    return [row for row in records if row is not None]


def write_examples(verb: str, formatter: click.HelpFormatter) -> None:
    """Write the examples of a verb, each on one line so that it can be copied."""
    with formatter.section("Examples"):
        for command, words in EXAMPLES[verb]:
            formatter.write(f"{'':{formatter.current_indent}}{command}\n")
            formatter.write(f"{'':{formatter.current_indent + 4}}{words}\n")


#: Examples by verb ("" for vizdash itself): a command line, and what it does. A test parses each.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("vizdash", "open the dashboard"),
        ("vizdash --host alice@login.example.org", "open the dashboard of a cluster from a laptop"),
        ("vizdash start desktop --open", "start a desktop and open it in your browser"),
    ),
    "apps": (
        ("vizdash apps", "list the apps"),
        ("vizdash apps --json", "list them for a script"),
    ),
    "build": (
        ("vizdash build gedit --version 1.3", "build gedit.def and show the log"),
        ("vizdash build gedit --arg packages=fonts-nanum", "set a value of the definition file"),
        (
            "vizdash build gedit --where job --quiet",
            "build in a Slurm job, without showing the log",
        ),
    ),
    "completion": (
        ("vizdash completion bash", 'in ~/.bashrc: eval "$(vizdash completion bash)"'),
        ("vizdash completion fish", "save it as ~/.config/fish/completions/vizdash.fish"),
    ),
    "config": (
        ("vizdash config", "print every key with its value"),
        ("vizdash config --explain", "add the file and line that it comes from"),
    ),
    "deploy": (
        ("vizdash deploy gedit", "deploy the newest image of the store to every node"),
        (
            "vizdash deploy gedit --version 1.3 --canary viz-node001 --smoke",
            "deploy to one node first, test a session there, then deploy to the others",
        ),
        ("vizdash deploy --missing", "bring nodes up to date that were down (for cron)"),
    ),
    "doctor": (
        ("vizdash doctor", "check everything, and show how to fix what fails"),
        ("vizdash doctor --host login.example.org", "check a cluster from a laptop"),
        ("vizdash doctor --app gedit --node viz-node002", "find out why gedit fails on a node"),
        ("vizdash doctor --deep --bundle report.tar.gz", "test a session; write a support report"),
    ),
    "drain": (('vizdash drain viz-node003 --reason "new GPU"', "running sessions keep running"),),
    "extend": (("vizdash extend 3f9a01bc 2h", "add two hours to its lease or limit"),),
    "get": (
        ("vizdash get 3f9a01bc results", "copy a folder of your home on its node to this one"),
        ("vizdash get 3f9a01bc /tmp/out.h5 --to data", "copy a file that only its node has"),
    ),
    "images": (
        ("vizdash images", "show every app on every node"),
        ("vizdash images gedit --verify", "read each image of gedit and compare its digest"),
        ("vizdash images --history", "show who built and deployed what, and when"),
    ),
    "join": (
        ("vizdash join", "list what others share with you"),
        ("vizdash join 3f9a01bc", "show it in your browser"),
        ("vizdash join 3f9a01bc --via login2", "one that is shared on another login host"),
    ),
    "logs": (
        ("vizdash logs 3f9a01bc --follow", "follow it until the session ends"),
        ("vizdash logs gedit --build", "show the log of the latest build of gedit"),
    ),
    "message": (('vizdash message 3f9a01bc "maintenance at 18:00"', "show this on its desktop"),),
    "nodes": (
        ("vizdash nodes", "show what is free on which node"),
        ("vizdash nodes --json", "list them for a script"),
    ),
    "open": (
        ("vizdash open 3f9a01bc", "open it in the browser of this computer"),
        ("vizdash open 3f9a01bc --print", "print the address, which contains the password"),
        ("vizdash open 3f9a01bc --handoff", "open it in a browser on another computer"),
        ("vizdash open 3f9a01bc --quality auto", "choose the picture's quality by the link"),
        ("vizdash open 3f9a01bc --viewer", "open it in TigerVNC's viewer, TurboVNC or Remmina"),
    ),
    "proxy": (("vizdash proxy 3f9a01bc", "the ProxyCommand in an entry of ssh-config"),),
    "prune": (("vizdash prune gedit --keep 2", "ask, then remove older versions"),),
    "put": (
        ("vizdash put 3f9a01bc model.vtk", "copy a file to your home on its node"),
        ("vizdash put 3f9a01bc data --to /tmp", "copy a folder to the node's own disk"),
    ),
    "resume": (("vizdash resume viz-node003", "let jobs start there again"),),
    "rollback": (
        ("vizdash rollback gedit", "switch each node back to what it ran before"),
        (
            "vizdash rollback gedit --to 1.2 --node viz-node[001-004]",
            "switch some nodes back to one version",
        ),
    ),
    "sessions": (
        ("vizdash sessions", "list your sessions"),
        ("vizdash sessions --all --json", "list everyone's sessions for a script"),
        ("vizdash sessions --ended --since 7d", "show how those of the last week ended"),
    ),
    "share": (
        ("vizdash share 3f9a01bc --with bob", "bob may watch it until you press Ctrl-C"),
        ("vizdash share 3f9a01bc --with bob --control --for 1h", "he may use it, for an hour"),
        ("vizdash share 3f9a01bc --with bob --background", "keep sharing it in the background"),
        ("vizdash share", "list what you share, and who is watching"),
        ("vizdash share 3f9a01bc --revoke", "end every share of the session"),
    ),
    "ssh": (
        ("vizdash ssh 3f9a01bc", "open a shell on its node, inside its job"),
        ("vizdash ssh 3f9a01bc nvidia-smi", "run a command there"),
    ),
    "ssh-config": (
        ("vizdash ssh-config --write", "write your sessions to ~/.ssh/vizdash_config"),
        ("vizdash ssh-config 3f9a01bc", "print the entry of one session"),
    ),
    "start": (
        ("vizdash start desktop", "start one of the default size, and print its id"),
        ("vizdash start desktop --preset large --open", "open it when it is ready"),
        ("vizdash start paraview --gpus 1 --time 4h --wait --json", "wait for it in a script"),
        ("vizdash start desktop --test-only", "print when it would start"),
        ("vizdash start desktop -- --exclusive", "pass an option to sbatch"),
    ),
    "stop": (
        ("vizdash stop 3f9a01bc", "by session id, the beginning of one, or job id"),
        ('vizdash stop 3f9a01bc --note "idle since Friday"', "leave a reason for its owner"),
    ),
    "tunnels": (
        ("vizdash tunnels", "list them with their ports and processes"),
        ("vizdash tunnels 3f9a01bc --close", "close one; its session keeps running"),
        ("vizdash tunnels --close --all", "close all of your tunnels on this machine"),
    ),
}
