"""Pretrained models: from a folder of transformers' and from trainings of ours; what learns, how fast, what is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from tests.unit.trainer.pretended_gpu import pretended_gpu
from trainer.config import TrainConfig
from trainer.convert import convert
from trainer.data.mapped import placed
from trainer.data.prepare import Given, prepare, prepare_for
from trainer.data.prepared import Prepared
from trainer.ensemble.ensemble_file import latency_ms
from trainer.errors import DataError, ModelError
from trainer.fit import Fitted, Monitor, fit
from trainer.freezing import blocks_of, parameter_groups
from trainer.model_file import DOCUMENT, TENSORS, load
from trainer.models.pretrained import PretrainedText
from trainer.preflight import check
from trainer.training import Training
from trainer.transfer import Origins

LOSS = Monitor("val/loss", "minimize")
WORDS = ["good", "bad", "film", "book", "the", "a", "was", "very", "not", "so"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with its tokenizer, as transformers saves them."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("sources") / "tiny-bert"
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(WORDS, rng.integers(2, 20))) for _ in range(80)]
    folder = tmp_path_factory.mktemp("texts")
    pd.DataFrame({"text": rows, "label": ["good" if "good" in row.split() else "other" for row in rows]}).to_csv(
        folder / "texts.csv", index=False
    )
    return folder


def of_texts(encoder: Path, **sections: Any) -> TrainConfig:
    document = {
        "data": {"source": "file:texts.csv", "text": "text"}, "epochs": 2, "batch_size": 16,
        "model": {"name": "pretrained", "source": f"hf:{encoder}"}, "checkpoint": {"every_seconds": 0},
    }  # fmt: skip
    return TrainConfig.model_validate(document | sections)


def run(config: TrainConfig, *folders: Path, monitor: Monitor = LOSS, **more: Any) -> tuple[Fitted, MemoryFolder]:
    folder = MemoryFolder()
    config, prepared, origin = opened(config, *folders)
    fitted = fit(config, prepared, monitor=monitor, origin=origin, folder=folder, **({"reporter": Recorder()} | more))
    return fitted, folder


def opened(config: TrainConfig, *folders: Path) -> tuple[TrainConfig, Prepared, Any]:
    origin = Origins(folders).of(config)
    assert origin is not None
    config = origin.resolve(config)
    prepared = prepare_for(config, device=CPU, data_folders=folders, given=origin.given(config))
    assert isinstance(prepared, Prepared)
    return config, prepared, origin


@pytest.mark.parametrize("knobs", [{}, {"pooling": "mean", "lora_rank": 2}])
def test_a_pretrained_model_is_trained_the_same_elsewhere(
    encoder: Path, texts: Path, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = {"freeze": "all_but_head", "unfreeze_every": 1, "lr_decay": 0.5}
    model = {"name": "pretrained", "source": f"hf:{encoder}"} | knobs
    config, prepared, origin = opened(of_texts(encoder, model=model, transfer=transfer), texts, encoder.parent)

    def trained_on(device: torch.device) -> Fitted:
        there = placed(prepared, device, 2**33)
        return fit(config, there, monitor=LOSS, origin=origin, folder=MemoryFolder(), reporter=Recorder())

    here = trained_on(CPU)
    with pretended_gpu(monkeypatch) as gpu:
        assert trained_on(gpu).metrics == pytest.approx(here.metrics, abs=1e-5)


@pytest.mark.parametrize("knobs", [{}, {"pooling": "mean", "lora_rank": 2}])
def test_a_pretrained_model_is_converted_for_texts_of_any_length(
    encoder: Path, texts: Path, knobs: dict[str, Any]
) -> None:
    model = {"name": "pretrained", "source": f"hf:{encoder}"} | knobs
    _, folder = run(of_texts(encoder, model=model, epochs=1), texts, encoder.parent)
    trained = load(folder)
    prepared = prepare_for(trained.config, device=CPU, data_folders=[texts], given=Given(trained.schema))

    session = onnxruntime.InferenceSession(convert(trained.members[0].model, prepared.validation, "onnx"))

    for rows in (["good"], ["a very good film", "so bad"], ["the book was not so good " * 4]):
        frame = pd.DataFrame({"text": rows})
        (tokens,) = trained.schema.encode(frame)  # type: ignore[arg-type]
        (logits,) = session.run(None, {session.get_inputs()[0].name: tokens.astype(np.int64)})
        probabilities = torch.from_numpy(logits).softmax(1).numpy()
        assert probabilities == pytest.approx(trained.probabilities(frame), abs=1e-4)


def training_of(config: TrainConfig, *folders: Path) -> Training:
    config, prepared, origin = opened(config, *folders)
    return Training(config, prepared, LOSS, origin)


def changed(training: Training, act: Callable[[], object]) -> set[str]:
    """The names of the tensors that an action changes."""
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    act()
    return {name for name, tensor in training.model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_a_model_from_elsewhere_is_fine_tuned_and_predicts_without_its_source(encoder: Path, texts: Path) -> None:
    recorder = Recorder()
    fitted, folder = run(of_texts(encoder, epochs=3), texts, encoder.parent, reporter=recorder)

    predictor = load(folder)
    rows = pd.read_csv(texts / "texts.csv")
    _, prepared, _ = opened(of_texts(encoder), texts, encoder.parent)

    assert recorder.lines[0] == f"from hf:{encoder}, but for inner.classifier.weight, inner.classifier.bias"
    assert prepared.schema.columns == ["text"]
    assert prepared.train.inputs[0].shape[1] == 12  # as many tokens as the model has places for
    assert "test/accuracy" in fitted.metrics
    probabilities = predictor.probabilities(rows)
    assert probabilities.shape == (80, 2)
    one_by_one = np.concatenate([predictor.probabilities(rows[place : place + 1]) for place in range(80)])
    np.testing.assert_allclose(probabilities, one_by_one, atol=1e-5)  # padding changes nothing


def test_the_mean_over_the_tokens_is_what_a_head_of_ours_reads(encoder: Path, texts: Path) -> None:
    from transformers import AutoModel

    model = {"name": "pretrained", "source": f"hf:{encoder}", "pooling": "mean"}
    recorder = Recorder()
    trained = training_of(of_texts(encoder, model=model), texts, encoder.parent).model.eval()
    assert isinstance(trained, PretrainedText)
    body = AutoModel.from_pretrained(encoder).eval()
    short, long = torch.tensor([[5, 6, trained.pad]], dtype=torch.int32), torch.tensor([[7, 8, 9]], dtype=torch.int32)

    with torch.no_grad():
        # of the short one the mean over its two tokens alone, by the source's own layers
        means = torch.cat(
            [body(short[:, :2].long()).last_hidden_state.mean(1), body(long.long()).last_hidden_state.mean(1)]
        )
        torch.testing.assert_close(trained(torch.cat([short, long])), trained.head(means), atol=1e-5, rtol=0)

    _, folder = run(of_texts(encoder, model=model, epochs=1), texts, encoder.parent, reporter=recorder)
    assert recorder.lines[0] == f"from hf:{encoder}, but for head.weight, head.bias"
    probabilities = load(folder).probabilities(pd.read_csv(texts / "texts.csv"))
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_a_model_from_elsewhere_learns_a_value(encoder: Path, tmp_path: Path) -> None:
    texts = [" ".join(["good"] * count + ["bad"] * (6 - count)) for count in range(7)] * 8
    table = pd.DataFrame({"text": texts, "praise": [100.0 + 2 * text.count("good") for text in texts]})
    table.to_csv(tmp_path / "texts.csv", index=False)
    data = {"source": "file:texts.csv", "text": "text", "target": "praise", "task": "regression"}

    fitted, folder = run(of_texts(encoder, data=data, epochs=12, optimizer={"lr": 0.005}), tmp_path, encoder.parent)

    least, most = load(folder).predict(pd.DataFrame({"text": [texts[0], texts[6]]}))
    assert (fitted.metrics["val/rmse"], least, most) == (
        pytest.approx(0, abs=2),
        pytest.approx(100, abs=3),
        pytest.approx(112, abs=3),
    )


def test_it_begins_with_the_sources_weights_and_the_head_follows_the_seed(encoder: Path, texts: Path) -> None:
    from transformers import AutoModel

    first, again, other = (training_of(of_texts(encoder, seed=seed), texts, encoder.parent) for seed in (1, 1, 2))

    source = AutoModel.from_pretrained(encoder).state_dict()
    own = first.model.state_dict()
    for name, tensor in source.items():
        assert torch.equal(own[f"inner.bert.{name}"], tensor), name
    heads = [each.model.state_dict()["inner.classifier.weight"] for each in (first, again, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_killed_fine_tuning_goes_on_bit_for_bit(encoder: Path, texts: Path) -> None:
    """With dropout, gradual unfreezing and low ranks: all that could be lost on the way."""
    config = of_texts(
        encoder, epochs=3, transfer={"freeze": "all_but_head", "unfreeze_every": 1, "lr_decay": 0.5},
        regularization={"dropout": 0.2}, cross_validation={"folds": 2},
    )  # fmt: skip
    config = config.model_copy(update={"model": config.model.model_copy(update={"lora_rank": 2})})
    origin = Origins([encoder.parent]).of(config)
    assert origin
    config = origin.resolve(config)
    prepared = prepare_for(config, device=CPU, data_folders=[texts], given=origin.given(config))
    whole, killed, resumed = MemoryFolder(), MemoryFolder(), MemoryFolder()

    def go(folder: MemoryFolder, reporter: Recorder, *earlier: MemoryFolder) -> Fitted:
        return fit(config, prepared, monitor=LOSS, origin=origin, folder=folder, reporter=reporter, resume_from=earlier)

    finished = go(whole, Recorder())
    with pytest.raises(Killed):
        go(killed, Recorder(killed_at=2))

    assert go(resumed, Recorder(), killed) == finished
    assert resumed == whole


def test_only_the_head_learns_while_the_rest_is_frozen_and_thaws_from_the_top(encoder: Path, texts: Path) -> None:
    training = training_of(
        of_texts(encoder, epochs=9, transfer={"freeze": "all_but_head", "unfreeze_every": 1}), texts, encoder.parent
    )

    names = [changed(training, training.run_epoch) for _ in range(4)]

    assert names[0] == {"inner.classifier.weight", "inner.classifier.bias"}
    assert {name.split(".")[2] for name in names[1] - names[0]} == {"pooler"}
    assert any("layer.1." in name for name in names[2])
    assert not any("layer.0." in name for name in names[2])
    assert any("layer.0." in name for name in names[3])
    assert not any("embeddings" in name for name in names[3])


def test_blocks_are_counted_from_the_input_and_slow_down_towards_it(encoder: Path, texts: Path) -> None:
    transfer = {"lr_decay": 0.5, "head_lr": 10.0, "freeze": "blocks", "frozen_blocks": 2}
    training = training_of(of_texts(encoder, transfer=transfer), texts, encoder.parent)

    # From the input: embeddings, two layers, the pooler; then the head.
    assert len(blocks_of(training.model)) == 4
    groups = parameter_groups(training.model, training._config.transfer)
    assert [group["scale"] for group in groups] == [0.5**4, 0.5**3, 0.5**2, 0.5, 10.0]
    names = changed(training, training.run_epoch)
    assert not any("embeddings" in name or "layer.0." in name for name in names)
    assert any("layer.1." in name for name in names)


def test_with_low_rank_matrices_only_they_and_the_head_learn(encoder: Path, texts: Path) -> None:
    config = of_texts(encoder, model={
        "name": "pretrained", "source": f"hf:{encoder}", "lora_rank": 2, "lora_targets": ["query", "value"],
    }, optimizer={"lr": 0.01, "weight_decay": 0.1})  # fmt: skip
    training = training_of(config, texts, encoder.parent)
    plain = training_of(of_texts(encoder), texts, encoder.parent)

    plain.model.inner.classifier.load_state_dict(training.model.inner.classifier.state_dict())  # type: ignore[union-attr, operator]
    training.model.eval(), plain.model.eval()
    rows = training._prepared.validation.inputs[0]
    assert torch.equal(training.model(rows), plain.model(rows))  # the second matrix begins as 0
    names = changed(training, training.run_epoch)
    assert {name.split(".")[-3] for name in names if "lora" in name} == {"lora_A", "lora_B"}
    assert sum("lora_" in name for name in names) == 2 * 2 * 2  # of query and value, in each of two layers, two
    assert {name for name in names if "lora_" not in name} == {"inner.classifier.weight", "inner.classifier.bias"}


def test_a_model_from_elsewhere_is_exported(encoder: Path, texts: Path) -> None:
    """The program was compared with the model on real rows, whose padding it cannot leave out."""
    training = training_of(of_texts(encoder), texts, encoder.parent)

    assert convert(training.model, training._prepared.validation, "torch")


def test_what_a_row_costs_such_a_model_can_be_measured(encoder: Path, texts: Path) -> None:
    _, folder = run(of_texts(encoder, epochs=1), encoder.parent, texts)

    assert latency_ms([load(folder)]) > 0


def test_a_low_rank_model_is_kept_whole(encoder: Path, texts: Path) -> None:
    config = of_texts(encoder, model={"name": "pretrained", "source": f"hf:{encoder}", "lora_rank": 2})
    fitted, folder = run(config, texts, encoder.parent)
    rows = pd.read_csv(texts / "texts.csv")
    _, prepared, _ = opened(config, texts, encoder.parent)
    probabilities = load(folder).probabilities(rows)

    assert prepared.test is not None
    assert probabilities.shape == (80, 2)
    assert "test/loss" in fitted.metrics


@pytest.mark.parametrize("later", [{}, {"lora_rank": 3}], ids=["whole", "adapted again"])
@pytest.mark.parametrize("before", [{"pooling": "mean"}, {"lora_rank": 2, "lora_alpha": 6}], ids=["mean", "adapted"])
def test_what_a_finished_trial_has_learned_is_where_the_next_one_begins(
    encoder: Path, texts: Path, tmp_path: Path, before: dict[str, Any], later: dict[str, Any]
) -> None:
    """Its pooling and its matrices of low rank are part of the model, and neither needs to be said again."""
    first = of_texts(
        encoder, model={"name": "pretrained", "source": f"hf:{encoder}"} | before, optimizer={"lr": 0.05}, epochs=1
    )
    _, folder = run(first, texts, encoder.parent)
    for name in (TENSORS, DOCUMENT):
        (tmp_path / name).write_bytes(folder[name])

    model = {"name": "pretrained", "source": "file:model.safetensors"} | later
    training = training_of(of_texts(encoder, model=model, seed=1), texts, tmp_path)

    assert training.made_anew == []
    rows = training._prepared.validation.inputs[0]
    source = load(folder).members[0].model.eval()
    torch.testing.assert_close(training.model.eval()(rows), source(rows), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("later", "averaging"), [(range(7, 10), {}), (range(5, 10), {}), (range(7, 10), {"swa": True, "swa_start": 0})]
)
def test_a_model_of_ours_is_trained_on_with_another_head(
    tmp_path: Path, later: range, averaging: dict[str, Any]
) -> None:
    """From five digits to three others, and to as many others, for which its head has the right size and the wrong
    classes; batch norms in what is frozen keep their statistics.
    """
    pixels, labels = digits()
    np.savez(tmp_path / "few.npz", X=pixels[labels < 5], y=labels[labels < 5])
    others = np.isin(labels, later)
    np.savez(tmp_path / "others.npz", X=pixels[others], y=labels[others])
    first = TrainConfig.model_validate(
        {
            "data": {"source": "file:few.npz"},
            "model": {"name": "cnn", "norm": "batch", "width": 4, "depth": 2},
            "epochs": 2,
        }
    )
    folder = MemoryFolder()
    prepared = prepare(first.data, device=CPU, data_folders=[tmp_path], as_images=True)
    fit(first, prepared, monitor=LOSS, reporter=Recorder(), folder=folder)
    for name in (TENSORS, DOCUMENT):
        (tmp_path / name).write_bytes(folder[name])
    second = TrainConfig.model_validate({
        "data": {"source": "file:others.npz"}, "model": {"name": "pretrained", "source": "file:model.safetensors"},
        "transfer": {"freeze": "all_but_head"}, "epochs": 2, "regularization": averaging,
    })  # fmt: skip

    recorder = Recorder()
    fitted, kept = run(second, tmp_path, reporter=recorder)

    assert recorder.lines[0] == "from file:model.safetensors, but for head.weight, head.bias"
    source, tuned = (load(each).members[0].model.state_dict() for each in (folder, kept))
    assert tuned["head.weight"].shape[0] == len(later)
    for name in source.keys() - {"head.weight", "head.bias"}:
        assert torch.equal(source[name], tuned[name]), name
    assert load(kept).schema.shift == load(folder).schema.shift  # type: ignore[union-attr]  # the source's scale
    assert fitted.best_epoch


def test_a_head_of_the_same_classes_is_taken_along(tmp_path: Path) -> None:
    pixels, labels = digits()
    np.savez(tmp_path / "digits.npz", X=pixels, y=labels)
    data = {"source": "file:digits.npz"}
    first = TrainConfig.model_validate({"data": data, "model": {"name": "cnn", "width": 4, "depth": 1}, "epochs": 1})
    folder = MemoryFolder()
    prepared = prepare(first.data, device=CPU, data_folders=[tmp_path], as_images=True)
    fit(first, prepared, monitor=LOSS, reporter=Recorder(), folder=folder)
    for name in (TENSORS, DOCUMENT):
        (tmp_path / name).write_bytes(folder[name])

    model = {"name": "pretrained", "source": "file:model.safetensors"}
    second = TrainConfig.model_validate({"data": data, "model": model, "seed": 1, "epochs": 1})
    training, recorder = training_of(second, tmp_path), Recorder()
    run(second, tmp_path, reporter=recorder)

    assert recorder.lines[0] == "from file:model.safetensors"
    assert training.made_anew == []
    assert torch.equal(
        training.model.state_dict()["head.weight"], load(folder).members[0].model.state_dict()["head.weight"]
    )


def test_a_table_keeps_the_columns_and_categories_of_its_source(write_csv: Callable[..., str], tmp_path: Path) -> None:
    before = write_csv("before.csv", colour=["red", "blue", "green"] * 12, x=list(range(36)), y=["a", "b"] * 18)
    after = write_csv("after.csv", x=list(range(100, 140)), colour=["green", "pink"] * 20, y=["c", "d"] * 20)
    first = TrainConfig.model_validate(
        {"data": {"source": before}, "model": {"hidden": [4]}, "epochs": 1, "batch_size": 8}
    )
    folder = MemoryFolder()
    prepared = prepare(first.data, device=CPU, data_folders=[tmp_path])
    fit(first, prepared, monitor=LOSS, reporter=Recorder(), folder=folder)
    for name in (TENSORS, DOCUMENT):
        (tmp_path / name).write_bytes(folder[name])
    second = TrainConfig.model_validate(
        {
            "data": {"source": after},
            "model": {"name": "pretrained", "source": "file:model.safetensors"},
            "batch_size": 8,
        }
    )

    config, tuned, _ = opened(second, tmp_path)

    assert tuned.schema.categorical[0].categories == prepared.schema.categorical[0].categories  # type: ignore[union-attr]
    assert set(tuned.train.inputs[1].unique().tolist()) == {0, 2}  # pink is unseen, green the second of three
    assert tuned.train.inputs[0].min() > 3  # in the source's deviations
    assert config.model.architecture is not None


def test_a_column_of_numbers_has_to_be_one_in_what_follows_its_source(
    write_csv: Callable[..., str], tmp_path: Path
) -> None:
    before = write_csv("before.csv", size=list(range(36)), x=list(range(36)), y=["a", "b"] * 18)
    after = write_csv("after.csv", size=["small", "large"] * 20, x=list(range(40)), y=["c", "d"] * 20)
    first = TrainConfig.model_validate({"data": {"source": before}, "model": {"hidden": [4]}, "epochs": 1})
    folder = MemoryFolder()
    prepared = prepare(first.data, device=CPU, data_folders=[tmp_path])
    fit(first, prepared, monitor=LOSS, reporter=Recorder(), folder=folder)
    for name in (TENSORS, DOCUMENT):
        (tmp_path / name).write_bytes(folder[name])
    model = {"name": "pretrained", "source": "file:model.safetensors"}

    with pytest.raises(DataError, match="column size holds strings, and the pretrained model knows numbers"):
        opened(TrainConfig.model_validate({"data": {"source": after}, "model": model}), tmp_path)


def test_images_are_stretched_to_what_their_model_takes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        image_size=16, patch_size=8, num_channels=3, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}'
    )
    told = TrainConfig.model_validate({
        "data": {"source": "sklearn:digits", "split": {"validation": 0.02, "test": 0.9}}, "epochs": 1,
        "model": {"name": "pretrained", "source": "hf:vit"},
    })  # fmt: skip

    fitted, folder = run(told, tmp_path)

    schema = load(folder).schema
    assert schema.shift == (127.5,)  # type: ignore[union-attr]
    assert schema.scale == (63.75,)  # type: ignore[union-attr]
    assert load(folder).probabilities(digits()[0][:3]).shape == (3, 10)
    assert fitted.epochs == 1
    of_tokens = told.model_copy(update={"model": told.model.model_copy(update={"pooling": "mean"})})
    with pytest.raises(ModelError, match=r"trial\.model\.pooling: images have no tokens"):
        run(of_tokens, tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("hf:bert-base-uncased", "no folder bert-base-uncased, and nothing is fetched from the Hugging Face Hub"),
        ("hf:google/bert", "no folder google/bert, and nothing is fetched from the Hugging Face Hub"),
        ("hf:no/such/folder", "no file no/such/folder"),  # no id of a model on the hub
        ("hf:/etc", "lies outside the folders"),
        ("hf:.", "cannot be read as a model"),
        ("file:texts.csv", "is no model of ours"),
    ],
)
def test_a_preflight_says_what_is_wrong_with_a_source(texts: Path, source: str, says: str) -> None:
    config = of_texts(Path(), model={"name": "pretrained", "source": source})

    problems, _ = check([config], wanted={"objective.metric": LOSS.metric}, data_folders=[texts], device=CPU)

    assert [problem.path for problem in problems] == ["trial.model.source"]
    assert says in problems[0].message
    assert ("TRIALYARD_HF_HUB=true" in problems[0].hint) == ("Hub" in says)


def test_a_trial_whose_model_was_collected_is_no_source() -> None:
    config = TrainConfig.model_validate(
        {"data": {"source": "sklearn:iris"}, "model": {"name": "pretrained", "source": "trial:s/0"}}
    )

    with pytest.raises(ModelError, match="the model of trial s/0 is gone"):
        Origins([], {"trial:s/0": MemoryFolder()}).of(config)


def test_a_preflight_counts_the_parameters_of_a_pretrained_model(encoder: Path, texts: Path) -> None:
    problems, facts = check(
        [of_texts(encoder)], wanted={"objective.metric": LOSS.metric}, data_folders=[texts, encoder.parent], device=CPU
    )

    training = training_of(of_texts(encoder), texts, encoder.parent)
    assert problems == []
    assert facts["parameters"]["most"] == sum(parameter.numel() for parameter in training.model.parameters())


def test_lora_wants_layers_that_are_there(encoder: Path, texts: Path) -> None:
    model = {"name": "pretrained", "source": f"hf:{encoder}", "lora_rank": 2, "lora_targets": ["nothing"]}
    with pytest.raises(ModelError, match="no linear layer has such a name"):
        training_of(of_texts(encoder, model=model), texts, encoder.parent)


def test_a_table_is_no_text(encoder: Path, tmp_path: Path, write_csv: Callable[..., str]) -> None:
    source = write_csv(x=list(range(40)), y=["a", "b"] * 20)
    config = of_texts(encoder, data={"source": source})
    with pytest.raises((ModelError, DataError), match="takes a text or images"):
        training_of(config, tmp_path, encoder.parent)


def test_a_model_of_texts_wants_to_know_which_column_is_one(texts: Path) -> None:
    own = {"model": {"name": "embedding_bag"}, "epochs": 1}
    config = TrainConfig.model_validate({"data": {"source": "file:texts.csv", "text": "text"}, **own})
    prepared = prepare(config.data, device=CPU, data_folders=[texts])
    folder = MemoryFolder()
    fit(config, prepared, monitor=LOSS, folder=folder, reporter=Recorder())
    begun = {"data": {"source": "file:texts.csv"}, "model": {"name": "pretrained", "source": "trial:s/0"}}

    found, _ = check(
        [TrainConfig.model_validate(begun)], wanted={}, data_folders=[texts], device=CPU,
        origins=Origins([texts], {"trial:s/0": folder}),
    )  # fmt: skip

    assert [problem.hint for problem in found] == ["name its column in data.text"]


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"model": {"name": "pretrained"}}, "needs a source"),
        (
            {"model": {"name": "mlp"}, "transfer": {"lr_decay": 0.5}, "data": {"source": "sklearn:iris"}},
            "acts only with",
        ),
    ],
)
def test_transfer_is_told_whole(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        of_texts(Path("x"), **sections)


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 15).astype(np.uint8), found.target
