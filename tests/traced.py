"""A command watched from outside: whom it calls and which files it writes, whatever a library does on its own."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.command import environment
from tests.conftest import need

_CALLS = "%network,/^(open|creat|mk|rename|link|symlink)"
_WRITES = re.compile(r"^(?:open|creat).*\(.*(?:O_WRONLY|O_RDWR|O_CREAT)|^(?:creat|mk|rename|link|symlink)")
_TALKS = re.compile(r"^connect\(|^send\w+\(.*sa_family=AF_INET")
_PATH = re.compile(r'(?:AT_FDCWD<(?P<cwd>[^>]*)>, |\d+<(?P<folder>[^>]*)>, |\()"(?P<path>[^"]*)"')


@dataclass
class Traced:
    """talks: system calls that reach for another program or machine. elsewhere: those that write outside `folder`.

    home, temporary: what lies there afterwards.
    """

    process: subprocess.CompletedProcess[str]
    talks: list[str]
    elsewhere: list[str]
    home: list[str]
    temporary: list[str]

    def assert_kept_to_itself(self) -> None:
        assert self.process.returncode == 0, self.process.stderr
        assert (self.talks, self.elsewhere, self.home, self.temporary) == ([], [], [], [])


def traced(command: Sequence[object], folder: Path, **variables: str) -> Traced:
    """Run `command` in `folder` with an empty home and an empty folder for temporary files, all below `folder`."""
    need(shutil.which("strace"), "strace is not installed: apt-get install strace")
    home, temporary, log = (folder.parent / f"{folder.name}-{name}" for name in ("home", "tmp", "trace"))
    for each in (folder, home, temporary):
        each.mkdir(exist_ok=True)
    variables = {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    clean = {k: v for k, v in environment(**variables).items() if not k.startswith(("XDG_", "MPL"))}
    process = subprocess.run(
        ["strace", "-f", "-qq", "-y", "-s", "300", "-e", f"trace={_CALLS}", "-o", str(log), *map(str, command)],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=300,
    )
    need("Operation not permitted" not in process.stderr, "strace may not trace here")
    calls = [line.split(maxsplit=1)[1] for line in log.read_text(errors="replace").splitlines() if " " in line]
    allowed = tuple(f"{each}/" for each in (folder, temporary, "/dev", "/proc"))
    writes = [call for call in calls if _WRITES.match(call) and "EEXIST" not in call]
    return Traced(
        process,
        # A socket among the temporary files is one of its own processes.
        [call for call in calls if _TALKS.match(call) and f'sun_path="{temporary}/' not in call],
        [call for call in writes if not all(f"{path}/".startswith(allowed) for path in _paths(call, folder))],
        sorted(str(path.relative_to(home)) for path in home.rglob("*")),
        sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*")),
    )


def _paths(call: str, folder: Path) -> list[str]:
    named = _PATH.finditer(call)
    return [os.path.normpath(Path(m["cwd"] or m["folder"] or folder) / m["path"]) for m in named]
