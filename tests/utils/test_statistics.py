"""Statistics over seeds against numbers taken by hand, and against scipy where it has them."""

from __future__ import annotations

import math

import pytest
import scipy  # whose stats, a second of imports, come with their first use: every worker imports this file

from gantrain.errors import UserError
from gantrain.utils.statistics import (
    Estimate,
    Share,
    area,
    capped,
    holm,
    paired,
    share_below,
    simultaneous,
    welch,
)


def test_a_mean_and_its_interval_by_hand():
    estimate = Estimate.of([1.0, 2.0, 6.0])
    # s^2 = ((-2)^2 + (-1)^2 + 3^2) / 2 = 7, and Student's t with 2 degrees of freedom has 4.302653 at 97.5 %.
    assert (estimate.mean, estimate.count) == (3.0, 3) and estimate.error == pytest.approx(math.sqrt(7 / 3))
    half = 4.302653 * math.sqrt(7 / 3)
    assert estimate.interval() == pytest.approx((3 - half, 3 + half))
    assert estimate.interval(0.8) == pytest.approx(scipy.stats.t.interval(0.8, 2, 3.0, estimate.error))
    assert str(estimate) == "3 ± 1.5" and str(Estimate.of([4.25])) == "4.25"
    assert all(map(math.isnan, Estimate.of([4.25]).interval())) and Estimate.of([]).count == 0
    with pytest.raises(UserError, match="confidence: expected a number between 0 and 1, such as 0.95; got 95"):
        estimate.interval(95)


def test_paired_differences_by_hand_and_as_scipy():
    one, other = {0: 5.0, 1: 7.0, 2: 9.0, 5: 100.0}, {0: 4.0, 1: 5.0, 2: 6.0, 7: -100.0}
    found = paired(one, other)
    # The differences are 1, 2 and 3: mean 2, s = 1.
    assert found.mean == 2 and found.error == pytest.approx(1 / math.sqrt(3)) and found.counts == (3, 3)
    assert found.p == pytest.approx(scipy.stats.ttest_rel([5, 7, 9], [4, 5, 6]).pvalue)
    half = 4.302653 / math.sqrt(3)
    assert found.interval() == pytest.approx((2 - half, 2 + half))


def test_differences_that_have_no_error_or_an_error_of_zero():
    single = paired({0: 1.0}, {0: 3.0})
    assert single.mean == -2 and all(map(math.isnan, (single.error, single.p, *single.interval())))
    equal = paired({0: 1.0, 1: 2.0}, {0: 0.5, 1: 1.5})
    assert (equal.error, equal.p, equal.interval()) == (0, 0, (0.5, 0.5))
    assert paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).p == 1
    assert welch([1.0, 1.0], [2.0, 2.0]).p == 0 and math.isnan(welch([1.0], [2.0, 3.0]).p)
    for function, one, other, said in (
        (paired, {0: 1.0}, {1: 1.0}, "no seed in common"),
        (paired, {0: 1.0}, {0: math.inf}, "a value is not finite"),
        (welch, [], [1.0], "at least one value"),
        (welch, [1.0], [math.nan], "a value is not finite"),
    ):
        with pytest.raises(UserError, match=said):
            function(one, other)


def test_welch_as_scipy():
    one, other = [1.0, 2.0, 6.0, 3.0], [4.0, 9.0, 12.0]
    found, theirs = welch(one, other), scipy.stats.ttest_ind(one, other, equal_var=False)
    assert (found.p, found.degrees) == pytest.approx((theirs.pvalue, theirs.df))
    interval = theirs.confidence_interval(0.9)
    assert found.interval(0.9) == pytest.approx((interval.low, interval.high))


def test_holm_by_hand():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2 which may not be below the last, and 0.5 * 1.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
    assert holm([math.nan, 0.02])[1] == 0.02 and math.isnan(holm([math.nan, 0.02])[0])
    assert simultaneous(0.95, 5) == pytest.approx(0.99) and simultaneous(0.95, 0) == pytest.approx(0.95)


def test_the_area_is_a_mean_height():
    # Widths 1 and 1 in log2: (4 + 2) / 2 and (2 + 8) / 2, their mean; the order of the grid does not matter.
    assert area([1, 2, 4], [4, 2, 8]) == pytest.approx(4)
    assert area([4, 1, 2], [8, 4, 2]) == pytest.approx(4)
    # Linearly, the widths are 1 and 2.
    assert area([1, 2, 4], [4, 2, 8], log=False) == pytest.approx((3 + 2 * 5) / 3)
    assert area([0.1], [3.0]) == 3.0
    # The diverged run at 4 counts as 8, and so does 90 at 1.
    assert area([1, 2, 4], [90, 2, math.nan], ceiling=8) == pytest.approx(5)
    assert area([1, 2], [0.9, None], ceiling=0.1, better="higher") == pytest.approx(0.5)
    for grid, values, said in (
        ([1, 2], [1, None], "a run diverged at 2; give a ceiling"),
        ([1, 1], [1, 2], "given twice"),
        ([0, 1], [1, 2], "0 has no logarithm"),
        ([1], [], "got 0 for 1"),
    ):
        with pytest.raises(UserError, match=said):
            area(grid, values)


def test_shares_and_wilsons_interval():
    values = [7.0, 8.0, 9.0, None, math.nan, -math.inf]
    assert share_below(values, 8.0) == Share(1, 6) and share_below(values, 8.0, "higher") == Share(1, 6)
    for count, total in ((0, 5), (3, 5), (5, 5), (7, 15)):
        theirs = scipy.stats.binomtest(count, total).proportion_ci(0.9, "wilson")
        assert Share(count, total).interval(0.9) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert Share(0, 0).interval() == (0, 1) and str(Share(1, 3)) == "1 of 3"


def test_a_ceiling_is_the_worst_that_counts():
    assert [capped(v, 5.0) for v in (3.0, 7.0, None, math.inf)] == [3.0, 5.0, 5.0, 5.0]
    assert [capped(v, 0.2, "higher") for v in (0.1, 0.9, None)] == [0.2, 0.9, 0.2]
    assert [capped(v, None) for v in (3.0, math.nan)] == [3.0, None]
