"""Secrets among the settings, from every layer and from files, shown by nothing; and logins in the URLs of streams."""

import json
import os
import socket
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from edge_app.capture.open import open_source, parse_source
from edge_app.commands.app import main
from edge_app.commands.doctor import examine
from edge_app.config.keys import keys, secret_keys
from edge_app.config.layers import Given
from edge_app.config.secrets import MAX_BYTES, revealed, secret_of
from edge_app.config.settings import Settings, SourceSettings
from edge_app.config.view import shown, to_yaml
from edge_app.errors import SourceError, UsageError
from edge_app.redact import redact
from edge_app.source_text import problem, with_login
from tests.layers import error, resolved

pytestmark = pytest.mark.usefixtures("empty_folder")

ODD = ["a@b:c/d#e?f%g h", "'\"`\\$&+=;!{}", "pässwörd 密码", " begins and ends with a space ", "100%41", "***1234"]
NAME = "EDGE_APP__SOURCE__PASSWORD"


def given_in(layer: str, secret: str) -> dict[str, Any]:
    """Arguments of `resolved` that give `source.password` in that layer."""
    quoted = json.dumps(secret)
    if layer == "file":
        Path("password.txt").write_text(f"{secret}\n", encoding="utf-8")
    return {
        "config.yaml": {"text": f"source:\n  password: {quoted}\n"},
        "file": {"text": "source: {password_file: password.txt}"},
        "environment": {"environment": {NAME: secret}},
        "--set": {"assignments": [f"source.password={secret}"]},
    }[layer]


def password_of(source: SourceSettings) -> str | None:
    return source.password and source.password.get_secret_value()


def test_every_secret_has_a_key_for_its_file() -> None:
    assert "source.password" in secret_keys()
    for file in secret_keys().values():
        assert keys()[file].annotation == Path | None


@pytest.mark.parametrize("secret", ODD)
@pytest.mark.parametrize("layer", ["config.yaml", "file", "environment", "--set"])
def test_a_secret_comes_from_any_layer_and_nothing_shows_it(layer: str, secret: str) -> None:
    result = resolved(**given_in(layer, secret))
    assert password_of(result.settings.source) == secret
    assert layer.removeprefix("file") in result.origin["source.password"]
    said = [repr(result), str(result.settings), json.dumps(shown(result)), *to_yaml(result), redact(f"<{secret}>")]
    assert not any(secret in text or json.dumps(secret)[1:-1] in text for text in said)
    assert shown(result)["source.password"] == "***"


@pytest.mark.parametrize("format", ["table", "yaml", "json"])
def test_config_masks_it(format: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = "source: {username: hunter2x, password: hunter2x}\nsources: [{uri: 'rtsp://h/1', password: Secr3tive}]\n"
    Path("config.yaml").write_text(text, encoding="utf-8")
    assert main(["config", "--format", format]) == 0
    told = capsys.readouterr().out
    assert "hunter2x" not in told
    assert "Secr3tive" not in told
    assert ("***" in told) == (format != "yaml")


def test_what_is_masked_is_left_out_of_what_can_be_saved() -> None:
    """Neither `***` nor null takes its place: a password of a stronger layer stays what it is."""
    Path("p").write_text("Secr3tive", encoding="utf-8")
    items = "sources: [{uri: 'rtsp://h/1', password: hunter2x}, {uri: 'rtsp://h/2', password_file: p}]\n"
    for text in ("source: {password: hunter2x, username: hunter2x}\n", "source: {password_file: p}\n", items):
        before = resolved(text)
        again = resolved("\n".join(to_yaml(before)), environment={})
        assert again.settings.model_dump(exclude={"source", "sources"}) == before.settings.model_dump(
            exclude={"source", "sources"}
        )
        pairs = zip(
            (before.settings.source, *(before.settings.sources or ())),
            (again.settings.source, *(again.settings.sources or ())),
            strict=True,
        )
        for old, new in pairs:
            assert password_of(new) == (password_of(old) if old.password_file else None)
            assert new.model_copy(update={"password": None, "username": None}) == old.model_copy(
                update={"password": None, "username": None}
            )


def test_saved_for_a_process_of_our_own_it_is_all_there() -> None:
    Path("p").write_text("Secr3tive", encoding="utf-8")
    text = "source: {uri: 'rtsp://h/', username: me, password_file: p}\nsources: [{uri: 'rtsp://h/1', password: '123'}]"
    settings = resolved(text).settings
    Path("p").unlink()
    again = resolved(json.dumps(revealed(settings, exclude={"output"}))).settings
    sources = (settings.source, *(settings.sources or ()))
    assert [password_of(one) for one in sources] == ["Secr3tive", "123"]
    assert [password_of(one) for one in (again.source, *(again.sources or ()))] == ["Secr3tive", "123"]


class TestBoth:
    def test_in_two_layers(self) -> None:
        message = error("source:\n  password_file: nowhere\n", environment={NAME: "Secr3tive"})
        assert message == (
            f"source.password (environment {NAME}) and source.password_file (config.yaml line 2) are both given: "
            "keep one of them"
        )

    def test_in_one_item(self) -> None:
        message = error("sources:\n  - uri: rtsp://h/\n    password: Secr3tive\n    password_file: p\n")
        assert message.startswith(
            "sources[0].password (config.yaml line 3) and sources[0].password_file (config.yaml line 4) are both given"
        )

    def test_null_in_a_stronger_layer_takes_one_back(self) -> None:
        Path("p").write_text("fromfile", encoding="utf-8")
        text = "source: {password: Secr3tive}"
        result = resolved(text, assignments=["source.password=null", "source.password_file=p"])
        assert password_of(result.settings.source) == "fromfile"


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "secret"),
        [
            (b"Secr3tive", "Secr3tive"),
            (b"Secr3tive\n", "Secr3tive"),
            (b"Secr3tive\r\n", "Secr3tive"),
            (b"\xef\xbb\xbfSecr3tive\n", "Secr3tive"),
            (b" Secr3tive \n", " Secr3tive "),
            (b"x" * MAX_BYTES, "x" * MAX_BYTES),
        ],
    )
    def test_the_only_line_is_the_secret(self, content: bytes, secret: str) -> None:
        Path("p").write_bytes(content)
        assert password_of(resolved("source: {password_file: p}").settings.source) == secret

    def test_a_link_and_the_home_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As container systems lay secrets."""
        monkeypatch.setenv("HOME", str(tmp_path))
        Path("..data").write_text("Secr3tive", encoding="utf-8")
        Path("p").symlink_to("..data")
        assert password_of(resolved("source: {password_file: ~/p}").settings.source) == "Secr3tive"

    @pytest.mark.parametrize(
        ("content", "wrong"),
        [
            (b"", "it is empty"),
            (b"\n", "it is empty"),
            (b"Secr3tive\nSecr3tive", "more than one line"),
            (b"Secr3tive\n\n", "more than one line"),
            (b"Secr3\rtive", "more than one line"),
            (b"Secr3\0tive", "it holds a NUL"),
            (b"Secr3tive\xff", "not UTF-8 text"),
            (b"Secr3tive" * 500, f"larger than {MAX_BYTES} bytes"),
            (None, "no such file"),
            ("folder", "cannot be read (Is a directory)|not a regular file"),
            ("fifo", "not a regular file"),
            ("device", "not a regular file"),
            ("socket", "cannot be read (No such device or address)"),
        ],
    )
    @pytest.mark.parametrize("prefix", ["source.", "sources[0]."])
    def test_any_other_file_is_named_and_not_shown(self, prefix: str, content: bytes | str | None, wrong: str) -> None:
        path = Path("/dev/null") if content == "device" else Path("p")
        listening = socket.socket(socket.AF_UNIX)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content == "folder":
            path.mkdir()
        elif content == "fifo":
            os.mkfifo(path)
        elif content == "socket":
            listening.bind("p")
        text = {
            "source.": f"source:\n  uri: rtsp://h/1\n  password_file: {path}\n",
            "sources[0].": f"sources:\n  - uri: rtsp://h/1\n    password_file: {path}\n",
        }[prefix]
        message = error(text)
        listening.close()
        assert message in [
            f"config.yaml line 3: {prefix}password_file: {path}: {each}: expected a file whose only line is the secret"
            for each in wrong.split("|")
        ]
        assert "ecr3" not in message

    def test_a_name_that_none_can_have(self) -> None:
        assert error('source: {password_file: "a\\0b\\n"}').startswith(
            "config.yaml line 1: source.password_file: a\\x00b"
        )


@pytest.mark.parametrize("value", ["12345678", "12345.678", "[Secr3tive]", "{Secr3tive: 1}", '"Secr3\\0tive"', "yes"])
@pytest.mark.parametrize("text", ["source:\n  password: {}\n", "sources:\n  - {{uri: 'rtsp://h/', password: {}}}\n"])
def test_a_wrong_value_is_not_shown_either(text: str, value: str) -> None:
    message = error(text.format(value))
    assert message.endswith(".password = …: expected text (a number in quotes) or null")
    assert message.startswith("config.yaml line 2: source")


@pytest.mark.parametrize("value", ["me:Secr3tive", "''", "5", "[Secr3tive]"])
def test_a_user_name_has_no_colon_and_no_password(value: str) -> None:
    message = error(f"source: {{uri: 'rtsp://h/', username: {value}}}")
    assert message == "config.yaml line 1: source.username = …: expected text without a colon or null"


class TestLogins:
    @pytest.mark.parametrize("uri", ["clip.mp4", "demo", "3", "csi://0", "rtspsrc location=rtsp://h ! appsink"])
    @pytest.mark.parametrize("login", ["username: me", "password: Secr3tive"])
    def test_for_a_source_that_is_no_url(self, uri: str, login: str) -> None:
        key = login.partition(":")[0]
        for text, where in (
            (f"source:\n  uri: '{uri}'\n  {login}\n", "source"),
            (f"sources:\n  - uri: '{uri}'\n    {login}\n", "sources[0]"),
        ):
            assert error(text) == (
                f"{where}.{key} (config.yaml line 3): only a URL takes a login, "
                f"and {where}.uri (config.yaml line 2) is none"
            )

    def test_beside_one_in_the_url(self) -> None:
        message = error("source: {uri: 'rtsp://u:hunter2x@h/1'}", environment={NAME: "Secr3tive"})
        assert message == (
            f"source.password (environment {NAME}): source.uri (config.yaml line 1) has a login of its own: "
            "keep one of them"
        )

    def test_a_common_one_is_for_the_items_that_can_take_it(self) -> None:
        Path("p").write_text("own", encoding="utf-8")
        result = resolved(
            "source: {username: me, password: common}\n"
            "sources:\n"
            "  - {uri: 'rtsp://h/1'}\n"
            "  - {uri: clip.mp4}\n"
            "  - {uri: 'rtsp://u:p@h/1'}\n"
            "  - {uri: 'http://h/1', password_file: p}\n"
            "  - {uri: 'http://h/1', username: you, password: null}\n"
        )
        logins = [(one.username, password_of(one)) for one in result.settings.sources or ()]
        assert logins == [("me", "common"), (None, None), (None, None), ("me", "own"), ("you", None)]

    def test_a_file_named_on_the_command_line_leaves_it_out(self) -> None:
        text = "source: {uri: 'rtsp://h/1', password: Secr3tive}"
        assert resolved(text, flags={"source.uri": Given("clip.mp4", "SOURCE")}).settings.source.password is None
        other = resolved(text, flags={"source.uri": Given("rtsp://h/2", "SOURCE")})
        assert password_of(other.settings.source) == "Secr3tive"

    @pytest.mark.parametrize("password", [*ODD, ""])
    @pytest.mark.parametrize("username", ["me", "m e@home/ä", ""])
    def test_in_a_url_they_are_percent_encoded(self, username: str, password: str) -> None:
        for url in ("rtsp://cam:554/a/b?c=d@e#f", "http://[::1]:80", "https://cam/?u=x", "rtsp://@cam/1"):
            whole = with_login(url, username, password)
            parts, before = urllib.parse.urlsplit(whole), urllib.parse.urlsplit(url)
            assert (urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password or "")) == (
                username,
                password,
            )
            assert parts._replace(netloc=before.netloc.removeprefix("@")) == before._replace(
                netloc=before.netloc.removeprefix("@")
            )
        assert problem(with_login("rtsp://cam:554/stream1", username, password)) is None

    def test_errors_of_opening_show_nothing_of_it(self) -> None:
        settings = SourceSettings(username="me", password=SecretStr("a@Secr3tive/"), open_timeout_s=1)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(SourceError, match="refused") as caught:
            open_source(parse_source(f"rtsp://127.0.0.1:{port}/live"), settings)
        assert "ecr3" not in str(caught.value)
        assert redact("a@Secr3tive/ a%40Secr3tive%2F bWU6YUBTZWNyM3RpdmUv") == "*** *** ***"

    def test_two_logins_or_one_that_ffmpeg_would_cut_off_are_refused(self) -> None:
        settings = SourceSettings(username="me", password=SecretStr("ä" * 21))
        with pytest.raises(UsageError, match="too long for this protocol: 127 characters"):
            open_source(parse_source("rtsp://127.0.0.1:9/live"), settings)
        with pytest.raises(UsageError, match="a login of its own"):
            open_source(parse_source("rtsp://u:p@127.0.0.1:9/live"), settings)

    def test_what_is_no_stream_opens_without(self) -> None:
        settings = SourceSettings(username="me", password=SecretStr("Secr3tive"))
        with open_source(parse_source("demo"), settings) as source:
            assert source.read() is not None


def test_doctor_does_not_show_it_either() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"rtsp://127.0.0.1:{server.getsockname()[1]}/live"
        text = f"source: {{username: me, password: Secr3tive}}\nsources: [{{uri: '{uri}'}}]"
        rows = examine(resolved(text))
    assert any(row.detail == f"{uri}, answers" for row in rows)
    assert "Secr3tive" not in str(rows)


def test_settings_made_in_python_do_not_show_it_either() -> None:
    settings = Settings(source=SourceSettings(uri="rtsp://h/1", username="me", password=SecretStr("Secr3tive")))
    assert "Secr3tive" not in repr(settings) + str(settings) + settings.model_dump_json()


class TestSettingsMadeInPython:
    def test_nothing_of_what_is_wrong_is_shown(self) -> None:
        for wrong in ({"password": 12345678}, {"pasword": "hunter2secret"}, {"uri": ["rtsp://u:hunter2secret@h/"]}):
            with pytest.raises(ValidationError) as caught:
                Settings.model_validate({"source": wrong})
            assert "hunter2secret" not in str(caught.value)
            assert "12345678" not in str(caught.value)

    def test_a_source_is_shown_without_its_login(self) -> None:
        shown = repr(Settings.model_validate({"source": {"uri": "rtsp://u:hunter2secret@h/", "password": None}}))
        assert "hunter2secret" not in shown
        assert "rtsp://***@h/" in shown

    def test_the_file_is_read_when_the_secret_is_needed(self, tmp_path: Path) -> None:
        (tmp_path / "pw").write_text("gy5wq8hh\n")
        assert secret_of(SourceSettings(password_file=tmp_path / "pw"), "password") == "gy5wq8hh"
        assert secret_of(SourceSettings(), "password") is None
        with pytest.raises(UsageError, match=r"password_file: .*no such file: expected a secret on one line"):
            secret_of(SourceSettings(password_file=tmp_path / "none"), "password")
