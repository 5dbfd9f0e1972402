"""Takes credentials out of text before anyone sees it: messages, logs, tracebacks.

`shown_source` is for a source, `redact` for any other text. The secrets of the sources in use are registered and are
found in whatever a library says about them. What looks like credentials is masked even where nobody registered it.
`redacted_logs` does it for whatever anybody logs.
"""

import base64
import re
import threading
import urllib.parse
from collections.abc import Collection, Iterator

from edge_app.source_text import MASK, STREAM_SCHEMES, problem, secrets, shown_source

__all__ = ["forget", "looks_secret", "redact", "register", "register_source", "shown_source"]

_SHORTEST = 4  # a shorter secret is found in everything
_ANYWHERE = 8  # one of this length is a secret inside of a word too
_MOST = 50_000  # 256 cameras have about 10,000 forms of secrets
_LONGEST = 20_000  # characters of a text; nobody reads more

_scheme = "|".join(STREAM_SCHEMES)
_STREAM = re.compile(rf"(?<![a-zA-Z0-9+.])(?:{_scheme})://", re.IGNORECASE)
_AS_PATH = re.compile(rf"((?<![a-zA-Z0-9+.])(?:{_scheme}):)/(?=[^/\s])", re.IGNORECASE)  # which loses a slash
_NAMED = re.compile(
    r"(?P<name>(?<![\w.-])[\w-]{0,40}?(?:pass?\w{0,20}|pwd?|psw|token|secret|credentials?|key|signature|sig|auth\w{0,20}|user-id)"
    r"(?:[\"']?\s?=\s?|[\"']\s?:\s?))(?!\*\*\*)(?:\"[^\"]*\"|'[^']*'|[^&\s!#,;\"']+)",
    re.IGNORECASE,
)
_HEADER = re.compile(r"(?P<name>\b(?:Basic|Bearer|Digest)\s+)[A-Za-z0-9+/=._~-]{8,}")


class _Registry:
    """Secrets and what is shown in their place."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: dict[str, str] = {}
        self._longest_first: list[tuple[str, str]] | None = []

    def clear(self) -> None:
        with self._lock:
            self._shown, self._longest_first = {}, []

    def add(self, secret: str, shown: str) -> None:
        forms = {form for form in _forms(secret) if len(form) >= _SHORTEST and form not in shown}
        with self._lock:
            if not forms <= self._shown.keys():
                self._shown |= dict.fromkeys(forms, shown)
                for oldest in list(self._shown)[:-_MOST]:
                    del self._shown[oldest]
                self._longest_first = None

    def hide(self, text: str) -> str:
        with self._lock:
            if self._longest_first is None:
                self._longest_first = sorted(self._shown.items(), key=lambda item: -len(item[0]))
            known = self._longest_first
        for secret, shown in known:
            if len(secret) >= _ANYWHERE:
                text = text.replace(secret, shown)
            elif secret in text:
                alone = rf"(?<![a-zA-Z0-9]){re.escape(secret)}(?![a-zA-Z0-9])"
                text = re.sub(alone, shown.replace("\\", r"\\"), text)
        return text


_registry = _Registry()


def register(secret: str, shown: str = MASK) -> None:
    """From now on `redact` replaces this secret, in every way it may be written, by `shown`."""
    _registry.add(secret, shown)


def register_source(source: str, known: Collection[str] = ()) -> None:
    """Register the credentials of a source, and the source as a whole.

    Args:
        source: as the user wrote it.
        known: what is shown anyway and therefore no secret, such as the names of the cameras.
    """
    found = [secret for secret in secrets(source) if secret not in known]
    for secret in found:
        register(secret)
    if found or problem(source):
        register(source.strip(), shown_source(source))


def forget() -> None:
    """Nothing is registered any more: what was secret in one run may be an ordinary word of the next."""
    _registry.clear()


def redact(text: str) -> str:
    """`cannot open rtsp://user:secret@host/1?token=x` becomes `cannot open rtsp://***@host/1?***`."""
    text = _registry.hide(text)
    return _mask_patterns(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def looks_secret(text: str) -> bool:
    """Whether there is something in this text that `redact` masks, whoever's secret it may be."""
    return _mask_patterns(text) != text


def _mask_patterns(text: str) -> str:
    text = "\n".join(map(_mask_streams, _AS_PATH.sub(r"\1//", text).split("\n")))
    text = re.sub(r"\S+", lambda match: _mask_word(match[0]), text)
    return _HEADER.sub(rf"\g<name>{MASK}", _NAMED.sub(rf"\g<name>{MASK}", text))


def _mask_word(word: str) -> str:
    """A URL of another scheme, or credentials without one: `user:password@host/path`."""
    scheme, is_url, rest = word.rpartition("://")
    if not is_url and 0 <= word.find(":") < word.rfind("@"):
        opening = re.match(r"[\"'(\[{<]*", word)
        return f"{opening[0] if opening else ''}{MASK}"
    if is_url and not _STREAM.search(f"{scheme}://") and re.search(r"[@?]", rest):
        return f"{scheme}://{MASK}"
    return word


def _mask_streams(line: str) -> str:
    starts = [match.start() for match in _STREAM.finditer(line)]
    if not starts:
        return line
    ends = [*starts[1:], len(line)]
    parts = (_mask_stream(line[start:end]) for start, end in zip(starts, ends, strict=True))
    return line[: starts[0]] + "".join(parts)


def _mask_stream(text: str) -> str:
    """`text` starts with a URL. What follows it may belong to it too, where a password holds a space."""
    url = text.split(maxsplit=1)[0].rstrip("\"':;,.)}>?")
    if url.endswith("//"):
        return text  # the name of a scheme
    start, rest = url.partition("://")[0] + "://", text[len(url) :]
    if "@" in rest and not url.startswith(f"{start}{MASK}"):
        return f"{start}{MASK}" + re.sub(r"^\S*", "", rest[rest.rindex("@") :])
    return shown_source(url) + rest


def _forms(secret: str) -> Iterator[str]:
    """A secret raw, percent-decoded, percent-encoded, as in a Python string and as in an Authorization header."""
    for plain in {secret, urllib.parse.unquote(secret, errors="surrogateescape"), urllib.parse.unquote_plus(secret)}:
        yield plain
        yield repr(plain)[1:-1]
        data = plain.encode(errors="surrogateescape") if _encodable(plain) else b""
        for safe in ("", "/", "/:@!$&'()*+,;="):
            encoded = urllib.parse.quote(data, safe=safe)
            yield encoded
            yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
        if data:
            yield base64.b64encode(data).decode()


def _encodable(text: str) -> bool:
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
