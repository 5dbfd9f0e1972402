"""A picture of it working: three moments of the source `demo`, as a run annotates them.

.venv/bin/python tools/draw_demo.py demo-out/demo.jpg
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from edge_app import Settings, watch
from edge_app.outputs.overlay import annotate

MOMENTS = (116, 344, 250)  # frames: bare and near, masked and near, masked and far
WIDTH, HEIGHT = 320, 380  # pixels of each part: together as wide as a README, so that nothing is scaled


def main(target: Path) -> None:
    parts = {}
    for result in watch("demo", Settings()):
        if result.frame.index in MOMENTS:
            x0, y0, x1, y1 = result.detections.xyxy[0]
            left, top = round(float(x0 + x1 - WIDTH) / 2), round(float(y0 + y1 - HEIGHT) / 2)
            parts[result.frame.index] = annotate(result)[top : top + HEIGHT, left : left + WIDTH]
    picture = np.hstack([parts[index] for index in MOMENTS])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
