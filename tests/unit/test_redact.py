"""What is shown of a source and of any text: enough to recognise it, and nothing of a password."""

import base64
import logging
import string
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_app.errors import SourceError
from edge_app.redact import forget, redact, register, register_source, shown_source
from edge_app.runtime.shutdown import guarded
from edge_app.source_text import problem

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://***@192.168.1.20:554/stream1", "rtsp://***@192.168.1.20:554/stream1"),
        ("rtsp://user:pass@192.168.1.20:554/stream1", "rtsp://***@192.168.1.20:554/stream1"),
        ("RTSP://user:pass@host:554/live", "rtsp://***@host:554/live"),
        ("rtsp://user:p@ss@host/live", "rtsp://***@host/live"),
        ("rtsp://token@host/1", "rtsp://***@host/1"),
        ("rtsp://[fe80::1%25eth0]:554/Streaming/Channels/101", "rtsp://[fe80::1%25eth0]:554/Streaming/Channels/101"),
        ("rtsp://cam/cam/realmonitor?channel=1&subtype=0", "rtsp://cam/cam/realmonitor?***"),
        ("rtsp://cam/axis-media/media.amp", "rtsp://cam/axis-media/media.amp"),
        ("rtsps://192.168.1.1:7441/AbCdEf123456?enableSrtp", "rtsps://192.168.1.1:7441/***?***"),
        ("http://host:8080/joe/hunter22/1234.ts", "http://host:8080/joe/***"),
        ("http://10.0.0.1/a/b@c/d?e", "http://10.0.0.1/a/***"),
        ("http://host/a@b.mp4", "http://***"),
        ("http://host/video#t=5", "http://host/video#***"),
        ("rtsp://127.0.0.1/user=admin_password=Secret1_channel=1_stream=0.sdp", "rtsp://127.0.0.1/***"),
        ("http://127.0.0.1:9/cgi?usr=admin&pass=Secret1", "http://127.0.0.1:9/cgi?***"),
        ("rtspsrc location=rtsp://u:pw@h user-pw=hunter2 ! decodebin ! appsink", "rtspsrc ! decodebin ! appsink"),
        ("souphttpsrc location='http://h/a ! hunter2 x' ! video/x-raw,width=64 ! appsink sync=false",
         "souphttpsrc ! video/x-raw ! appsink"),
        ("rtspsrc user-pw='hunter2 ! hunter3 ! appsink", "pipeline ***"),
        ("/home/me/12:30 party.mp4", "/home/me/12:30 party.mp4"),
        ("127.0.0.1/user=admin_password=Secret1", "127.0.0.1/***"),
        ("admin:Secret1", "***"),
        ("line\nfeed.mp4", "line\\nfeed.mp4"),
        ("caf\udce9.mp4", "caf\\xe9.mp4"),
        ("/dev/video0", "/dev/video0"),
        ("csi://0", "csi://0"),
        ("demo", "demo"),
        ("0", "0"),
    ],
)  # fmt: skip
def test_a_source_stays_recognisable(text: str, shown: str) -> None:
    assert problem(text) is None
    assert shown_source(text) == shown
    assert shown_source(shown) == shown


def test_a_file_that_is_there_is_shown_whatever_its_name(tmp_path: Path) -> None:
    for name in ("u:p@h.mp4", "a ! b.mp4", "http:x.mp4", "k=v&x.mp4", " .mp4"):
        (tmp_path / name).touch()
        assert (problem(name), shown_source(name)) == (None, name)


def test_a_url_is_none_even_where_a_folder_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = "rtsp://u:hunter2@h/live"
    Path(url).mkdir(parents=True)
    assert shown_source(url) == "rtsp://***@h/live"


MALFORMED = [
    "rtsp://admin:P{}#1@127.0.0.1/s1",
    "rtsp://admin:p@{}/word@127.0.0.1/s1",
    "rtsp://admin:{}/p@ss@127.0.0.1/s1",
    "rtsp://admin:12#{}@127.0.0.1/x",
    "rtsp://admin:1234/{}@127.0.0.1/x",
    "rtsp://admin:80?{}@127.0.0.1/x",
    "rtsp://admin:pass {}@127.0.0.1/x",
    "rtsp://admin:{} word@127.0.0.1/x",
    "rtsp://admin:12 {}@127.0.0.1/x",
    "rtsp://admin:{}",
    "rtsp://admin:{}@/x",
    "rtsp://admin:a{}://b@host/x",
    "rtsp:/u:{}@h",
    "rtsp//u:{}@h",
    "rtsp:u:{}@h",
    "//u:{}@h/x",
    "rstp://u:{}@h",
    "ftp://u:{}@h/x",
    "u:{}@host/path",
    "u:12/{}@host/path",
]


@pytest.mark.parametrize("form", MALFORMED)
def test_credentials_in_the_wrong_form_are_refused_and_masked(form: str) -> None:
    text = form.format("Secr3tive")
    wrong = problem(text)
    assert wrong is not None
    assert "URL" in wrong
    assert "ecr3tiv" not in wrong + shown_source(text) + redact(f"cannot open {text}: no") + redact(text)


def test_the_hint_asks_for_percent_encoding() -> None:
    for text in ("rtsp://admin:P@ss#1@127.0.0.1/s1", "u:p@host/x", "rtsp://a:b c@h/"):
        assert "%XX" in str(problem(text))
    assert "rtsp://?" in str(problem("rstp://host/x"))


# --- any password, anywhere ---------------------------------------------------------------------------------------

HARMLESS = (
    "http:// rtsp://***@192.168.1.20:554/stream1?***#***/pipeline rtspsrc ! decodebin ! appsink cannot open: no (…)"
)
PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=4, max_size=16) | (
    st.text(string.ascii_letters + string.digits + "@#/?:%=&;!$'\"\\ ", min_size=4, max_size=16)
)
POSITIONS = [
    "rtsp://{}:x@192.168.1.20:554/stream1",
    "rtsp://admin:{}@192.168.1.20:554/stream1",
    "rtsp://admin:12{}@192.168.1.20:554/stream1",
    "rtsp://{}@192.168.1.20:554/stream1",
    "rtsp://192.168.1.20:554/{}/stream1",
    "rtsp://192.168.1.20:554/user=admin_password={}_channel=1",
    "rtsp://192.168.1.20:554/user=admin&password={}&channel=1.sdp?real_stream",
    "rtsp://192.168.1.20:554/stream1?loginpas={}",
    "http://192.168.1.20/stream1?a=1&X-Amz-Signature={}&key=2",
    "http://192.168.1.20/stream1?{}",
    "http://192.168.1.20/stream1#{}",
    "rtsp:/admin:{}@192.168.1.20/stream1",
    "rstp://admin:{}@192.168.1.20/stream1",
    "admin:{}@192.168.1.20/stream1",
]
PROPERTIES = [
    "rtspsrc location=rtsp://admin:{}@192.168.1.20 ! decodebin ! appsink",
    "rtspsrc user-id=admin user-pw={} ! decodebin ! appsink",
    'rtspsrc user-pw="{}" ! decodebin ! appsink',
]


def _fragments(password: str) -> list[str]:
    """Its pieces of four characters that are nowhere in a harmless text."""
    pieces = {password[i : i + 4] for i in range(len(password) - 3)}
    return [piece for piece in pieces if piece.strip("/*: .@") and piece.lower() not in HARMLESS.lower()]


def _is_words_of_cameras(password: str) -> bool:
    """In a path such a password cannot be told from the name of a stream."""
    return shown_source(f"http://h/{password}") != "http://h/***"


@given(PASSWORDS, st.sampled_from(POSITIONS))
def test_no_part_of_a_password_is_shown(password: str, position: str) -> None:
    assume("/{}/" not in position or not any(map(_is_words_of_cameras, password.split("/"))))
    shown = shown_source(position.format(password))
    wrong = problem(position.format(password)) or ""
    assert not [piece for piece in _fragments(password) if piece in shown or (len(password) > 6 and password in wrong)]


@given(PASSWORDS, st.sampled_from(PROPERTIES))
def test_no_property_of_a_pipeline_is_shown(password: str, position: str) -> None:
    assume("!" not in password)
    shown = shown_source(position.format(password))
    assert not [piece for piece in _fragments(password) if piece in shown]


@given(PASSWORDS, st.sampled_from(POSITIONS + PROPERTIES))
def test_what_a_library_says_of_a_source_shows_no_password(password: str, position: str) -> None:
    forget()
    source = position.format(password)
    assume("/{}/" not in position and "!" not in password)
    register_source(source)
    text = redact(f"[rtsp @ 0x5f] cannot open {source}: no\n({source}) '{source}'")
    assert not [piece for piece in _fragments(password) if piece in text]


@given(st.text(string.ascii_letters + string.digits + "@#/?:%=&;$ é", min_size=4, max_size=16))
def test_a_registered_secret_is_found_however_it_is_written(password: str) -> None:
    forget()
    register(password)
    assume(password.strip() == password)
    forms = [
        password,
        urllib.parse.quote(password),
        urllib.parse.quote(password, safe=""),
        urllib.parse.unquote(password, errors="surrogateescape"),
        repr(password)[1:-1],
    ]
    for form in forms:
        if len(form) >= 4:
            assert form not in redact(f"x «{form}» y").replace("x «", "").replace("» y", "")


@given(st.text(max_size=60))
def test_any_text_goes_through(text: str) -> None:
    assert redact(text).count("\n") == text.count("\n")
    shown = shown_source(text)
    assert shown.isprintable()
    shown.encode()


def test_credentials_are_masked_though_nobody_registered_them() -> None:
    for text, expected in {
        "open rtsp://u:hunter2@h/live: no": "open rtsp://***@h/live: no",
        "rtspsrc location=rtsp://u:p@h user-pw=p1 ! appsink": "rtspsrc location=rtsp://***@h user-pw=*** ! appsink",
        "GET /x HTTP/1.1 Authorization: Basic dTpodW50ZXIy": "GET /x HTTP/1.1 Authorization: Basic ***",
        "loginpas=hunter2 psw=hunter2": "loginpas=*** psw=***",
        "X-Amz-Signature=hunter2&sig=hunter2": "X-Amz-Signature=***&sig=***",
        '{"password": "hunter 2"}': '{"password": ***}',
        "amqp://u:hunter2@h/x": "amqp://***",
        "no such file: u:hunter2@h/live": "no such file: ***",
        "No such option: --rtsp://h/u:hunter2/1": "No such option: --rtsp://h/***",
        "http:/h/?user=me&pwd=hunter2: no such file": "http://h/?***: no such file",  # a URL taken for a path
        "rtsp:/h/u:hunter2/1: no such file": "rtsp://h/***: no such file",
        "rtsp://h/live and rtsp://u:a b@g/x end": "rtsp://h/live and rtsp://*** end",
    }.items():
        assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "/home/me@work/a.mp4: no such file",
        "--set x: expected section.key=value",
        "config.yaml line 3: detector.input_size = 95: expected an integer from 96 to 2048",
        "rtsp://***@10.0.0.5:554/live: no frame for 5 s; /home/me@work/e.jsonl is complete",
        "http://***: host not found",
        "URLs start with rtsp://, rtsps://, http:// or https://; an @ is %40. Did you mean rtsp://?",
        "unix:///run/x.sock, file:///a/b",
        "the server refuses the user name or password (401)",
    ],
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_basic_authorization_is_a_form_of_the_user_info() -> None:
    register_source("http://joe:zq7%40vk!w@cam.example/live")
    for form in ("joe:zq7@vk!w", "zq7%40vk!w", "zq7@vk!w", "zq7%40vk%21w", base64.b64encode(b"joe:zq7@vk!w").decode()):
        assert "***" in redact(f"sent {form}.")
        assert form not in redact(f"sent {form}.")


def test_errors_logs_and_tracebacks_pass_the_gate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_APP_DEBUG", "1")
    register_source("rtsp://joe:gy5wq8hh@cam.example/live")
    assert "gy5wq8hh" not in str(SourceError("libx: gy5wq8hh was refused"))

    def fail() -> None:
        logging.getLogger("libx").warning("login %s", "gy5wq8hh")
        raise ValueError("bad login gy5wq8hh")

    monkeypatch.setattr(logging.root, "handlers", [])
    assert guarded(fail) == 1
    text = capsys.readouterr().err
    assert "gy5wq8hh" not in text
    assert "warning: login ***" in text
    assert "Traceback" in text
    assert "error: unexpected ValueError: bad login ***" in text


def test_an_error_is_its_detail_and_its_advice_with_secrets_masked() -> None:
    register_source("rtsp://me:hunter2222@door/live")
    error = SourceError("door: hunter2222 is refused", "ask me for hunter2222")
    assert str(error) == f"{error.detail}: {error.advice}"
    assert "hunter2222" not in str(error)
    assert (error.exit_code, str(SourceError("door: gone")), SourceError("door: gone").advice) == (4, "door: gone", "")
