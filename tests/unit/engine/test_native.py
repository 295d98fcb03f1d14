# SPDX-License-Identifier: Apache-2.0
"""From a LaunchSpec to a plan, and from a failed step to the error and exit status a user sees."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path

import pytest

from pyrt.core import namespaces
from pyrt.core.namespaces import MASK_PATH, Plan, StepError
from pyrt.engine import overlay
from pyrt.engine.launch import start_error
from pyrt.engine.plans import make_plan
from pyrt.engine.spec import LaunchSpec, Network, Root, Volume, fields
from pyrt.errors import NotExecutableError, ProgramNotFoundError, StartError

ROOT = Root(directory="/l", lower=("a/diff", "b/diff"), upper="/c/diff", work="/c/work")
SPEC = LaunchSpec(id="a" * 64, root=ROOT, argv=("sh", "-c", "true"), env=("A=1",), hostname="web", capabilities=5)
PLAIN = "redirect_dir=off,metacopy=off,index=off"
OVERLAY = f"lowerdir=a/diff:b/diff,upperdir=/c/diff,workdir=/c/work,{PLAIN}"


def base(options: str = OVERLAY) -> Plan:
    plan = Plan().hostname("web").argv(("sh", "-c", "true")).env(("A=1",)).cwd("/").capabilities(5)
    return plan.overlay("/l", options)


def test_the_least_a_container_needs() -> None:
    assert bytes(make_plan(SPEC)) == bytes(base().stdio(stdin=False))


def test_everything_at_once(tmp_path: Path) -> None:
    program = tmp_path / "program.bpf"
    program.write_bytes(bytes(range(16)))
    spec = dataclasses.replace(
        SPEC,
        network=Network("bridge", 7, "10.0.0.2", 16, "10.0.0.1", 1500),
        volumes=(Volume("/s", "/t"), Volume("/u", "/v", True)),
        files=(("/etc/hosts", "caf\udce9"),),
        user="bob",
        no_new_privileges=True,
        seccomp_path=str(program),
        tty=True,
        rows=33,
        columns=121,
        stdin=True,
    )
    expected = base().address("10.0.0.2", 16, "10.0.0.1").volume("/s", "/t").volume("/u", "/v", readonly=True)
    expected = expected.file("/etc/hosts", b"caf\xe9").user("bob").no_new_privileges().seccomp(bytes(range(16)))
    assert bytes(make_plan(spec)) == bytes(expected.terminal(33, 121))


def test_roots_that_are_read_only_thrown_away_or_masked() -> None:
    root = dataclasses.replace(ROOT, volatile=True, readonly=True)
    assert bytes(make_plan(dataclasses.replace(SPEC, root=root))) == bytes(
        base(OVERLAY + ",volatile").readonly().stdio(stdin=False)
    )
    root = dataclasses.replace(ROOT, lower=("/",), mask=(("", 0o755, 0, 0), ("var", 0o755, 0, 4), ("var/lib", 0, 0, 0)))
    plan = Plan().hostname("web").argv(SPEC.argv).env(SPEC.env).cwd("/").capabilities(5)
    plan.mask("", mode=0o755).mask("var", mode=0o755, gid=4).mask("var/lib")
    plan.overlay("/l", f"lowerdir={namespaces.MASK_PATH}:/,upperdir=/c/diff,workdir=/c/work,{PLAIN}")
    assert bytes(make_plan(dataclasses.replace(SPEC, root=root))) == bytes(plan.stdio(stdin=False))


@pytest.mark.parametrize("mode", ["none", "host"])
def test_no_address_without_a_bridge(mode: str) -> None:
    assert bytes(make_plan(dataclasses.replace(SPEC, network=Network(mode)))) == bytes(make_plan(SPEC))


@pytest.mark.parametrize(
    ("path", "escaped"),
    [("/a b", "/a b"), ("/a,b:c", "/a\\,b\\:c"), ("/a\\", "/a\\\\"), ("/\\,", "/\\\\\\,"), ("", ""), ("/ü", "/ü")],
)
def test_escaping_of_overlay_options(path: str, escaped: str) -> None:
    root = Root(directory="/l", lower=(path,), upper=path, work="/w")
    assert overlay.view_options(root) == f"lowerdir={escaped}:{escaped}"


def test_the_views_of_a_stopped_containers_root() -> None:
    hidden = dataclasses.replace(ROOT, lower=("/",), mask=(("", 0o755, 0, 0), ("x", 0, 0, 0)), volatile=True)
    assert overlay.view_options(ROOT) == "lowerdir=/c/diff:a/diff:b/diff"
    assert overlay.view_options(hidden) == overlay.start_options(hidden)
    assert overlay.below_options(ROOT) == f"lowerdir=a/diff:b/diff:{MASK_PATH}"
    assert overlay.below_options(hidden) == f"lowerdir={MASK_PATH}:/"


def test_odd_directories_are_escaped_in_every_option() -> None:
    root = Root(directory="/l,:", lower=("x,y", "p:q"), upper="/u,", work="/w:")
    plan = bytes(make_plan(dataclasses.replace(SPEC, root=root)))
    assert b"/l,:\0lowerdir=x\\,y:p\\:q,upperdir=/u\\,,workdir=/w\\:," in plan


def test_a_nul_in_an_argument_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        make_plan(dataclasses.replace(SPEC, argv=("a\0b",)))


@pytest.mark.parametrize(
    ("step", "number", "kind", "status", "message"),
    [
        ("exec", errno.ENOENT, ProgramNotFoundError, 127, "Unable to locate /nope"),
        ("exec", errno.ENOTDIR, ProgramNotFoundError, 127, "Unable to locate /nope"),
        ("exec", errno.EACCES, NotExecutableError, 126, "Unable to execute: /nope: Permission denied"),
        ("exec", errno.ENOEXEC, NotExecutableError, 126, "Unable to execute: /nope: Exec format error"),
        ("exec", 0, NotExecutableError, 126, "Unable to execute: /nope"),
        ("root", errno.ENOENT, StartError, 125, "root: /nope: No such file or directory"),
        ("user", 0, StartError, 125, "user: /nope"),
    ],
)
def test_what_a_failed_step_means(step: str, number: int, kind: type, status: int, message: str) -> None:
    error = start_error(StepError(step, number, "/nope"))
    assert type(error) is kind
    assert (error.exit_code, str(error), error.step, error.errno) == (status, message, step, number)


def test_a_spec_travels_as_json() -> None:
    spec = dataclasses.replace(SPEC, volumes=(Volume("/s", "/t", True),), files=(("/f", "\udcff"),))
    assert LaunchSpec.from_json(json.loads(json.dumps(spec, default=fields))) == spec
