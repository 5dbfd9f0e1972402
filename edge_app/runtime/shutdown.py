"""How the program ends: signals, the one error line, the exit code."""

import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from edge_app.errors import INTERRUPTED, EdgeAppError, SinkError, UsageError
from edge_app.redact import redact
from edge_app.redacted_logs import redacted_logs
from edge_app.runtime.standard_streams import OutputClosed, guarded_streams, open_closed, silence_stdout
from edge_app.text import one_line, printable

# Base class of all of typer's own complaints; typer exports only its leaves.
_TyperError: Any = typer.BadParameter.__mro__[2]
REPEAT_S = 1.0  # `timeout` signals a program and then its group; a closing terminal does so too


@contextmanager
def stop_on_signal(at_last: bool = False) -> Iterator[tuple[threading.Event, list[int]]]:
    """The first SIGINT or SIGTERM sets the event; a later one ends the program at once, whatever it hangs in.

    SIGHUP is such a stop where there is a terminal, which has then been closed. Without one it asks a service to open
    its files anew, as log rotation does; the events file follows its path by itself, so the run just goes on.

    at_last: the program ends after this. Once it was asked to stop and has done so, a further signal changes nothing:
    everything is written, and the exit code must say so.
    """
    stop, received = threading.Event(), list[int]()
    terminal, first_at = has_terminal(), 0.0

    def arrived(number: int) -> None:
        nonlocal first_at
        if number not in watched or (number == signal.SIGHUP and (not terminal or received)):
            return
        if not received:
            first_at = time.monotonic()
            received.append(number)
            stop.set()
            say("stopping: finishing the open files (once more to stop at once)")
        elif time.monotonic() - first_at > REPEAT_S:
            last_words("\x1b[?25h\n" if os.isatty(2) else "")  # the cursor that a progress bar hides
            os._exit(128 + number)

    watched = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        watched.append(signal.SIGHUP)
    # Python runs handlers in the main thread alone, which may hang in a library; a thread hears of them at once.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listener = threading.Thread(target=_listen, args=(reader, arrived), name="signals", daemon=True)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {each: signal.signal(each, lambda *_: None) for each in watched}
    listener.start()
    try:
        yield stop, received
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_IGN if at_last and received else handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        listener.join()
        os.close(reader)


def _listen(reader: int, arrived: Callable[[int], None]) -> None:
    while numbers := os.read(reader, 64):
        for number in numbers:
            arrived(number)


def interruptible() -> None:
    """From now on Ctrl-C is a `KeyboardInterrupt`, so that temporary files are removed. Before, it just ended us."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def has_terminal() -> bool:
    """Whether a terminal controls this process, whatever its streams are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def say(line: str) -> None:
    """One line on standard error, in one piece."""
    sys.stderr.write(f"{line}\n")


def print_error(message: str) -> None:
    say(f"error: {one_line(redact(message))}")


class _Warnings(logging.Handler):
    """What modules log, redacted as all records are, a line each on whatever standard error is now."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"warning: {one_line(record.getMessage())}")


def die(error: EdgeAppError, patience_s: float = 1.0) -> None:
    """End the program now, whatever its other threads do; for a program that can no longer end by itself.

    The line is written by a thread of its own: stderr may be what hangs.
    """
    last_words(f"error: {one_line(str(error))}\n", patience_s)
    os._exit(error.exit_code)


def last_words(text: str, patience_s: float = 1.0) -> None:
    """Write to standard error past Python's streams, and leave it at that where nobody takes it."""
    data = text.encode(errors="backslashreplace")
    writer = threading.Thread(target=_write_all, args=(data,), daemon=True)
    writer.start()
    writer.join(patience_s)


def _write_all(data: bytes) -> None:
    with suppress(OSError):
        os.write(2, data)


def _fail(message: str, code: int) -> int:
    if os.environ.get("EDGE_APP_DEBUG"):
        _say_traceback(traceback.format_exc())
    print_error(message)
    return code


def _say_traceback(text: str) -> None:
    for line in redact(text).splitlines():
        say(printable(line))


def _of_thread(args: threading.ExceptHookArgs) -> None:
    """A fault that ended a thread of ours, told as any other is."""
    if args.exc_type is SystemExit:
        return
    if os.environ.get("EDGE_APP_DEBUG"):
        _say_traceback("".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)))
    print_error(_unexpected(args.exc_value or args.exc_type()))


def complaint(error: Any) -> str:
    """What typer says of a command line, without the words of a library that checks values for it."""
    message = re.sub(r"Input should be (.*), unable to .*", r"expected \1", error.format_message())
    return message.replace("Value error, ", "")


def _unexpected(error: BaseException) -> str:
    return f"unexpected {type(error).__name__}: {error}. Please report it with the output of `edge-app --debug …`"


def guarded(command: Callable[[], object]) -> int:
    """Run a command and give its exit code; every failure is one line on stderr, never a traceback."""
    open_closed()
    threading.excepthook = _of_thread
    for stream in (sys.stdout, sys.stderr):  # file names need not be valid UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with guarded_streams(), redacted_logs():
        logging.basicConfig(level=logging.WARNING, handlers=[_Warnings()])
        return _exit_code(command)


def _exit_code(command: Callable[[], object]) -> int:
    try:
        code = command()
        sys.stdout.flush()
    except OutputClosed:
        silence_stdout()
        return 0
    except EdgeAppError as error:
        if isinstance(error, SinkError):
            silence_stdout()
        return _fail(str(error), error.exit_code)
    except _TyperError as error:
        return _fail(f"{complaint(error)} (`edge-app --help` shows the usage)", UsageError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except ImportError as error:
        return _fail(f"{error}: install edge-app again, with its dependencies", UsageError.exit_code)
    except MemoryError:
        return _fail("out of memory: use a smaller picture or detector.input_size", 1)
    except Exception as error:
        return _fail(_unexpected(error), 1)
    return code if isinstance(code, int) else 0
