"""What is logged while a command runs: no handler and no logger sees a secret, and all else stays as it is."""

import copy
import io
import logging
import logging.handlers
import pickle
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edge_app.capture.reader import FrameReader
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.config.settings import SourceSettings
from edge_app.outputs.output import Isolation
from edge_app.redact import register
from edge_app.redacted_logs import redacted_logs
from edge_app.runtime.shutdown import guarded
from tests.media import Pixels, grey

SECRET = "gy5wq8hh"
THIRD = "somebody.elses.library"


class Everything(logging.Handler):
    """Keeps all that a handler can know of a record."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.told = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.told += f"{self.format(record)} {record.__dict__!r} {vars(record)!s} {record.args!r}\n"


@pytest.fixture
def handler() -> Iterator[Everything]:
    """On the root logger, before any command has started."""
    register(SECRET)
    kept, level = Everything(), logging.root.level
    kept.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.root.addHandler(kept)
    yield kept
    logging.root.removeHandler(kept)
    logging.root.setLevel(level)


def logged(handler: Everything, log: Callable[[logging.Logger], object], name: str = THIRD) -> str:
    """What the handler is told while a command logs."""
    assert guarded(lambda: log(logging.getLogger(name)) and None) == 0
    assert handler.records
    return handler.told


def failing() -> None:
    raise ValueError(f"login {SECRET} refused")


def with_traceback(log: logging.Logger) -> None:
    try:
        failing()
    except ValueError:
        log.exception("it failed")


def received(log: logging.Logger, **attributes: Any) -> None:
    """As of a record that another process sends."""
    log.handle(logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", **attributes}))


class Holder:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return "harmless"

    def __repr__(self) -> str:
        return f"Holder({self.text})"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (lambda log: log.warning(f"login {SECRET}"), "WARNING login ***"),
        (lambda log: log.warning("login %s of %d", SECRET, 7), "WARNING login *** of 7"),
        (lambda log: log.warning("login %(who)s", {"who": SECRET}), "WARNING login ***"),
        (lambda log: log.warning("gy5w%s refused", "q8hh"), "WARNING *** refused"),
        (lambda log: log.error(ValueError(SECRET)), "ERROR ***"),
        (lambda log: log.error("%s", ValueError(SECRET)), "ERROR ***"),
        (lambda log: log.error("it is %s", Holder(SECRET)), "ERROR it is harmless"),
        (lambda log: log.error("%s and %s", SECRET), "ERROR %s and %s ('***',)"),
        (lambda log: log.error("%d", SECRET), "ERROR %d ('***',)"),
        (with_traceback, "ERROR it failed\nTraceback"),
        (lambda log: log.warning("here", stack_info=True), "WARNING here\nStack"),
        (lambda log: log.warning("here", extra={"url": f"rtsp://u:{SECRET}@h/", "n": 5}), "WARNING here"),
        (lambda log: log.warning("cannot open rtsp://u:unknown5@h/live"), "WARNING cannot open rtsp://***@h/live"),
        (lambda log: received(log, msg="from %s", args=(SECRET,)), "WARNING from ***"),
        (lambda log: received(log, msg="far", url=SECRET, stack_info=SECRET), "WARNING far\n***"),
    ],
)
@pytest.mark.parametrize("name", [THIRD, "edge_app.capture.reader", "root"])
def test_no_part_of_a_record_holds_one(handler: Everything, log: Any, told: str, name: str) -> None:
    text = logged(handler, log, name)
    assert told in text
    assert SECRET not in text
    assert "unknown5" not in text


def test_the_traceback_is_whole(handler: Everything) -> None:
    text = logged(handler, with_traceback)
    assert "in failing" in text
    assert "ValueError: login *** refused" in text


def test_handlers_that_come_later_and_loggers_that_do_not_propagate() -> None:
    register(SECRET)
    later, own = Everything(), Everything()

    def command() -> None:
        logging.root.addHandler(later)
        child = logging.getLogger(f"{THIRD}.child")
        child.warning("login %s", SECRET)
        child.propagate = False
        child.addHandler(own)
        child.error("again %s", SECRET)
        child.propagate = True
        child.removeHandler(own)
        logging.root.removeHandler(later)

    assert guarded(command) == 0
    assert "login ***" in later.told
    assert "again ***" in own.told
    assert SECRET not in later.told + own.told


def test_a_record_on_its_way_through_a_queue(handler: Everything) -> None:
    waiting: queue.Queue[Any] = queue.Queue()
    with redacted_logs():
        logging.handlers.QueueHandler(waiting).handle(
            logging.getLogger(THIRD).makeRecord(THIRD, 30, "", 0, "login %s", (SECRET,), None, extra={"url": SECRET})
        )
        record = waiting.get()
        again = pickle.loads(pickle.dumps(copy.copy(record)))  # noqa: S301
    for each in (record, again):
        assert (each.getMessage(), each.url) == ("login ***", "***")


def test_what_holds_no_secret_stays_as_it_is(handler: Everything) -> None:
    """Web servers' formatters take the arguments of a request apart."""
    thing = Holder("nothing")
    arguments = ("127.0.0.1:5", "GET", thing, 1.1, 200)
    logged(handler, lambda log: log.warning('%s - "%s %s HTTP/%s" %d', *arguments, extra={"thing": thing}))
    (record,) = handler.records
    assert record.msg == '%s - "%s %s HTTP/%s" %d'
    assert record.args == arguments
    assert vars(record)["thing"] is thing
    assert (record.name, record.levelname, record.funcName) == (THIRD, "WARNING", "<lambda>")


def test_arguments_keep_their_number_where_one_is_masked(handler: Everything) -> None:
    logged(handler, lambda log: log.warning("%s %s %d", "GET", f"/?token={SECRET}", 200))
    (record,) = handler.records
    assert record.args == ("GET", "/?token=***", 200)
    assert record.getMessage() == "GET /?token=*** 200"


def test_afterwards_logging_is_as_it_was(handler: Everything, capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogRecordFactory()
    assert guarded(lambda: 1 / 0) == 1
    assert logging.getLogRecordFactory() is before
    logging.getLogger(THIRD).warning("login %s", SECRET)
    assert handler.records[-1].args == (SECRET,)


def test_a_factory_of_the_users_is_asked_first(handler: Everything) -> None:
    before = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.msg = f"{record.msg} by {SECRET}"
        return record

    logging.setLogRecordFactory(make)
    try:
        assert "here by ***" in logged(handler, lambda log: log.warning("here"))
    finally:
        logging.setLogRecordFactory(before)


def test_what_the_handlers_of_logging_print_about_a_failure(
    handler: Everything, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream that cannot be written: `logging` says so, with the record's message and arguments."""
    closed = io.StringIO()
    closed.close()
    broken = logging.StreamHandler(closed)
    logging.root.addHandler(broken)
    try:
        logged(handler, lambda log: log.warning("login %s", SECRET))
    finally:
        logging.root.removeHandler(broken)
    said = capsys.readouterr().err
    assert "Logging error" in said
    assert "Arguments: ('***',)" in said


def refuse() -> None:
    """What an output does whose library tells the password in what it raises."""
    raise ValueError(f"login {SECRET} refused")


class Refusing(Source):
    """A camera whose library does so."""

    info = SourceInfo("camera", "stream", True, 64, 48, None, None)
    opened = 0

    def __init__(self) -> None:
        Refusing.opened += 1

    def read(self) -> tuple[Pixels, float]:
        if Refusing.opened > 1:
            return grey(20), time.monotonic()
        raise ValueError(f"login {SECRET} refused")


def test_what_edge_app_itself_logs_is_redacted_without_a_command(caplog: pytest.LogCaptureFixture) -> None:
    register(SECRET)
    isolation = Isolation("broker")
    isolation.attempt(refuse)
    assert caplog.messages == ["broker: ValueError: login *** refused"]
    assert isolation.last_error == "ValueError: login *** refused"
    caplog.clear()
    settings = SourceSettings(reconnect_min_s=0.01, reconnect_max_s=0.01)
    spec = SourceSpec("stream", "rtsp://h/1", "rtsp://h/1", live=True)
    with caplog.at_level(logging.DEBUG), FrameReader(spec, settings, opener=lambda *_: Refusing()) as reader:
        next(iter(reader))
    assert "login *** refused" in caplog.text
    assert SECRET not in caplog.text
