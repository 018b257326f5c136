"""The form of the policy: what each control is, and that a policy goes through it unharmed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustle_sim.dashboard import controls
from hustle_sim.dashboard.controls import FIELDS
from hustle_sim.dashboard.policy_form import PolicyForm
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy

NUMBERS = [name for name, field in FIELDS.items() if controls.stops_of(field)]
SPECS = {spec["name"]: spec for _, _, specs in controls.specs() for spec in specs}


@pytest.mark.parametrize("name", FIELDS)
def test_every_tunable_has_a_control_with_its_reason_and_unit(name):
    field, spec = FIELDS[name], SPECS[name]
    assert spec["reason"] == field.reason
    assert spec["unit"] == ("%" if field.unit == "share" else field.unit)
    assert tuple(spec["choices"]) == field.choices
    assert spec["kind"] == ("switch" if isinstance(field.default, bool) else "choice" if field.choices else "number")
    assert len(spec["stops"]) == len(spec["words"])


@pytest.mark.parametrize("name", NUMBERS)
def test_a_slider_goes_from_bound_to_bound_in_steps_that_a_policy_can_have(name):
    field = FIELDS[name]
    stops = controls.stops_of(field)
    assert (stops[0], stops[-1]) == (field.low, field.high)
    assert list(stops) == sorted(set(stops))
    assert float(field.default) in stops
    assert 10 < len(stops) < 90
    if controls.is_whole(field):
        assert all(stop.is_integer() for stop in stops)
    for stop in stops:
        assert controls.meant(field, controls.shown(field, stop)) == pytest.approx(stop)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_slider_can_stop_at_what_every_preset_has(preset):
    policy = Policy.preset(preset)
    assert all(float(policy.get(name)) in controls.stops_of(FIELDS[name]) for name in NUMBERS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_policy_goes_through_the_controls_and_comes_back_the_same(preset):
    form = PolicyForm()
    form.show(Policy(), Policy.preset(preset))
    assert form.policy() == Policy.preset(preset)


@given(st.data())
def test_a_number_goes_through_its_control_and_comes_back_the_same(data):
    field = FIELDS[data.draw(st.sampled_from(NUMBERS))]
    if controls.is_whole(field):
        value = data.draw(st.integers(int(field.low), int(field.high)))
    else:
        value = data.draw(st.floats(field.low, field.high, allow_subnormal=False))
    back = controls.meant(field, controls.shown(field, value))
    assert back == (pytest.approx(value, abs=1e-8) if field.unit == "share" else value)


def test_only_what_a_person_changes_counts_as_a_change():
    changes = []
    form = PolicyForm(changed=lambda: changes.append(form.policy()))
    form.show(Policy.preset("original"), Policy.preset("original"))
    assert changes == []
    form.values = {**form.values, "probe.interval_s": "60"}
    form.change({"retry.budget_share": 0.25, "cache.enabled": True})
    assert changes[0] == Policy.preset("original").replace({"probe.interval_s": 60})
    assert changes[1] == changes[0].replace({"retry.budget_share": 0.25, "cache.enabled": True})


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("probe.interval_s", "5m", 300.0), ("probe.interval_s", " 90 ", 90.0), ("probe.fall", "", 3),
        ("probe.fall", "4.0", 4), ("probe.jitter", "25 %", 0.25), ("retry.base_s", "0,5", 0.5),
        ("retry.jitter", "equal", "equal"), ("cache.enabled", False, False),
    ],
)  # fmt: skip
def test_what_a_person_types_is_understood(name, typed, meant):
    form = PolicyForm()
    form.values = {**form.values, name: typed}
    assert form.policy().get(name) == meant


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("probe.interval_s", "soon", "'soon' is no duration"), ("probe.fall", "2.5", "probe.fall"),
        ("probe.fall", "many", "not 'many'"), ("probe.jitter", "200", "less than or equal to 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence_and_its_field_is_marked(name, typed, words):
    form = PolicyForm()
    form.values = {**form.values, name: typed}
    with pytest.raises(InputError, match=words) as caught:
        form.policy()
    form.blame(str(caught.value))
    assert form.wrong == [name]


def test_values_that_cannot_work_together_are_a_sentence_and_both_fields_are_marked():
    form = PolicyForm()
    form.values = {**form.values, "probe.degraded_above_s": "6"}
    with pytest.raises(InputError, match=r"degraded_above_s \(6\) must not exceed timeout_s \(5\)") as caught:
        form.policy()
    form.blame(str(caught.value))
    assert form.wrong == ["probe.degraded_above_s", "probe.timeout_s"]
    form.blame("")
    assert form.wrong == []


def test_a_value_that_differs_from_the_preset_says_so_and_long_times_are_put_into_words():
    field = FIELDS["probe.interval_s"]
    assert controls.note(field, 300, 300) == "= 5 min"
    assert controls.note(field, 30, 300) == "preset: 5 min"
    assert controls.note(field, "soon", 300) == "preset: 5 min"
    assert controls.note(FIELDS["probe.jitter"], 0.5, 0.2) == "preset: 20 %"
    assert controls.note(FIELDS["breaker.enabled"], False, True) == "preset: on"
    form = PolicyForm()
    form.change({"probe.fall": 1})
    assert form.notes["probe.fall"] == "preset: 3 probes"
    form.change({"probe.fall": 3})
    assert "probe.fall" not in form.notes
