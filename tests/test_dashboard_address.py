"""A link shows what one sees: every choice goes into an address and comes back the same."""

import base64
import json
import zlib
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.dashboard.address import LARGEST, from_query, to_query
from hustle_sim.dashboard.choice import Choice, Side, default_choice, preset
from hustle_sim.dashboard.controls import FIELDS, stops_of
from hustle_sim.dashboard.scenario_files import bundled
from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy
from hustle_sim.simulation import Scenario


def packed(tables):
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(tables).encode())).decode()


@st.composite
def sides(draw):
    name = draw(st.sampled_from(sorted(PRESETS)))
    policy = preset(name)
    for field in draw(st.lists(st.sampled_from(list(FIELDS.values())), max_size=6)):
        if isinstance(field.default, bool):
            value = draw(st.booleans())
        elif field.choices:
            value = draw(st.sampled_from(field.choices))
        else:
            stops = st.sampled_from(stops_of(field))
            value = draw(stops if isinstance(field.default, int) else stops | st.floats(field.low, field.high))
        try:
            policy = policy.replace({field.name: value})
        except InputError:
            continue
    return Side(name, policy)


@st.composite
def scenarios(draw):
    scenario = bundled()[draw(st.sampled_from(sorted(bundled())))]
    if draw(st.booleans()):
        return scenario
    texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
    return scenario.replace(
        {"name": draw(texts), "backend.capacity": draw(st.integers(1, 500)),
         "clients.messages_per_hour": draw(st.floats(1, 600))}
    )  # fmt: skip


@given(scenarios(), sides(), st.integers(0, 2**63 - 1), sides(), st.booleans())
@settings(deadline=None)
def test_every_choice_goes_into_an_address_and_comes_back_the_same(scenario, mine, seed, other, both):
    choice = Choice(scenario, mine, seed, other, both)
    address = urlencode(to_query(choice))
    assert from_query(dict(parse_qsl(address))) == choice


@pytest.mark.parametrize("name", bundled())
def test_an_edited_scenario_fits_into_an_address(name):
    query = to_query(Choice(bundled()[name].replace({"name": "mine"}), Side.of("default"), 7, Side.of("original")))
    assert "scenario" not in query
    assert len(query["own"]) < LARGEST


def test_the_address_of_a_first_visit_is_short_and_an_empty_one_is_a_first_visit():
    assert to_query(default_choice()) == {"scenario": "morning-outage", "policy": "default", "seed": "7"}
    assert from_query({}) == from_query({"place": "simulate", "theme": "dark"}) == default_choice()


def test_a_person_can_write_an_address():
    choice = from_query(
        {"scenario": "hang", "policy": "polly", "seed": "3", "probe.interval_s": "2m", "cache.enabled": "off",
         "b": "grpc", "b.request.max_attempts": "2", "view": "both"}
    )  # fmt: skip
    assert choice.mine.changes == {"probe.interval_s": 120.0, "cache.enabled": False}
    assert choice.other == Side("grpc", Policy.preset("grpc").replace({"request.max_attempts": 2}))
    assert (choice.scenario.name, choice.seed, choice.both) == ("hang", 3, True)


def test_another_place_can_hand_over_a_policy_and_a_scenario():
    policy, scenario = Policy().replace({"probe.fall": 2}), bundled()["hang"].replace({"backend.capacity": 3})
    choice = from_query({"policy": policy, "scenario": scenario, "seed": 4, "b": Policy.preset("polly")})
    assert (choice.mine, choice.scenario, choice.seed) == (Side("default", policy), scenario, 4)
    assert choice.other == Side.of("polly")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"scenario": "mornig-outage"}, "there is no scenario 'mornig-outage'; did you mean 'morning-outage'?"),
        ({"policy": "orginal"}, "there is no preset 'orginal'; did you mean 'original'?"),
        ({"b": "orginal"}, "there is no preset 'orginal'; did you mean 'original'?"),
        ({"seed": "seven"}, "seed: a whole number from 0 up is needed, not 'seven'"),
        ({"seed": "-1"}, "seed: a whole number from 0 up is needed, not '-1'"),
        ({"probe.intervall_s": "3"}, "there is no policy field 'probe.intervall_s'; did you mean 'probe.interval_s'?"),
        ({"b.probe.fall": "many"}, "policy: probe.fall: input should be a valid integer"),
        ({"own": "x"}, "the scenario in this address is damaged"),
        ({"own": "eJyrVkpJTSxOVbJSMDI"}, "the scenario in this address is damaged"),
        ({"own": "ä ö"}, "the scenario in this address is damaged"),
        ({"own": "eJwzBAAAMgAy"}, "the scenario in this address is damaged"),
        ({"own": packed({"outages": [{"mode": "refuse", "replay": "/etc/passwd"}]})}, "this address names the file"),
        ({"own": packed({"duration_s": -5})}, "this address: duration_s"),
    ],
)
def test_an_address_that_asks_for_what_cannot_be_is_a_sentence(query, sentence):
    with pytest.raises(InputError) as caught:
        from_query(query)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_small_address_cannot_unfold_into_a_large_one():
    bomb = base64.urlsafe_b64encode(zlib.compress(b'{"name": "' + b"x" * 10_000_000 + b'"}')).decode()
    with pytest.raises(InputError, match="damaged"):
        from_query({"own": bomb})


def test_a_scenario_that_is_too_large_for_an_address_is_a_sentence():
    rows = "".join(
        f"{hour:02d}{minute:02d}{second:02d}" for hour in range(24) for minute in range(60) for second in range(9)
    )
    scenario = Scenario.load("hang").replace({"description": str(hash(rows)) + rows})
    with pytest.raises(InputError, match="too large for an address"):
        to_query(Choice(scenario, Side.of("default"), 7, Side.of("original")))
