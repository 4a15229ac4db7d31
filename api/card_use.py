"""How a card says that its model is used: from Python, of a running service, and as ONNX, by what its rows are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from store.models import StudyRow

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of Pillow, by the channels of an image


def use_of_model(study: StudyRow, number: int, files: Collection[str]) -> str:
    """`files`: those of the model that are there."""
    facts = study.facts or {}
    parts = [
        f"""## Use

`model.safetensors` holds the weights; `model.json` the configuration, {_preparation(facts)}. With Trialyard's `worker`
extra:

{_python(facts, "trainer.model_file", "model", "predict")}

or, of a running service, `trialyard predict {study.name} {_file(facts)} --trial {number}`.""",
        _onnx(facts) if "model.onnx" in files else "",
    ]
    return "\n\n".join(part for part in parts if part)


def use_of_ensemble(study: StudyRow, ordinal: int | None) -> str:
    """The same for the files of an ensemble."""
    facts = study.facts or {}
    scores = "the probabilities of the classes" if facts.get("classes") else "the values"
    return f"""## Use

`ensemble.json` says how the members are combined; each member's files begin with `member-`.

{_python(facts, "trainer.ensemble.ensemble_file", "ensemble", "scores", scores)}

or, of a running service, `trialyard predict {study.name} {_file(facts)} --ensemble {ordinal}`."""


def _python(facts: Mapping[str, Any], module: str, name: str, method: str, comment: str = "") -> str:
    imports, rows = _rows(facts)
    return f"""```python
from pathlib import Path
{imports}
from store.artifacts import LocalFolder
from {module} import load

{name} = load(LocalFolder(Path("this-folder")))
{rows}
{name}.{method}(rows){comment and f"  # {comment}"}
```"""


def _rows(facts: Mapping[str, Any]) -> tuple[str, str]:
    """What is imported for a few rows, and how they are made."""
    if "image" in facts:
        size = facts["image"]
        if size["channels"] not in _MODES:
            return "import numpy as np", 'rows = np.load("pictures.npy")  # (rows, channels, height, width), bytes'
        mode, fitted = _MODES[size["channels"]], (size["width"], size["height"])
        return (
            "import numpy as np\nfrom PIL import Image",
            f'picture = Image.open("picture.png").convert("{mode}").resize({fitted}, Image.Resampling.BILINEAR)\n'
            "rows = np.array(picture)[np.newaxis]",
        )
    if _is_of_texts(facts):
        return "import pandas as pd", f'rows = pd.DataFrame({{{facts["columns"][0]["name"]!r}: ["a text", "another"]}})'
    return "import pandas as pd", 'rows = pd.read_csv("rows.csv")'


def _onnx(facts: Mapping[str, Any]) -> str:
    gives = (
        "the logit of each class, of which a softmax makes probabilities"
        if facts.get("classes")
        else "the number in standard deviations from the mean, both of which are in `model.json` under `target`"
    )
    # Places in a vocabulary have 32 bits, and in ONNX 64.
    encoded = "model.schema.encode(rows)"
    if _is_of_texts(facts):
        encoded = f'(each.astype("int64") for each in {encoded})'
    return f"""`model.onnx` takes what is made of the `rows` above, and gives {gives}:

```python
import onnxruntime

session = onnxruntime.InferenceSession("this-folder/model.onnx")
names = [each.name for each in session.get_inputs()]
session.run(None, dict(zip(names, {encoded})))
```"""


def _preparation(facts: Mapping[str, Any]) -> str:
    if "image" in facts:
        how = "the size of the images"
    else:
        how = "the vocabulary" if _is_of_texts(facts) else "how each column becomes numbers"
    return f"{how}, and the names of\nthe classes" if facts.get("classes") else f"and {how}"


def _file(facts: Mapping[str, Any]) -> str:
    return "picture.png" if "image" in facts else "rows.csv"


def _is_of_texts(facts: Mapping[str, Any]) -> bool:
    return facts.get("kind") in ("text", "subwords")
