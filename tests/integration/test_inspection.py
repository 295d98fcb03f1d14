# SPDX-License-Identifier: Apache-2.0
"""inspect, info, port, tag, history, ps and images with --format and --filter: what shows."""

from __future__ import annotations

import json
import re

import pytest

from tests.harness import Pyrt

pytestmark = pytest.mark.root

NOTHING = "0001-01-01T00:00:00Z"


def test_inspect_a_running_container(pyrt: Pyrt) -> None:
    identifier = pyrt.detached(
        *("--name", "web", "-p", "8101:80", "-p", "127.0.0.1:8102:53/udp", "-m", "64m", "-e", "A=1 < 2", "-u", "0"),
        *("--hostname", "www", "-v", "/tmp:/mnt:ro", "bb", "sleep", "60"),
    )
    text = pyrt.ok("inspect", "web").out.decode()
    assert text.startswith('{\n    "Id": "'), "four spaces, one object for one name"
    found = json.loads(text)
    assert list(found)[:9] == [
        "Id",
        "Created",
        "Path",
        "Args",
        "Config",
        "State",
        "Image",
        "NetworkSettings",
        "SysInitPath",
    ]
    assert (found["Id"], found["Path"], found["Args"]) == (identifier, "sleep", ["60"])
    config = found["Config"]
    assert (config["Hostname"], config["User"], config["Memory"]) == ("www", "0", 64 << 20)
    assert (config["Detach"], config["Tty"], config["OpenStdin"]) == (True, False, False)
    assert (config["Env"], config["Cmd"], config["Image"]) == (["A=1 < 2"], ["sleep", "60"], "bb")
    assert config["Ports"] == ["8101:80", "127.0.0.1:8102:53/udp"]
    state = found["State"]
    assert state["Running"] is True and state["Pid"] > 1 and state["ExitCode"] == 0 and state["FinishedAt"] == NOTHING
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", state["StartedAt"])
    network = found["NetworkSettings"]
    assert network["IpAddress"].count(".") == 3 and network["Gateway"] and 0 < network["IpPrefixLen"] < 32
    assert network["PortMapping"] == {"80": "8101", "53/udp": "8102"}
    assert found["Mounts"] == [{"Type": "bind", "Source": "/tmp", "Destination": "/mnt", "RW": False}]
    pyrt.ok("rm", "-f", "web")


def test_inspect_one_that_has_ended(pyrt: Pyrt) -> None:
    assert pyrt("run", "--name", "ended", "bb", "sh", "-c", "exit 3").status == 3
    state = json.loads(pyrt.ok("inspect", "ended").out)["State"]
    assert (state["Running"], state["Pid"], state["ExitCode"], state["Status"]) == (False, 0, 3, "exited")
    assert state["FinishedAt"] > state["StartedAt"] != NOTHING
    pyrt.ok("rm", "ended")


def test_inspect_several_and_what_there_is_not(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("--name", "one", "bb", "sleep", "60")
    result = pyrt("inspect", "one", "nosuch", "bb")
    assert (result.status, result.error) == (125, "No such object: nosuch")
    container, image = json.loads(result.out)
    assert container["Id"] == identifier
    assert container["Image"] == image["id"] and image["RepoTags"] == ["bb:latest"]
    assert list(image)[:6] == ["id", "parent", "comment", "created", "container", "container_config"]
    assert pyrt("inspect", "--type", "image", "one").error == "No such image: one"
    assert pyrt("inspect", "--type", "container", "bb").error == "No such container: bb"
    nothing = pyrt("inspect", "nosuch")
    assert (nothing.status, nothing.out, nothing.error) == (125, b"", "No such object: nosuch")
    pyrt.ok("rm", "-f", "one")


def test_inspect_with_a_template(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("--name", "one", "-p", "8103:80", "bb", "sleep", "60")
    template = (
        '{{.Id}} {{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}{{range .Config.Cmd}} [{{.}}]{{end}}'
    )
    assert pyrt.ok("inspect", "-f", template, "one").text == f"{identifier} 8103 [sleep] [60]"
    address = json.loads(pyrt.ok("inspect", "one").out)["NetworkSettings"]["IpAddress"]
    assert pyrt.ok("inspect", "--format={{.NetworkSettings.IPAddress}}", "one").text == address
    assert json.loads(pyrt.ok("inspect", "--format", "json", "one").text)["Id"] == identifier
    assert pyrt.ok("inspect", "-f", "{{.Id}}", "one", "bb").lines[1] == pyrt.ok("images", "-q", "--no-trunc", "bb").text
    result = pyrt("inspect", "-f", "{{.State.Nosuch}}", "one")
    assert result.status == 125
    assert result.error.startswith("template, character 3: there is no field .Nosuch; there are .Running .Pid")
    pyrt.ok("rm", "-f", "one")


def test_info_says_first_what_it_always_said(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "one", "bb", "sleep", "60")
    lines = pyrt.ok("info").lines
    assert lines[0] == "containers: 1" and re.fullmatch(r"version: \d+\.\d+\.\d+\S*", lines[1])
    assert lines[2] == f"images: {len(pyrt.ok('images', '-a', '-q').lines) - 1}"
    assert all(re.fullmatch(r"[a-z ]+: .*", line) for line in lines)
    assert pyrt.ok("info", "--format", "{{.ContainersRunning}} {{.DockerRootDir}}").text == f"1 {pyrt.root}"
    pyrt.ok("rm", "-f", "one")


def test_version_with_a_template(pyrt: Pyrt) -> None:
    assert pyrt.ok("version").text == f"Version:{pyrt.ok('version', '-f', '{{.Server.Version}}').text}"


def test_port(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "web", "-p", "80", "-p", "127.0.0.1:8104:53/udp", "bb", "sleep", "60")
    public = pyrt.ok("port", "web", "80").text
    assert 49153 <= int(public) <= 65535
    assert pyrt.ok("port", "web").lines == ["53/udp -> 127.0.0.1:8104", f"80/tcp -> 0.0.0.0:{public}"]
    assert pyrt.ok("port", "web", "53/udp").text == "8104"
    for wrong in ("99", "53", "80/sctp", "x"):
        result = pyrt("port", "web", wrong)
        assert (result.status, result.error) == (125, f"No private port '{wrong}' allocated on web")
    pyrt.ok("kill", "web")
    assert pyrt("port", "web", "80").error == "No private port '80' allocated on web"
    assert pyrt("port").out.startswith(b"Usage: pyrt port CONTAINER")
    assert pyrt("port", "nosuch", "80").error == "No such container: nosuch"
    pyrt.ok("rm", "web")


def test_tag_and_rmi_of_a_name(pyrt: Pyrt) -> None:
    pyrt.ok("tag", "bb", "mine")
    pyrt.ok("tag", "bb", "mine", "v1")
    assert pyrt("tag", "bb", "mine:v1").status == 0, "the same name again is no conflict"
    assert pyrt.run("mine:v1", "echo", "hi").out == b"hi\n"
    pyrt.ok("rmi", "mine:v1", "mine")
    assert pyrt.ok("images", "-q", "mine").text == ""
    assert pyrt.ok("images", "-q", "bb").text != ""


def test_ps_filters(pyrt: Pyrt) -> None:
    assert pyrt("run", "--name", "first", "bb", "sh", "-c", "exit 3").status == 3
    pyrt.ok("run", "--name", "second", "bb", "true")
    running = pyrt.detached("--name", "third", "--network", "none", "-v", "/tmp:/mnt", "bb", "sleep", "60")

    def names(*words: str) -> list[str]:
        return pyrt.ok("ps", "--format", "{{.Names}}", *words).lines

    assert names() == ["third"]
    assert names("-a") == ["third", "second", "first"]
    assert names("-l") == ["third"] and names("-n", "2") == ["third", "second"] and names("--last=0") == []
    assert names("-f", "status=exited") == ["second", "first"]
    assert names("-f", "exited=3") == ["first"]
    assert names("-a", "-f", "exited=0", "-f", "exited=3") == ["second", "first"]
    assert names("-a", "-f", "name=ir") == ["third", "first"]
    assert names("-a", "-f", "name=^/first$") == ["first"] and names("-a", "-f", "name=^ir$") == []
    assert names("-f", f"id={running[:12]}") == ["third"]
    assert names("-a", "-f", "ancestor=bb", "-f", "name=second") == ["second"]
    assert names("-a", "-f", "ancestor=host") == [] == names("-a", "-f", "ancestor=nosuch")
    assert names("-a", "-f", "since=first") == ["third", "second"]
    assert names("-a", "-f", "before=third", "-f", "status=running") == []
    assert names("-f", "network=none") == ["third"] == names("-f", "volume=/mnt")
    for wrong, text in (
        ("color=red", "there is no such filter; there are id, name, status"),
        ("status=hot", "there is no such status; there are created, starting, running"),
        ("since=nosuch", "No such container: nosuch"),
        ("exited=x", "expected a number"),
    ):
        result = pyrt("ps", "-f", wrong)
        assert result.status == 125 and text in result.error
    pyrt.ok("rm", "-f", "first", "second", "third")


def test_ps_in_other_forms(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("--name", "web", "-p", "8105:80", "bb", "sh", "-c", "echo 12345 >/file; sleep 60")
    row = json.loads(pyrt.ok("ps", "--no-trunc", "--format", "json").text)
    assert row["ID"] == identifier and row["Image"] == "bb" and row["State"] == "running"
    assert row["Ports"] == "0.0.0.0:8105->80/tcp" and row["Status"].startswith("Up ")
    table = pyrt.ok("ps", "--format", r"table {{.Names}}\t{{.ID}}").lines
    assert table == ["NAMES     ID", f"web       {identifier[:16]}"]
    header, line = pyrt.ok("ps", "-s").lines
    assert header.endswith("SIZE") and line.endswith("B")
    assert pyrt("ps", "--format", "{{.Nosuch}}").error.startswith(
        "template, character 3: there is no field .Nosuch; there are .ID"
    )
    pyrt.ok("rm", "-f", "web")
    assert pyrt("ps", "--format", "{{.Nosuch}}").status == 125, "also where there is nothing to list"


def test_help_has_groups(pyrt: Pyrt) -> None:
    text = pyrt.ok("help").text
    for heading, verb in (("Containers", "run"), ("Images", "tag"), ("pyrt itself", "info")):
        assert re.search(rf"^{heading}:\n(?:  .+\n)*  {verb} ", text, re.MULTILINE)
