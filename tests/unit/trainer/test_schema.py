"""How columns become numbers; scikit-learn's transformers are the reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from trainer.config import Data
from trainer.data.schema import Schema, Target, fit_schema, mark_missing
from trainer.errors import DataError

TARGET = Target(name="y", task="classification", classes=("0", "1"))


def fit(table: pd.DataFrame, **data: object) -> Schema:
    config = Data(source="sklearn:iris", **data)
    return fit_schema(mark_missing(table.assign(y=0), config.missing_values), config, TARGET)


@pytest.mark.parametrize("impute", ["mean", "median", "most_frequent"])
@pytest.mark.parametrize(
    ("normalize", "scaler"),
    [
        ("none", FunctionTransformer()),
        ("standard", StandardScaler()),
        ("minmax", MinMaxScaler()),
        ("robust", RobustScaler()),
        ("quantile", QuantileTransformer(n_quantiles=40, output_distribution="normal")),
        ("power", PowerTransformer()),
    ],
)
def test_numbers_are_imputed_and_scaled_as_scikit_learn_does(impute: str, normalize: str, scaler: object) -> None:
    rng = np.random.default_rng(0)
    train = rng.normal(5, 3, (40, 3)).round(1)
    train[rng.random(train.shape) < 0.2] = np.nan
    train[:, 2] = 4.0  # a column that says nothing must not divide by zero
    test = rng.normal(9, 3, (10, 3))
    test[0, 0] = np.nan
    reference = make_pipeline(SimpleImputer(strategy=impute), scaler).fit(train)

    schema = fit(pd.DataFrame(train, columns=["a", "b", "c"]), impute=impute, normalize=normalize)
    x_num, x_cat = schema.encode(pd.DataFrame(test, columns=["a", "b", "c"]))

    np.testing.assert_allclose(x_num, reference.transform(test), rtol=1e-5, atol=1e-6)
    assert x_num.dtype == np.float32
    assert x_cat.shape == (10, 0)


def test_numbers_that_spread_over_orders_are_bent_into_a_bell() -> None:
    skewed = pd.DataFrame({"a": np.exp(np.random.default_rng(0).normal(0, 2, 500))})

    def skewness(normalize: str) -> float:
        x = fit(skewed, normalize=normalize).encode(skewed)[0][:, 0]
        return float(((x - x.mean()) ** 3).mean() / x.std() ** 3)

    assert skewness("standard") > 5
    assert abs(skewness("quantile")) < 0.1
    assert abs(skewness("power")) < 0.5


def test_categories_are_those_of_the_training_part_and_all_else_is_index_0() -> None:
    schema = fit(pd.DataFrame({"job": ["cook", "clerk", None, "cook"], "flag": [True, False, True, True]}))

    x_num, x_cat = schema.encode(
        pd.DataFrame({"job": ["clerk", "cook", "pilot", None], "flag": [True, False, None, True]})
    )

    assert [column.categories for column in schema.categorical] == [("clerk", "cook"), ("False", "True")]
    assert x_cat[:, 0].tolist() == [1, 2, 0, 0]
    assert x_cat[:, 1].tolist() == [2, 1, 0, 2]
    assert x_num.shape == (4, 0)


def test_rare_categories_and_those_never_seen_share_a_bucket_that_missing_ones_are_not_in() -> None:
    train = pd.DataFrame({"city": ["a"] * 5 + ["b"] * 3 + ["c"] * 3 + ["d"] * 2 + ["e", None]})
    cities = pd.DataFrame({"city": ["a", "b", "c", "d", "e", "new", None]})

    def encoded(**data: int) -> list[int]:
        return list(fit(train, **data).encode(cities)[1][:, 0])

    assert encoded() == [1, 2, 3, 4, 5, 0, 0]
    assert encoded(max_categories=2) == [1, 2, 3, 3, 3, 3, 0]  # of b and c, as frequent, the first by the alphabet
    assert encoded(min_category_rows=3) == [1, 2, 3, 4, 4, 4, 0]
    assert fit(train, max_categories=2).categorical[0].count == 3


def test_numbers_can_be_told_to_be_names() -> None:
    table = pd.DataFrame({"zip": [10, 20, 10, 30], "x": [1.0, 2, 3, 4]})

    schema = fit(table, categorical=["zip"])

    assert schema.columns == ["x", "zip"]
    assert schema.encode(table)[1][:, 0].tolist() == [1, 2, 1, 3]
    gaps = pd.DataFrame({"zip": [30, None], "x": [1.0, 2]})  # which makes floats of them
    assert schema.encode(gaps)[1][:, 0].tolist() == [3, 0]


def test_a_row_means_the_same_by_itself_as_beside_others() -> None:
    codes = ["250.80", "V27", "010", "276", "250.8", "2"]
    grades = [1.0, 1.5, 2.0, 1e19, 3.0, None]
    rows = pd.DataFrame({"code": codes, "grade": grades})
    schema = fit(rows, categorical=["code", "grade"])

    together = schema.encode(rows)[1].tolist()
    alone = [schema.encode(rows.iloc[[row]])[1][0].tolist() for row in range(len(rows))]
    as_sent = [schema.encode(pd.DataFrame([row], dtype=object))[1][0].tolist() for row in rows.to_dict("records")]

    assert alone == together == as_sent
    assert [code for code, _ in together] == [4, 6, 1, 5, 3, 2]
    assert sorted(grade for _, grade in together) == [0, 1, 2, 3, 4, 5]


def test_a_name_that_is_not_known_as_written_is_the_only_one_of_the_same_number() -> None:
    schema = fit(pd.DataFrame({"code": ["010", "V27", "1", "01", "20"]}))

    written = pd.DataFrame({"code": [10, "10.0", "1", "1.0", "20.0", "V28", None]}, dtype=object)

    assert schema.encode(written)[1][:, 0].tolist() == [2, 2, 3, 0, 4, 0, 0]


def test_a_marker_of_missing_values_makes_a_column_of_strings_a_column_of_numbers() -> None:
    schema = fit(pd.DataFrame({"age": ["30", "?", "50"]}), missing_values=["?"], impute="mean", normalize="none")

    assert schema.encode(pd.DataFrame({"age": ["?", "7"]}))[0].tolist() == [[40.0], [7.0]]


def test_a_marker_that_is_a_number_counts_in_columns_of_numbers() -> None:
    schema = fit(pd.DataFrame({"age": [30, -999, 50]}), missing_values=["-999"], impute="mean", normalize="none")

    assert schema.encode(pd.DataFrame({"age": [-999, 7]}))[0].tolist() == [[40.0], [7.0]]


def test_an_infinite_number_counts_as_missing() -> None:
    schema = fit(pd.DataFrame({"x": [1.0, np.inf, 3.0]}), impute="mean", normalize="none")

    assert schema.encode(pd.DataFrame({"x": [-np.inf, 5.0]}))[0].tolist() == [[2.0], [5.0]]


def test_booleans_with_gaps_stay_categories() -> None:
    schema = fit(pd.DataFrame({"flag": [True, None, False]}))

    assert schema.categorical[0].categories == ("False", "True")


def test_ids_are_left_out_with_the_reason_and_durations_too() -> None:
    schema = fit(
        pd.DataFrame(
            {
                "id": [f"u{row}" for row in range(50)],
                "stay": pd.to_timedelta(range(50), unit="h"),
                "born": pd.date_range("2000-01-01", periods=50),
                "kind": ["a", "b"] * 25,
            }
        )
    )

    assert schema.columns == ["born", "kind"]
    assert {column.name: column.why for column in schema.excluded} == {
        "id": "50 distinct values in 50 rows: an id or text, not a category",
        "stay": "a duration: give it as a number, of days or seconds",
    }


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{day}/5/2023", "dates that "),
        ("{day:02d}.05.23 14:30", "dates that "),
        ("${day},250.50", "numbers with signs between or beside the digits, such as $1,250.50: write plain ones"),
        ("{day} %", "numbers with signs between or beside the digits"),
        ("192.168.0.{day}", None),
        ("B-{day}", None),
    ],
)
def test_dates_in_any_order_and_amounts_that_are_texts_are_no_categories(value: str, why: str | None) -> None:
    column = [value.format(day=day) for day in range(1, 29)] * 3

    schema = fit(pd.DataFrame({"x": column, "few": ["2020-01-01", "2021-01-01"] * 42}))

    assert "few" in schema.columns
    assert [each.why.startswith(why) for each in schema.excluded] == [True] if why else not schema.excluded


def test_a_column_without_any_value_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="has a value of empty") as caught:
        fit(pd.DataFrame({"x": [1, 2], "empty": [None, None]}))

    assert caught.value.path == "trial.data.drop"


def test_no_column_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match="no column is left") as caught:
        fit(pd.DataFrame({"id": [f"u{row}" for row in range(50)]}))

    assert "id: 50 distinct values" in caught.value.hint


def test_a_schema_survives_json() -> None:
    schema = fit(pd.DataFrame({"x": [0.1, 0.7], "job": ["a", "ü"]}))

    assert Schema.model_validate_json(schema.model_dump_json()) == schema
