# SPDX-License-Identifier: Apache-2.0
"""What `run` and `create` have in common: the flags that say what a container is to be, and their meaning."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pyrt.commands.flags import Flag, Options, duration, natural, size_bytes, size_or_unlimited
from pyrt.container.config import LOG_DRIVERS, LOG_MAX_BYTES, LOG_MAX_FILES, NAME, Config
from pyrt.core.broadcast import MIN_SIZE_BYTES
from pyrt.engine.launch import ENGINES, engine_name
from pyrt.engine.limits import Limits
from pyrt.engine.spec import Volume
from pyrt.errors import UsageError

if TYPE_CHECKING:
    from pyrt.daemon.session import Session
    from pyrt.image.image import Image

NETWORKS = ("bridge", "none", "host")
LEAST_MEMORY_BYTES = 4 << 20  # what it takes to get as far as the program
PROFILE_MAX_BYTES = 1 << 20


def network(text: str) -> str:
    if text not in NETWORKS:
        raise UsageError(f"no such network: use one of {', '.join(NETWORKS)}")
    return text


def log_driver(text: str) -> str:
    if text not in LOG_DRIVERS:
        raise UsageError(f"no such log driver: use one of {', '.join(LOG_DRIVERS)}")
    return text


def cpus(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise UsageError("expected a number of CPUs such as 0.5 or 2")
    return number


def absolute(text: str) -> str:
    if not text.startswith("/"):
        raise UsageError("expected an absolute path")
    return text


def container_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise UsageError("use letters, digits, and _ . - after the first, at most 63")
    return text


def hostname(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?", text):
        raise UsageError("use letters, digits, and - . inside, at most 64")
    return text


def user(text: str) -> str:
    if not text:
        raise UsageError("expected USER or USER:GROUP")
    return text


FLAGS = (
    Flag("interactive", "i", help="Pass this command's stdin on to it; else its stdin is empty"),
    Flag("tty", "t", help="Give it a terminal (with -i: Ctrl-P Ctrl-Q detaches)"),
    Flag("env", "e", kind=list, metavar="NAME[=VALUE]", help="Set a variable; NAME alone takes the value it has here"),
    Flag("user", "u", kind=user, metavar="USER[:GROUP]", help="Run as this user: a name from the image, or a number"),
    Flag(
        "memory", "m", kind=size_bytes, default=0, metavar="BYTES", help="Limit memory; suffixes k, m, g; at least 4m"
    ),
    Flag(
        "memory-swap",
        kind=size_or_unlimited,
        default=0,
        metavar="BYTES",
        help="Limit memory and swap together (twice -m if not given; -1: no limit)",
    ),
    Flag(
        "cpus", kind=cpus, default=0.0, metavar="NUMBER", help="Limit its CPU time to that of so many CPUs, such as 0.5"
    ),
    Flag("pids-limit", kind=natural, default=0, metavar="NUMBER", help="Limit the number of its processes and threads"),
    Flag(
        "publish",
        "p",
        kind=list,
        metavar="[[ADDRESS:]HOSTPORT:]PORT[/tcp|/udp]",
        help="Make PORT reachable as HOSTPORT of this host (a free one if not given)",
    ),
    Flag("volume", "v", kind=list, metavar="SOURCE:TARGET[:ro]", help="Mount a file or directory of this host"),
    Flag("workdir", "w", kind=absolute, metavar="DIRECTORY", help="Start in this directory of the container"),
    Flag("rm", help="Remove the container, and its output, when it ends"),
    Flag("name", kind=container_name, metavar="NAME", help="Name it, for use wherever an id is wanted"),
    Flag("hostname", kind=hostname, metavar="NAME", help="Set its host name (default: the first 12 digits of its id)"),
    Flag("network", kind=network, default="bridge", metavar="|".join(NETWORKS), help="Its network (default: bridge)"),
    Flag("read-only", help="Mount its root file system read-only"),
    Flag(
        "timeout",
        kind=duration,
        default=0.0,
        metavar="DURATION",
        help="Kill it when it has run so long: 10 (seconds), 1m30s",
    ),
    Flag(
        "log-driver",
        kind=log_driver,
        default="file",
        metavar="|".join(LOG_DRIVERS),
        help="Keep its output in files for logs (default), or not at all",
    ),
    Flag(
        "log-opt",
        kind=list,
        metavar="KEY=VALUE",
        help="Keep this much output: max-size=BYTES (16m), max-file=NUMBER (5)",
    ),
    Flag("cap-add", kind=list, metavar="CAPABILITY", help="Grant a capability, such as NET_RAW; ALL: every one"),
    Flag("cap-drop", kind=list, metavar="CAPABILITY", help="Take a capability away; ALL: every one"),
    Flag(
        "security-opt",
        kind=list,
        metavar="OPTION",
        help="seccomp=unconfined, seccomp=FILE (a docker profile), no-new-privileges",
    ),
    Flag(
        "engine",
        kind=engine_name,
        default="",
        metavar="|".join(ENGINES),
        help="What starts it (default: the daemon's, which is native unless it was told otherwise)",
    ),
    Flag("privileged", help="All capabilities, nothing masked, no system call filter: root on this host"),
)


async def make_config(
    session: Session, image: Image, options: Options, arguments: list[str], *, detach: bool = False
) -> Config:
    """Check what was asked for. Raises UsageError."""
    command = tuple(arguments[1:]) or (*image.entrypoint, *image.command)
    if not command:
        raise UsageError("Command not specified")
    if options.publish and options.network != "bridge":
        raise UsageError(f"-p publishes ports of the bridge network; --network {options.network} has none to publish")
    if 0 < options.memory < LEAST_MEMORY_BYTES:
        raise UsageError(f"--memory must be at least {LEAST_MEMORY_BYTES >> 20}m")
    if options.log_opt and options.log_driver == "none":
        raise UsageError("--log-opt says how much output is kept; --log-driver none keeps none")
    log_max_bytes, log_max_files = parse_log_options(options.log_opt)
    seccomp, no_new_privileges = await parse_security_options(session, options.security_opt)
    return Config(
        image=arguments[0],
        cmd=command,
        hostname=options.hostname or "",
        user=options.user or "",
        env=await parse_env(session, options.env),
        working_dir=options.workdir or (session.cwd if image.is_host else ""),
        ports=tuple(options.publish),
        volumes=tuple(parse_volume(text, session.cwd) for text in options.volume),
        network=options.network,
        limits=Limits(options.memory, options.memory_swap, options.cpus, options.pids_limit),
        detach=detach,
        tty=options.tty,
        open_stdin=options.interactive,
        auto_remove=options.rm,
        readonly=options.read_only,
        timeout_s=options.timeout,
        cap_add=tuple(options.cap_add),
        cap_drop=tuple(options.cap_drop),
        privileged=options.privileged,
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        log_driver=options.log_driver,
        log_max_bytes=log_max_bytes,
        log_max_files=log_max_files,
        engine=options.engine,
    )


async def parse_env(session: Session, variables: list[str]) -> tuple[str, ...]:
    """Complete NAME without a value from the client's environment; one not set there is left out, as in docker."""
    for variable in variables:
        if variable.startswith("=") or not variable:
            raise UsageError(f"-e {variable!r}: expected NAME=VALUE or NAME")
    theirs = await session.environment([variable for variable in variables if "=" not in variable])
    complete = []
    for variable in variables:
        if "=" in variable:
            complete.append(variable)
        elif variable in theirs:
            complete.append(f"{variable}={theirs[variable]}")
    return tuple(complete)


def parse_volume(text: str, cwd: str) -> Volume:
    parts = text.split(":")
    mode = parts.pop() if len(parts) == 3 else "rw"
    if len(parts) != 2 or not all(parts) or mode not in ("ro", "rw"):
        raise UsageError(f"-v {text!r}: expected SOURCE:TARGET or SOURCE:TARGET:ro")
    source, target = os.path.join(cwd, parts[0]), os.path.normpath(parts[1])
    if not target.startswith("/") or target == "/":
        raise UsageError(f"-v {text!r}: the target must be an absolute path inside the container")
    if not os.path.exists(source):
        raise UsageError(f"-v {text!r}: no such file or directory on the host: {source}")
    return Volume(source, target, readonly=mode == "ro")


def parse_log_options(words: list[str]) -> tuple[int, int]:
    size, files = LOG_MAX_BYTES, LOG_MAX_FILES
    for word in words:
        key, _, value = word.partition("=")
        try:
            if key == "max-size":
                size = size_bytes(value)
            elif key == "max-file":
                files = natural(value)
            else:
                raise UsageError("the options are max-size=BYTES and max-file=NUMBER")
        except UsageError as error:
            raise UsageError(f"--log-opt {word!r}: {error}") from error
    if size < MIN_SIZE_BYTES or not 1 <= files <= 1000:
        raise UsageError(f"--log-opt: max-size must be at least {MIN_SIZE_BYTES}, max-file from 1 to 1000")
    return size, files


async def parse_security_options(session: Session, words: list[str]) -> tuple[str, bool]:
    """Return the text of a seccomp profile ("" for the default, or unconfined), and whether no_new_privs is wanted."""
    seccomp, no_new_privileges = "", False
    for word in words:
        key, _, value = word.partition("=")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif key == "seccomp" and value == "unconfined":
            seccomp = value
        elif key == "seccomp" and value:
            profile = b""
            async for piece in session.open(value):
                profile += piece
                if len(profile) > PROFILE_MAX_BYTES:
                    raise UsageError(f"--security-opt {word!r}: a profile has at most 1 MiB")
            seccomp = profile.decode("utf-8", "replace")
        else:
            raise UsageError(f"--security-opt {word!r}: expected seccomp=unconfined, seccomp=FILE or no-new-privileges")
    return seccomp, no_new_privileges
