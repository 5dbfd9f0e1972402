"""A source in, the result of each frame out: the pipeline of a run without its outputs, for Python programs."""

from collections.abc import Generator
from pathlib import Path
from typing import cast

import numpy as np
import supervision as sv

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.layers import resolve
from edge_app.config.settings import Settings
from edge_app.errors import SourceError
from edge_app.records import FrameResult
from edge_app.runtime.pipeline import SourceAnalyzer, results


def watch(source: str | int | Path, settings: Settings | None = None) -> Generator[FrameResult, None, None]:
    """Watch a camera, file, folder, stream or `demo` as `edge-app run` does, and give what it finds frame by frame.

    A file gives every frame in order. A live source gives the newest one: those that come while nobody asks for the
    next result are dropped. It is opened when the first result is asked for, and let go of, threads included, when the
    iterator ends, is closed, or is forgotten.

    Example:
        >>> from edge_app import watch
        >>> for result in watch("demo"):
        ...     for event in result.events:
        ...         print(event.type, event.label)
        new no_mask
        update mask
        update no_mask
        end no_mask

    Args:
        source: as SOURCE of `edge-app run`.
        settings: the source, detector, classifier, quality, tracker and verdict sections and `max_frames` are used;
            there are no outputs, no metrics and no watchdog. None: see `Analyzer`.

    Yields:
        Each frame with its detections, a verdict for each of them, and the events that it brought. Where the source
        ends with people in view, one more: the last frame again, without detections, with their `end` events.

    Raises:
        UsageError: a source that is none, or settings that are none.
        ModelError: a model that cannot be used.
        SourceError: the source cannot be opened, or is lost for good, once what came before has been given.
    """
    settings = settings or resolve().settings
    spec = parse_source(str(source))
    analyzer = SourceAnalyzer(settings, photos=spec.kind == "images")
    result: FrameResult | None = None
    failure: SourceError | None = None
    with FrameReader(spec, settings.source) as reader:
        stages = results(analyzer, reader, settings.max_frames)
        try:
            for result in stages:
                yield result
        except SourceError as error:
            failure = error  # first everything that was judged is given
        finally:
            reader.stop()  # before the stages, one of which may wait for a frame
            stages.close()
    if result is not None and (ends := analyzer.close()):
        nobody = cast(sv.Detections, result.detections[np.zeros(len(result.detections), bool)])
        yield FrameResult(result.frame, nobody, events=ends)
    if failure is not None:
        raise failure
