"""Sources: what can be read, and above all what cannot."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from trainer.config import Data
from trainer.data.sources import Place, read
from trainer.errors import DataError

TABLE = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


def read_file(name: str | Path, *folders: Path, delimiter: str | None = None) -> pd.DataFrame:
    found = read(
        Place("trial.data.source", f"file:{name}"), Data(source="file:x", delimiter=delimiter), data_folders=folders
    )
    assert isinstance(found.rows, pd.DataFrame)
    return found.rows


@pytest.mark.parametrize(
    ("ending", "write"),
    [
        (".csv", lambda path: TABLE.to_csv(path, index=False)),
        (".tsv", lambda path: TABLE.to_csv(path, index=False, sep="\t")),
        (".jsonl", lambda path: TABLE.to_json(path, orient="records", lines=True)),
        (".parquet", lambda path: TABLE.to_parquet(path)),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_ending_reads_the_same_table_packed_or_not(
    tmp_path: Path, ending: str, write: Callable[[Path], None], packed: bool
) -> None:
    path = tmp_path / f"table{ending}"
    write(path)
    if packed:
        path.with_name(f"table{ending}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_name(f"table{ending}.gz")

    assert read_file(path.name, tmp_path).to_dict("list") == {"a": [1, 2, 3], "b": ["x", "y", "z"]}


def test_a_delimiter_that_is_given_goes_before_that_of_the_ending(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1;x\n")

    assert list(read_file("t.csv", tmp_path, delimiter=";").columns) == ["a", "b"]


@pytest.mark.parametrize(("separator", "shown"), [(";", '";"'), ("\t", '"\\t"'), ("|", '"|"')])
def test_fields_divided_by_something_else_are_no_single_column(tmp_path: Path, separator: str, shown: str) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False, sep=separator)

    with pytest.raises(DataError, match="all in one column") as caught:
        read_file("t.csv", tmp_path)

    assert caught.value.hint == f"say what divides the fields, as in data.delimiter: {shown}"


def test_a_single_column_may_be_all_there_is(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("what people say\nyes; no\n")

    assert list(read_file("t.csv", tmp_path).columns) == ["what people say"]


def test_a_relative_path_is_looked_for_in_every_folder_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, text in ((first, "a\n1\n"), (second, "a\n2\n")):
        folder.mkdir()
        (folder / "both.csv").write_text(text)
    (second / "only.csv").write_text("a\n3\n")

    assert read_file("both.csv", first, second)["a"].tolist() == [1]
    assert read_file("only.csv", first, second)["a"].tolist() == [3]


def test_an_absolute_path_below_an_allowed_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")

    assert read_file(tmp_path / "t.csv", tmp_path)["a"].tolist() == [1]


@pytest.mark.parametrize("way", ["../secret.csv", "sub/../../secret.csv", "link.csv", "folder/secret.csv", "ABSOLUTE"])
def test_nothing_outside_the_allowed_folders_is_read_whatever_the_way(tmp_path: Path, way: str) -> None:
    allowed = tmp_path / "allowed"
    (allowed / "sub").mkdir(parents=True)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    (allowed / "link.csv").symlink_to(secret)
    (allowed / "folder").symlink_to(tmp_path)

    with pytest.raises(DataError, match="outside the folders that may be read") as caught:
        read_file(secret if way == "ABSOLUTE" else way, allowed)

    assert caught.value.path == "trial.data.source"
    assert str(allowed) in caught.value.hint
    assert "TRIALYARD_DATA_DIR" in caught.value.hint


def test_a_link_that_leads_into_an_allowed_folder_is_followed(tmp_path: Path) -> None:
    real, other = tmp_path / "real", tmp_path / "other"
    real.mkdir()
    (real / "t.csv").write_text("a\n1\n")
    other.symlink_to(real)

    assert read_file("t.csv", other)["a"].tolist() == [1]


@pytest.mark.parametrize("name", ["none.csv", "a/b/none.csv", "x" * 900 + ".csv"])
def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="there is no file") as caught:
        read_file(name, tmp_path / "one", tmp_path / "two")

    assert str(tmp_path / "one") in caught.value.hint
    assert str(tmp_path / "two") in caught.value.hint


def test_without_folders_no_file_may_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="may not read files") as caught:
        read_file("t.csv")

    assert "TRIALYARD_DATA_DIR" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.xlsx", b"PK", "unknown ending"),
        ("noending", b"a\n1\n", "unknown ending"),
        ("t.parquet", b"not parquet at all", "cannot be read as .parquet"),
        ("t.jsonl", b'{"a": 1}\n{"a": ', "every line is one JSON object"),
        ("t.jsonl", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "every line is one JSON object"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read as .csv"),
        ("latin.csv", "Köln,b\n1,2\n".encode("latin-1"), "save it as UTF-8"),
        ("long.csv", b"a,b\n1,2,3\n1,2,3\n", "as many fields as the first line"),
        ("latin.csv", b"a,b\n\xe9,2\n", "cannot be read as .csv"),
        ("t.csv.gz", b"not gzip", "cannot be read as .csv"),
        ("cut.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 99, mtime=0)[:-12], "cannot be read as .csv"),
    ],
)
def test_a_file_that_cannot_be_read_says_which_and_why(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=says) as caught:
        read_file(name, tmp_path)

    assert name in caught.value.message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("sklearn:irs", "one of iris, wine, breast_cancer, digits, diabetes"),
        ("dataset:mine", "sklearn:<name>, file:<path> and synthetic:<generator> can"),
    ],
)
def test_a_source_that_does_not_exist_names_those_that_do(source: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read(Place("trial.data.source", source), Data(source="file:x"), data_folders=())

    assert says in caught.value.hint


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("iris", (150, 5), 3), ("wine", (178, 14), 3), ("breast_cancer", (569, 31), 2), ("digits", (1797, 65), 10)],
)
def test_the_bundled_sets_come_with_the_names_of_their_classes(name: str, shape: tuple[int, int], classes: int) -> None:
    table = read(Place("trial.data.source", f"sklearn:{name}"), Data(source="file:x"), data_folders=()).rows

    assert table.shape == shape
    assert table.columns[-1] == "target"
    assert {type(label) for label in table["target"]} == {str}
    assert table["target"].nunique() == classes
