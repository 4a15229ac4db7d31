"""Texts, from a column of a file to the exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import f1_score

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from trainer.config import Data, Model, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Part
from trainer.data.schema import Target
from trainer.data.texts import PAD, TextSchema, fit_texts
from trainer.errors import DataError
from trainer.fit import Monitor, fit
from trainer.loop import _batches, evaluate
from trainer.model_file import load
from trainer.models.build import build
from trainer.models.layers import Network
from trainer.models.text import TokenBag
from trainer.snapshots import SnapshotEnsemble

TOKENS = torch.tensor([[4, 5, 0, 0, 0, 0], [6, 7, 8, 0, 0, 0], [9, 0, 0, 0, 0, 0]], dtype=torch.int32)
TARGET = Target(name="label", task="classification", classes=("a", "b"))
F1 = Monitor("val/f1", "maximize")
GOOD, BAD = ["well done", "a fine day", "so good!"], ["win cash", "free prize now", "so cheap!"]


def schema(*texts: str | None, **knobs: Any) -> TextSchema:
    return fit_texts(pd.DataFrame({"t": texts}), Data(source="file:x", text="t", **knobs), TARGET)


def encode(of: TextSchema, *texts: str | None) -> list[list[int]]:
    return of.encode(pd.DataFrame({"t": texts}))[0].tolist()


def test_tokens_are_known_by_how_frequent_they_are_in_the_training_part() -> None:
    learnt = schema("b a, b", "B a c")

    # b three times, a twice, then the comma and c
    assert learnt.vocabulary == ("b", "a", ",", "c")
    assert encode(learnt, "a b", "new b ,", None) == [[3, 2, 0], [1, 2, 4], [0, 0, 0]]


def test_the_vocabulary_the_case_and_the_length_are_knobs() -> None:
    assert schema("b a, b", "B a c", vocabulary=2).vocabulary == ("b", "a")
    assert schema("b B", lower_case=False).vocabulary == ("B", "b")
    assert encode(schema("a b c", max_tokens=2), "c b a") == [[4, 3]]


def test_numbers_are_told_apart_by_their_length() -> None:
    learnt = schema("call 080, 12")

    assert learnt.vocabulary == (",", "00", "000", "call")
    assert encode(learnt, "999 55 7") == [[4, 3, 1]]


def test_subwords_know_a_word_that_was_never_seen_by_its_parts() -> None:
    learnt = schema("winner", tokens="subwords")

    assert {"winner", "<wi", "win", "<win", "inne", "er>"} <= set(learnt.vocabulary)
    [row] = encode(learnt, "winning")
    known = {learnt.vocabulary[token - 2] for token in row if token >= 2}
    assert known == {"<wi", "win", "inn", "<win", "winn"}


def test_a_vocabulary_that_is_kept_reads_as_when_it_was_learned() -> None:
    """The marks of Hindi's vowels parted its words, and none of them is known to a model that learned the words."""
    hindi = "हिन्दी में"
    by_script, plain = schema(hindi), schema(hindi, words="plain")
    before = TextSchema.model_validate(plain.model_dump(exclude={"words"}))  # as it was written down

    assert by_script.vocabulary == ("में", "हिन्दी")
    assert len(encode(before, hindi)[0]) == len(hindi) - 1  # each letter and each mark
    assert encode(before, hindi) == encode(plain, hindi)
    assert encode(TextSchema.model_validate_json(by_script.model_dump_json()), hindi) == [[3, 2]]


def test_a_column_without_a_token_is_refused() -> None:
    with pytest.raises(DataError, match="no row of the training part has a text in t"):
        schema(None, "  ")


def test_a_file_may_say_that_its_quotation_marks_quote_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("label\ttext\n" + 'ham\t"hi there\nspam\twin "now\nham\tfine\nspam\t"\n' * 5)
    folders = [tmp_path]
    text = Data(source="file:t.tsv", target="label", text="text", quoting="none")

    prepared = prepare(text, device=CPU, data_folders=folders)

    assert sum(part.rows for part in (prepared.train, prepared.validation, prepared.test) if part) == 20
    with pytest.raises(DataError):
        prepare(text.model_copy(update={"quoting": "standard"}), device=CPU, data_folders=folders)


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    rows = [("ham", f"{GOOD[n % 3]} {n}") for n in range(60)] + [("spam", f"{BAD[n % 3]} {n}") for n in range(30)]
    pd.DataFrame(rows, columns=["label", "text"]).to_csv(tmp_path / "m.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("name", ["embedding_bag", "text_cnn"])
def test_a_model_of_texts_learns_goes_on_bit_for_bit_and_predicts(messages: Path, name: str) -> None:
    config = TrainConfig.model_validate(
        {
            "data": {"source": "file:m.csv", "target": "label", "text": "text"},
            "model": {"name": name, "width": 8, "hidden": []},
            "optimizer": {"lr": 0.05},
            "regularization": {"dropout": 0.2},
            "checkpoint": {"every_seconds": 0},
            "epochs": 8,
            "batch_size": 16,
        }
    )
    prepared = prepare(config.data, device=CPU, data_folders=[messages])
    whole, killed, resumed = MemoryFolder(), MemoryFolder(), MemoryFolder()
    fitted = fit(config, prepared, monitor=F1, reporter=Recorder(), folder=whole)
    with pytest.raises(Killed):
        fit(config, prepared, monitor=F1, reporter=Recorder(killed_at=3), folder=killed)
    fit(config, prepared, monitor=F1, reporter=Recorder(), folder=resumed, resume_from=[killed])

    assert fitted.metrics["test/f1"] > 0.9
    assert resumed == whole
    rows = pd.read_csv(messages / "m.csv")
    assert f1_score(rows["label"], load(whole).predict(rows[["text"]]), pos_label="spam") > 0.9


@pytest.mark.parametrize("name", ["embedding_bag", "text_cnn"])
def test_padding_changes_no_prediction(name: str) -> None:
    learnt = schema("a b c d e", "b c")
    config = TrainConfig.model_validate(
        {"data": {"source": "file:x", "text": "t"}, "model": {"name": name, "width": 8}}
    )
    model = build(config.model, learnt).eval()
    alone, padded = torch.tensor([[2, 3]], dtype=torch.int32), torch.tensor([[2, 3, 0, 0, 0, 0]], dtype=torch.int32)

    torch.testing.assert_close(model(alone), model(padded))


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        ("t", "mlp", "mlp cannot read data.text; take embedding_bag or text_cnn"),
        (None, "text_cnn", "text_cnn learns from a text; name its column in data.text"),
    ],
)
def test_a_text_without_a_model_of_texts_is_refused_at_the_door(text: str | None, model: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate({"data": {"source": "file:x", "text": text}, "model": {"name": model}})


def test_a_batch_is_cut_where_its_longest_text_ends() -> None:
    part = Part((TOKENS,), torch.arange(3))

    batches = list(_batches(part, torch.tensor([1, 0, 2]), batch_size=2, pad=0))

    assert [tokens.tolist() for (tokens,), _ in batches] == [[[6, 7, 8], [4, 5, 0]], [[9]]]
    assert [y.tolist() for _, y in batches] == [[1, 0], [2]]


@pytest.mark.parametrize("name", ["embedding_bag", "text_cnn"])
def test_no_model_sees_what_is_padded(name: Any) -> None:
    model = build(Model(name=name, width=4, hidden=[]), schema("a b c d e f g h")).eval()

    torch.testing.assert_close(model(TOKENS[:, :3]), model(TOKENS))


class Sum(Network):
    """Of the tokens; and how wide the batches were."""

    cpu_rows, pad = 2, 0

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.widths.append(tokens.shape[1])
        return tokens.sum(1).float()


def test_texts_are_evaluated_with_others_of_their_length_and_answered_in_their_order() -> None:
    rows = torch.cat([TOKENS, torch.zeros_like(TOKENS[:1])])  # of 2, 3, 1 and no tokens
    alone, members = Sum(), [Sum(), Sum()]

    for model in (alone, SnapshotEnsemble(members)):
        assert evaluate(model, Part((rows,), torch.arange(4))).tolist() == [9, 21, 9, 0]
    assert [model.widths for model in (alone, *members)] == [[1, 3]] * 3


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_the_mean_of_tokens_and_its_gradient_are_those_of_pytorch(kind: torch.dtype) -> None:
    ours, stock = TokenBag(99, 4), torch.nn.EmbeddingBag(99, 4, mode="mean", padding_idx=PAD)
    stock.load_state_dict(ours.state_dict())
    # Among many texts: a token twice in one, padding in between, and nothing but padding, also at the end.
    tokens = torch.randint(0, 99, (50, 7), dtype=kind)
    tokens[0], tokens[[1, -1]] = torch.tensor([3, 3, 4, PAD, 5, PAD, PAD], dtype=kind), PAD
    upstream = torch.randn(50, 4)

    means = [bag(tokens) for bag in (ours, stock)]
    for mean in means:
        mean.backward(upstream)

    assert torch.equal(*means)
    torch.testing.assert_close(ours.weight.grad, stock.weight.grad)
    assert ours(tokens[[1, -1]]).tolist() == [[0.0] * 4] * 2
