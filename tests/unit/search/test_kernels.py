from __future__ import annotations

import numpy as np
import pytest
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator

from search.kernels import log_density
from tests.unit.search.test_tpe import SPACES, past


@pytest.mark.parametrize("count", [2, 90, 1500])  # few kernels are as wide as the range, many as narrow as is allowed
@pytest.mark.parametrize("space", SPACES)
def test_the_density_is_optunas_but_for_rounding(space: str, count: int) -> None:
    distributions = SPACES[space]
    drawn = past(distributions, count + 24)
    values = {
        name: np.array([each.to_internal_repr(trial.params[name]) for trial in drawn], dtype=float)
        for name, each in distributions.items()
    }
    observations = {name: column[:count] for name, column in values.items()}
    points = {name: column[count:] for name, column in values.items()}
    points |= {  # and the ends of every range
        name: np.append(column[:-2], [each.low, each.high]) if hasattr(each, "low") else column
        for (name, column), each in zip(points.items(), distributions.values(), strict=True)
    }
    stock = _ParzenEstimator(observations, distributions, TPESampler()._parzen_estimator_parameters)

    np.testing.assert_allclose(log_density(observations, distributions, points), stock.log_pdf(points), atol=1e-9)
