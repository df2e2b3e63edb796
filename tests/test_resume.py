"""Finished work is never lost and never done again: kills, resumes, shards, damaged files."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import cut_copy
from robustboard.benchmark import cli, store
from robustboard.benchmark.protocols import load_protocol
from robustboard.benchmark.records import CellResult
from robustboard.benchmark.results import read_cell
from robustboard.benchmark.run import Request, Summary, run
from robustboard.benchmark.subjects import registry_subjects

PROTOCOL = """
name = "resume"
version = 1
title = "resume"
seed = 3
attacks = ["cw", "spsa"]

[datasets.digits]
n = 40
linf = 0.2
l2 = 2.0
gamma = 0.145

[datasets.digits.attacks]
cw = { start_steps = 30, steps = 30 }
spsa = { directions = 16, iterations = 8 }
"""
MODEL = "digits/relog-maxout_4-sigmoid_out"


@pytest.fixture
def protocol_file(tmp_path: Path) -> Path:
    path = tmp_path / "resume.toml"
    path.write_text(PROTOCOL, encoding="utf-8")
    return path


def evaluate(protocol: Path, out: Path, *, batch_size: int | None = 8, shard: tuple[int, int] = (0, 1)) -> Summary:
    """Run the protocol on one digits model in this process."""
    return run(
        Request(
            protocol=load_protocol(str(protocol)),
            datasets=["digits"],
            subjects=registry_subjects([MODEL], ["digits"]),
            attacks=None,
            out=out,
            device="cpu",
            batch_size=batch_size,
            shard=shard,
            quiet=True,
        )
    )


def cell(out: Path, attack: str) -> CellResult:
    return read_cell(out / "resume" / "digits" / MODEL.split("/")[1] / f"{attack}.json")


def assert_same(one: CellResult, other: CellResult) -> None:
    """Rule 2: the same verdicts, distances to 1e-3."""
    for field in ("index", "correct_clean", "fooled", "found", "attack_failed", "iterations"):
        assert getattr(one.per_example, field) == getattr(other.per_example, field)
    for first, second in zip(one.per_example.distance, other.per_example.distance, strict=True):
        assert first == (None if second is None else pytest.approx(second, abs=1e-3))
    assert one.outcome.robust_accuracy == other.outcome.robust_accuracy
    assert one.identity == other.identity


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the protocol file and, under "whole", the results of one process."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "resume.toml").write_text(PROTOCOL, encoding="utf-8")
    evaluate(folder / "resume.toml", folder / "whole", batch_size=None)
    return folder


any_number = settings(max_examples=4, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@any_number
@given(order=st.integers(1, 5).flatmap(lambda count: st.permutations(range(count))), batch_size=st.integers(1, 40))
def test_any_shards_in_any_order_give_what_one_process_gives(whole: Path, order: list[int], batch_size: int) -> None:
    with tempfile.TemporaryDirectory() as parts:
        for which in order:
            assert not list(Path(parts).rglob("cw.json"))
            evaluate(whole / "resume.toml", Path(parts), shard=(which, len(order)), batch_size=batch_size)
        for attack in ("cw", "spsa"):
            assert_same(cell(whole / "whole", attack), cell(Path(parts), attack))
        assert not list(Path(parts).rglob("*.partial-*"))


@pytest.fixture(scope="module")
def half(whole: Path) -> Path:
    """A folder in which the first of two shards is done: its journals are whole."""
    evaluate(whole / "resume.toml", whole / "half", shard=(0, 2))
    return whole / "half"


@any_number
@given(share=st.floats(0, 1))
def test_a_journal_cut_anywhere_is_gone_on_from(whole: Path, half: Path, share: float) -> None:
    with cut_copy(half, "cw.partial-*", share) as out:
        for which in (0, 1):
            evaluate(whole / "resume.toml", out, shard=(which, 2))
        assert_same(cell(whole / "whole", "cw"), cell(out, "cw"))


def test_a_second_run_does_nothing(protocol_file: Path, tmp_path: Path) -> None:
    assert evaluate(protocol_file, tmp_path).evaluated == 2
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("cw.json")}
    again = evaluate(protocol_file, tmp_path)
    assert (again.evaluated, again.reused) == (0, 2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("cw.json")} == stamps


def test_another_number_in_the_protocol_is_another_cell(protocol_file: Path, tmp_path: Path) -> None:
    evaluate(protocol_file, tmp_path)
    before = cell(tmp_path, "spsa").identity, cell(tmp_path, "cw").identity
    protocol_file.write_text(PROTOCOL.replace("iterations = 8", "iterations = 9"), encoding="utf-8")
    summary = evaluate(protocol_file, tmp_path)
    assert (summary.evaluated, summary.reused) == (1, 1)
    assert cell(tmp_path, "spsa").identity != before[0]
    assert cell(tmp_path, "cw").identity == before[1]


def test_a_damaged_cell_is_run_again(protocol_file: Path, tmp_path: Path) -> None:
    evaluate(protocol_file, tmp_path)
    whole = cell(tmp_path, "cw")
    path = next(tmp_path.rglob("cw.json"))
    path.write_text(path.read_text(encoding="utf-8")[:500], encoding="utf-8")
    assert evaluate(protocol_file, tmp_path).evaluated == 1
    assert_same(whole, cell(tmp_path, "cw"))


# A shell starts what it runs in the background, these tests perhaps, with Ctrl-C ignored: the run is to hear it.
HEARING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from robustboard.benchmark.__main__ import main
main()
"""


def command(protocol: Path, out: Path) -> list[str]:
    run_it = [sys.executable, "-c", HEARING, "run", "--protocol", str(protocol), "--models", MODEL]
    return [*run_it, "--no-diagnose", "--attacks", "cw", "--batch-size", "2", "--device", "cpu", "--out", str(out)]


def start_and_wait_for_batches(protocol: Path, out: Path, batches: int) -> tuple[subprocess.Popen[str], Path]:
    """A run of its own process, until its journal holds `batches` finished batches."""
    process = subprocess.Popen(command(protocol, out), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        for journal in out.rglob("cw.partial-*.jsonl"):
            if journal.read_text(encoding="utf-8").count('"examples"') >= batches:
                return process, journal
        time.sleep(0.02)
    raise AssertionError(f"no journal appeared: {process.communicate()[1]}")


def test_kill_nine_costs_no_finished_batch(protocol_file: Path, tmp_path: Path) -> None:
    process, journal = start_and_wait_for_batches(protocol_file, tmp_path / "killed", batches=3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.rglob("cw.json"))
    kept = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()[1:] if line.endswith("}")]
    done = {example["index"] for record in kept for example in record["examples"]}
    assert len(done) >= 4
    # A mark in a finished example: it reaches the cell only if that example is not attacked again.
    text = journal.read_text(encoding="utf-8")
    marked = next(example["index"] for record in kept for example in record["examples"] if example["iterations"])
    journal.write_text(text.replace('"iterations": 180', '"iterations": 12345', 1), encoding="utf-8")
    # A line cut in half by the kill is what a crash in the middle of a write leaves.
    with journal.open("a", encoding="utf-8") as file:
        file.write('\n{"examples": [{"index": 39, "correct_cl')
    subprocess.run(command(protocol_file, tmp_path / "killed"), check=True, capture_output=True)
    subprocess.run(command(protocol_file, tmp_path / "whole"), check=True, capture_output=True)
    resumed, whole = cell(tmp_path / "killed", "cw"), cell(tmp_path / "whole", "cw")
    at = resumed.per_example.index.index(marked)
    assert resumed.per_example.iterations[at] == 12345
    resumed.per_example.iterations[at] = whole.per_example.iterations[at]
    assert_same(whole, resumed)
    assert not list(tmp_path.rglob("*.partial-*"))


def test_control_c_says_how_to_resume(protocol_file: Path, tmp_path: Path) -> None:
    process, _ = start_and_wait_for_batches(protocol_file, tmp_path, batches=1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors


def test_a_full_disk_ends_the_run_with_one_sentence_and_keeps_what_is_done(
    protocol_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(protocol_file, tmp_path)
    kept = cell(tmp_path, "cw")
    next(tmp_path.rglob("spsa.json")).unlink()

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", refuse)
    arguments = ["robustboard", "run", "--protocol", str(protocol_file), "--models", MODEL, "--out", str(tmp_path), "--quiet"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "No space left on device" in capsys.readouterr().err
    assert_same(kept, cell(tmp_path, "cw"))
