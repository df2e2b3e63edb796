"""The command line: what its commands share. Exit codes: 0 done, 1 results that are not what they say, or worse than `compare`
was to allow, 2 bad input or nothing that could be verified, 130 interrupted."""

from __future__ import annotations

import sys

import click

from robustboard.benchmark.commands import (
    comparing,
    diagnosing,
    grading,
    making,
    plotting,
    publishing,
    reading,
    training,
    verifying,
)
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.memory import keep_freed_memory
from robustboard.benchmark.report.escaping import for_terminal
from robustboard.models.registry import RegistryError


def main() -> None:
    """Run the command line; bad input ends in one sentence and exit code 2, Ctrl-C in 130."""
    keep_freed_memory()
    try:
        cli.main(standalone_mode=False)
    except (InputError, RegistryError) as trouble:
        _leave(for_terminal(f"error: {trouble}"), 2)
    except click.ClickException as trouble:
        trouble.show()
        sys.exit(trouble.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _leave(
            "interrupted: finished batches and epochs are saved; the same command goes on from there",
            130,
        )


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="robustboard")
def cli() -> None:
    """How robust is a small image classifier, and how far can that number be believed?"""


for command in (
    making.run_command,
    making.certify_command,
    diagnosing.diagnose_command,
    reading.report_command,
    comparing.compare_command,
    comparing.ranks_command,
    reading.ablation_command,
    reading.claims_command,
    plotting.plot_command,
    publishing.site_command,
    reading.models_command,
    reading.attacks_command,
    reading.protocols_command,
    grading.canaries_command,
    grading.peers_command,
    training.train_command,
    training.add_command,
    verifying.verify_command,
):
    cli.add_command(command)
