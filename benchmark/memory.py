"""The memory that passes free: kept for the next pass, or given back; and the most that a piece of work took."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Tell glibc's malloc to reuse large blocks; elsewhere do nothing.

    Every pass over a network allocates the same activations. By default each is mapped, zeroed and unmapped again: a fifth
    of the processor time of a CIFAR-10 pass on the CPU, a third of an MNIST pass.
    """
    for option, value in ((_MMAP_THRESHOLD, 2**30), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)):
        _of_glibc("mallopt", option, value)


def peak_memory(work: Callable[[], object]) -> int | None:
    """Bytes by which the resident memory of this process stood, at its highest during `work`, above where it was before.

    Freed memory is given back first, so that what `work` takes shows. The kernel keeps the mark; None where it is not Linux's.
    """
    _of_glibc("malloc_trim", 0)
    try:
        _set_mark_back()
        before = _highest()
        work()
        return max(0, _highest() - before)
    except OSError:
        return None


def forget_peak(device: torch.device) -> None:
    """Let `peak_of` begin anew: on a GPU and on Linux; elsewhere it stays the most since the process began."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        _set_mark_back()


def peak_of(device: torch.device) -> int:
    """The most bytes that tensors took on a GPU, or that this process had resident, since `forget_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, StopIteration):
        return _highest()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _set_mark_back() -> None:
    """To what is resident now, which "5" asks for; `getrusage` could only ever say the most since the process began."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _highest() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _of_glibc(function: str, *numbers: int) -> None:
    """Call a function of glibc; elsewhere do nothing."""
    if not sys.platform.startswith("linux"):
        return
    try:
        called = getattr(ctypes.CDLL("libc.so.6"), function)
    except (OSError, AttributeError):
        return
    called(*numbers)
