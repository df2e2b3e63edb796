"""Protocols: what ships reads, cannot change unnoticed, and what is not official never carries an official name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from robustboard.attacks.attack import AttackCard, attack_cards
from robustboard.benchmark.cascade import CASCADES
from robustboard.benchmark.cells import plan_attack
from robustboard.benchmark.datasets import DATASETS, Dataset, load_dataset
from robustboard.benchmark.errors import InputError
from robustboard.benchmark.protocols import HOME, DatasetPlan, Protocol, adjusted, digest, load_protocol, protocol_names
from robustboard.benchmark.results import read_folder
from robustboard.benchmark.subjects import registry_subjects

ROOT = Path(__file__).resolve().parents[1]
DIGESTS = Path(__file__).parent / "protocol_digests.json"
SHIPPED = [load_protocol(name) for name in protocol_names()]
TEST_SET_SIZES = {"digits": 1000, "mnist": 10_000, "cifar10": 10_000}
FEATURES = {"digits": 64, "mnist": 784, "cifar10": 3072}

shipped = pytest.mark.parametrize("protocol", SHIPPED, ids=lambda protocol: protocol.name)


@pytest.fixture(scope="module")
def standard() -> Protocol:
    return load_protocol("standard")


def adjust(protocol: Protocol, **changes: object) -> Protocol:
    return adjusted(protocol, **({"n": None, "epsilon": None, "indices": None, "seed": None} | changes))  # type: ignore[arg-type]


@shipped
def test_a_shipped_protocol_is_whole(protocol: Protocol) -> None:
    assert (HOME / f"{protocol.name}.toml").is_file()
    assert protocol.version >= 1
    assert set(protocol.datasets) <= set(DATASETS)
    assert set(protocol.attacks) <= {*attack_cards(), *CASCADES}
    for dataset, plan in protocol.datasets.items():
        assert plan.n <= TEST_SET_SIZES[dataset]
        assert set(plan.fewer) <= set(attack_cards())
        assert set(plan.attacks) <= set(attack_cards())
        # "Fewer" is fewer.
        assert all(n <= plan.n for n in plan.fewer.values())


@shipped
def test_every_attack_of_a_shipped_protocol_takes_its_parameters(protocol: Protocol) -> None:
    cards = attack_cards()
    for dataset in protocol.datasets:
        stages = {stage for stages in protocol.cascades.values() for stage in stages}
        for name in {*protocol.attacks, *protocol.plan(dataset).attacks, *stages} - {*CASCADES}:
            cards[name].bind(**protocol.parameters(dataset, cards[name]))


@shipped
def test_iterated_attacks_of_a_shipped_protocol_can_reach_the_border_of_the_ball(protocol: Protocol) -> None:
    # steps · step · ε < ε would leave part of the ball out of reach, and call it robustness.
    for dataset in protocol.datasets:
        for name in ("bim", "bim_ce", "max_confidence"):
            card = attack_cards()[name]
            parameters = {**card.parameters(), **protocol.parameters(dataset, card)}
            assert parameters["steps"] * parameters["step"] >= 1, (dataset, name)


@shipped
def test_a_shipped_protocol_has_models(protocol: Protocol) -> None:
    assert registry_subjects(protocol.models, list(protocol.datasets))


@shipped
def test_no_number_of_a_shipped_protocol_changes_without_a_new_version(protocol: Protocol) -> None:
    known: dict[str, dict[str, str]] = json.loads(DIGESTS.read_text(encoding="utf-8"))
    found = digest(protocol)
    stored = known.get(protocol.name, {}).get(str(protocol.version))
    assert found == stored, (
        f"{protocol.name} v{protocol.version} is not what it was: results under the old and new numbers would mix. Raise "
        f"`version` in {protocol.name}.toml and add its digest to tests/protocol_digests.json: the old ones stay. Now: {found}"
    )


def test_the_digest_sees_every_number_but_the_version(standard: Protocol) -> None:
    plan = standard.plan("digits")
    variants = [
        replace(standard, seed=1),
        replace(standard, attacks=standard.attacks[:-1]),
        *(
            replace(standard, datasets={**standard.datasets, "digits": changed})
            for changed in (
                replace(plan, n=999),
                replace(plan, linf=0.21),
                replace(plan, l2=2.1),
                replace(plan, gamma=0.146),
                replace(plan, fewer={"cw": 100}),
                replace(plan, attacks={"bim": {"steps": 41}}),
            )
        ),
    ]
    assert len({digest(protocol) for protocol in [standard, *variants]}) == 1 + len(variants)
    assert digest(replace(standard, version=2)) == digest(standard)


def test_examples_are_the_first_n_fewer_where_said(standard: Protocol) -> None:
    assert standard.examples("digits", "bim", 1000) == list(range(1000))
    assert standard.examples("digits", "cw", 1000) == list(range(standard.plan("digits").fewer["cw"]))
    with pytest.raises(InputError, match=r"n = 1000 is larger than digits's test set of 999 examples: give a smaller --n"):
        standard.examples("digits", "bim", 999)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_budget_is_in_the_attacks_own_norm(standard: Protocol, dataset: str) -> None:
    cards, plan = attack_cards(), standard.plan(dataset)
    assert standard.threat(dataset, cards["bim"], FEATURES[dataset]).epsilon == plan.linf
    assert standard.threat(dataset, cards["cw"], FEATURES[dataset]).epsilon == plan.l2
    features_allowed = standard.threat(dataset, cards["jsma"], FEATURES[dataset]).epsilon
    assert features_allowed == int(features_allowed)
    assert features_allowed <= plan.gamma * FEATURES[dataset] < features_allowed + 1


def test_n_names_and_fills_another_protocol(standard: Protocol) -> None:
    changed = adjust(standard, n=200)
    assert changed.name == "standard@200"
    assert changed.title != standard.title
    for name in (*standard.attacks, "bim_ce"):
        assert changed.examples("mnist", name, 10_000) == list(range(200))
    assert adjust(standard, n=2000).examples("mnist", "bim", 10_000) == list(range(2000))


def test_epsilon_names_another_protocol_and_leaves_the_other_norms(standard: Protocol) -> None:
    changed = adjust(standard, epsilon=0.1)
    assert changed.name == "standard@eps-0.1"
    for name, plan in changed.datasets.items():
        assert replace(plan, linf=standard.plan(name).linf) == standard.plan(name)
        assert plan.linf == 0.1


def test_seed_names_another_protocol_unless_it_is_the_protocols(standard: Protocol) -> None:
    assert adjust(standard, seed=7).name == "standard@seed-7"
    assert adjust(standard, seed=7).seed == 7
    assert adjust(standard, seed=standard.seed) == standard
    assert adjust(standard) == standard


def test_changes_are_named_together(standard: Protocol) -> None:
    assert adjust(standard, n=10, epsilon=0.1, seed=3).name == "standard@10@eps-0.1@seed-3"


def test_two_radii_that_differ_have_two_names(standard: Protocol) -> None:
    # Cells of one name stand in one table: a name that rounds the radius would mix two measurements.
    names = {adjust(standard, epsilon=epsilon).name for epsilon in (8 / 255, 0.0313725, 0.3, 0.3000001)}
    assert len(names) == 4


def test_indices_name_another_protocol_by_their_content(standard: Protocol, tmp_path: Path) -> None:
    path = tmp_path / "chosen.json"
    path.write_text("[5, 3, 900]", encoding="utf-8")
    changed = adjust(standard, indices=path)
    stem, _, mark = changed.name.rpartition("-")
    assert stem == "standard@indices"
    assert len(mark) == 8
    assert int(mark, 16) >= 0
    assert changed.examples("digits", "cw", 1000) == [5, 3, 900]
    with pytest.raises(InputError, match="--indices asks for example 900; digits has 900 test examples"):
        changed.examples("digits", "cw", 900)
    path.write_text("[3, 5, 900]", encoding="utf-8")
    assert adjust(standard, indices=path).name != changed.name


@pytest.mark.parametrize("text", ["", "[]", "[1, 1]", "[-1]", "[1.5]", '["1"]', "[true]", "{}", "7", "[1, 2", "[null]"])
def test_indices_that_are_no_list_of_positions_are_refused(standard: Protocol, tmp_path: Path, text: str) -> None:
    path = tmp_path / "chosen.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"--indices .*chosen\.json"):
        adjust(standard, indices=path)


def test_indices_that_are_not_there_are_refused(standard: Protocol, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--indices"):
        adjust(standard, indices=tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 0}, "--n must be at least 1, got 0"),
        ({"n": -5}, "--n must be at least 1, got -5"),
        ({"epsilon": -0.1}, "got -0.1"),
        ({"epsilon": 1.5}, "got 1.5"),
        ({"epsilon": float("nan")}, "got nan"),
        ({"epsilon": float("inf")}, "got inf"),
        ({"n": 5, "indices": Path("x.json")}, "give one of them"),
    ],
)
def test_values_that_cannot_be_are_refused(standard: Protocol, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        adjust(standard, **changes)


OWN = """
name = "mine"
version = 3
title = "Mine"
seed = 4
attacks = ["fgsm"]

[datasets.digits]
n = 10
linf = 0.1
l2 = 1.0
gamma = 0.1
"""


def own(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_users_file_is_read_by_its_path(tmp_path: Path) -> None:
    protocol = load_protocol(own(tmp_path, OWN))
    assert protocol == Protocol("mine", 3, "Mine", 4, ["fgsm"], {"digits": DatasetPlan(10, 0.1, 1.0, 0.1)})
    assert adjust(protocol, n=5).name == "mine@5"
    with pytest.raises(InputError, match="protocol mine says nothing about mnist; it covers digits"):
        protocol.plan("mnist")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("name = ", "does not read", id="broken"),
        pytest.param("", "name: ", id="empty"),
        pytest.param(OWN.replace('"mine"', '"standard"'), "'standard', an official name", id="official name"),
        pytest.param(OWN + "epsilon = 0.3\n", "datasets.digits.epsilon", id="unknown key in a data set"),
        pytest.param("epsilon = 0.3\n" + OWN, "epsilon", id="unknown key"),
        pytest.param(OWN.replace("n = 10", 'n = "many"'), "datasets.digits.n", id="wrong type"),
        pytest.param(OWN.replace("n = 10", "n = 0"), "n must be at least 1", id="no examples"),
        pytest.param(OWN + "fewer = { fgsm = 0 }", "n must be at least 1", id="fewer than one"),
        pytest.param(OWN.replace("linf = 0.1", "linf = 1.1"), "budgets must be", id="L∞ beyond the box"),
        pytest.param(OWN.replace("linf = 0.1", "linf = nan"), "linf", id="NaN"),
        pytest.param(OWN.replace("l2 = 1.0", "l2 = -1.0"), "budgets must be", id="negative L2"),
        pytest.param(OWN.replace("gamma = 0.1", "gamma = 2.0"), "budgets must be", id="more than all features"),
        pytest.param(OWN.replace('"mine"', '"../mine"'), "cannot name a folder", id="another folder"),
        pytest.param(OWN.replace('"mine"', '"standard@10"'), "cannot name a folder", id="like an adjusted one"),
        pytest.param(OWN.replace('"mine"', '""'), "cannot name a folder", id="no name"),
        pytest.param(OWN.replace('"mine"', '"a\\u0000b"'), "cannot name a folder", id="a NUL in the name"),
        pytest.param(OWN + "\ufeff\x00", "does not read", id="binary"),
    ],
)
def test_a_users_file_that_is_wrong_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as trouble:
        load_protocol(own(tmp_path, text))
    assert "mine.toml" in str(trouble.value)
    assert "\n" not in str(trouble.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(OWN.replace('["fgsm"]', "[]"), id="no attacks"),
        pytest.param(OWN + "fewer = { fgms = 5 }", id="fewer examples for an unknown attack"),
        pytest.param(OWN + "[datasets.digits.attacks]\nbmi = { steps = 5 }", id="parameters of an unknown attack"),
    ],
)
def test_a_users_file_whose_words_would_be_passed_over_is_refused(tmp_path: Path, text: str) -> None:
    # A misspelled attack would otherwise run at its defaults while the file says something else.
    data = load_dataset("digits", "test")
    with pytest.raises(InputError):
        plan_every_attack(load_protocol(own(tmp_path, text)), data)


def plan_every_attack(protocol: Protocol, data: Dataset) -> None:
    for name in protocol.attacks:
        plan_attack(protocol, attack_cards()[name], data)


def test_a_protocol_whose_numbers_cannot_work_is_refused(tmp_path: Path) -> None:
    text = OWN.replace('["fgsm"]', '["bim"]') + "[datasets.digits.attacks]\nbim = { steps = 2, step = 0.1 }"
    protocol = load_protocol(own(tmp_path, text))
    with pytest.raises(InputError, match="protocol mine, digits: "):
        plan_attack(protocol, "bim", load_dataset("digits", "test"))


def test_a_users_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(InputError, match=r"mine\.toml does not read"):
        load_protocol(str(path))


@shipped
def test_what_a_protocol_says_reaches_the_attack(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records leave out what is at its neutral value; what runs must not."""
    got: dict[str, object] = {}
    monkeypatch.setattr(AttackCard, "bind", lambda card, head="softmax", **parameters: got.update({card.name: parameters}))
    stages = {stage for stages in protocol.cascades.values() for stage in stages}
    for dataset in protocol.datasets:
        images = Dataset(dataset, "test", torch.zeros(TEST_SET_SIZES[dataset], 1, 8, 8), torch.zeros(TEST_SET_SIZES[dataset]), "")
        for name in {*protocol.attacks, *stages} - {*CASCADES}:
            plan_attack(protocol, name, images).bind("softmax")
            stated = protocol.plan(dataset).attacks.get(name, {})
            assert stated.items() <= got[name].items(), (dataset, name)  # type: ignore[attr-defined]


def test_unknown_protocol_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no protocol 'standrad', did you mean 'standard'\?"):
        load_protocol("standrad")
    with pytest.raises(InputError, match="there is no protocol"):
        load_protocol(str(tmp_path))


def test_the_committed_cells_are_those_of_todays_standard(standard: Protocol) -> None:
    """Whoever adds a model runs `standard` as it is today: its cells must be able to stand in one table with these."""
    cells, unread = read_folder(ROOT / "leaderboards" / "results" / "standard")
    assert unread == []
    assert len(cells) >= 72
    for cell in cells:
        where = f"{cell.dataset.name}/{cell.model.name}/{cell.attack.name}"
        assert cell.protocol.version == standard.version, where
        if cell.attack.name in CASCADES:
            continue
        card = attack_cards()[cell.attack.name]
        assert cell.attack.version == card.version, where
        assert cell.attack.params == card.settings(standard.parameters(cell.dataset.name, card)), where


def test_a_parameter_that_came_later_leaves_old_results_what_they_are() -> None:
    card = attack_cards()["ddn"]
    assert "classes" not in card.settings({"steps": 7})
    assert card.settings({"classes": 0}) == card.settings({})
    assert card.settings({"classes": 9})["classes"] == 9
    with pytest.raises(ValueError, match="steps must be at least 1"):
        card.check_parameters({"steps": 0})


def test_a_parameter_left_out_of_records_means_its_default() -> None:
    with pytest.raises(ValueError, match="classes is left out of records at 3, but its default is 0"):
        replace(attack_cards()["ddn"], neutral={"classes": 3})
