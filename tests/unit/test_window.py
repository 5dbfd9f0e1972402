"""The window: when it is drawn, how it is closed, and a display that goes away. OpenCV's GUI is played by the test."""

import cv2
import pytest

from edge_app.errors import SinkError
from edge_app.outputs.frames import window
from edge_app.outputs.frames.window import WindowOutput
from edge_app.outputs.output import Isolation
from edge_app.records import Pixels
from tests.clock import Clock
from tests.media import frame, grey, result


class Gui:
    """What OpenCV shows. key: pressed next. visible: 0 once the window's close button was used. gone: no display."""

    def __init__(self) -> None:
        self.shown: list[Pixels] = []
        self.key, self.visible, self.gone = -1, 1.0, False
        self.open = False

    def named_window(self, *_: object) -> None:
        self._check()
        self.open = True

    def show(self, _: str, image: Pixels) -> None:
        self._check()
        assert self.open
        self.shown.append(image)

    def wait_key(self, _: int) -> int:
        self._check()
        key, self.key = self.key, -1
        return key

    def destroy(self) -> None:
        self.open = False

    def _check(self) -> None:
        if self.gone:
            error = cv2.error("no display")
            error.err = "no display"
            raise error


@pytest.fixture
def gui(monkeypatch: pytest.MonkeyPatch) -> Gui:
    played = Gui()
    monkeypatch.setattr(window, "display_problem", lambda: None)
    monkeypatch.setattr(cv2, "namedWindow", played.named_window)
    monkeypatch.setattr(cv2, "resizeWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", played.show)
    monkeypatch.setattr(cv2, "waitKey", played.wait_key)
    monkeypatch.setattr(cv2, "destroyAllWindows", played.destroy)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: played.visible)
    return played


def test_only_refreshing_draws_and_only_the_newest_frame(gui: Gui) -> None:
    output = WindowOutput()
    output.refresh()
    assert not gui.open  # there is nothing to show yet
    for index in range(3):
        output.write(result(frame(index, image=grey(50 * index, 160, 120))))
    assert gui.shown == []
    output.refresh()
    output.refresh()
    (image,) = gui.shown
    assert round(float(image.mean())) == 100


@pytest.mark.parametrize("how", ["q", "Q", "\x1b", "button"])
def test_the_user_closes_it(gui: Gui, how: str) -> None:
    output = WindowOutput()
    output.write(result(frame()))
    gui.key = ord("x")
    output.refresh()
    assert not output.closed_by_user
    if how == "button":
        gui.visible = 0.0
    else:
        gui.key = ord(how)
    output.refresh()
    assert output.closed_by_user
    output.refresh()
    assert not gui.open


def test_closing_takes_it_down_with_the_next_refresh(gui: Gui) -> None:
    output = WindowOutput()
    output.write(result(frame()))
    output.refresh()
    output.close()
    assert gui.open  # another thread may not touch it
    output.refresh()
    assert not gui.open
    assert not output.closed_by_user


def test_a_display_that_goes_away_is_told_once_and_comes_back(gui: Gui, caplog: pytest.LogCaptureFixture) -> None:
    clock, output = Clock(), WindowOutput()
    isolation = Isolation("window", output.retry_s, clock)

    def second() -> None:
        for _ in range(10):
            isolation.attempt(lambda: output.write(result(frame())))
            for _ in range(10):
                isolation.attempt_now(output.refresh)
            clock.now += 0.1

    second()
    gui.gone = True
    for _ in range(5):
        second()
    assert isolation.last_error == "the window cannot be drawn (no display)"
    assert [r.getMessage() for r in caplog.records] == ["window: the window cannot be drawn (no display)"]
    assert 1 <= isolation.errors <= 5
    gui.gone = False
    second()
    second()
    assert (isolation.last_error, gui.open) == (None, True)
    assert [r.getMessage() for r in caplog.records][1:] == ["window: works again"]


def test_it_raises_what_drawing_has_met_until_it_is_drawn_again(gui: Gui) -> None:
    output = WindowOutput()
    gui.gone = True
    output.write(result(frame()))
    output.refresh()
    for _ in range(2):
        with pytest.raises(SinkError, match="cannot be drawn"):
            output.write(result(frame()))
    gui.gone = False
    output.refresh()
    output.write(result(frame()))
