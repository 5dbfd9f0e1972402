"""Clips: the portrait filmed for a second in every container we read, damaged; and lists that name other files."""

import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import numpy as np

from tests.fuzz.command import Sandbox, one_error, strict_json
from tests.fuzz.mutate import damaged
from tests.fuzz.pictures import portrait
from tests.fuzz.pictures import sound as sound_pictures
from tests.fuzz.result import Result

BATCH = 1
CEILING_MIB = 2048
FRAMES = 20
_OUTPUTS = ("s.json", "e.jsonl", "v.mp4")
_NEIGHBOUR = "neighbour.mp4"  # a sound clip beside each input: judged only where a list was followed


@cache
def sound() -> dict[str, bytes]:
    """File suffix -> a sound clip of 160 px."""
    kinds = {
        "mp4": ("mp4", "libx264", "yuv420p"), "mkv": ("matroska", "libx264", "yuv420p"),
        "ts": ("mpegts", "mpeg2video", "yuv420p"), "avi": ("avi", "mjpeg", "yuvj420p"),
        "webm": ("webm", "libvpx", "yuv420p"), "mov": ("mov", "mpeg4", "yuv420p"), "flv": ("flv", "flv", "yuv420p"),
        "mpg": ("mpeg", "mpeg1video", "yuv420p"), "vp9.webm": ("webm", "libvpx-vp9", "yuv420p"),
        "hevc.mp4": ("mp4", "libx265", "yuv420p"), "gif": ("gif", "gif", "rgb8"),
        "frag.mp4": ("mp4", "libx264", "yuv420p"), "10bit.mkv": ("matroska", "libx264", "yuv420p10le"),
    }  # fmt: skip
    found = {}
    for suffix, kind in kinds.items():
        try:
            found[suffix] = _film(*kind, fragmented=suffix.startswith("frag"))
        except (av.error.FFmpegError, ValueError, LookupError):  # an encoder that this build does not have
            continue
    return found


def _film(container: str, codec: str, pixels: str, fragmented: bool) -> bytes:
    av.logging.set_level(av.logging.PANIC)
    target = io.BytesIO()
    options = {"fflags": "+bitexact", **({"movflags": "frag_keyframe+empty_moov"} if fragmented else {})}
    image = np.asarray(portrait().convert("RGB"))
    with av.open(target, "w", format=container, options=options) as file:
        stream = file.add_stream(
            codec, rate=25, options={"x265-params": "log-level=none"} if codec == "libx265" else {}
        )
        stream.width, stream.height, stream.pix_fmt = 160, 160, pixels
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(image, number, axis=1)), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return target.getvalue()


def _list(chance: random.Random, folder: Path) -> bytes:
    """A text that FFmpeg would follow to other files and hosts."""
    other = chance.choice((_NEIGHBOUR, str(folder / _NEIGHBOUR), f"file:{folder / _NEIGHBOUR}", "/etc/passwd",
                           "http://127.0.0.1:9/x.mp4", f"concat:{folder / _NEIGHBOUR}|/etc/passwd",
                           f"subfile,,start,0,end,9999,,:{folder / _NEIGHBOUR}"))  # fmt: skip
    host = chance.choice(("127.0.0.1", "0.0.0.0", "239.0.0.1"))
    return chance.choice(
        (
            f"ffconcat version 1.0\nfile '{other}'\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n",  # without an end: live
            f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{other}\n",
            f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{other}"\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n',
            f"v=0\no=- 0 0 IN IP4 {host}\ns=x\nc=IN IP4 {host}\nt=0 0\nm=video 45678 RTP/AVP 96\n"
            "a=rtpmap:96 H264/90000\n",
            f"[playlist]\nFile1={other}\nNumberOfEntries=1\n",
            f"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period><AdaptationSet>"
            f"<Representation id='1'><BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>",
            f"<?xml version='1.0'?><SmilDocument><body><video src='{other}'/></body></SmilDocument>",
            f"[Reference]\nRef1={other}\n", f"RTSPtext{other}", f"imageseq {other}",
        )
    ).encode()  # fmt: skip


def _other(chance: random.Random, _folder: Path) -> bytes:
    """What is no clip: pictures, text, nothing, and heads without a body."""
    heads = (
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"\x1aE\xdf\xa3",
        b"RIFF\xff\xff\xff\xffAVI LIST",
        b"FLV\x01\x05",
        b"\0\0\0\x01moov\xff\xff\xff\xff\xff\xff\xff\xff",
        b"G" + bytes(187),
        b"OggS\0\2",
        b"\0\0\1\xba",
    )
    return chance.choice((b"", bytes(5000), chance.randbytes(5000), *heads, *map(bytes, sound_pictures().values())))


def _swapped(chance: random.Random, _folder: Path) -> bytes:
    one, other = chance.sample(sorted(sound().values()), 2)
    length = chance.choice((4, 8, 16, 64, 1024))
    return one[:length] + other[length:]


def _boxes(chance: random.Random, _folder: Path) -> bytes:
    """An MP4 with the box of one name renamed, or the numbers in it made huge: sizes, durations, counts of samples."""
    data = bytearray(sound()[chance.choice(("mp4", "mov", "frag.mp4"))])
    names = (b"moov", b"trak", b"mdia", b"mdhd", b"stbl", b"stsd", b"stts", b"stsc", b"stsz", b"stco", b"tkhd", b"mvhd",
             b"elst", b"avcC", b"mdat", b"ctts", b"trun", b"tfhd")  # fmt: skip
    place = data.find(chance.choice([name for name in names if name in data]))
    how = chance.randrange(4)
    if how == 0:
        data[place : place + 4] = chance.choice((b"free", b"moov", b"mdat", b"\0\0\0\0", b"cmov"))
    elif how == 1:
        data[place - 4 : place] = chance.choice((0, 1, 7, 8, 9, 0x7FFFFFFF, 0xFFFFFFFF)).to_bytes(4, "big")
    else:
        where = place + 4 + 4 * chance.randrange(1, 8)
        data[where : where + 4] = chance.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)).to_bytes(4, "big")
    return bytes(data)


_SPECIAL: tuple[Callable[[random.Random, Path], bytes], ...] = (_list, _list, _other, _swapped, _boxes, _boxes)


def make(number: int, chance: random.Random, folder: Path) -> Path:
    """Write clip `number`; every twentieth is sound."""
    suffix = chance.choice(sorted(sound()))
    content = sound()[suffix]
    (folder / _NEIGHBOUR).write_bytes(sound()["mp4"])
    if number % 20 and chance.random() < 0.4:
        content = chance.choice(_SPECIAL)(chance, folder)
        suffix = chance.choice((suffix, "mp4", "avi", "ts", "m3u8" if content.startswith(b"#EXTM3U") else "mkv"))
    elif number % 20:
        content = damaged(content, chance, sorted(sound().values()))
    path = folder / f"{number}.{suffix}"
    path.write_bytes(content)
    return path


def judge(paths: list[Path], box: Sandbox, patience_s: float) -> Result:
    """Run one clip into all outputs."""
    (path,) = paths
    outputs = [word for name, option in zip(_OUTPUTS, ("summary", "events", "output"), strict=True)
               for word in (f"--{option}", name)]  # fmt: skip
    done = box.run(
        ["run", path, *outputs, "--headless", "--max-frames", 3 * FRAMES],
        outputs=lambda name: name in _OUTPUTS, ceiling_mib=CEILING_MIB, patience_s=patience_s,
    )  # fmt: skip
    faults = one_error(done)
    try:
        facts = strict_json((box.work / "s.json").read_text()) if done.code == 0 else {}
        for line in (box.work / "e.jsonl").read_text().splitlines() if (box.work / "e.jsonl").exists() else ():
            strict_json(line)
    except (OSError, ValueError) as error:
        return Result.of(done, [*faults, f"an output is not sound: {error}"])
    names_others = path.stat().st_size < 1000 and any(word in path.read_bytes() for word in (b"neighbour", b"127.0"))
    if facts.get("frames") and names_others:
        faults.append(f"followed a list to another file: {path.read_bytes()[:80]!r}")
    if done.code == 0 and int(path.name.split(".")[0]) % 20 == 0 and facts.get("frames") != FRAMES:
        faults.append(f"a sound clip: {facts.get('frames')} of {FRAMES} frames")
    return Result.of(done, faults)
