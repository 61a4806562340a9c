"""Every key takes what it should; every error names file:line: key, the cause and the fix."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import pytest

from vizdash.config import Config, load, schema
from vizdash.errors import ConfigError
from vizdash.model import Resources


@pytest.fixture(autouse=True)
def _no_site_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(import_module("vizdash.config.load"), "SITE_FILE", tmp_path / "none.yaml")


def of(tmp_path: Path, text: str | bytes) -> Config:
    file = tmp_path / "c.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path=str(file), environ={})[0]


def app(tmp_path: Path, text: str) -> Config:
    return of(tmp_path, f"apps:\n  a:\n    {text}\n")


WRONG: tuple[tuple[str, str, str], ...] = (
    # what stands in the file, where the error is, what it says
    ("nodes: []", "1: nodes", "no such key (there are: apps, clusters"),
    ("\napp: {}", "2: app", "did you mean 'apps'?"),
    ("read_only: 1", "1: read_only", "true or false is expected, not '1'"),
    ("apps: []", "1: apps", "names and values are expected, not a list"),
    ("- a", "1: top level", "names and values are expected, not a list"),
    ("clusters: {a: {state_dir: /scratch}}", "1: clusters.a.state_dir", "%u for the user name"),
    ("clusters: {a: {state_dir: 'x/%u'}}", "1: clusters.a.state_dir", "not an absolute path"),
    ("clusters: {a: {state_dir: /x/%j/%u}}", "1: clusters.a.state_dir", "e.g. /scratch/%u/vizdash"),
    ("clusters: {a: {state_dir: /x/../%u}}", "1: clusters.a.state_dir", "not an absolute path"),
    ("just text", "1: top level", "names and values are expected"),
    ("apps:\n  a b: {}", "2: apps.a b", "an app's name is made of letters"),
    ("clusters:\n  ../x: {}", "2: clusters.../x", "a cluster's name is made of letters"),
    ("apps:\n  a:\n    presets: {'': {cores: 1}}", "3: apps.a.presets.", "a preset's name"),
    ("apps:\n  a:\n    runtime: docker", "3: apps.a.runtime", "none of auto, apptainer, host"),
    ("apps:\n  a:\n    kind: Legacy", "3: apps.a.kind", "did you mean 'legacy'?"),
    ("apps:\n  a:\n    geometry: 1280*720", "3: apps.a.geometry", "write WIDTHxHEIGHT"),
    ("apps:\n  a:\n    geometry: 99999999x1", "3: apps.a.geometry", "is not a size"),
    ("apps:\n  a:\n    binds: /scratch", "3: apps.a.binds", "a list is expected"),
    ("apps:\n  a:\n    binds: [{a: b}]", "3: apps.a.binds[0]", "a text is expected, not a mapping"),
    ("apps:\n  a:\n    title: yes", "3: apps.a.title", "write 'yes' in quotes"),
    ("apps:\n  a:\n    title: [x]", "3: apps.a.title", "a text is expected, not a list"),
    ("apps:\n  a:\n    title: ", "3: apps.a.title", "a text is expected, not nothing"),
    ("apps:\n  a:\n    resources: {cores: 0}", "3: apps.a.resources.cores", "1 or more"),
    ("apps:\n  a:\n    resources: {cores: two}", "3: apps.a.resources.cores", "not 'two'"),
    ("apps:\n  a:\n    resources: {cores: 010}", "3: apps.a.resources.cores", "not '010'"),
    ("apps:\n  a:\n    resources: {cores: -1}", "3: apps.a.resources.cores", "not '-1'"),
    ("apps:\n  a:\n    scale: 4", "3: apps.a.scale", "at most 3 is expected"),
    ("apps:\n  a:\n    scale: 0", "3: apps.a.scale", "1 or more is expected"),
    ("apps:\n  a:\n    scale: 1.5", "3: apps.a.scale", "a whole number"),
    ("apps:\n  a:\n    resources: {cores: 1.5}", "3: apps.a.resources.cores", "not '1.5'"),
    ("apps:\n  a:\n    resources: {cores: [1]}", "3: apps.a.resources.cores", "not a list"),
    ("apps:\n  a:\n    resources: {memory: lots}", "3: apps.a.resources.memory", "4G or 512M"),
    ("apps:\n  a:\n    resources: {time: 0}", "3: apps.a.resources.time", "not a length of time"),
    ("apps:\n  a:\n    resources: {core: 1}", "3: apps.a.resources.core", "did you mean 'cores'?"),
    ("apps:\n  a:\n    environment: {A B: c}", "3: apps.a.environment.A B", "not a name of an env"),
    ("apps:\n  a:\n    environment: {A: no}", "3: apps.a.environment.A", "'no' in quotes"),
    ("clusters:\n  c:\n    ports: 6080", "3: clusters.c.ports", "write e.g. 6080-6099"),
    ("clusters:\n  c:\n    ports: 6099-6080", "3: clusters.c.ports", "not a port range"),
    ("clusters:\n  c:\n    ports: 80-90", "3: clusters.c.ports", "not a port range"),
    ("clusters:\n  c:\n    refresh: 10", "3: clusters.c.refresh", "10 of what? (write e.g. 10s"),
    ("clusters:\n  c:\n    route: ssh", "3: clusters.c.route", "none of tunnel, direct"),
    ("clusters:\n  c:\n    enginge: slurm", "3: clusters.c.enginge", "did you mean 'engine'?"),
    ("read_only: true\nread_only: false", "2: read_only", "duplicate key (remove one"),
    ("apps:\n  a: {title: x,\n      title: y}", "3: apps.a.title", "duplicate key"),
    ("apps:\n  a:\n    title: 2024-99-99", "3: apps.a.title", "write it in quotes"),
    ("apps: [", "1", "check the YAML"),
    ("\n\napps: {a: *b}", "3", "undefined alias"),
    ("apps:\n\t- a", "2", "cannot start any token"),
    ("x: !!python/object:os.system {}", "1", ""),
    ("a: b\n\x00", "2", "character 0x0 is not allowed in YAML"),
    ("a: &a [*a]", "", "nested too deeply"),
    ("a: " + "[" * 5000, "1", "nested too deeply"),
    ("".join(f"{' ' * i}a:\n" for i in range(100)), "65", "nested too deeply"),
    ('a: "\\U00110000"', "", "names no character"),
    ('a: "\\UFFFFFFFF"', "", "names no character"),
    ("read_only: !!bool maybe", "1: read_only", "'maybe' is no bool (leave out the tag"),
    ("apps:\n  a: {title: !!timestamp x}", "2: apps.a.title", "'x' is no timestamp"),
    ("apps:\n  a: !!map x", "2: apps.a", "a scalar is tagged as a list or a mapping"),
    ("apps:\n  a:\n    resources: {time: %s1}" % ("1:" * 90_000), "3", "too long for a number"),
)


@pytest.mark.parametrize(("text", "where", "why"), WRONG, ids=[text[:40] for text, _, _ in WRONG])
def test_what_is_wrong_and_where(tmp_path: Path, text: str, where: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        of(tmp_path, text)
    place = f"{tmp_path}/c.yaml:{where}" if where else f"{tmp_path}/c.yaml"
    assert error.value.line.startswith(f"{place}:")
    assert why in error.value.line
    assert "\n" not in error.value.line
    assert error.value.exit_code == 2


def test_aliases_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="too many values"):
        of(tmp_path, "\n".join(lines))


def test_other_encodings_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not UTF-8"):
        of(tmp_path, b"apps: {a: {title: \xe9}}")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(path=str(tmp_path), environ={})


def test_what_yaml_takes_for_a_number_is_taken_as_it_stands(tmp_path: Path) -> None:
    config = app(tmp_path, "{title: 1.10, environment: {A: 010, B: 2024-01-02, C: 1e3, D: 1_0}}")
    assert config.apps["a"].title == "1.10"
    assert config.apps["a"].environment == {"A": "010", "B": "2024-01-02", "C": "1e3", "D": "1_0"}


def test_a_time_with_colons_is_slurms_and_not_a_sexagesimal_number(tmp_path: Path) -> None:
    config = app(tmp_path, "resources: {time: 1:30:00}")
    assert config.apps["a"].resources.time_s == 5400


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("login", "login"),
        ("me@login.example.org:22022", "login.example.org:22022"),
        ("::1", "::1"),
        ("me@2001:db8::7", "2001:db8::7"),
        ("fe80::1%enP2p1s0", "fe80::1%enP2p1s0"),
        ("[::1]", "::1"),
        ("me@[::1]:22022", "[::1]:22022"),
    ],
)
def test_a_host_in_the_file_and_in_the_option(tmp_path: Path, host: str, name: str) -> None:
    assert of(tmp_path, f"clusters: {{a: {{host: '{host}'}}}}").clusters["a"].host == host
    config, _ = load(host=host, environ={})
    assert (config.cluster.host, config.cluster.name) == (host, name)


@pytest.mark.parametrize(
    "host", ["", "-v", "a b", "a:b", "[::1", "[login]", "[::1]:x", "a/b", ":1"]
)
def test_what_is_no_host(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError):
        of(tmp_path, f"clusters: {{a: {{host: '{host}'}}}}")


def test_a_preset_inherits_what_it_leaves_out(tmp_path: Path) -> None:
    config = app(tmp_path, "{resources: {cores: 4, memory: 8G}, presets: {big: {memory: 16G}}}")
    assert config.apps["a"].presets["big"] == Resources(4, 16384, 0, 7200)


def test_clusters_can_share_what_stands_once(tmp_path: Path) -> None:
    text = "clusters:\n  a: &a {partition: viz, qos: low}\n  b:\n    <<: *a\n    qos: high\n"
    config = of(tmp_path, text)
    assert (config.clusters["b"].partition, config.clusters["b"].qos) == ("viz", "high")


def test_the_list_of_keys_is_whole() -> None:
    keys = set(schema.key_paths())
    assert {
        "read_only",
        "locked",
        "clusters.*.ports",
        "clusters.*.environment.*",
        "clusters.*.deploy.mode",
        "clusters.*.build.resources.memory",
        "apps.*.presets.*.cores",
    } <= keys
    assert len(keys) > 50


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("? [a, b]\n: c\n", r":1: top level: a key is expected, not a list or a mapping"),
        ("apps:\n  {a: b}: c\n", r":2: apps: a key is expected, not a list or a mapping"),
        ("apps: {a: {title: [%s]}}\n" % ("x, " * 20_000), "a text is expected, not a list"),
        ("apps: [%s]\n" % ("x, " * 200_000), ":1: too many values"),
        ("#\n" * 400_000 + "- x\n" * 40_000, r":43\d{4}: too many values"),
        ("apps: {a: {runtime: %s}}\n" % ("x" * 1_000_000), "is none of"),
        ("clusters: {a: {refresh: %s}}\n" % ("9" * 1_000_000), "too long for a number"),
        ("apps: {a: {%s: 1}}\n" % ("x" * 900), "no such key"),
        ("apps: {a: {title: b}\n" + "#" * 2_000_000, "it is larger than 1 MiB"),
    ],
    ids=range(9),
)
def test_however_much_was_written_the_line_is_short(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as error:
        of(tmp_path, text)
    assert len(error.value.line) < 1300
    assert "\n" not in error.value.line


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", "/dev/urandom", str(tmp_path / "fifo")):
        with pytest.raises(ConfigError, match=f"{path}: it is not a regular file"):
            load(path=path, environ={})
    assert load(path=os.devnull, environ={})[0].cluster.name == "here"


def test_a_link_to_nothing_is_no_missing_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "config.yaml"
    own.symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(import_module("vizdash.config.load"), "user_file", lambda: own)
    with pytest.raises(ConfigError, match="it links to a file that is not there"):
        load(environ={})
    own.unlink()
    assert load(environ={})[0].cluster.name == "here"


def test_many_apps_are_explained_as_fast_for_each(tmp_path: Path) -> None:
    """By the calls made, not by time."""

    def calls(apps: int) -> int:
        file = tmp_path / "c.yaml"
        file.write_text("apps:\n" + "".join(f"  a{i}: {{title: x}}\n" for i in range(apps)))
        _, explain = load(path=str(file), environ={})
        made = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal made
            made += event in {"call", "c_call"}

        sys.setprofile(count)
        try:
            explain()
        finally:
            sys.setprofile(None)
        return made

    assert calls(200) < 12 * calls(20)
