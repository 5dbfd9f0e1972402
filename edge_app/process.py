"""How the program ends: signals, the one error line, the exit code."""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from edge_app.errors import INTERRUPTED, EdgeAppError, SinkError, UsageError
from edge_app.redact import RedactingFormatter, redact

# Base class of all of typer's own complaints; typer exports only its leaves.
_TyperError: Any = typer.BadParameter.__mro__[2]


@contextmanager
def stop_on_signal() -> Iterator[tuple[threading.Event, list[int]]]:
    """The first SIGINT or SIGTERM sets the event; a second one has the system's own effect, even on a stuck thread."""
    stop, received = threading.Event(), list[int]()
    watched = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        stop.set()
        for each in watched:
            signal.signal(each, signal.SIG_DFL)
        # Not print(): a signal may arrive in the middle of one. The escape code brings the cursor back.
        cursor = b"\x1b[?25h\n" if os.isatty(2) else b""
        os.write(2, cursor + b"stopping: finishing the open files (once more to stop at once)\n")

    before = {each: signal.signal(each, handle) for each in watched}
    try:
        yield stop, received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def print_error(message: str) -> None:
    print(f"error: {redact(' '.join(message.split()))}", file=sys.stderr, flush=True)


def die(message: str, code: int, patience_s: float = 1.0) -> None:
    """End the program now, whatever its other threads do; for a program that can no longer end by itself.

    The line is written by a thread of its own and past Python's streams: stderr may be what hangs.
    """
    line = f"error: {redact(' '.join(message.split()))}\n".encode(errors="backslashreplace")
    writer = threading.Thread(target=os.write, args=(2, line), daemon=True)
    writer.start()
    writer.join(patience_s)
    os._exit(code)


def _fail(message: str, code: int) -> int:
    if os.environ.get("EDGE_APP_DEBUG"):
        print(redact(traceback.format_exc()), end="", file=sys.stderr)
    print_error(message)
    return code


def _of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        lines = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
        print(redact("".join(lines)), end="", file=sys.stderr, flush=True)


def guarded(command: Callable[[], object]) -> int:
    """Run a command and give its exit code; every failure is one line on stderr, never a traceback."""
    from edge_app.report import OutputClosed, silence_stdout

    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(RedactingFormatter("warning: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[to_stderr])
    threading.excepthook = _of_thread
    for stream in (sys.stdout, sys.stderr):  # file names need not be valid UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command()
        sys.stdout.flush()
    except (OutputClosed, BrokenPipeError, SystemExit):  # typer leaves with SystemExit when the reader has gone
        silence_stdout()
        return 0
    except EdgeAppError as error:
        if isinstance(error, SinkError):
            silence_stdout()
        return _fail(str(error), error.exit_code)
    except _TyperError as error:
        return _fail(f"{error.format_message()} (`edge-app --help` shows the usage)", UsageError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except ImportError as error:
        return _fail(f"{error}: install edge-app again, with its dependencies", UsageError.exit_code)
    except MemoryError:
        return _fail("out of memory: use a smaller picture or detector.input_size", 1)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        return _fail(f"unexpected {what}. Please report it with the output of `edge-app --debug …`", 1)
    return code if isinstance(code, int) else 0
