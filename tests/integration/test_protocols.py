"""What a source may open: not its neighbours, not other servers, and no more memory than its limits say."""

import gzip
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from edge_app.capture.ffmpeg import MAX_ALLOCATION
from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from edge_app.planes import as_picture
from edge_app.redact import shown_source
from tests.command import COMMAND, environment
from tests.integration.test_capture import Quiet, serving
from tests.media import Pixels, grey, write_clip

SETTINGS = SourceSettings(open_timeout_s=3, read_timeout_s=1)


def frames(text: str | Path, settings: SourceSettings = SETTINGS) -> list[Pixels]:
    with open_source(parse_source(str(text)), settings) as source:
        return [as_picture(picture).bgr() for picture, _ in iter(source.read, None)]


class Web:
    """A real web server: `pages` by path, and the paths that were asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def add(self, path: str, content: bytes, kind: str = "video/mp4") -> str:
        self.pages[path] = (200, {"Content-Type": kind}, content)
        return self.url(path)

    def redirect(self, path: str, target: str) -> str:
        self.pages[path] = (302, {"Location": target}, b"")
        return self.url(path)


@contextmanager
def web_server() -> Iterator[Web]:
    web = Web()

    class Handler(Quiet):
        def do_GET(self) -> None:
            web.asked.append(self.path)
            status, headers, content = web.pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                pass

    with serving(Handler) as web.port:
        yield web


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Web]:
    """Another service of this machine, which no source may reach; it has a clip to play."""
    with web_server() as server:
        yield server


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = write_clip(tmp_path_factory.mktemp("clip") / "a.ts", [grey(90)] * 25)
    return path.read_bytes()


class TestFiles:
    @pytest.mark.parametrize("name", ["list.mp4", "list.ffconcat", "list.m3u8", "list.sdp", "list.ts"])
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("ffconcat version 1.0\nfile {sibling}\n", "concat"),
            ("ffconcat version 1.0\nfile {url}\n", "concat"),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{sibling}\n#EXT-X-ENDLIST\n", "HLS"),
            ("\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n", "HLS"),
            (
                "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
                "a=rtpmap:96 H264/90000\n",
                "SDP",
            ),
            (
                '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}</BaseURL></MPD>',
                "DASH",
            ),
        ],
        ids=["concat file", "concat URL", "HLS file", "HLS URL", "SDP", "DASH"],
    )
    def test_a_file_that_names_others_opens_none_of_them(
        self, tmp_path: Path, other: Web, clip: bytes, name: str, content: str, says: str
    ) -> None:
        (tmp_path / "sibling.ts").write_bytes(clip)
        url = other.add("/a.ts", clip)
        text = content.format(sibling="sibling.ts", url=url, port=other.port)
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(SourceError, match=rf"{name}: cannot be opened: .*\({says}\), not a video"):
            frames(tmp_path / name)
        assert other.asked == []

    @pytest.mark.parametrize(
        "content", ["ffconcat version 1.0\nfile sibling.ts\n", "#EXTM3U\n#EXTINF:2,\nsibling.ts\n"]
    )
    def test_a_list_in_a_pipe_opens_nothing_either(
        self, tmp_path: Path, clip: bytes, content: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "sibling.ts").write_bytes(clip)
        os.mkfifo("list.m3u8")
        writer = threading.Thread(target=Path("list.m3u8").write_text, args=(content,))
        writer.start()
        with pytest.raises(SourceError, match="cannot be opened"):
            frames("list.m3u8")
        writer.join(10)

    def test_a_pattern_of_pictures_is_a_name(self, tmp_path: Path) -> None:
        import cv2

        for index in range(3):
            cv2.imwrite(str(tmp_path / f"{index}.jpg"), grey(90))
        with pytest.raises(SourceError, match="no such file"):
            frames(tmp_path / "%d.mjpg")

    def test_the_command_says_so_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile b.mp4\n", encoding="utf-8")
        result = subprocess.run(
            [*COMMAND, "run", "a.mp4"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 4
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: a.mp4: cannot be opened: a list of files (concat), not a video; give")


class TestServers:
    def test_a_redirect_is_not_followed_but_named(self, web: Web, other: Web, clip: bytes) -> None:
        target = other.add("/a.ts", clip)
        with pytest.raises(SourceError, match="redirects to another address, which is not followed: give") as caught:
            frames(web.redirect("/cam", target))
        assert shown_source(target) in str(caught.value)
        assert other.asked == []

    @pytest.mark.parametrize("path", ["/live.m3u8", "/cam?format=M3U8"])
    def test_a_redirected_playlist_is_not_followed_but_named(self, web: Web, other: Web, path: str) -> None:
        target = other.add("/live.m3u8", b"#EXTM3U\n")
        with pytest.raises(SourceError, match="give that address") as caught:
            frames(web.redirect(path, target))
        assert shown_source(target) in str(caught.value)
        assert other.asked == []

    def test_a_list_of_files_from_a_server_is_refused(self, web: Web, other: Web, clip: bytes) -> None:
        content = f"ffconcat version 1.0\nfile {other.add('/a.ts', clip)}\n"
        with pytest.raises(SourceError, match="not in a video format that is read here"):
            frames(web.add("/a.mp4", content.encode()))
        assert other.asked == []

    @pytest.mark.parametrize(
        "name",
        [
            "{clip}",
            "quality.m3u8",
            'key.ts\n#EXT-X-KEY:METHOD=AES-128,URI="{clip}"',
            "key.ts\n#EXT-X-KEY:METHOD=AES-128,URI={clip}",  # FFmpeg reads all of these
            'key.ts\n#EXT-X-KEY:METHOD=AES-128,URI="\\{clip}"',
            "key.ts\0{clip}",
        ],
    )
    def test_a_playlist_that_names_another_server_is_refused(
        self, web: Web, other: Web, clip: bytes, name: str
    ) -> None:
        head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n"
        named = other.add("/a.ts", clip)
        web.add("/quality.m3u8", f"{head}{named}\n#EXT-X-ENDLIST\n".encode(), "application/vnd.apple.mpegurl")
        playlist = f"{head}{name.format(clip=named)}\n#EXT-X-ENDLIST\n"
        with pytest.raises(SourceError, match="names another server") as caught:
            frames(web.add("/live.m3u8", playlist.encode(), "application/vnd.apple.mpegurl"))
        assert shown_source(named) in str(caught.value)
        assert other.asked == []

    def test_a_playlist_of_the_same_server_plays_and_its_login_is_used(self, web: Web, clip: bytes) -> None:
        web.add("/parts/a.ts", clip, "video/mp2t")
        head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
        inner = f"{head}#EXTINF:1,\nparts/a.ts\n#EXT-X-ENDLIST\n"
        web.add("/one.m3u8", inner.encode(), "application/vnd.apple.mpegurl")
        outer = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\none.m3u8\n"
        url = web.add("/all.m3u8", outer.encode(), "application/vnd.apple.mpegurl")
        assert len(frames(url.replace("http://", "http://user:secret@"))) >= 20
        assert "/parts/a.ts" in web.asked

    def test_a_playlist_without_end_is_not_read(self, web: Web) -> None:
        url = web.add("/a.m3u8", b"#EXTM3U\n" + b"#\n" * (1 << 20), "application/vnd.apple.mpegurl")
        with pytest.raises(SourceError, match="playlist of more than 1 MiB"):
            frames(url)

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            ("http://[::1/a.ts", "names what is no address"),
            ("\n".join(f"{n}.m3u8" for n in range(30)), "names more than 20 others"),
        ],
    )
    def test_a_playlist_that_cannot_be_checked_is_refused(self, web: Web, lines: str, problem: str) -> None:
        url = web.add("/live.m3u8", f"#EXTM3U\n{lines}\n".encode(), "application/vnd.apple.mpegurl")
        for n in range(30):
            web.add(f"/{n}.m3u8", b"#EXTM3U\n", "application/vnd.apple.mpegurl")
        with pytest.raises(SourceError, match=problem):
            frames(url)

    def test_a_compressed_playlist_is_refused(self, web: Web, other: Web, clip: bytes) -> None:
        named = other.add("/a.ts", clip)
        content = gzip.compress(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{named}\n#EXT-X-ENDLIST\n".encode())
        web.pages["/live.m3u8"] = (200, {"Content-Encoding": "gzip"}, content)
        with pytest.raises(SourceError, match="compressed playlist"):
            frames(web.url("/live.m3u8"))
        assert other.asked == []

    @pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n#EXTM3U\n"])
    def test_a_playlist_that_comes_byte_by_byte_is_given_up(self, start: bytes) -> None:
        def drip() -> None:
            with suppress(OSError), server.accept()[0], server.accept()[0] as client:  # the first is hung up at once
                client.sendall(start)
                while True:
                    client.sendall(b"x")
                    time.sleep(0.1)

        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=drip, daemon=True).start()
            began = time.monotonic()
            with pytest.raises(SourceError, match="no whole answer within"):
                frames(f"http://127.0.0.1:{server.getsockname()[1]}/live.m3u8", SourceSettings(open_timeout_s=1))
            assert time.monotonic() - began < 3

    def test_a_missing_playlist_says_what_the_server_answers(self, web: Web) -> None:
        with pytest.raises(SourceError, match="404") as caught:
            frames(web.url("/a.m3u8").replace("http://", "http://user:secret@"))
        assert "secret" not in str(caught.value)


@contextmanager
def rtsp_server(describe: bytes, flood: int = 0) -> Iterator[str]:
    """Answers OPTIONS, and everything else with `describe` and `flood` MiB of zeros."""

    clients: list[socket.socket] = []

    def serve(client: socket.socket) -> None:
        try:
            while request := client.recv(4096):
                number = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"cseq"))
                options = b"RTSP/1.0 200 OK\r\n%b\r\nPublic: DESCRIBE\r\n\r\n"
                client.sendall((options if request.startswith(b"OPTIONS") else describe).replace(b"%b", number))
                for _ in range(0 if request.startswith(b"OPTIONS") else flood):
                    client.sendall(bytes(1 << 20))
        except OSError:
            pass

    def accept() -> None:
        while True:
            client = server.accept()[0]
            if stopping.is_set():
                client.close()
                return
            clients.append(client)
            threads.append(threading.Thread(target=serve, args=(client,), daemon=True))
            threads[-1].start()

    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads = [threading.Thread(target=accept, daemon=True)]
        threads[0].start()
        try:
            yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/live"
        finally:
            stopping.set()
            socket.create_connection(server.getsockname()).close()
            for client in clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)
            for client in clients:
                client.close()


class TestRtsp:
    def test_a_redirect_is_not_followed(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as elsewhere, ExitStack() as stack:
            elsewhere.settimeout(0.2)
            target = f"rtsp://127.0.0.1:{elsewhere.getsockname()[1]}/x".encode()
            url = stack.enter_context(rtsp_server(b"RTSP/1.0 302 Moved\r\n%b\r\nLocation: " + target + b"\r\n\r\n"))
            with pytest.raises(SourceError, match="not followed"):
                frames(url)
            with pytest.raises(TimeoutError):
                elsewhere.accept()

    def test_a_reply_that_says_it_is_huge_is_refused_before_it_is_read(self) -> None:
        head = b"RTSP/1.0 200 OK\r\n%b\r\nContent-Type: application/sdp\r\nContent-Length: 2000000000\r\n\r\n"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with rtsp_server(head, flood=2000) as url, pytest.raises(SourceError, match="cannot be opened"):
            frames(url)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * MAX_ALLOCATION / 1024


class TestSizes:
    @pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
    def test_frames_beyond_the_limit_are_refused_before_they_are_decoded(self, tmp_path: Path, name: str) -> None:
        write = (  # elsewhere, for the limits of this process would not let it be written here
            "import av, sys\n"
            "with av.open(sys.argv[1], 'w') as container:\n"
            "    stream = container.add_stream('libx264', rate=25, options={'preset': 'ultrafast'})\n"
            "    stream.width = stream.height = 8192\n"
            "    for packets in (stream.encode(av.VideoFrame(8192, 8192, 'yuv420p')), stream.encode(None)):\n"
            "        container.mux(packets)"
        )
        subprocess.run([sys.executable, "-c", write, str(tmp_path / name)], env=environment(), check=True, timeout=120)
        code = (
            "import sys; from pathlib import Path; from edge_app.config.settings import SourceSettings\n"
            "from edge_app.capture.open import open_source, parse_source\n"
            "try: open_source(parse_source(sys.argv[1]), SourceSettings())\n"
            "except Exception as error: print(error)\n"
            # Not ru_maxrss, which begins at the memory of the process that started this one.
            "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        says, peak = result.stdout.splitlines()
        assert "frames of 8192x8192 pixels; at most 35 megapixels" in says
        assert int(peak) < 250 << 10  # KiB; one such frame as BGR has 192 MiB

    def test_frames_at_the_limit_are_decoded(self, tmp_path: Path) -> None:
        (image,) = frames(write_clip(tmp_path / "a.mp4", [grey(90, 8192, 4320)]))
        assert image.shape == (4320, 8192, 3)
