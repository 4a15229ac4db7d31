"""Texts for pretrained models of several kinds: what their tokenizers and positions want, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from trainer.config import TrainConfig
from trainer.data.prepare import prepare_for
from trainer.fit import Monitor, fit
from trainer.model_file import load
from trainer.preflight import check
from trainer.transfer import Origins

transformers = pytest.importorskip("transformers")

WORDS = ["good", "bad", "film", "book", "the", "a", "was", "very", "not", "so"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
KINDS: dict[str, Callable[[int], Any]] = {
    "bert": lambda words: transformers.BertConfig(**SMALL, vocab_size=words, max_position_embeddings=12),
    "roberta": lambda words: transformers.RobertaConfig(
        **SMALL, vocab_size=words, max_position_embeddings=12, pad_token_id=0
    ),
    "deberta-v2": lambda words: transformers.DebertaV2Config(**SMALL, vocab_size=words, max_position_embeddings=12),
    "gpt2": lambda words: transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, n_positions=12, vocab_size=words, eos_token_id=2, bos_token_id=2
    ),
}


def saved(folder: Path, kind: str, *, pad: str | None = "[PAD]", words: int | None = None) -> Path:
    """A tiny model of a kind with its tokenizer, as transformers saves them."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[END]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token="[UNK]", eos_token="[END]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = KINDS[kind](words or len(vocabulary))
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rows = [" ".join([WORDS[place % 10], *["the book was"] * (place % 9), "good"]) for place in range(60)]
    labels = ["yes" if row.startswith(("good", "bad")) else "no" for row in rows]
    pd.DataFrame({"text": rows, "label": labels}).to_csv(tmp_path / "texts.csv", index=False)
    return tmp_path


def of_texts(source: Path) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "data": {"source": "file:texts.csv", "text": "text"}, "epochs": 1, "batch_size": 16,
            "model": {"name": "pretrained", "source": f"hf:{source}"},
        }
    )  # fmt: skip


def problems(config: TrainConfig, folder: Path) -> list[str]:
    found, _ = check([config], wanted={}, data_folders=[folder], device=CPU)
    return [f"{problem.path}: {problem.message}; {problem.hint}" for problem in found]


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_all_kinds_are_trained_on_texts_longer_than_they_take(texts: Path, kind: str) -> None:
    config = of_texts(saved(texts / kind, kind))
    assert problems(config, texts) == []

    origin = Origins([texts]).of(config)
    assert origin is not None
    config = origin.resolve(config)
    prepared = prepare_for(config, device=CPU, data_folders=[texts], given=origin.given(config))
    folder = MemoryFolder()
    fit(config, prepared, monitor=Monitor("val/loss", "minimize"), origin=origin, folder=folder, reporter=Recorder())

    rows = pd.DataFrame({"text": ["good book", "the book was " * 20]})
    assert load(folder).probabilities(rows).sum(1) == pytest.approx([1, 1])


def test_where_no_token_stands_for_nothing_the_end_does(texts: Path) -> None:
    config = of_texts(saved(texts / "gpt2", "gpt2", pad=None))
    origin = Origins([texts]).of(config)
    assert origin is not None

    assert (origin.prepares.pad, origin.architecture["pad_token_id"]) == (2, 2)  # type: ignore[union-attr]


def test_a_folder_without_a_tokenizer_is_refused(texts: Path) -> None:
    folder = saved(texts / "bert", "bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()

    [sentence] = problems(of_texts(folder), texts)
    assert sentence.startswith("trial.model.source: ")
    assert "no tokenizer" in sentence


def test_a_tokenizer_of_another_model_is_refused(texts: Path) -> None:
    [sentence] = problems(of_texts(saved(texts / "bert", "bert", words=5)), texts)
    assert "13 tokens" in sentence
    assert "5" in sentence


def test_a_tokenizer_that_needs_python_is_refused(texts: Path) -> None:
    folder = texts / "canine"
    config = transformers.CanineConfig(**SMALL, max_position_embeddings=64, num_hash_buckets=64)
    transformers.CanineForSequenceClassification(config).save_pretrained(folder)
    transformers.CanineTokenizer().save_pretrained(folder)

    [sentence] = problems(of_texts(folder), texts)
    assert "CanineTokenizer" in sentence
