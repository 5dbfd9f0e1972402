"""Takes credentials out of text before anyone sees it: messages, logs, printed settings."""

import re

# The second form is a password with an unescaped / ? or #: what follows the first colon is then no port.
_USER_INFO = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^/?#\s]*@|[^/?#\s:@]*:(?!\d+(?:[/?#\s]|$))\S*@)")
_NAMED = re.compile(
    r"(?P<name>(?:(?<=[?&\s!])|^)(?:[\w-]*(?:password|passwd|pwd|token|secret|api_?key|user-pw|auth))=)[^&\s!#]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`rtsp://user:secret@host/1?token=x` becomes `rtsp://***@host/1?token=***`; other text stays as it is."""
    return _NAMED.sub(r"\g<name>***", _USER_INFO.sub(r"\g<scheme>***@", text))
