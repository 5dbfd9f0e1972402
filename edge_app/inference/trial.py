"""Run an unknown network in a subprocess with limits first, where a crash, a hang or exhausted memory does no harm.

Neither OpenCV nor ONNX Runtime can be interrupted, so a network that is not of a release of ours is loaded and run here
first. The process takes the network on stdin and ends with 0, or with 3 and the reason on stdout.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TRIAL_S = 6  # of CPU for loading and running; ours take 0.2 s
WALL_S = 20  # for the same on a busy machine
START_S = 60  # for the process and its imports, from a slow card too
MEMORY = 2 << 30  # bytes that loading and running may allocate; ours take 0.4 GiB at 640 px
_FAILED = 3


@dataclass(frozen=True)
class Case:
    """One run: shape of the input; name -> shape of every output; lowest and highest value of the input."""

    image: tuple[int, ...]
    outputs: dict[str, tuple[int, ...]]
    low: float
    high: float


def attempt(network: bytes, engine: str, cases: list[Case]) -> str | None:
    """Load a network and run the cases in a subprocess. Gives the reason of a failure, or None.

    engine: `opencv` or `onnxruntime`. ONNX Runtime always runs it: OpenCV turns NaN into numbers.
    """
    order = json.dumps(
        {
            "engines": list(dict.fromkeys(("onnxruntime", engine))),
            "cases": [asdict(case) for case in cases],
            "seconds": TRIAL_S,
        }
    )
    try:
        done = subprocess.run(
            # -P and the file's path: this very module is run, whatever folder we are in.
            [sys.executable, "-P", str(Path(__file__)), order],
            input=network,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=START_S + WALL_S,
            start_new_session=True,  # Ctrl-C is for us, and must not look like a fault of the network
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return f"it could not be tried within {START_S} s"
    if done.returncode == 0:
        return None
    if done.returncode in (-signal.SIGPROF, -signal.SIGALRM):
        return f"it takes longer than {TRIAL_S} s to load and run"
    if done.returncode < 0:
        return f"it crashes, {signal.Signals(-done.returncode).name}"
    return done.stdout.decode(errors="replace").strip()[:200] or f"it cannot be tried, exit code {done.returncode}"


def _main() -> None:
    import resource

    signal.alarm(START_S)  # ends the process, as SIGPROF does, whatever a library is doing
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import cv2
    import numpy as np

    sys.path.append(str(Path(__file__).resolve().parents[2]))  # -P has left it out
    from edge_app.inference.ort import onnxruntime  # noqa: F401

    network, order = sys.stdin.buffer.read(), json.loads(sys.argv[1])
    cv2.setNumThreads(1)
    with contextlib.suppress(OSError):  # no /proc: no limit of memory
        held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    signal.alarm(WALL_S)
    signal.setitimer(signal.ITIMER_PROF, order["seconds"])
    for engine in order["engines"]:
        run = {"opencv": _opencv, "onnxruntime": _onnxruntime}[engine](network)
        for case in order["cases"]:
            image = np.random.default_rng(0).uniform(case["low"], case["high"], case["image"]).astype(np.float32)
            found = run(image, list(case["outputs"]))
            for (name, shape), values in zip(case["outputs"].items(), found, strict=True):
                if list(values.shape) != shape:
                    sys.exit(f"{engine} gives {name} as {list(values.shape)}, expected {shape}")
                if not np.isfinite(values).all():
                    sys.exit(f"{engine} gives {name} with values that are not finite")


def _onnxruntime(network: bytes) -> Any:
    from edge_app.inference.ort import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image, outputs: session.run(outputs, {name: image})


def _opencv(network: bytes) -> Any:
    """The network as `cv2.FaceDetectorYN` runs it, which would read outputs of other shapes out of bounds."""
    import cv2
    import numpy as np

    net = cv2.dnn.readNetFromONNX(np.frombuffer(network, np.uint8))

    def run(image: Any, outputs: list[str]) -> Any:
        net.setInput(image)
        return net.forward(outputs)

    return run


def _leave(reason: object) -> None:
    print(reason, flush=True)
    os._exit(_FAILED)  # without the clean-up of libraries that may be in any state


if __name__ == "__main__":
    try:
        _main()
    except SystemExit as wrong:
        _leave(wrong.code)
    except BaseException as error:
        _leave((str(error).strip().splitlines() or [type(error).__name__])[0][:200])
    os._exit(0)
