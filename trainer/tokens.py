"""The tokenizers of models from elsewhere, held against the models that they lie beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.config import TrainConfig
from trainer.data.schema import Target
from trainer.data.subwords import SubwordSchema
from trainer.errors import ModelError

# Of these the first position of a text is the one after the padding's, so that fewer are left.
_AFTER_PADDING = {"camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
                  "xlm-roberta", "xlm-roberta-xl", "xmod"}  # fmt: skip
_ENDLESS = 1 << 30
_HINT = "save both with save_pretrained into one folder"


def tokens_of(
    place: str, architecture: Mapping[str, Any], config: TrainConfig, *, path: str, hub: bool
) -> SubwordSchema:
    """How texts become the tokens of the model that lies, or is known, as `place`.

    Raises:
        ModelError: there is no tokenizer, it is another model's, or it cannot be kept.
        OSError, ValueError, KeyError: it cannot be read.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=not hub)
    if not hasattr(tokenizer, "backend_tokenizer"):
        kind = type(tokenizer).__name__
        raise ModelError(path, f"{kind} is a tokenizer in Python, and only those of the package tokenizers are kept")
    if not _is_there(tokenizer, place, hub=hub):
        # Where none is, transformers makes one that knows no word.
        raise ModelError(path, f"there is no tokenizer beside the model {place}", _HINT)
    tokens, known = len(tokenizer), int(architecture.get("vocab_size", _ENDLESS))
    if tokens > known:
        raise ModelError(path, f"the tokenizer has {tokens:,} tokens, and its model knows {known:,} of them", _HINT)
    return SubwordSchema(
        column=str(config.data.text),
        tokenizer=tokenizer.backend_tokenizer.to_str(),
        tokens=tokens,
        pad=_padding(tokenizer),
        max_tokens=config.data.max_tokens,
        target=Target(name="", task="regression"),
    )


def most_tokens(architecture: Mapping[str, Any]) -> int:
    """How long a text may be for a model of transformers'."""
    positions = int(architecture.get("max_position_embeddings") or architecture.get("n_positions") or _ENDLESS)
    if architecture.get("model_type") in _AFTER_PADDING:
        return positions - int(architecture.get("pad_token_id") or 0) - 1
    return positions


def _is_there(tokenizer: Any, place: str, *, hub: bool) -> bool:
    from transformers.utils.hub import cached_file

    for name in {"tokenizer.json", *tokenizer.vocab_files_names.values()}:
        try:
            cached_file(place, name, local_files_only=not hub)
        except OSError:
            continue
        return True
    return False


def _padding(tokenizer: Any) -> int:
    """What stands for nothing: of a model that was never shown padding, the end of a text, which stands in none."""
    told = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((token for token in told if token is not None), 0)
