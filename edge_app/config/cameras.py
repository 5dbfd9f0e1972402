"""The sources among the settings, before they are validated: the items of `sources`, and the logins of all."""

from collections.abc import Mapping
from typing import Any

from edge_app.config.given import Given, bad_value
from edge_app.config.keys import check_camera_key, expected, secret_keys
from edge_app.config.settings import MAX_CAMERAS, SourceSettings
from edge_app.errors import UsageError
from edge_app.redact import looks_secret, register_source
from edge_app.source_text import has_login, is_stream, problem

_LOGIN = ("username", "password", "password_file")
_UNNAMED = SourceSettings().uri


def cameras_of(given: Mapping[str, Given]) -> list[dict[str, Given]]:
    """The items of `sources`: what each gives, its name included; none where `source` stands alone.

    Raises:
        UsageError: an item that is no mapping, an unknown key, no uri, or a name that another item has.
    """
    value: Any = given["sources"].value if "sources" in given else None
    layer = given["sources"].layer if "sources" in given else ""
    if value is not None and not isinstance(value, list):
        raise bad_value("sources", "…", layer)  # the text may hold credentials
    if value and len(value) > MAX_CAMERAS and layer != "SOURCE":  # what is given there are files, taken in turn
        raise UsageError(f"{layer}: sources: {len(value)} cameras, and one run takes {MAX_CAMERAS} at most")
    cameras: list[dict[str, Given]] = []
    names: dict[str, int] = {}
    for number, item in enumerate(value or ()):
        keys_of, line = item if isinstance(item, Given) else Given(item, layer)
        where = f"sources[{number}]"
        if not isinstance(keys_of, dict):
            raise UsageError(f"{line}: {where}: expected the keys of a source, such as {{camera: door, uri: …}}")
        camera = {str(k): v if isinstance(v, Given) else Given(v, line) for k, v in keys_of.items()}
        for key, (part, from_) in camera.items():
            check_camera_key(where, key, from_)
            if isinstance(part, bool) and "true or false" not in expected(f"source.{key}"):
                raise bad_value(f"{where}.{key}", part, from_)
        if "uri" not in camera:
            raise UsageError(f"{line}: {where}.uri is missing: every camera needs its own")
        name = camera.setdefault("camera", Given(f"camera{number + 1}", "default"))
        first = names.setdefault(str(name.value), number)
        if first != number:
            at = line if name.layer == "default" else name.layer
            raise UsageError(
                f"{at}: {where}.camera = {name.value}: expected a name of its own, sources[{first}] has it too"
            )
        cameras.append(camera)
    return cameras


def check_sources(given: Mapping[str, Given], cameras: list[dict[str, Given]]) -> None:
    """Remember what is secret about the sources, and refuse one whose credentials are written in the wrong form.

    Raises:
        UsageError: it, or a camera's name that looks like a source; nothing of it is shown.
    """
    common = {key.removeprefix("source."): given[key] for key in given if key.startswith("source.")}
    texts = [
        (f"{where}.{key}", camera[key])
        for where, camera in (("source", common), *((f"sources[{n}]", camera) for n, camera in enumerate(cameras)))
        for key in ("uri", "camera")
        if key in camera and isinstance(camera[key].value, str)
    ]
    names = [text.value for key, text in texts if key.endswith(".camera")]
    for key, text in texts:
        if key.endswith(".uri"):
            register_source(text.value, known=names)
    for key, text in texts:
        if key.endswith(".uri") and (wrong := problem(text.value)):
            raise UsageError(f"{text.layer}: {key}: {wrong}")
        if key.endswith(".camera") and looks_secret(text.value):
            raise UsageError(f"{text.layer}: {key}: expected a name; this looks like a source with credentials")


def check_logins(given: Mapping[str, Given], cameras: list[dict[str, Given]]) -> None:
    """A login belongs to a URL without one of its own.

    Where `source` is what items of `sources` have in common, its login is for those items that can take it. So it is
    where SOURCE of the command line stands in for the source that the login is of, and where no source is named yet.

    Raises:
        UsageError: a login given together with a source that cannot take it.
    """
    common = {key.removeprefix("source."): value for key, value in given.items() if key.startswith("source.")}
    sections = [(f"sources[{number}].", camera) for number, camera in enumerate(cameras)] or [("source.", common)]
    for prefix, section in sections:
        uri = section.get("uri")
        login = [key for key in _LOGIN if key in section and section[key].value is not None]
        if uri is None or not login or (text := str(uri.value)) == _UNNAMED:
            continue
        named = f"{prefix}{login[0]} ({section[login[0]].layer})"
        if not is_stream(text) and uri.layer != "SOURCE":
            raise UsageError(f"{named}: only a URL takes a login, and {prefix}uri ({uri.layer}) is none")
        if has_login(text):
            raise UsageError(f"{named}: {prefix}uri ({uri.layer}) has a login of its own: keep one of them")


def with_common(common: Mapping[str, Any], camera: Mapping[str, Given]) -> dict[str, Any]:
    """The keys of one of several cameras: its own, and those of `source` that it leaves out.

    A secret and its file count as one. The common login is left out where the source cannot take it.
    """
    uri, left_out = str(camera["uri"].value), set[str]()
    for pair in secret_keys("source.").items():
        left_out |= set(pair) if set(pair) & camera.keys() else set()
    if not is_stream(uri) or has_login(uri):
        left_out |= set(_LOGIN)
    own = {key: value for key, (value, _) in camera.items()}
    return {**{key: value for key, value in common.items() if key not in left_out}, **own}
