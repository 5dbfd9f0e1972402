"""Stops from outside: the same signal twice, a terminal that closes, a service told to open its files anew."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_app.runtime.shutdown import REPEAT_S
from tests.command import COMMAND, Running, environment, wait_until
from tests.integration.test_faults import assert_all_told, lines

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models", "astronaut")]
RUN = ("run", "demo", "--events", "e.jsonl", "--summary", "s.json", "--output", "v.mp4")


def assert_interrupted(folder: Path) -> None:
    facts = json.loads((folder / "s.json").read_text(encoding="utf-8"))
    assert facts["interrupted"] is True
    events = lines(folder / "e.jsonl")
    assert len(events) == facts["events"]
    assert_all_told(events)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_same_stop_twice_within_a_moment_is_one(tmp_path: Path, number: signal.Signals) -> None:
    with Running(tmp_path, *RUN) as command:
        command.wait_until((tmp_path / "v.mp4").exists, "it has begun")
        command.process.send_signal(number)
        time.sleep(0.05)
        command.process.send_signal(number)
        code = command.finish()
    assert code == (130 if number == signal.SIGINT else 0), command.err
    assert command.err.count("stopping") == 1
    assert_interrupted(tmp_path)


def test_a_stop_while_the_program_ends_does_not_change_its_code(tmp_path: Path) -> None:
    with Running(tmp_path, *RUN) as command:
        command.wait_until((tmp_path / "v.mp4").exists, "it has begun")
        command.process.send_signal(signal.SIGINT)
        command.wait_until(lambda: "summary file" in command.out, "all is told")
        while command.process.poll() is None:
            command.process.send_signal(signal.SIGTERM)
            time.sleep(0.002)
    assert command.process.returncode == 130, command.err
    assert_interrupted(tmp_path)


def test_timeout_of_the_shell_leaves_everything_complete(tmp_path: Path) -> None:
    """It signals the program, and at once its group, of which the program is one."""
    script = f"timeout --preserve-status -s INT 30 {' '.join([*COMMAND, *RUN])} & echo $!; wait"
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        timer = int(process.stdout.readline())
        wait_until((tmp_path / "v.mp4").exists, "it has begun")
        os.kill(timer, signal.SIGALRM)  # its time is up
        process.communicate(timeout=60)
    assert_interrupted(tmp_path)


HANGS = """
import ctypes, sys
from edge_app.runtime.shutdown import guarded, stop_on_signal

def hang():
    with stop_on_signal():
        print("ready", flush=True)
        mutex = ctypes.create_string_buffer(64)
        while True:
            ctypes.CDLL(None).pthread_mutex_lock(mutex)

sys.exit(guarded(hang))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_later_stop_ends_a_program_that_hangs_in_a_library(tmp_path: Path, number: signal.Signals) -> None:
    """Python's own handlers would wait for ever: the main thread never comes back to run them."""
    with subprocess.Popen(
        [sys.executable, "-c", HANGS], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stderr.readline().startswith("stopping")
        time.sleep(1.2 * REPEAT_S)
        process.send_signal(number)
        assert process.wait(60) == 128 + number


def test_a_terminal_that_closes_ends_a_run_cleanly(tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(COMMAND[0], [*COMMAND, *RUN], environment())
    shown = b""
    while b"frame" not in shown and b"/500" not in shown:  # reads what would fill the terminal
        assert select.select([terminal], [], [], 60)[0]
        shown += os.read(terminal, 10_000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert_interrupted(tmp_path)


def test_without_a_terminal_a_hangup_ends_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, *RUN, "--max-frames", "100"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until((tmp_path / "v.mp4").exists, "it has begun")
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("done\n")
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["frames"] == 100


def test_an_interrupt_at_any_moment_of_the_start_shows_no_traceback(tmp_path: Path) -> None:
    codes = set()
    for number in range(8):
        with Running(tmp_path, "run", "demo") as command:
            time.sleep(0.15 * number)
            codes.add(command.finish(signal.SIGINT))
        assert "Traceback" not in command.err
        assert "Error" not in command.err
    assert codes <= {130, -signal.SIGINT}
