"""`python -m robustboard.benchmark` is the command `robustboard`."""

from robustboard.benchmark.cli import main

main()
