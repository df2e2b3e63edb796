"""Bad input at the command line: one sentence, the right exit code, no traceback, and nothing skipped in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import Answer, Command, put
from handmade import make_cell
from robustboard.benchmark.commands import making
from robustboard.benchmark.results import read_cell, write_cell

SMALL = ("--dataset", "digits", "--n", "4", "--attacks", "fgsm", "--device", "cpu")
NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def probabilities():
    return nn.Sequential(build(), nn.Softmax(1))

class Answer(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(images)

def too_flat(): return Answer(lambda images: images.flatten(1).sum(1))
def too_deep(): return Answer(lambda images: images)
def nine_classes(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))
def one_row(): return Answer(lambda images: torch.zeros(1, 10))
def a_tuple(): return Answer(lambda images: (images.flatten(1)[:, :10], None))
def nan(): return Answer(lambda images: images.flatten(1)[:, :10] * float("nan"))
def infinite(): return Answer(lambda images: images.flatten(1)[:, :10] + float("inf"))
def raising(): return Answer(lambda images: 1 / 0)
def wrong_images(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
def no_module(): return "a word"
def not_built(): raise KeyError("weights")
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return put(tmp_path / "own" / "net.py", NETWORK)


def refused(answer: Answer, *words: str) -> None:
    """Exit code 2, and one line on stderr that begins with "error:" and holds the words."""
    lines = answer.err.strip().splitlines()
    assert answer.code == 2, answer
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def small_run(command: Command, out: Path, *words: str | Path) -> Answer:
    return command("run", *SMALL, "--out", out, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "relux"], ["no model 'relux'", "did you mean 'relu'", "robustboard models"]),
        (["--models", "tag:qiuck"], ["no model 'tag:qiuck'"]),
        (["--attacks", "fgms"], ["no attack 'fgms'", "did you mean 'fgsm'"]),
        (["--dataset", "digist"], ["no data set 'digist'", "did you mean 'digits'"]),
        (["--protocol", "quik"], ["no protocol 'quik'", "did you mean 'quick'"]),
        (["--n", "1001"], ["n = 1001 is larger than digits's test set of 1000 examples"]),
        (["--n", "0"], ["--n must be at least 1, got 0"]),
        (["--eps", "-0.1"], ["--eps", "got -0.1"]),
        (["--eps", "nan"], ["--eps", "got nan"]),
        (["--device", "cdua"], ["no device 'cdua'", "did you mean 'cuda'", "there are auto, cpu"]),
        (["--batch-size", "0"], ["--batch-size", "got '0'"]),
        (["--batch-size", "-3"], ["--batch-size", "got '-3'"]),
        (["--batch-size", "²"], ["--batch-size", "got '²'"]),
        (["--shard", "2/2"], ["--shard", "got '2/2'"]),
        (["--shard", "0/0"], ["--shard", "got '0/0'"]),
        (["--shard", "one"], ["--shard", "got 'one'"]),
        (["--shard", "²/3"], ["--shard"]),
        (["--indices", "absent.json"], ["--n and --indices both choose"]),
        (["--model", "absent.py:build"], ["there is no file 'absent.py'"]),
        (["--model", "absent.py"], ["write FILE.py:FUNCTION"]),
        (["--model", "robustbench:digits"], ["robustbench:DATASET/THREAT/NAME"]),
        (["--model", "robustbench:cifar10/Linf/Standard"], ["cifar10", "digits"]),
        (["--model", "torchvision:resnet18"], ["torchvision:NAME@CHECKPOINT"]),
        (["--model", "torchvision:resnet18@absent.pth"], ["there is no checkpoint 'absent.pth'"]),
        (["--model", "torchvision:resnet81@absent.pth"], ["torchvision has no classifier 'resnet81', did you mean 'resnet18'"]),
        (["--model", "hub:somebody"], ["write hub:OWNER/NAME"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_what_cannot_be_asked_is_refused(command: Command, out: Path, words: list[str], said: list[str]) -> None:
    refused(small_run(command, out, *words), *said)


@pytest.mark.parametrize(
    "name", [pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="it is here")), "cuda:99"]
)
def test_a_device_that_is_not_here_is_not_suggested(command: Command, out: Path, name: str) -> None:
    refused(small_run(command, out, "--device", name), f"no device {name!r} here; there are auto, cpu")


def test_an_empty_word_in_a_list_is_no_word(command: Command, out: Path) -> None:
    assert small_run(command, out, "--models", "digits/relu,", "--attacks", "fgsm, ,").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--n", "four"], "four"),
        (["run", "--head", "linear"], "linear"),
        (["run", "--attack", "fgsm"], "--attacks"),
        (["rnu"], "rnu"),
        (["report"], "FOLDERS"),
    ],
)
def test_usage_errors_exit_with_2_and_no_traceback(command: Command, words: list[str], said: str) -> None:
    answer = command(*words)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "mnits/relu"], ["did you mean 'mnist'"]),
        (["train", "digits/tanh"], ["'tanh' is no activation"]),
        (["train", "digits/relu", "--epochs", "0"], ["--epochs must be at least 1, got 0"]),
        (["train", "digits/relu", "--epochs", "-1"], ["--epochs must be at least 1, got -1"]),
        (["report", "absent"], ["there is no folder absent"]),
        (["compare", "digits/relgo", "digits/relu", "--results", "absent"], ["there are no results in absent"]),
    ],
)
def test_other_commands_refuse_in_the_same_way(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(command(*words), *said)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("too_flat", "logits (N, classes) are wanted"),
        ("too_deep", "logits (N, classes) are wanted"),
        ("one_row", "logits (N, classes) are wanted"),
        ("a_tuple", "the model answered tuple"),
        ("nine_classes", "the model has 9 classes, the labels go up to"),
        ("nan", "not finite on 50 of 50 clean images"),
        ("infinite", "not finite on 50 of 50 clean images"),
        ("raising", "the model raised ZeroDivisionError: division by zero"),
        ("wrong_images", "the model raised RuntimeError"),
        ("no_module", "returned str; an nn.Module is wanted"),
        ("not_built", "raised KeyError: 'weights'"),
        ("biuld", "has no function 'biuld', did you mean 'build'"),
        ("torch", "has no function 'torch'"),
    ],
)
def test_a_model_that_cannot_be_evaluated_is_refused(
    command: Command, out: Path, network: Path, function: str, said: str
) -> None:
    # Among the first fifty digits are nines: nine classes cannot hold them.
    refused(small_run(command, out, "--n", "50", "--model", f"{network}:{function}"), said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise KeyError('secret')", "raised KeyError on import: 'secret'"),
        ("import a_package_nobody_has", "raised ModuleNotFoundError on import"),
        ("def build(:", "raised SyntaxError on import"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("import argparse\nargparse.ArgumentParser().parse_args()", "SystemExit"),
    ],
)
def test_a_file_that_does_not_import_is_refused(command: Command, out: Path, tmp_path: Path, text: str, said: str) -> None:
    # A script that leaves on import would otherwise end the run with its own exit code: 0, and no results.
    path = put(tmp_path / "broken.py", text)
    answer = small_run(command, out, "--model", f"{path}:build")
    assert answer.code == 2
    assert answer.err.strip().splitlines()[-1].startswith("error: ")
    assert said in answer.err


def test_a_model_needs_one_data_set(command: Command, out: Path, network: Path) -> None:
    refused(command("run", "--n", "4", "--out", out, "--model", f"{network}:build"), "--model needs one --dataset")


def test_a_faulty_model_among_others_is_a_row_with_its_reason(command: Command, out: Path, network: Path) -> None:
    answer = small_run(command, out, "--models", "digits/relu", "--model", f"{network}:raising")
    assert answer.code == 0
    assert "not run: digits/own.net.raising: the model raised ZeroDivisionError" in answer.err
    assert "not run: own.net.raising: the model raised ZeroDivisionError" in answer.out
    assert "not run: own.net.raising" in (out / "standard@4" / "tables.md").read_text(encoding="utf-8")
    assert "relu" in answer.out


def test_probabilities_are_warned_about_and_marked(command: Command, out: Path, network: Path) -> None:
    answer = small_run(command, out, "--model", f"{network}:probabilities")
    assert answer.code == 0
    assert "warning: digits/own.net.probabilities returns probabilities, not logits" in answer.err
    assert "outputs are probabilities, which can hide gradients" in answer.out
    assert read_cell(out / "standard@4" / "digits" / "own.net.probabilities" / "fgsm.json").model.output == "probabilities"


def test_an_out_that_cannot_be_written_is_refused(command: Command, tmp_path: Path) -> None:
    blocked = put(tmp_path / "file", "in the way")
    refused(small_run(command, blocked, "--models", "digits/relu"), "cannot write", "--out")
    refused(small_run(command, blocked / "deeper", "--models", "digits/relu"), "cannot write", "--out")
    assert blocked.read_text(encoding="utf-8") == "in the way"


def test_data_asked_for_alone_and_missing_names_the_three_ways(command: Command, out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = command("run", "--dataset", "mnist", "--data", tmp_path / "empty", "--n", "4", "--attacks", "fgsm", "--out", out)
    refused(answer, "MNIST data not found", "--data FOLDER", "ROBUSTBOARD_DATA=FOLDER", "downloaded to")


def test_data_missing_for_one_of_several_data_sets_is_a_row(command: Command, out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = ("--dataset", "digits,mnist", "--models", "relu", "--data", tmp_path / "empty")
    answer = small_run(command, out, *words)
    assert answer.code == 0
    assert "not run: MNIST data not found" in answer.out
    assert "not run: MNIST data not found" in answer.err
    assert (out / "standard@4" / "digits" / "relu" / "fgsm.json").is_file()
    assert not (out / "standard@4" / "mnist").exists()


def test_indices_beyond_the_test_set_are_refused(command: Command, out: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "chosen.json", "[1000]")
    answer = command("run", "--dataset", "digits", "--attacks", "fgsm", "--indices", path, "--out", out)
    refused(answer, "--indices asks for example 1000; digits has 1000 test examples")


def test_a_protocol_of_another_data_set_is_refused(command: Command, out: Path, tmp_path: Path) -> None:
    text = 'name = "mine"\nversion = 1\ntitle = "Mine"\nseed = 0\nattacks = ["fgsm"]\n'
    plan = "n = 4\nlinf = 0.1\nl2 = 1.0\ngamma = 0.1\n"
    mine = put(tmp_path / "mine.toml", f"{text}[datasets.mnist]\n{plan}")
    refused(command("run", "--protocol", mine, "--dataset", "digits", "--out", out), "mine says nothing about digits")
    misspelt = put(tmp_path / "misspelt.toml", f"{text}[datasets.digist]\n{plan}")
    refused(command("run", "--protocol", misspelt, "--out", out), "digist")


def test_a_damaged_and_a_foreign_file_are_named_and_left_alone(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    write_cell(make_cell(), folder / "digits" / "relu" / "bim.json")
    damaged = put(folder / "digits" / "relu" / "cw.json", '{"schema": "robustboard/cell/1"')
    foreign = put(folder / "package.json", '{"name": "foreign"}')
    answer = command("report", folder)
    assert answer.code == 0
    assert "relu" in answer.out
    lines = answer.err.strip().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("left alone: ") for line in lines)
    assert "cw.json" in lines[0]
    assert "package.json" in lines[1]
    assert damaged.read_text(encoding="utf-8") == '{"schema": "robustboard/cell/1"'
    assert json.loads(foreign.read_text(encoding="utf-8")) == {"name": "foreign"}
    (folder / "digits" / "relu" / "bim.json").unlink()
    refused(command("report", folder), "nothing to report", "cw.json", "package.json")


def test_a_foreign_file_in_a_runs_folder_is_named(command: Command, out: Path) -> None:
    foreign = put(out / "standard@4" / "digits" / "other" / "bim.json", '{"name": "foreign"}')
    answer = small_run(command, out, "--models", "digits/relu")
    assert answer.code == 0
    assert foreign.is_file()
    # Its row is not in the table that the run prints: that must be said there too, not only by `report`.
    assert "bim.json" in answer.err + answer.out


def test_a_cell_that_contradicts_itself_does_not_end_a_report_in_a_traceback(command: Command, tmp_path: Path) -> None:
    write_cell(make_cell(), tmp_path / "digits" / "relu" / "bim.json")
    path = tmp_path / "digits" / "relog" / "bim.json"
    write_cell(make_cell("relog"), path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["per_example"]["fooled"].pop()
    path.write_text(json.dumps(content), encoding="utf-8")
    answer = command("report", tmp_path)
    assert answer.code == 0
    assert "relog" in answer.err


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(command: Command, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(request: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "run", interrupted)
    answer = small_run(command, out, "--models", "digits/relu")
    assert answer.code == 130
    assert "finished batches and epochs are saved; the same command goes on from there" in answer.err
    assert "Traceback" not in answer.err


def test_ctrl_c_while_torch_is_still_being_imported_is_answered() -> None:
    script = (
        "import sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "from robustboard.benchmark.__main__ import main\n"
        "main()\n"
    )
    answer = subprocess.run([sys.executable, "-c", script, "models"], capture_output=True, text=True, check=False, timeout=120)
    assert (answer.returncode, answer.stderr) == (130, "interrupted before anything began\n")


def test_two_models_of_one_name_do_not_overwrite_each_other(command: Command, out: Path, tmp_path: Path) -> None:
    paths = [
        put(tmp_path / folder / "net.py", NETWORK.replace("seed(0)", f"seed({seed})")) for folder, seed in (("a", 1), ("b", 2))
    ]
    answer = small_run(command, out, *(word for path in paths for word in ("--model", f"{path}:build")))
    assert answer.code == 0, answer.err
    assert len(list((out / "standard@4").rglob("fgsm.json"))) == 2


def test_cells_of_other_weights_are_replaced_and_the_run_says_so(command: Command, out: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "a" / "net.py", NETWORK)
    assert "are replaced" not in small_run(command, out, "--model", f"{path}:build").err
    put(path, NETWORK.replace("seed(0)", "seed(1)"))
    answer = small_run(command, out, "--model", f"{path}:build")
    assert "warning: digits/a.net.build has cells of other weights or other code, which are replaced (fgsm)" in answer.err
