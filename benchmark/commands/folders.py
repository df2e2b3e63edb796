"""Where commands write unless they are told."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
"""The checkout, when there is one; an installed copy writes below the current folder instead."""


def leaderboards() -> Path:
    """Where results go unless --out says otherwise."""
    return (PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()) / "leaderboards"
