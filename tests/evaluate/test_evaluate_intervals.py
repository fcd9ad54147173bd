import math

import numpy as np
import pytest

from bestiary.evaluate.intervals import percentile_interval


def test_a_percentile_interval_is_of_quantiles_and_holds_its_figure():
    resampled = np.arange(1001) / 1000
    found = percentile_interval(0.4, resampled)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.025, 0.975))
    assert percentile_interval(0.99, resampled).high == pytest.approx(0.99)
    assert found.as_dict() == {"value": found.value, "low": found.low, "high": found.high}


def test_resamples_that_gave_no_number_do_not_count():
    resampled = np.append(np.arange(1001) / 1000, [np.nan] * 500)
    assert percentile_interval(0.4, resampled) == percentile_interval(0.4, np.arange(1001) / 1000)
    found = percentile_interval(0.4, np.array([np.nan]))
    assert found.value == 0.4
    assert math.isnan(found.low)
    assert math.isnan(found.high)
