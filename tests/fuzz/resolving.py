"""Resolves the configurations that it is given and shows each as `edge-app config` does; one JSON line for each.

A process of its own, because a configuration may make it hang or fill the memory.
"""

import json
import sys
from pathlib import Path

from edge_app.config.layers import resolve
from edge_app.config.view import shown, to_yaml
from edge_app.errors import UsageError
from edge_app.redact import redact


def fault(path: Path) -> str | None:
    """What the command line would end with 1 for, or print as it should not."""
    try:
        resolved = resolve(config=path, environment={})
        printed = "\n".join([json.dumps(shown(resolved), allow_nan=False), *to_yaml(resolved)])
    except UsageError as error:
        line = " ".join(redact(str(error)).split())
        return None if line.isprintable() else f"control characters in {ascii(line)[:200]}"
    except Exception as error:
        return f"unhandled {type(error).__name__}: {error}"[:300]
    return None if "hunter2" not in printed else "shows a secret"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps({"path": name, "fault": fault(Path(name))}), flush=True)
