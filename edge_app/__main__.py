"""`python -m edge_app` is `edge-app`."""

import os
import signal
import sys
import threading
import warnings


def main() -> int:
    """Run the command line of this process and give its exit code."""
    # Loading takes a moment in which there is nothing to finish: Ctrl-C just ends it, without a traceback of an import.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not (sys.warnoptions or os.environ.get("EDGE_APP_DEBUG")):
        warnings.simplefilter("ignore")  # what libraries tell each other's developers, of a damaged picture for example
    from edge_app.commands import app as cli

    code = cli.main()
    if any(thread.daemon for thread in threading.enumerate()):
        # It hangs in a library, as with a camera that has gone. Were it to return while Python takes itself down, it
        # would be ended in the middle of C++ code, which aborts the process. All is written and flushed by now.
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
