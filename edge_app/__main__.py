"""`python -m edge_app` is `edge-app`."""

import signal
import sys


def main() -> int:
    """Run the command line of this process and give its exit code."""
    # Loading takes a moment in which there is nothing to finish: Ctrl-C just ends it, without a traceback of an import.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from edge_app import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
