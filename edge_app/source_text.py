"""How a source is written, and how much of it may be seen.

A source may hold credentials in more places and under more names than a list could hold. So what is shown is only
what is known to be harmless: of a URL that can be read in one way alone the scheme, host, port and the words that
cameras use in their paths, of a pipeline its elements. All else is `***`.
"""

import difflib
import ipaddress
import os
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
MASK = "***"
LONGEST = 8192  # characters; a pipeline may be long
_LONGEST_PATH = 4095  # bytes

_URL = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.DOTALL,
)
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+(?:%[\w.-]+)?\]|[\w.-]{1,253})(?::(?P<port>\d{1,5}))?")
_ADDRESS_AS_PATH = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")  # a `Path` loses one slash; one letter is a drive
_ALMOST_URL = re.compile(r"(?:rtsps?|https?)(?::|//)|//", re.IGNORECASE)
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f]")
_ODD = re.compile(r"[=@:;&?#\s]")
_WORD = (
    r"(?:av|axis|cam|camera|amp|cgi|ch|channels?|h26[45]|hevc|high|hls|images?|index|jpe?g|live|low|m3u8|main|master|media"
    r"|mjpe?g|mp4|mpeg|onvif|playlist|preview|primary|profile|realmonitor|sdp|second(?:ary)?|snap|snapshot|stream"
    r"|streaming|sub|track|unicast|videos?)"
)
_CAMERA_PATH = re.compile(rf"(?:[-_.]|{_WORD}|(?<!\d)\d{{1,3}}(?!\d))*", re.IGNORECASE)
_HAS_WORD = re.compile(_WORD, re.IGNORECASE)
_ELEMENT = re.compile(r"[a-zA-Z][\w-]*|video/x-raw")
_PROPERTY = re.compile(r"(?P<name>[\w-]+)\s*=\s*(?P<value>\"[^\"]*\"|'[^']*'|\S+)")

_ESCAPES = (
    "write special characters of a user name or password as %XX (@ is %40, # %23, / %2F, ? %3F, : %3A, a space %20)"
)
_NO_URL = f"not a valid URL: {_ESCAPES}, and an IPv6 address in []"


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    user_info: str
    host: str
    port: str
    path: str
    query: str
    fragment: str

    @property
    def certain_host(self) -> bool:
        """False where the user info could also be meant to end further on, at an @ of the path."""
        return _is_address(self.host) or "@" not in f"{self.path}{self.query}{self.fragment}"


def problem(text: str) -> str | None:
    """What is wrong with how a source is written, showing nothing of it; None where nothing is."""
    if len(text) > LONGEST:
        return f"neither a URL nor the name of a file: longer than {LONGEST} characters"
    if is_file(text):
        return None
    text = text.strip()
    if text.isdecimal():
        return None if text.isascii() and len(text) <= 4 else "no camera has such an index: expected 0 to 9999"
    if _plain(text) or is_pipeline(text):
        return None
    if match := _URL.fullmatch(text):
        return _url_problem(match)
    if not _possible_path(text):
        return "neither a URL nor the name of a file: it is too long, or holds what no name may hold"
    if _ALMOST_URL.match(text) or 0 <= text.find(":") < text.rfind("@"):
        return f"neither a file nor a URL: a URL starts with rtsp://, rtsps://, http:// or https://; {_ESCAPES}"
    return None


def shown_source(text: str) -> str:
    """A source as people may see it: `rtsp://u:p@host/stream1?token=x` is `rtsp://***@host/stream1?***`."""
    if len(text) > LONGEST:
        return MASK
    if is_file(text):
        return _printable(text)
    text = text.strip()
    if _plain(text) or (text.isdecimal() and problem(text) is None):
        return text
    if is_pipeline(text):
        return _shown_pipeline(text)
    if match := _URL.fullmatch(text):
        return _shown_url(match)
    if problem(text) is not None:
        return MASK
    parts = text.split("/")
    return _printable("/".join(MASK if _ODD.search(part) and not _harmless_name(part) else part for part in parts))


def is_file(text: str) -> bool:
    """Whether a file or folder of that very name is there: then it is one, whatever it looks like.

    A URL never is, for it is opened as one; a file that is called so is named with one slash.
    """
    try:
        return not _URL.match(text) and os.path.lexists(text)
    except ValueError:
        return False


def is_address(path: Path) -> bool:
    """Whether a path was meant as a URL: nobody calls a folder so."""
    return _ADDRESS_AS_PATH.match(str(path)) is not None


def secrets(text: str) -> Iterator[str]:
    """The parts of a source that nobody else may read, and that are long enough to be told from other text."""
    if len(text) > LONGEST or is_file(text):
        return
    text = text.strip()
    if is_pipeline(text):
        for match in _PROPERTY.finditer(text):
            value = match["value"].strip("\"'")
            if _URL.match(value):
                yield from secrets(value)
            elif re.search(r"user|pass|pw|key|token|secret|auth|cookie|header", match["name"], re.IGNORECASE):
                yield value
        return
    whole = _URL.fullmatch(text)
    url = _read_url(whole) if whole else None
    if url is None:
        return
    yield url.user_info
    yield url.user_info.partition(":")[2]
    yield url.query
    yield url.fragment
    for part in re.split(r"[&;]", url.query):
        value = part.partition("=")[2]
        if not _camera_path(value):
            yield value
    for segment in url.path.split("/"):
        if _ODD.search(segment) or (len(segment) >= 8 and re.search(r"\d", segment) and not _camera_path(segment)):
            yield segment
            yield from (value for value in re.split(r"[=&;:]|_(?=[a-z]+=)", segment)[1:] if not _camera_path(value))


def is_stream(text: str) -> bool:
    """Whether it is a URL that a login can be put into."""
    match = _URL.fullmatch(text.strip())
    return match is not None and match["scheme"].lower() in STREAM_SCHEMES


def has_login(text: str) -> bool:
    """Whether a URL holds a user name or a password where these belong."""
    match = _URL.fullmatch(text.strip())
    return match is not None and match["authority"].rpartition("@")[0] != ""


def with_login(url: str, username: str, password: str) -> str:
    """A URL with a login, percent-encoded, in place of its own."""
    scheme, _, rest = url.partition("://")
    place = re.match(r"[^/?#]*", rest)
    address = place[0] if place else ""
    login = ":".join(urllib.parse.quote(part, safe="") for part in (username, password))
    return f"{scheme}://{login}@{address.rpartition('@')[2]}{rest[len(address) :]}"


def is_pipeline(text: str) -> bool:
    return " ! " in text and not _URL.match(text)


def _plain(text: str) -> bool:
    return text in ("", "demo") or re.fullmatch(r"/dev/video\d{1,4}|csi://\d{1,2}", text, re.ASCII) is not None


def _url_problem(match: re.Match[str]) -> str | None:
    scheme = match["scheme"].lower()
    if scheme == "csi":
        return "expected csi://N with the number of the ribbon-cable camera"
    if scheme not in STREAM_SCHEMES:
        near = difflib.get_close_matches(scheme, STREAM_SCHEMES, n=1, cutoff=0.7)
        hint = f"; did you mean {near[0]}://?" if near else ""
        return f"not a source: URLs start with rtsp://, rtsps://, http:// or https://, or are csi://N{hint}"
    if match["authority"].rpartition("@")[2].partition(":")[0] == "":
        return f"no host in this URL: {_ESCAPES}"
    return None if _read_url(match) else _NO_URL


def _read_url(match: re.Match[str]) -> _Url | None:
    """The parts of a stream's URL; None unless there is one way alone to read it."""
    user_info, at, address = match["authority"].rpartition("@")
    place = _ADDRESS.fullmatch(address)
    if _UNSAFE.search(match[0]) or match["scheme"].lower() not in STREAM_SCHEMES or place is None:
        return None
    host, port = place["host"], place["port"] or ""
    if (port and not 0 < int(port) < 65536) or not (host[0] != "[" or _is_address(host)):
        return None
    path, query, fragment = match["path"], match["query"] or "", match["fragment"] or ""
    before, at_later, _ = f"{path}?{query}#{fragment}".rpartition("@")
    if at and (at_later or match["fragment"] is not None):
        return None  # the password may hold the / ? or #, and the first @ too
    if at_later and not _is_address(host) and (port or ":" in before):
        return None  # user:12/34@host looks like a host with a port
    return _Url(match["scheme"].lower(), user_info, host, port, path, query, fragment)


def _shown_url(match: re.Match[str]) -> str:
    url = _read_url(match)
    if url is None:
        scheme = match["scheme"].lower()
        known = scheme in STREAM_SCHEMES or re.fullmatch("[a-z]{2,6}", scheme)  # a longer one may be a name
        return f"{scheme}://{MASK}" if known else MASK
    if not url.certain_host:
        return f"{url.scheme}://{MASK}"
    user = f"{MASK}@" if url.user_info else ""
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{user}{url.host}{port}{_shown_path(url)}"


def _shown_path(url: _Url) -> str:
    shown: list[str] = []
    for segment in url.path.split("/"):
        if _ODD.search(segment):  # user=admin_password=…: what stands behind it may be a part of the password
            return "/".join([*shown, MASK])
        if segment == MASK or not _camera_path(segment):
            shown += [MASK] if shown[-1:] != [MASK] else []
        else:
            shown.append(segment)
    return "/".join(shown) + (f"?{MASK}" if url.query else "") + (f"#{MASK}" if url.fragment else "")


def _camera_path(text: str) -> bool:
    """Too short for a secret, or made of the words that cameras use and short numbers."""
    if re.fullmatch(r"[\w.-]{0,3}", text):
        return True
    return len(text) <= 40 and bool(_CAMERA_PATH.fullmatch(text) and _HAS_WORD.search(text))


def _shown_pipeline(text: str) -> str:
    """The names of the elements: `rtspsrc ! decodebin ! appsink`."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", MASK, text)
    if re.search(r"[\"']", bare):
        return f"pipeline {MASK}"
    names = [(part.split() or [""])[0].partition(",")[0] for part in bare.split(" ! ")]
    return " ! ".join(name if _ELEMENT.fullmatch(name) else MASK for name in names)


def _harmless_name(name: str) -> bool:
    """A time of day or a space in the name of a file is no secret."""
    return re.fullmatch(r"[\w\s.,+()%'!*\\-]*(?:\d\d?:\d\d[\w\s.,+()%'!*\\-]*)?", name) is not None


def _possible_path(text: str) -> bool:
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return b"\0" not in data and len(data) <= _LONGEST_PATH and all(len(part) <= 255 for part in data.split(b"/"))


def _printable(name: str) -> str:
    """The name of a file on one line of valid text. Stricter than `text.printable`: no invisible character stays."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(urllib.parse.unquote(host.strip("[]")))
    except ValueError:
        return False
    return True
