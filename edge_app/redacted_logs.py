"""Takes credentials out of what is logged, by anybody, before any handler gets it.

A filter cannot do that: one on a logger misses what its children log, and one on a handler misses every handler that
is added later. But all loggers have their records made by the one factory of `logging`, so that is the place.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edge_app.redact import redact


@contextmanager
def redacted_logs() -> Iterator[None]:
    """Within this context, every record is made without secrets: message, arguments, `extra`, traceback and stack.

    What holds nothing secret stays the object that it is, for formatters that look into the arguments. An exception
    becomes its traceback in `exc_text`, which every formatter writes: the object itself may hold anything.
    """
    make = logging.getLogRecordFactory()

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.__dict__ = _Attributes(_redacted(record.__dict__))
        return record

    logging.setLogRecordFactory(make_redacted)
    try:
        yield
    finally:
        if logging.getLogRecordFactory() is make_redacted:  # else a library has wrapped ours, and would be undone too
            logging.setLogRecordFactory(make)


class _Attributes(dict[str, Any]):
    """A record's own. `extra` and `logging.makeLogRecord` write into it once the factory is done."""

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, _shown(value))

    def update(self, *args: Any, **kwargs: Any) -> None:
        received = dict(*args, **kwargs)
        super().update(_redacted({**self, **{name: _raw_or_shown(name, value) for name, value in received.items()}}))


_TOLD = ("msg", "args", "exc_info", "exc_text", "stack_info")


def _raw_or_shown(name: str, value: Any) -> Any:
    return value if name in _TOLD else _shown(value)


def _redacted(record: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a record, those redacted that tell what has happened."""
    msg, args = _message(record["msg"], record["args"])
    exc_info, exc_text, stack = record["exc_info"], record["exc_text"], record["stack_info"]
    if exc_info and not exc_text:
        exc_text = logging.Formatter().formatException(exc_info)
    return {
        **record,
        "msg": msg,
        "args": args,
        "exc_info": None,
        "exc_text": exc_text and redact(exc_text),
        "stack_info": stack and redact(stack),
    }


def _message(msg: Any, args: Any) -> tuple[Any, Any]:
    """Both, so that they make the redacted message; it alone where a secret is put together from the two of them."""
    try:
        text = redact(str(msg) % args if args else str(msg))
    except Exception:  # arguments that do not fit: `logging` would print them as they are
        return redact(f"{msg} {args!r}"), ()
    shown = {name: _shown(each) for name, each in args.items()} if isinstance(args, Mapping) else None
    parts = tuple(map(_shown, args)) if isinstance(args, tuple) else shown
    form = _shown(msg)
    try:
        same = (str(form) % parts if parts else str(form)) == text
    except (TypeError, ValueError):  # of a number only its mask is left
        same = False
    return (form, parts) if same else (text, ())


def _shown(value: Any) -> Any:
    """The value itself where nothing in it is to be hidden, else as text."""
    if isinstance(value, str):
        return redact(value)
    try:
        texts = str(value), repr(value)
    except Exception:  # whoever formats it meets the same
        return value
    return value if all(redact(text) == text for text in texts) else redact(texts[0])
