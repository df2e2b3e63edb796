"""What a number was computed with: versions, processor, threads, commit. Part of every result and training curve."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch


@cache
def current_environment() -> dict[str, Any]:
    """This process's versions, machine and commit, by the names that a result's environment block gives them. Outside a
    checkout the commit reads "unknown"."""
    commit, dirty = _git_state()
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchattacks": version_of("torchattacks"),
        "foolbox": version_of("foolbox"),
        "robustboard": version_of("robustboard"),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
    }


def version_of(package: str) -> str:
    """The installed version of a distribution, "absent" without one."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is the GPU where there is one, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16: without them they take longer than float32's. Of devices
    that are neither CPU nor CUDA it is taken for granted."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    if not hasattr(torch.cpu, "get_capabilities"):  # an older release
        return True
    able = torch.cpu.get_capabilities()
    return any(bool(able.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _git_state() -> tuple[str, bool]:
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        # Results are what a run adds; only a change of anything else makes its commit an incomplete answer.
        changed = _git(here, "status", "--porcelain", "--", ":/", ":(exclude,top)leaderboards")
    except (OSError, subprocess.SubprocessError):
        return "unknown", False
    return commit, bool(changed)


def _git(folder: Path, *words: str) -> str:
    answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    return answer.stdout.strip()


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
