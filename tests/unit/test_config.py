import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_app.config import board
from edge_app.config.environment import name_of, settings_of
from edge_app.config.keys import expected, keys, values
from edge_app.config.layers import Given, read_yaml, resolve
from edge_app.config.settings import Settings
from edge_app.config.view import to_yaml
from tests.layers import error, resolved

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("empty_folder")


class TestLayers:
    def test_without_any_layer_everything_is_default(self) -> None:
        result = resolved()
        assert result.settings == Settings()
        assert set(result.origin.values()) == {"default"}
        assert result.profile == ""

    def test_each_layer_beats_the_weaker_ones(self) -> None:
        size = "detector:\n  input_size: 400\n"
        environment = {"EDGE_APP__DETECTOR__INPUT_SIZE": "500"}
        steps: list[tuple[dict[str, Any], str | None, int, str]] = [
            ({"board": "x"}, None, 320, "default"),
            ({"board": "Raspberry Pi 4 Model B"}, None, 256, "profile pi4"),
            ({"board": "Raspberry Pi 4 Model B"}, size, 400, "config.yaml line 2"),
            ({"environment": environment}, size, 500, "environment EDGE_APP__DETECTOR__INPUT_SIZE"),
            ({"environment": environment, "assignments": ["detector.input_size=600"]}, size, 600, "--set"),
        ]
        for arguments, text, value, layer in steps:
            result = resolved(text, **arguments)
            assert (result.settings.detector.input_size, result.origin["detector.input_size"]) == (value, layer)

    def test_a_flag_beats_set(self) -> None:
        result = resolved(assignments=["max_frames=5"], flags={"max_frames": Given(7, "--max-frames")})
        assert result.settings.max_frames == 7
        assert result.origin["max_frames"] == "--max-frames"

    def test_config_file_elsewhere(self, tmp_path: Path) -> None:
        path = tmp_path / "other.yaml"
        path.write_text("source: {uri: 3}", encoding="utf-8")
        result = resolved("source: {uri: 4}", config=path)
        assert result.settings.source.uri == "3"

    @pytest.mark.parametrize("text", ["", "# nothing\n", "detector:\n", "---\n"])
    def test_empty_files_and_sections_set_nothing(self, text: str) -> None:
        assert resolved(text).settings == Settings()

    @pytest.mark.parametrize("word", ["null", "", "None"])
    def test_text_layers_can_unset(self, word: str) -> None:
        result = resolved("output: {video: a.mp4}", assignments=[f"output.video={word}"])
        assert result.settings.output.video is None

    def test_other_environment_variables_are_left_alone(self) -> None:
        others = ("EDGE_APP_MODELS", "EDGE_APP_DEBUG", "EDGE_APPLIANCE_X", "MY_EDGE_APP_X", "EDGE_APP")
        of_orchestrators = ("EDGE_APP_SERVICE_HOST", "EDGE_APP_SERVICE_PORT_METRICS", "EDGE_APP_PORT_9464_TCP_ADDR")
        assert resolved(environment=dict.fromkeys(others + of_orchestrators, "x")).settings == Settings()

    def test_home_folders_in_paths_are_expanded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/me")
        settings = resolved("output: {video: ~/a.mp4, events: ~nosuchuser/e.jsonl}\nmetrics: {host: '~'}\n").settings
        assert (settings.output.video, settings.metrics.host) == (Path("/home/me/a.mp4"), "~")
        assert settings.output.events == Path("~nosuchuser/e.jsonl")

    def test_a_file_name_need_not_be_valid_unicode(self) -> None:
        result = resolved(flags={"source.uri": Given("caf\udce9.mp4", "SOURCE")})
        assert os.fsencode(result.settings.source.uri) == b"caf\xe9.mp4"
        "\n".join(to_yaml(result)).encode()

    def test_what_looks_like_sixty_to_the_power_is_text(self) -> None:
        assert resolved("source: {uri: 12:30, camera: 1:2}").settings.source.uri == "12:30"


class TestEnvironment:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("EDGE_APP_DETECTOR_INPUT_SIZE", "EDGE_APP__DETECTOR__INPUT_SIZE"),
            ("EDGE_APP__DETECTOR_INPUT_SIZE", "EDGE_APP__DETECTOR__INPUT_SIZE"),
            ("EDGEAPP__DETECTOR__INPUT_SIZE", "EDGE_APP__DETECTOR__INPUT_SIZE"),
            ("edge_app__detector__input_size", "EDGE_APP__DETECTOR__INPUT_SIZE"),
            ("Edge_App__Detector__Input_Size", "EDGE_APP__DETECTOR__INPUT_SIZE"),
            ("EDGE_APP__INPUT_SIZE", "EDGE_APP__DETECTOR__INPUT_SIZE"),
            ("EDGE_APP__SOURCE__URL", "EDGE_APP__SOURCE__URI"),
            ("EDGE_APP_DEBG", "EDGE_APP_DEBUG"),
            ("edge_app_models", "EDGE_APP_MODELS"),
            ("EDGE_APP__", "EDGE_APP__SECTION__KEY"),
            ("EDGE_APP__É__X", "EDGE_APP__"),
        ],
    )
    def test_a_variable_that_looks_like_ours_is_told_its_right_name(self, name: str, meant: str) -> None:
        message = error(environment={name: "Secr3tive"})
        assert message.startswith(f"environment {name}: unknown setting")
        assert meant in message
        assert "Secr3tive" not in message

    def test_every_setting_has_a_variable(self) -> None:
        for key in keys():
            assert dict.fromkeys([key]) == {k: None for _, k, _ in settings_of({name_of(key): "x"})}


class TestErrors:
    def test_unknown_key_names_path_layer_and_nearest_match(self) -> None:
        message = error("detector:\n  input_size: 320\n  score_treshold: 0.5\n")
        assert message == (
            "config.yaml line 3: unknown setting 'detector.score_treshold'; did you mean 'detector.score_threshold'?"
        )

    @pytest.mark.parametrize(
        ("arguments", "parts"),
        [
            ({"assignments": ["detectr.input_size=3"]}, ["--set", "'detectr.input_size'", "'detector.input_size'"]),
            ({"assignments": ["input_size=3"]}, ["--set", "'input_size'", "'detector.input_size'"]),
            ({"assignments": ["zzz=3"]}, ["--set", "'zzz'", "edge-app config"]),
            ({"assignments": ["detector.input_size"]}, ["--set detector.input_size", "section.key=value"]),
            ({"assignments": ["detector=3"]}, ["--set", "unknown setting 'detector'"]),
            ({"environment": {"EDGE_APP__SOURCE__URL": "0"}}, ["EDGE_APP__SOURCE__URL", "'source.uri'"]),
            ({"assignments": ["detector.input_size=abc"]}, ["--set", "abc", "an integer from 96 to 2048"]),
            ({"assignments": ["detector.input_size=95"]}, ["95", "an integer from 96 to 2048"]),
            ({"assignments": ["detector.iou_threshold=nan"]}, ["nan", "a number from 0 to 1"]),
            ({"assignments": ["tracker.lost_s=inf"]}, ["inf", "above 0 up to 3600"]),
            ({"assignments": ["detector.engine=tensorflow"]}, ["tensorflow", "opencv, onnxruntime"]),
            ({"assignments": ["output.show=perhaps"]}, ["perhaps", "true or false"]),
            ({"assignments": ["source.uri="]}, ["source.uri", "text"]),
            ({"flags": {"max_frames": Given(0, "--max-frames")}}, ["--max-frames", "0", "at least 1"]),
            ({"flags": {"profile": Given("pi9", "--profile")}}, ["--profile", "pi9", "pi4, pi5"]),
            ({"config": Path("missing.yaml")}, ["missing.yaml", "no such"]),
            ({"config": Path()}, ["cannot be read"]),
        ],
    )
    def test_one_line_that_names_everything(self, arguments: dict[str, Any], parts: list[str]) -> None:
        message = error(**arguments)
        assert all(part in message for part in parts), message

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("detector:\n  input_size: [320]\n", ["line 2", "[320]", "an integer"]),
            ("detector:\n  threads: true\n", ["line 2", "True", "an integer"]),
            ("source:\n  camera: yes\n", ["line 2", "source.camera", "text"]),
            ("detector: 320\n", ["line 1", "section"]),
            ("- detector\n", ["line 1", "sections"]),
            ("detector:\n  threads: 1\n  threads: 2\n", ["line 3", "twice"]),
            ("detector:\n\tthreads: 1\n", ["line 2", "not valid YAML"]),
            ("a: [1\n", ["config.yaml line 2", "not valid YAML"]),
            ("detector: !!python/name:os.system\n", ["config.yaml line 1"]),
            ("? [a]\n: 1\n", ["line 1", "unknown setting"]),
            ("[" * 5000, ["not valid YAML"]),
            ("source: {camera: 2020-99-99}\n", ["config.yaml"]),
            ("a: \x00", ["not valid YAML"]),
            ("profile: [pi4]\n", ["line 1", "profile", "one of"]),
            ("detector: &a {threads: *a}\n", ["line 1"]),
        ],
    )
    def test_bad_files(self, text: str, parts: list[str]) -> None:
        message = error(text)
        assert all(part in message for part in parts), message

    def test_file_that_is_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(b"\xff\xfe\x00\x80")
        assert "not UTF-8" in error(config=path)

    def test_settings_that_contradict_each_other_name_their_layers(self) -> None:
        message = error("verdict:\n  mask_threshold: 0.2\n", assignments=["verdict.no_mask_threshold=0.4"])
        assert "no_mask_threshold must not exceed mask_threshold" in message
        assert "config.yaml line 2" in message
        assert "--set" in message


class TestProfiles:
    def test_files_and_settings_know_the_same_names(self) -> None:
        assert expected("profile") == "one of auto, pi4, pi5, jetson_nano, jetson_orin, x86"
        assert set(board.profiles()) == {"pi4", "pi5", "jetson_nano", "jetson_orin", "x86"}

    @pytest.mark.parametrize("name", board.profiles())
    def test_profiles_are_valid_and_touch_performance_only(self, name: str) -> None:
        assert set(read_yaml(board.profile_path(name))) <= board.PROFILE_KEYS
        result = resolved(flags={"profile": Given(name, "--profile")})
        assert result.profile == name
        assert set(result.origin.values()) == {"default", "--profile", f"profile {name}"}

    @pytest.mark.parametrize(
        ("text", "profile"),
        [
            ("Raspberry Pi 4 Model B Rev 1.4", "pi4"),
            ("Raspberry Pi 5 Model B Rev 1.0", "pi5"),
            ("NVIDIA Jetson Nano Developer Kit", "jetson_nano"),
            ("NVIDIA Jetson Orin Nano Developer Kit", "jetson_orin"),
            ("NVIDIA Orin NX", "jetson_orin"),
            ("x86_64", "x86"),
            ("AMD64", "x86"),
            ("Raspberry Pi 3 Model B", ""),
            ("aarch64", ""),
            ("", ""),
        ],
    )
    def test_board_is_told_from_its_text(self, text: str, profile: str) -> None:
        assert board.detect_profile(text) == profile

    def test_a_profile_may_be_chosen_in_any_layer(self) -> None:
        result = resolved("profile: pi5\n", board="x86_64")
        assert result.profile == "pi5"
        assert result.origin["detector.threads"] == "profile pi5"


class TestShippedConfig:
    def test_uncommented_it_holds_every_setting_at_its_default(self, tmp_path: Path) -> None:
        text = (ROOT / "config.yaml").read_text(encoding="utf-8")
        path = tmp_path / "all.yaml"
        path.write_text(re.sub(r"^(\s*)#(\w+:)", r"\1\2", text, flags=re.MULTILINE), encoding="utf-8")
        assert set(read_yaml(path)) == set(keys())
        assert resolved(config=path).settings == Settings()

    def test_as_it_is_it_sets_nothing(self) -> None:
        assert read_yaml(ROOT / "config.yaml") == {}


def _strategy(key: str) -> st.SearchStrategy[Any]:
    words = expected(key).removesuffix(" or null")
    if words.startswith("one of "):
        return st.sampled_from(words.removeprefix("one of ").split(", "))
    if words == "true or false":
        return st.booleans()
    if words.startswith("an integer"):
        numbers = [int(n) for n in re.findall(r"\d+", words)]
        return st.integers(numbers[0], numbers[1] if len(numbers) > 1 else 10**6)
    if words.startswith("a number"):
        low, high = (float(n) for n in re.findall(r"[\d.]+", words))
        return st.floats(low, high, exclude_min="above" in words)
    # Without @, for what looks like credentials is refused.
    letters = st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="@")
    return st.text(letters, min_size=1, max_size=20)


_LOGIN = ("source.username", "source.password", "source.password_file")  # not every source takes one


@given(
    st.fixed_dictionaries(
        {}, optional={key: _strategy(key) for key in keys() if "no_mask" not in key and key not in ("sources", *_LOGIN)}
    )
)
def test_what_is_printed_can_be_read_again(chosen: dict[str, Any]) -> None:
    flags = {key: Given(value, "flag") for key, value in chosen.items()}
    first = resolve(flags=flags, environment={}, board="x")
    tree: dict[str, Any] = {}
    for key, value in values(first.settings).items():
        *section, leaf = key.split(".")
        (tree.setdefault(section[0], {}) if section else tree)[leaf] = value
    Path("again.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    assert resolve(config=Path("again.yaml"), environment={}, board="x").settings == first.settings
