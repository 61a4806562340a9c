"""Examples for the help of every verb; a test parses each of them."""

from __future__ import annotations

#: By verb, "" for vizdash itself: a command line, and what it does.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("vizdash", "the dashboard"),
        ("vizdash --host alice@login.example.org", "the dashboard of a cluster, from a laptop"),
        ("vizdash start desktop --open", "start a desktop and open it in the browser"),
    ),
    "apps": (
        ("vizdash apps", "what can be started, and its presets"),
        ("vizdash apps --json", "the same for a script"),
    ),
    "build": (
        ("vizdash build gedit --version 1.3", "from gedit.def; its log is shown"),
        ("vizdash build gedit --arg packages=fonts-nanum", "with a value of the definition's"),
        ("vizdash build gedit --where job --quiet", "as a Slurm job, without the log"),
    ),
    "completion": (
        ("vizdash completion bash", 'in ~/.bashrc: eval "$(vizdash completion bash)"'),
        ("vizdash completion fish", "for ~/.config/fish/completions/vizdash.fish"),
    ),
    "config": (
        ("vizdash config", "every key and its value"),
        ("vizdash config --explain", "and the file and line that it comes from"),
    ),
    "deploy": (
        ("vizdash deploy gedit", "the newest image of the store to every node"),
        (
            "vizdash deploy gedit --version 1.3 --canary viz-node001 --smoke",
            "to one node first, where a session must start; then to the others",
        ),
        ("vizdash deploy --missing", "to nodes that were down: for cron or a boot hook"),
    ),
    "doctor": (
        ("vizdash doctor", "what works from here, and how to fix what does not"),
        ("vizdash doctor --host login.example.org", "the same over SSH"),
        ("vizdash doctor --app gedit --node viz-node002", "why gedit does not start there"),
        ("vizdash doctor --deep --bundle report.tar.gz", "with a real session, for a ticket"),
    ),
    "drain": (('vizdash drain viz-node003 --reason "new GPU"', "running sessions stay"),),
    "extend": (("vizdash extend 3f9a01bc 2h", "two more hours; Slurm lets operators do this"),),
    "images": (
        ("vizdash images", "every app on every node"),
        ("vizdash images gedit --verify", "read each image of gedit and compare its digest"),
        ("vizdash images --history", "who built and deployed what, and when"),
    ),
    "logs": (
        ("vizdash logs 3f9a01bc --follow", "until the session ends"),
        ("vizdash logs gedit --build", "of the latest build of gedit"),
    ),
    "message": (('vizdash message 3f9a01bc "maintenance at 18:00"', "on its desktop"),),
    "nodes": (
        ("vizdash nodes", "what is free where"),
        ("vizdash nodes --json", "the same for a script"),
    ),
    "open": (
        ("vizdash open 3f9a01bc", "in the browser of this computer"),
        ("vizdash open 3f9a01bc --print", "print the address; it holds the password"),
        ("vizdash open 3f9a01bc --handoff", "in the browser of the computer that you sit at"),
    ),
    "prune": (("vizdash prune gedit --keep 2", "asks first; images in use stay"),),
    "resume": (("vizdash resume viz-node003", "after a drain"),),
    "rollback": (
        ("vizdash rollback gedit", "each node to what it ran before"),
        ("vizdash rollback gedit --to 1.2 --node viz-node[001-004]", "some nodes to one version"),
    ),
    "sessions": (
        ("vizdash sessions", "your own"),
        ("vizdash sessions --all --json", "everybody's, for a script"),
        ("vizdash sessions --ended --since 7d", "how those of the last week ended"),
    ),
    "start": (
        ("vizdash start desktop", "of the app's default size; prints its id"),
        ("vizdash start desktop --preset large --open", "open it in the browser when it is ready"),
        ("vizdash start paraview --gpus 1 --time 4h --wait --json", "for a script"),
        ("vizdash start desktop --test-only", "when would it start?"),
        ("vizdash start desktop -- --exclusive", "what follows -- goes to sbatch"),
    ),
    "stop": (
        ("vizdash stop 3f9a01bc", "by its id, the beginning of it, or its job's id"),
        ('vizdash stop 3f9a01bc --note "idle since Friday"', "its owner can read why"),
    ),
    "tunnels": (
        ("vizdash tunnels", "which vizdash holds which port"),
        ("vizdash tunnels 3f9a01bc --close", "close one; its session keeps running"),
        ("vizdash tunnels --close --all", "close every one of yours on this machine"),
    ),
}
