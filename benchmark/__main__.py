"""The command `robustboard`, also as `python -m robustboard.benchmark`. Imports nothing itself: torch takes seconds, and
Ctrl-C during them deserves an answer too."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command line and run it."""
    try:
        from robustboard.benchmark.cli import main as run_command_line  # noqa: PLC0415
    except KeyboardInterrupt:
        print("interrupted before anything began", file=sys.stderr)
        sys.exit(130)
    run_command_line()


if __name__ == "__main__":
    main()
