"""`tools/system-packages.sh` on systems that lack this or that: the real script, on a PATH with stand-ins for apt.

`tests/fresh.sh` runs it with the real apt on a bare Debian.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import ROOT

SCRIPT = ROOT / "tools" / "system-packages.sh"
TOOLS = ("sh", "basename", "dirname", "grep", "tail", "mktemp", "rm", "env", "true")
ALL = "libgl1 libglib2.0-0 libxcb1 libstdc++6 libgcc-s1"
SONAMES = ("libGL.so.1", "libglib-2.0.so.0", "libgthread-2.0.so.0", "libxcb.so.1", "libstdc++.so.6", "libgcc_s.so.1")

Run = Callable[..., subprocess.CompletedProcess[str]]


class System:
    """A folder that is the whole PATH; what stands for apt-get and sudo writes its arguments into `calls`."""

    def __init__(self, folder: Path) -> None:
        self.bin, self._calls = folder / "bin", folder / "calls"
        self.bin.mkdir()
        self._calls.touch()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.user(0)
        self.libraries()

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def user(self, number: int) -> None:
        self.program("id", f"echo {number}")

    def libraries(self, *sonames: str) -> None:
        lines = "\n".join(f"\t{soname} (libc6,x86-64) => /lib/{soname}" for soname in ("libc.so.6", *sonames))
        self.program("ldconfig", f"echo '{lines}'")

    def apt(self, ending: str = "exit 0") -> None:
        self.program("apt-get", f'echo "apt-get $*" >>"{self._calls}"; {ending}')

    def sudo(self, ending: str = 'exec "$@"') -> None:
        self.program("sudo", f'echo "sudo $*" >>"{self._calls}"; [ "$1" = -n ] && shift; {ending}')

    def calls(self) -> list[str]:
        return self._calls.read_text(encoding="utf-8").splitlines()

    def run(self, kind: str = "demo", python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), kind],
            env={"PATH": str(self.bin), "PYTHON": python}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: this system lacks ")
    for word in words:
        assert word in line


def test_a_system_that_lacks_nothing_is_left_alone(system: System) -> None:
    system.libraries(*SONAMES)
    system.apt()
    result = system.run()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert system.calls() == []


def test_all_that_is_lacking_is_installed_at_once_and_said_first(system: System) -> None:
    system.apt("echo noise; echo noise >&2")
    result = system.run()
    assert (result.returncode, result.stderr) == (0, "")
    install = f"apt-get install --yes --no-install-recommends {ALL}"
    assert result.stdout == f"this system lacks {ALL}; running: {install}\n"
    update, installed = system.calls()
    assert update.endswith(" update")
    assert installed.startswith(install)


def test_only_what_is_lacking_is_installed(system: System) -> None:
    system.libraries(*(name for name in SONAMES if name != "libxcb.so.1"))
    system.apt()
    assert "lacks libxcb1;" in system.run().stdout


def test_a_library_whose_name_begins_alike_is_another(system: System) -> None:
    system.libraries(*(name for name in SONAMES if name != "libxcb.so.1"), "libxcb.so.10", "xlibxcb.so.1")
    system.apt()
    assert "lacks libxcb1;" in system.run().stdout


def test_packages_of_the_tests(system: System) -> None:
    system.libraries(*SONAMES)
    system.apt()
    (line,) = system.run("test").stdout.splitlines()
    assert line.startswith("this system lacks strace")
    assert "strace" not in system.run("demo").stdout


def test_a_python_that_cannot_make_environments(system: System) -> None:
    system.apt()
    system.program("python3.99", "exit 1")
    assert system.run("python", "python3.99").stdout.startswith("this system lacks python3.99-venv;")
    assert system.run("python", "python3").stdout.startswith("this system lacks python3 python3-venv;")
    assert system.run("python", "python3.98").stdout == ""  # make says that there is none


def test_without_apt(system: System) -> None:
    refused(system.run(), ALL, "no apt-get")


def test_without_root_and_sudo(system: System) -> None:
    system.user(1000)
    system.apt()
    refused(system.run(), ALL, "root or sudo")
    system.sudo("exit 1")  # it would ask for a password
    refused(system.run(), ALL, "root or sudo")
    assert not [call for call in system.calls() if call.startswith("apt-get")]


def test_with_sudo(system: System) -> None:
    system.user(1000)
    system.apt()
    system.sudo()
    result = system.run()
    assert (result.returncode, result.stderr) == (0, "")
    assert "running: sudo apt-get install" in result.stdout
    assert [call.split()[0] for call in system.calls()] == ["sudo", "sudo", "apt-get", "sudo", "apt-get"]


def test_without_a_network(system: System) -> None:
    system.apt('echo "E: Unable to fetch some archives" >&2; echo more; exit 100')
    refused(system.run(), ALL, "apt-get could not install them (E: Unable to fetch some archives)")


def test_lists_that_cannot_be_renewed_may_still_do(system: System) -> None:
    system.apt('[ "$1" = install ]')
    assert system.run().returncode == 0


def test_no_list_of_libraries(system: System) -> None:
    """As on a musl system: nothing can be said, and OpenCV will tell."""
    system.program("ldconfig", "exit 1")
    assert system.run().returncode == 0
