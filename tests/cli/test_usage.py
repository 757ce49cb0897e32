"""What users type who know other programs: an unknown option or one argument too many gets one good hint."""

from __future__ import annotations

import re

import pytest

from tests.command_line import refused
from xpnet.cli import app
from xpnet.cli.usage import SYNONYMS, suggest

pytestmark = pytest.mark.usefixtures("folder")


def hints(message: str) -> list[str]:
    return re.findall(r"Did you mean (.*?)\?", message)


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--learning-rate 0.1", "--lr"),
        ("--learning_rate=0.1", "--lr"),
        ("--learning-rate-init 0.1", "--lr"),
        ("--learing-rate 0.1", "--lr"),
        ("--weight-decay 0.1", "--l2"),
        ("--alpha 0.1", "--l2"),
        ("--max-iter 5", "--epochs"),
        ("--n-epochs 5", "--epochs"),
        ("-epochs 5", "--epochs"),
        ("--hidden-layer-sizes 5", "--hidden"),
        ("--layers 5", "--hidden"),
        ("--hidden-sizes 5", "--hidden"),
        ("--solver adam", "--optimizer"),
        ("--random-state 5", "--seed"),
        ("--output-dir run", "--out"),
        ("--save run", "--out"),
        ("--gpu", "--device gpu"),
        ("--patience 5", "--early-stopping patience=NUMBER"),
    ],
)
def test_an_option_of_other_programs(option: str, hint: str) -> None:
    message = refused("train", "iris", *option.split())
    assert hints(message) == [hint]
    assert f"received {re.split('[ =]', option)[0]}." in message
    assert "`xpnet train --help`" in message


@pytest.mark.parametrize("option", ["--verbose", "--frobnicate", "-e", "--tolerance"])
def test_an_option_that_resembles_none_gets_no_hint(option: str) -> None:
    assert hints(refused("train", "iris", option, "1")) == []


def test_a_hint_is_an_option_of_the_command() -> None:
    assert hints(refused("predict", "model", "iris", "--learning-rate", "1")) == []
    assert hints(refused("predict", "model", "iris", "--output-file", "p.csv")) == ["--out"]
    assert "`xpnet bench compare --help`" in refused("bench", "compare", "a", "b", "--n", "1")


def test_each_synonym_leads_to_an_option() -> None:
    known = {
        name
        for command in ("train", "tune", "predict")
        for argument in app[command].assemble_argument_collection()
        for name in argument.names
    }
    assert [hint for hint in SYNONYMS.values() if hint.split()[0] not in known] == []
    assert [synonym for synonym in SYNONYMS if synonym in known] == []
    assert [synonym for synonym, hint in SYNONYMS.items() if suggest(synonym, known) != hint] == []


def test_a_key_of_other_programs_in_a_configuration(folder) -> None:
    (folder / "c.toml").write_text("learning_rate = 0.1\n")
    assert hints(refused("train", "iris", "--config", "c.toml")) == ["'lr'"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train iris tip", ["expected DATA", "received 'tip' too", "write --target tip."]),
        ("train iris --quiet tip", ["expected DATA", "received 'tip' too", "write --target tip."]),
        ("train --out run iris tip --epochs 3", ["expected DATA", "received 'tip' too"]),
        ("train iris --lr 0.1 0.2", ["expected one after --lr; received '0.1' and '0.2'."]),
        ("train iris --lr=0.1 0.2", ["expected one after --lr; received '0.1' and '0.2'."]),
        (
            "train iris --activation relu tanh",
            ["received 'relu' and 'tanh'. Repeat the option for each: --activation relu --activation tanh."],
        ),
        ("predict model iris more", ["expected MODEL DATA", "received 'more' too", "`xpnet predict --help`"]),
        ("devices all", ["expected none besides options; received 'all' too"]),
    ],
)
def test_one_argument_too_many(arguments: str, words: list[str]) -> None:
    message = refused(*arguments.split())
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--batch-size 0", "--batch-size: expected an integer of at least 1, or all; received 0."),
        ("--batch-size some", "expected a whole number, or all; received 'some'."),
        ("--threads some", "expected a whole number, or auto; received 'some'."),
    ],
)
def test_values_are_those_of_the_command_line(option: str, words: str) -> None:
    assert words in refused("train", "iris", *option.split())
