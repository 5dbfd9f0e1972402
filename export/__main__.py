"""The commands of the workshop: `python -m export --help`. Training needs the `export` extra and the shared data."""

import os
import sys

import typer

from edge_app.errors import EdgeAppError, UsageError
from export import evaluate_commands, retrain_commands, train_commands

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)
for command in (
    train_commands.train_classifier,
    train_commands.train_teacher,
    train_commands.compare_classifiers,
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


def main() -> int:
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    # Read when torch is loaded: waiting OpenMP threads spin, on the core that the process preparing batches needs.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        app(standalone_mode=False)
    except EdgeAppError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except typer.Exit as leaving:
        return leaving.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        print(f"error: {error.format_message()}", file=sys.stderr)
        return UsageError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
