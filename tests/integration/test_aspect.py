"""Films of pixels that are not square."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import Settings, SourceSettings
from edge_app.outputs.frames.video import VideoOutput
from edge_app.runtime.watch import watch
from tests.formats import FRAMES, Film, encode, original


class TestAspect:
    """A film of pixels that are not square, and its output, are shown in the same shape."""

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
    @pytest.mark.parametrize("turn", [0, 90])
    def test_the_output_plays_as_the_input_does(self, tmp_path: Path, models: Path, suffix: str, turn: int) -> None:
        turn = 0 if suffix == ".ts" else turn  # it has no word for it
        film = Film(suffix=suffix, aspect=Fraction(8, 3), turn=turn)
        path = encode(tmp_path / f"in{suffix}", film, original(False))
        shape, aspect = self._written(path, tmp_path / "out.mp4")
        assert shape == (300, 320)
        assert aspect == (Fraction(3, 8) if turn else Fraction(8, 3))

    def test_square_pixels_stay_square(self, tmp_path: Path, models: Path) -> None:
        path = encode(tmp_path / "in.mp4", Film(suffix=".mp4"), original(False))
        assert self._written(path, tmp_path / "out.mp4") == ((300, 320), Fraction(1))

    def test_a_shape_that_changes_on_the_way_is_fitted_into_the_first(self, tmp_path: Path, models: Path) -> None:
        image = np.full((300, 320, 3), 200, np.uint8)
        films = [Film(suffix=".ts", aspect=aspect) for aspect in (Fraction(1), Fraction(2))]
        content = [encode(tmp_path / "part.ts", film, image).read_bytes() for film in films]
        path = tmp_path / "in.ts"
        path.write_bytes(b"".join(content))
        assert aspects(path) == [1] * FRAMES + [2] * FRAMES
        self._written(path, tmp_path / "out.mp4")
        with av.open(str(tmp_path / "out.mp4")) as container:
            last = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)][-1]
        lit = np.flatnonzero(last.mean((1, 2)) > 100)
        assert (last.shape[:2], lit[0], lit[-1]) == ((300, 320), 75, 224)

    @staticmethod
    def _written(path: Path, output: Path) -> tuple[tuple[int, int], Fraction]:
        video = VideoOutput(output, 10)
        for result in watch(path, Settings()):
            video.write(result)
        video.close()
        with av.open(str(output)) as container:
            stream = container.streams.video[0]
            return (stream.height, stream.width), stream.sample_aspect_ratio or Fraction(1)


def aspects(path: Path) -> list[Fraction]:
    with open_source(parse_source(str(path)), SourceSettings()) as source:
        found = []
        while (frame := source.read()) is not None:
            assert not isinstance(frame[0], np.ndarray)
            found.append(frame[0].aspect)
    return found
