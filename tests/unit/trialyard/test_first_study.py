"""`trialyard init`: whatever the data are, the file that is written is a study that passes the preflight."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from search.definition import Definition, parse
from store.settings import Settings
from trainer.config import TrainConfig
from trainer.preflight import check
from trialyard.errors import BadInput
from trialyard.first_look import CPU, Given
from trialyard.first_study import FirstStudy, say, write_first_study
from trialyard.study_file import from_yaml

NUMBERS = np.random.default_rng(0).normal(size=60)
SENTENCES = [f"is the message of number {index} an offer" for index in range(60)]
WORDS = ["red", "blue"] * 30
DAYS = [f"2024-01-{1 + row % 30:02d}" for row in range(60)]


def written(
    table: pd.DataFrame, file: Path, *, target: str | None = None, text: str | None = None
) -> tuple[FirstStudy, Definition]:
    table.to_csv(file, index=False)
    return drafted(Given(str(file), target=target, text=text, output=file.parent / "study.yaml"))


def said(study: FirstStudy) -> str:
    console = Console(width=1_000)
    with console.capture() as captured:
        say(study, console)
    return captured.get()


def drafted(given: Given) -> tuple[FirstStudy, Definition]:
    """The study, once every corner of its space has passed the preflight on its data."""
    study = write_first_study(given, Settings())
    definition = parse(from_yaml(study.file.read_text(encoding="utf-8")))
    configs = [TrainConfig.model_validate(corner) for corner in definition.corners()]
    problems, _ = check(
        configs,
        wanted={"objective": definition.objectives[0].metric},
        data_folders=[study.file.parent],
        device=CPU,
    )
    assert problems == []
    return study, definition


def test_a_table_is_a_classification_or_a_regression_of_its_last_column(tmp_path: Path) -> None:
    table = pd.DataFrame({"size": NUMBERS, "colour": WORDS, "kind": ["a", "b", "c"] * 20})

    _, definition = written(table, tmp_path / "things.csv")
    assert definition.name == "things"
    assert definition.trial["data"]["target"] == "kind"
    assert (definition.objectives[0].metric, definition.objectives[0].direction) == ("val/accuracy", "maximize")
    assert {"model.hidden", "model.numbers", "batch_size", "optimizer.lr"} <= set(definition.parameters)

    (tmp_path / "study.yaml").unlink()
    _, definition = written(table, tmp_path / "things.csv", target="size")
    assert (definition.objectives[0].metric, definition.objectives[0].direction) == ("val/rmse", "minimize")


@pytest.mark.parametrize(
    ("columns", "guess"),
    [
        # Not names of rows, dates, nor what is the same in all rows.
        ({"size": NUMBERS, "kind": WORDS, "id": SENTENCES, "day": DAYS, "unit": ["kg"] * 60}, "kind"),
        ({"Label": WORDS, "colour": WORDS, "size": NUMBERS}, "Label"),
        ({"y": ["all"] * 60, "colour": WORDS, "size": NUMBERS}, "size"),
    ],
)
def test_a_guessed_target_is_one_that_can_be_predicted_and_is_said(
    columns: dict[str, object], guess: str, tmp_path: Path
) -> None:
    study, definition = written(pd.DataFrame(columns), tmp_path / "things.csv")

    assert definition.trial["data"]["target"] == guess
    assert f"nobody said what is to be predicted: {guess} is a guess" in said(study)


def test_a_target_that_names_rows_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"size": NUMBERS, "id": [f"row {row}" for row in range(60)]})

    with pytest.raises(BadInput, match=r"^--target: id has 60 distinct values in 60 rows, first 'row 0': no classes"):
        written(table, tmp_path / "things.csv", target="id")


def test_a_column_that_gives_the_target_away_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sold = random.random(400) < 0.3
    price = np.where(sold, random.uniform(10, 20, 400), 0)
    table = pd.DataFrame({"size": random.normal(size=400), "paid": price, "sold": np.where(sold, "yes", "no")})

    study, _ = written(table, tmp_path / "things.csv", target="sold")
    assert [column for column, _ in study.look.telling] == ["paid"]
    assert "paid alone tells sold (100.0%): if it is known only once sold is, --drop paid leaves it out" in said(study)

    study.file.unlink()
    given = Given(str(tmp_path / "things.csv"), target="sold", drop=("paid",), output=tmp_path / "study.yaml")
    study, definition = drafted(given)
    assert definition.trial["data"]["drop"] == ["paid"]
    assert study.look.telling == ()


def test_of_a_regression_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    net = random.uniform(1, 100, 400)
    table = pd.DataFrame({"net": net, "size": random.normal(size=400), "gross": 1.2 * net})

    study, _ = written(table, tmp_path / "things.csv", target="gross")

    assert [column for column, _ in study.look.telling] == ["net"]


def test_dates_that_can_be_read_one_way_are_written_down_with_it(tmp_path: Path) -> None:
    at = pd.Series(pd.date_range("2024-01-01", periods=2_400, freq="3h"))
    table = pd.DataFrame({
        "size": np.random.default_rng(0).normal(size=2_400),
        "sent": at.dt.strftime("%d.%m.%Y"),
        "paid": at.dt.strftime("%Y-%m-%d %H:%M"),
        "due": [f"{1 + row % 12}/{1 + row // 12 % 12}/2024" for row in range(2_400)],
        "kind": WORDS * 40,
    })  # fmt: skip

    study, definition = written(table, tmp_path / "bills.csv", target="kind")

    assert definition.trial["data"]["dates"] == {"sent": "%d.%m.%Y", "paid": "iso"}
    assert study.look.prepared.columns == ["size", "sent", "paid"]
    shown = said(study)
    assert "2024-01-01 to 2024-10-" in shown
    assert "dates that can be read in 2 ways: say which it is" in shown
    assert "sent, paid tell when a row was" in shown
    assert "`time: sent` in its split tests on the latest" in shown


@pytest.mark.parametrize(
    ("rows", "counts", "hint"),
    [
        (
            480,
            "rows: 384 to train and validate in 5 folds, 96 to test",
            ", with `time_ordered: true` in cross_validation",
        ),
        (2_400, "rows: 1,440 to train, 480 to validate, 480 to test", ""),
    ],
)
def test_rows_are_counted_and_dates_are_followed_as_the_study_divides_them(
    rows: int, counts: str, hint: str, tmp_path: Path
) -> None:
    days = pd.date_range("2020-01-01", periods=rows).astype(str)
    table = pd.DataFrame({"size": np.tile(NUMBERS, rows // 60), "at": days, "kind": WORDS * (rows // 60)})

    study, definition = written(table, tmp_path / "days.csv")
    shown = said(study)

    assert counts in shown
    assert f"`time: at` in its split tests on the latest{hint}\n" in shown
    to_train = "384" if hint else "1,440"
    assert study.file.read_text(encoding="utf-8").startswith(
        f"# file:days.csv: a classification, {to_train} rows to train on\n"
    )
    folds = definition.trial.get("cross_validation")
    if folds is not None:
        definition.trial["data"]["split"]["time"] = "at"
        folds["time_ordered"] = True
    problems, _ = check(
        [TrainConfig.model_validate(corner) for corner in definition.corners()],
        wanted={}, data_folders=[tmp_path], device=CPU,
    )  # fmt: skip
    assert problems == []


def test_a_date_alone_may_give_the_target_away_by_its_hour(tmp_path: Path) -> None:
    at = pd.Series(pd.date_range("2024-01-01", periods=900, freq="7h"))
    table = pd.DataFrame({"size": np.random.default_rng(0).normal(size=900), "at": at, "shift": at.dt.hour < 12})

    study, _ = written(table.assign(shift=table["shift"].map({True: "early", False: "late"})), tmp_path / "shifts.csv")

    assert [column for column, _ in study.look.telling] == ["at"]


@pytest.mark.parametrize(("rows", "kept"), [(60, "drop"), (2_000, "together")])
def test_rows_that_repeat_others_do_not_validate_what_they_taught(rows: int, kept: str, tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"size": np.random.default_rng(0).normal(size=rows), "kind": WORDS * (rows // 60) + WORDS[: rows % 60]}
    )

    _, definition = written(pd.concat([table, table.head(rows // 10)]), tmp_path / "things.csv")

    assert definition.trial["data"]["split"]["duplicates"] == kept


def test_what_stands_beside_the_file_and_in_it_is_noticed(tmp_path: Path) -> None:
    colours = ["red", "?"] * 30
    table = pd.DataFrame({"size": NUMBERS, "colour": colours, "kind": WORDS})
    table.to_csv(tmp_path / "my_test.csv", index=False)

    _, definition = written(table, tmp_path / "my_train.csv")

    data = definition.trial["data"]
    assert data["test_source"] == "file:my_test.csv"
    assert data["missing_values"] == ["?"]
    assert data["split"]["test"] == 0.0


def test_a_table_with_semicolons_is_read_by_its_columns(tmp_path: Path) -> None:
    table = pd.DataFrame({"size": NUMBERS, "mark": ["?" if index % 9 else 1.5 * index for index in range(60)]})
    table.assign(kind=WORDS).to_csv(tmp_path / "a.csv", index=False, sep=";")

    given = Given(str(tmp_path / "a.csv"), missing=("none",), output=tmp_path / "study.yaml")
    study, definition = drafted(given)

    assert (definition.trial["data"]["delimiter"], definition.trial["data"]["target"]) == (";", "kind")
    assert definition.trial["data"]["missing_values"] == ["?", "none"]
    assert study.look.prepared.columns == ["size", "mark"]


def test_the_first_line_says_what_divides_the_fields_whatever_stands_in_them(tmp_path: Path) -> None:
    # As spreadsheets of half of Europe write: a mark of the byte order, semicolons, and commas in names and numbers.
    header = 'size, cm;"kind, in a, b, c, d";of\n'
    rows = "".join(f"{NUMBERS[index]:.3f};{index % 3};{WORDS[index]}\n".replace(".", ",") for index in range(60))
    (tmp_path / "a.csv").write_text(header + rows, encoding="utf-8-sig")

    study, definition = drafted(Given(str(tmp_path / "a.csv"), output=tmp_path / "study.yaml"))

    assert (definition.trial["data"]["delimiter"], definition.trial["data"]["target"]) == (";", "of")
    assert definition.trial["data"]["decimal"] == ","
    assert study.look.prepared.columns == ["size, cm", "kind, in a, b, c, d"]
    assert len(study.look.prepared.schema.numeric) == 2  # type: ignore[union-attr]  # a table


@pytest.mark.parametrize(("last", "rows"), [('"Hm, he said', 60), ('"Hm"', 60), ('"two\nlines"', 60)])
def test_a_quote_that_is_never_closed_swallows_no_rows(last: str, rows: int, tmp_path: Path) -> None:
    lines = [f"{WORDS[row]}\t{last if row in (3, 9) else SENTENCES[row]}" for row in range(rows)]
    (tmp_path / "mails.tsv").write_text("\n".join(["label\tmessage", *lines, ""]))

    study, definition = drafted(Given(str(tmp_path / "mails.tsv"), output=tmp_path / "study.yaml"))

    assert sum(study.look.prepared.facts()["rows"].values()) == rows
    assert definition.trial["data"].get("quoting") == ("none" if last == '"Hm, he said' else None)


def test_commas_in_words_are_none_of_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame({"size": NUMBERS, "place": ["1,5", "left, 2"] * 30, "kind": WORDS})

    _, definition = written(table, tmp_path / "places.csv")

    assert "decimal" not in definition.trial["data"]


def test_sentences_of_a_script_without_spaces_are_noticed(tmp_path: Path) -> None:
    table = pd.DataFrame({"message": [f"这是第{index}号优惠消息吗" for index in range(60)], "kind": WORDS})

    study, definition = written(table, tmp_path / "messages.csv")

    assert definition.trial["data"]["text"] == "message"
    assert "惠" in study.look.prepared.schema.vocabulary  # type: ignore[union-attr]  # of texts


def test_a_column_in_which_hardly_a_value_stands_is_dropped(tmp_path: Path) -> None:
    table = pd.DataFrame({"size": NUMBERS, "empty": np.nan, "fax": [1.5] + [np.nan] * 59, "kind": WORDS, "note": None})

    study, definition = written(table, tmp_path / "gaps.csv")

    assert (definition.trial["data"]["drop"], definition.trial["data"]["target"]) == (["empty", "fax", "note"], "kind")
    assert study.look.prepared.columns == ["size"]


@pytest.mark.parametrize(("rows", "values", "dropped"), [(60, 9, True), (60, 10, False), (18, 8, True), (18, 9, False)])
def test_ten_values_or_half_of_them_are_enough(rows: int, values: int, dropped: bool, tmp_path: Path) -> None:
    some = [*NUMBERS[:values], *[np.nan] * (rows - values)]

    _, definition = written(
        pd.DataFrame({"size": NUMBERS[:rows], "fax": some, "kind": WORDS[:rows]}), tmp_path / "gaps.csv"
    )

    assert ("drop" in definition.trial["data"]) is dropped


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["", "size", "kind"], 0),  # as pandas writes a table with its index
        (["id", "size", "kind"], 1),
        (["size", "kind", "row"], 0),
    ],
)
def test_a_column_that_counts_the_rows_is_dropped(names: list[str], first: int, tmp_path: Path) -> None:
    columns = {"size": NUMBERS, "kind": WORDS}
    table = pd.DataFrame({name: columns.get(name, range(first, first + 60)) for name in names})

    study, definition = written(table, tmp_path / "counted.csv")

    [counting] = {"Unnamed: 0" if name == "" else name for name in names} - {"size", "kind"}
    assert (definition.trial["data"]["drop"], definition.trial["data"]["target"]) == ([counting], "kind")
    assert "# counts the rows, or hardly a row has a value" in study.file.read_text(encoding="utf-8")


@pytest.mark.parametrize("target", [None, "hour"])
def test_what_counts_the_rows_is_kept_where_it_is_all_that_there_is_or_the_target(
    target: str | None, tmp_path: Path
) -> None:
    table = pd.DataFrame({"hour": range(60), "price": NUMBERS})

    _, definition = written(table, tmp_path / "hours.csv", target=target)

    assert "drop" not in definition.trial["data"]


@pytest.mark.parametrize(
    ("first", "is_said"),
    [("5.1,3.5,1.4,setosa", True), ("5.1;3,5;1.4;setosa", True), ("0,1,2,kind", False), ("a,b,2,kind", False)],
)
def test_a_first_line_of_numbers_is_noticed(
    first: str, is_said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number:.3f},{-number:.3f},{number + index:.3f},{WORDS[index]}" for index, number in enumerate(NUMBERS)]
    lines = [each.replace(",", ";") if ";" in first else each for each in rows]
    (tmp_path / "bare.csv").write_text("\n".join([first, *lines]), encoding="utf-8")

    study, _ = drafted(Given(str(tmp_path / "bare.csv"), output=tmp_path / "study.yaml"))
    say(study, Console(width=200))

    assert ("its first line was taken for the names of the columns" in capsys.readouterr().out) is is_said


@pytest.mark.parametrize(
    ("rarest", "stratify", "stratified"),
    [
        (2, False, False),  # too few for three parts
        (4, True, False),  # and for five folds
        (10, True, True),
    ],
)
def test_a_class_of_few_rows_is_where_chance_puts_it(
    rarest: int, stratify: bool, stratified: bool, tmp_path: Path
) -> None:
    kinds = ["maybe"] * rarest + (WORDS * 2)[rarest:]

    _, definition = written(pd.DataFrame({"size": [*NUMBERS, *NUMBERS], "kind": kinds}), tmp_path / "rare.csv")

    trial = definition.trial
    assert trial["data"]["split"].get("stratify", True) is stratify
    assert trial["cross_validation"].get("stratified", True) is stratified


@pytest.mark.parametrize(
    ("kinds", "metric"),
    [
        (["no"] * 50 + ["yes"] * 10, "val/auc"),  # five sixths are no
        (["a"] * 44 + ["b"] * 8 + ["c"] * 8, "val/balanced_accuracy"),  # 73 %, more than two thirds
        (["no"] * 40 + ["yes"] * 20, "val/accuracy"),
    ],
)
def test_where_a_class_is_rare_the_metric_is_one_that_sees_it(kinds: list[str], metric: str, tmp_path: Path) -> None:
    _, definition = written(pd.DataFrame({"size": NUMBERS, "kind": kinds}), tmp_path / "rare.csv")
    assert definition.objectives[0].metric == metric


def test_a_text_and_its_label_make_a_text_task_wherever_they_stand(tmp_path: Path) -> None:
    study, definition = written(pd.DataFrame({"label": WORDS, "message": SENTENCES}), tmp_path / "mails.csv")

    assert (definition.trial["data"]["text"], definition.trial["data"]["target"]) == ("message", "label")
    assert "model.name" in definition.parameters
    assert study.look.prose == ()


def test_sentences_beside_other_columns_are_named_and_not_used_unless_asked_for(tmp_path: Path) -> None:
    table = pd.DataFrame({"message": SENTENCES, "size": NUMBERS, "label": WORDS})

    study, definition = written(table, tmp_path / "mails.csv")
    assert study.look.prose == ("message",)
    assert "text" not in definition.trial["data"]

    study.file.unlink()
    _, definition = written(table, tmp_path / "mails.csv", text="message")
    assert definition.trial["data"]["text"] == "message"


def test_images_are_learned_by_a_convolutional_network(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "pictures.npz", X=pixels, y=np.arange(60) % 3)

    study, definition = drafted(Given(str(tmp_path / "pictures.npz"), output=tmp_path / "study.yaml"))

    assert definition.trial["model"]["name"] == "cnn"
    assert "taken for" not in said(study)  # there are no columns


@pytest.mark.parametrize(("sides", "image_size"), [((20, 20), None), ((20, 24), 32), ((200, 200), 32)])
def test_a_folder_of_pictures_is_brought_to_one_size_that_a_processor_can_search(
    sides: tuple[int, int], image_size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    random = np.random.default_rng(0)
    for index in range(24):
        folder = tmp_path / "pictures" / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        side = sides[index % 3 == 1]
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        (folder / ".Thumbs").write_text("no picture")

    _, definition = drafted(Given(str(tmp_path / "pictures"), output=tmp_path / "study.yaml"))

    assert definition.trial["data"].get("image_size") == image_size


def pictures_with_channels_at_either_end(folder: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 12, 3), dtype=np.uint8)
    np.savez(folder / "pictures.npz", X=pixels, y=np.arange(60) % 3)
    return str(folder / "pictures.npz")


@pytest.mark.parametrize(("channels", "count"), [("first", 4), ("last", 3)])
def test_where_images_have_their_channels_is_said_by_a_person_and_in_the_study(
    channels: Literal["first", "last"], count: int, tmp_path: Path
) -> None:
    data = pictures_with_channels_at_either_end(tmp_path)

    study, definition = drafted(Given(data, channels=channels, output=tmp_path / "study.yaml"))

    assert definition.trial["data"]["channels"] == channels
    assert study.look.prepared.train.inputs[0].shape[1] == count


def test_channels_that_may_be_two_are_asked_for_by_the_option_that_says_it(tmp_path: Path) -> None:
    given = Given(pictures_with_channels_at_either_end(tmp_path), output=tmp_path / "study.yaml")

    with pytest.raises(BadInput) as refused:
        write_first_study(given, Settings())

    told = "images of shape (4, 12, 3) have 4 channels first or 3 last; say which, as in --channels last"
    assert str(refused.value) == f"--channels: {told}"


def test_a_table_has_no_channels(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--channels: sklearn:iris holds no images; leave it out"):
        write_first_study(Given("sklearn:iris", channels="first", output=tmp_path / "study.yaml"), Settings())


def test_a_source_of_scikit_learn_is_called_by_its_name(tmp_path: Path) -> None:
    _, definition = drafted(Given("sklearn:iris", output=tmp_path / "study.yaml"))
    assert (definition.name, definition.trial["data"]["source"]) == ("iris", "sklearn:iris")


def test_names_that_yaml_would_take_apart_survive(tmp_path: Path) -> None:
    target = "is it: 'good'? # yes\nno"
    table = pd.DataFrame({"a, {b}": NUMBERS, target: ["- x\n: y"] * 50 + ["true"] * 10})

    _, definition = written(table, tmp_path / "odd {name}: #1.csv")

    assert definition.trial["data"]["target"] == target
    assert definition.trial["data"]["source"] == "file:odd {name}: #1.csv"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("mine")
    with pytest.raises(BadInput, match="is there already; --output names another"):
        write_first_study(Given("sklearn:iris", output=tmp_path / "study.yaml"), Settings())
    assert (tmp_path / "study.yaml").read_text() == "mine"


def test_data_that_no_study_could_reach_are_refused_with_a_place_for_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("x,y\n1,a\n")
    given = Given(str(tmp_path / "data" / "a.csv"), output=tmp_path / "elsewhere" / "study.yaml")
    with pytest.raises(BadInput, match="beside itself or below TRIALYARD_DATA_DIR"):
        write_first_study(given, Settings())


@pytest.mark.parametrize(
    ("data", "target", "complaint"),
    [
        ("nothing.csv", None, "no such file or folder"),
        ("sklearn:irys", None, "^trial.data.source: scikit-learn's 'irys' is not offered; one of iris, "),
        ("synthetic:spirl", None, "^trial.data.source: synthetic:spirl is not there; did you mean 'spirals'"),
        ("sklearn:iris", "targt", "did you mean 'target'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    data: str, target: str | None, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=complaint):
        write_first_study(Given(data, target=target, output=tmp_path / "study.yaml"), Settings())
    assert not (tmp_path / "study.yaml").exists()
