"""The commands of the workshop: `python -m export --help`. Training needs the `export` extra and the shared data.

Exit codes as for `edge-app`; 2 also stands for shared data that are not there and for an extra that is not installed.
"""

import os
import sys

import typer

from edge_app.commands.root import DebugOption, begin, typer_app
from edge_app.errors import INTERRUPTED, EdgeAppError, UsageError
from edge_app.runtime.shutdown import complaint, guarded
from export.commands import evaluate as evaluate_commands
from export.commands import retrain as retrain_commands
from export.commands import train as train_commands

app = typer_app()
for command in (
    train_commands.train_classifier,
    train_commands.train_teacher,
    train_commands.train_detector,
    train_commands.average,
    train_commands.mine_detector,
    train_commands.release,
    evaluate_commands.evaluate,
    evaluate_commands.evaluate_together,
    evaluate_commands.evaluate_clips,
    retrain_commands.label,
    retrain_commands.promote,
):
    app.command(command.__name__.replace("_", "-"))(command)


@app.callback()
def _root(context: typer.Context, debug: DebugOption = False) -> None:
    """Train, export, quantize, measure and promote the models of edge_app."""
    begin(context, debug)


def main() -> int:
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    # Read when torch is loaded: waiting OpenMP threads spin, on the core that the process preparing batches needs.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    return guarded(_run)


def _run() -> object:
    """The command; what only the workshop can meet becomes an error of ours, and `guarded` does the rest."""
    try:
        code = app(prog_name="python -m export", standalone_mode=False)
    except (EdgeAppError, BrokenPipeError):
        raise
    except ImportError as error:
        raise UsageError(_explain(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise UsageError(f"{error.filename}: {error.strerror}; check the path, and EDGE_APP_SHARED") from error
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's complaints have it
            raise
        raise UsageError(f"{complaint(error)} (`python -m export --help` shows the usage)") from error
    if code == INTERRUPTED:  # typer makes this of Ctrl-C
        raise KeyboardInterrupt
    return code


def _explain(error: ImportError) -> str:
    from edge_app.commands.opencv import require_opencv

    require_opencv()
    module = (error.name or "").partition(".")[0]
    if module in ("", "edge_app", "export"):
        return f"{error}: install this checkout again: pip install '.[export]'"
    return f"this command needs {module}, which cannot be imported ({error}): pip install '.[export]' in the checkout"


if __name__ == "__main__":
    sys.exit(main())
