import json
import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from store.errors import SettingsError
from worker.objectives_file import CommandObjective, read_objectives

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "objectives-file.md"


def written(folder: Path, text: str) -> Path:
    file = folder / "objectives.toml"
    file.write_text(text)
    return file


def test_functions_and_commands_stand_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    file = written(
        tmp_path,
        '[objectives]\nplain = "mine:plain"\n'
        '[objectives.mine]\ncommand = ["python", "train.py"]\ndirectory = "code"\n'
        'timeout = "1h30m"\nmax_log = "2MB"\nmax_disk = "1GiB"\n',
    )

    registered = read_objectives(file)

    assert registered["plain"] == "mine:plain"
    mine = registered["mine"]
    assert isinstance(mine, CommandObjective)
    assert (mine.directory, mine.timeout, mine.max_log, mine.max_disk) == (tmp_path / "code", 5400, 2_000_000, 2**30)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("directory = '.'", "objectives.x.command: is missing"),
        ("command = []", "objectives.x.command: must have at least 1 entry"),
        ("command = 'python train.py'", 'objectives.x.command: must be a list, not "python train.py"'),
        ("command = ['pyhton', 'train.py']", "objectives.x.command: there is no program 'pyhton' here"),
        ("command = ['./none.sh']", "objectives.x.command: there is no program './none.sh' here"),
        ("command = ['sh']\ndirectory = 'nowhere'", "objectives.x.directory: /.*/nowhere is no folder here"),
        ("command = ['sh']\npatern = 'x'", "objectives.x.patern: is no key that is known here; did you mean 'pattern'"),
        ("command = ['sh']\nparameters = 'yaml'", 'objectives.x.parameters: "yaml" is none of arguments, flags'),
        ("command = ['sh']\nenvironment = {N = 3}", "objectives.x.environment.N: must be text, not 3"),
        ("command = ['sh']\ntimeout = 'long'", "objectives.x.timeout: must be a time or a number of seconds; as in 2h"),
        ("command = ['sh']\ngrace = 0", "objectives.x.grace: must be greater than 0.0, and is 0"),
        ("command = ['sh']\npattern = '(?P<loss>'", "objectives.x.pattern: is no regular expression: "),
        ("command = ['sh']\npattern = '(?P<step>.)'", "objectives.x.pattern: reads no metric; name a group after one"),
        ("command = ['sh']\npattern = '(?P<name>.)'", "objectives.x.pattern: has one of the groups name and value"),
        ("command = ['sh', '-c', 'train {lr}']", "objectives.x.command: has a parameter inside a shell's script"),
        ("command = ['sh', '-c', 'echo {\"loss\": 1}']", "a brace that stands for itself is written twice, {{ and }}"),
        (
            "command = ['sh', '{TRIALYARD_TRAIL}']",
            "names TRIALYARD_TRAIL, which is no variable of a trial; these are: ",
        ),
        (
            "command = ['sh', '{TRIALYARD_REPORT_TOKEN}']",
            "names TRIALYARD_REPORT_TOKEN, which is no variable of a trial",
        ),
        ("command = ['/bin/bash', '-ec', 'train {lr}']", "has a parameter inside a shell's script"),
    ],
)
def test_a_command_that_cannot_be_right_is_refused_with_its_place(tmp_path: Path, entry: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=f"objectives.toml cannot be used:\n  .*{complaint}"):
        read_objectives(written(tmp_path, f"[objectives.x]\n{entry}\n"))


@pytest.mark.parametrize(
    ("way", "added"),
    [
        ("arguments", ["--model.width=64", "--name=a b", "--sizes=[64, 32]", "--fp16=true", "--nesterov=false"]),
        ("flags", ["--model.width=64", "--name=a b", "--sizes=[64, 32]", "--fp16"]),
        ("overrides", ["model.width=64", "name=a b", "sizes=[64, 32]", "fp16=true", "nesterov=false"]),
        ("json", []),
    ],
)
def test_parameters_that_the_command_does_not_name_are_added_as_it_takes_them(way: str, added: list[str]) -> None:
    words = ["train", "--lr", "{lr}", "--out={TRIALYARD_CHECKPOINT_DIR}/model.pt"]
    command = CommandObjective.model_validate({"command": words, "parameters": way})
    given = {"lr": 0.1, "model.width": 64, "name": "a b", "sizes": [64, 32], "fp16": True, "nesterov": False}

    found = command.arguments(given, {"TRIALYARD_CHECKPOINT_DIR": "/there", "TRIALYARD_TRIAL": "7"})

    assert found == ["train", "--lr", "0.1", "--out=/there/model.pt", *added]
    assert command.placeholders == ["lr"]


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = "[objectives]\n'No Name' = 'a:b'\nnumber = 3\n[objectives.x]\ncomand = ['sh']\n"

    with pytest.raises(SettingsError) as caught:
        read_objectives(written(tmp_path, text))

    assert [line.split(": ")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "objectives.No Name",
        "objectives.number",
        "objectives.x.comand",
        "objectives.x.command",
    ]


def test_every_key_of_a_command_is_in_the_reference_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|", REFERENCE.read_text(), re.MULTILINE))

    assert rows.keys() >= CommandObjective.model_fields.keys()
    for key, field in CommandObjective.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if default is PydanticUndefined:
            assert rows[key] == "required"
        else:
            written = default if isinstance(default, str) else str(default) if isinstance(default, Path) else None
            assert rows[key].strip("`").replace("none", "null") == (written or json.dumps(default)), key


def test_the_example_of_the_reference_can_be_read(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    (tmp_path / "code").mkdir()

    assert read_objectives(written(tmp_path, example)).keys() == {"rastrigin", "my-script"}
