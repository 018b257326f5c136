"""What comparisons and sweeps draw is what stands in them."""

import holoviews as hv
import pandas as pd
import pytest
from test_executors import SHORT

from hustle_sim import InputError, Policy, compare, sweep

hv.extension("bokeh", "matplotlib")


@pytest.fixture(scope="module")
def comparison():
    policies = {"default": "default", "original": "original", "patient": Policy().replace({"probe.fall": 5})}
    return compare(policies, SHORT, replications=4, executor=1)


def swept(fields, **how):
    return sweep(SHORT, "default", fields, replications=2, executor=1, metrics=["detection_s", "messages"], **how)


def drawn(layout, kind):
    """The elements of one kind, wherever they are."""
    return [element for element in layout.traverse(lambda each: each, [kind]) if type(element) is kind]


def test_a_comparison_has_a_point_for_each_difference_and_a_line_for_its_interval(comparison):
    layout = comparison.plot(metrics=["detection_s"])
    assert len(layout) == 1
    rows = comparison[(comparison["metric"] == "detection_s") & (comparison["policy"] != "default")]
    points = pd.concat([element.dframe() for element in drawn(layout, hv.Points)])
    assert sorted(points["difference"]) == pytest.approx(sorted(rows["difference"]))
    segments = pd.concat([element.dframe() for element in drawn(layout, hv.Segments)])
    assert sorted(segments["x0"]) == pytest.approx(sorted(rows["difference_low"]))
    assert sorted(segments["x1"]) == pytest.approx(sorted(rows["difference_high"]))


def test_a_comparison_draws_the_metrics_that_differ_and_have_a_better_direction(comparison):
    told = set(comparison[comparison["verdict"].isin(["better", "worse", "unsure"])]["metric"])
    assert 3 < len(told) == len(comparison.plot())


def test_one_policy_has_no_difference_to_draw():
    alone = compare({"default": "default"}, SHORT, replications=2, executor=1, metrics=["answered_share"])
    with pytest.raises(InputError, match="one policy only"):
        alone.plot()


def test_one_field_is_a_line_with_a_value_at_each_point():
    table = swept({"probe.fall": [1, 3, 5]})
    (curve,) = drawn(table.plot(), hv.Curve)
    means = table[table["metric"] == "detection_s"]["mean"]
    assert list(curve.dimension_values(1)) == pytest.approx(list(means))


def test_two_fields_are_a_map_with_a_cell_for_each_pair():
    table = swept({"probe.fall": [1, 3, 5], "probe.rise": [1, 2]})
    (cells,) = drawn(table.plot(), hv.Rectangles)
    means = table[table["metric"] == "detection_s"]["mean"]
    assert sorted(cells.dimension_values("mean")) == pytest.approx(sorted(means))


def test_many_fields_have_a_line_for_each_point():
    table = swept({"probe.fall": [1, 3], "probe.rise": [1, 2], "request.max_attempts": [1, 2]})
    lines = drawn(table.plot(), hv.Path) or drawn(table.plot(), hv.Contours)
    assert sum(len(line.split()) for line in lines) >= 8


def test_a_sweep_without_the_metric_says_which_it_has():
    with pytest.raises(InputError, match="has no metric 'lost': it has detection_s, messages"):
        swept({"probe.fall": [1, 3]}).plot("lost")


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_each_is_drawn_by_both_backends(comparison, backend):
    names = {"probe.fall": [1, 3], "probe.rise": [1, 2], "request.max_attempts": [1, 2]}
    plots = [swept(dict(list(names.items())[:fields])).plot() for fields in (1, 2, 3)]
    for plot in [*plots, comparison.plot(metrics=["detection_s", "lost"])]:
        assert hv.render(plot, backend=backend) is not None
