"""Scenarios: bundled and one's own, what they refuse, and when their people write."""

import json
import math
import pickle
import re
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hustle_sim.inputs import InputError
from hustle_sim.simulation import scenario as scenario_module
from hustle_sim.simulation.distributions import Constant, Lognormal
from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import COMMON_QUESTIONS, ClientsModel, Priorities, Scenario

FOLDER = Path(__file__).parent.parent / "data" / "scenarios"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR_S, DAY_S = 3600.0, 86400.0

bundled = pytest.mark.parametrize("name", NAMES)


def load(folder, text, name="mine.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Scenario.load(path)


def times(clients, draws=None, client=0, start=START, duration_s=DAY_S):
    return list(clients.arrivals(draws or Draws(0), client, start=start, duration_s=duration_s))


def test_the_promised_scenarios_are_there():
    promised = {
        "morning-outage", "flapping", "brownout", "rate-limited", "slow-burn", "hang", "retry-storm",
        "ai-provider-month",
    }  # fmt: skip
    assert promised <= set(NAMES)
    assert list(Scenario.bundled()) == NAMES
    assert all(Scenario.bundled().values())


@bundled
def test_a_bundled_scenario_loads_by_name_and_says_what_it_teaches(name):
    scenario = Scenario.load(name)
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    comment = re.match(r"(?:#.*\n)+", text)
    assert comment
    assert "teaches" in comment.group()
    assert scenario.name == name
    assert 20 < len(scenario.description) <= 110
    assert max(map(len, text.splitlines())) <= 120


@bundled
def test_a_bundled_scenario_has_outages_and_time_to_get_well_again(name):
    scenario = Scenario.load(name)
    outages = [outage for seed in range(10) for outage in scenario.timeline(Draws(seed)).outages]
    assert outages
    if name != "ai-provider-month":
        assert max(outage.end_s for outage in outages) <= scenario.duration_s - 0.5 * HOUR_S
        assert min(outage.start_s for outage in outages) >= 0.2 * HOUR_S


@bundled
def test_a_bundled_scenario_is_small_enough_to_simulate_while_one_waits(name):
    scenario = Scenario.load(name)
    clients = scenario.clients
    messages = len(times(clients, start=scenario.start, duration_s=scenario.duration_s)) * clients.count
    assert 200 < messages < 20_000


@bundled
def test_a_good_day_of_a_bundled_scenario_leaves_capacity_free(name):
    scenario = Scenario.load(name)
    per_s = scenario.backend.background_per_s + scenario.clients.count * scenario.clients.messages_per_hour / HOUR_S
    assert per_s * scenario.backend.latency.mean_s < 0.75 * scenario.backend.capacity


@bundled
def test_a_scenario_is_equal_after_pickle_json_and_toml(name, tmp_path):
    scenario = Scenario.load(name)
    assert pickle.loads(pickle.dumps(scenario)) == scenario
    assert Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))) == scenario
    scenario.save(tmp_path / "copy.toml")
    assert Scenario.load(tmp_path / "copy.toml") == scenario
    assert scenario.replace({}) == scenario
    assert scenario.replace({"duration_s": scenario.duration_s + 1}) != scenario


def test_a_scenario_carries_the_data_of_its_files(tmp_path):
    (tmp_path / "latency.csv").write_text("2\n1\n")
    (tmp_path / "incidents.csv").write_text("started_at,resolved_at,impact\n2026-01-05T01:00,2026-01-05T02:00,3\n")
    text = """
        backend.latency = { kind = "empirical", csv = "latency.csv" }
        [[outages]]
        replay = "incidents.csv"
        modes = { 3 = { mode = "hang", ramp_s = "1m" } }
        [[outages]]
        at_s = 0
        lasts_s = "1m"
        mode = "bad_body"
    """
    scenario = load(tmp_path, text)
    for file in tmp_path.iterdir():
        file.unlink()
    scenario.save(tmp_path / "copy.toml")
    for again in (
        pickle.loads(pickle.dumps(scenario)),
        Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))),
        Scenario.load(tmp_path / "copy.toml").replace({"name": "mine"}),
        scenario.replace({"backend.capacity": 20}),
    ):
        assert again == scenario
        assert again.backend.latency.values_s == (1.0, 2.0)
        assert [(o.start_s, o.end_s, o.mode) for o in again.timeline(Draws(0)).outages] == [
            (0, 60, "bad_body"), (3600, 7200, "hang"),
        ]  # fmt: skip


def test_a_file_of_another_name_is_read_when_it_is_put_in_place(tmp_path):
    (tmp_path / "one.csv").write_text("1\n")
    (tmp_path / "two.csv").write_text("2\n")
    scenario = load(tmp_path, 'backend.latency = { kind = "empirical", csv = "one.csv" }')
    other = scenario.replace({"backend.latency.csv": str(tmp_path / "two.csv")})
    assert (scenario.backend.latency.values_s, other.backend.latency.values_s) == ((1.0,), (2.0,))


def test_an_installed_package_finds_its_own_scenarios(tmp_path, monkeypatch):
    package = tmp_path / "hustle_sim"
    (package / "_scenarios").mkdir(parents=True)
    (package / "_scenarios" / "only.toml").write_text('description = "the one"\n')
    monkeypatch.setattr(scenario_module, "__file__", str(package / "simulation" / "scenario.py"))
    assert Scenario.bundled() == {"only": "the one"}
    assert Scenario.load("only").name == "only"


def test_defaults_are_a_plain_day_of_one_person(tmp_path):
    scenario = load(tmp_path, "")
    assert scenario == Scenario(name="mine")
    assert (scenario.duration_s, scenario.start, scenario.warm_up_s, scenario.outages) == (DAY_S, START, 0, ())
    assert scenario.start.weekday() == 0
    assert scenario.backend.latency == Lognormal(median_s=1.2, p99_s=5.0)
    assert scenario.backend.health_latency == Constant(value_s=0.05)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-03-01T08:00:00Z", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("2026-03-01T08:00:00+02:00", datetime(2026, 3, 1, 6, tzinfo=UTC)),
        ("2026-03-01T08:00:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ('"2026-03-01T08:00:00+02:00"', datetime(2026, 3, 1, 6, tzinfo=UTC)),
    ],
)
def test_a_start_is_in_utc_however_it_is_written(tmp_path, written, expected):
    start = load(tmp_path, f"start = {written}").start
    assert (start, start.utcoffset()) == (expected, timedelta(0))


def test_replace_reaches_every_field():
    scenario = Scenario.load("slow-burn").replace(
        {
            "duration_s": "9h",
            "backend.capacity": 4,
            "backend.latency": "2s",
            "backend.health_latency.median_s": 0.1,
            "clients.priorities": {"high": 1, "normal": 0, "low": 0},
            "clients.profile": "daily",
            "outages.0.lasts_s": "2h",
        }
    )
    assert (scenario.duration_s, scenario.backend.capacity) == (9 * HOUR_S, 4)
    assert scenario.backend.latency == Constant(value_s=2)
    assert scenario.backend.health_latency == Lognormal(median_s=0.1, p99_s=1.2)
    assert scenario.clients.priorities == Priorities(high=1, normal=0, low=0)
    assert scenario.outages[0].lasts_s == 7200
    assert scenario.replace({"outages": []}).outages == ()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "backend.capcity",
            4,
            "scenario: backend.capcity is not a field that exists; did you mean 'backend.capacity'?",
        ),
        ("backnd.capacity", 4, "there is no scenario field 'backnd.capacity'; did you mean 'backend.capacity'?"),
        ("outages.1.lasts_s", 4, "there is no scenario field 'outages.1.lasts_s'; did you mean 'outages.0.lasts_s'?"),
        ("name.first", 4, "there is no scenario field 'name.first'"),
        ("backend.capacity", 0, "scenario: backend.capacity: input should be greater than or equal to 1, not 0"),
        ("clients.priorities.high", 0.5, "scenario: clients.priorities: high, normal and low must add up to 1"),
        ("warm_up_s", "2d", "scenario: warm_up_s (172800) must be less than duration_s (28800)"),
        ("outages.0.at_s", "9h", "scenario: outages.0.at_s (32400) must be less than duration_s (28800)"),
    ],
)
def test_a_change_that_cannot_be_is_refused_with_a_sentence(name, value, sentence):
    with pytest.raises(InputError) as refused:
        Scenario.load("slow-burn").replace({name: value})
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("duration_s = ", "is not valid TOML: Invalid value"),
        ("duration_s = -5", "duration_s: input should be greater than or equal to 1, not -5"),
        ('duration_s = "-5h"', "duration_s: '-5h' is no duration"),
        ("duration = 5", "duration is not a field that exists; did you mean 'duration_s'?"),
        ("[beckend]", "beckend is not a field that exists; did you mean 'backend'?"),
        ("backend = 3", "backend: input should be a valid dictionary"),
        (
            "[backend]\nlatency = {kind = 'lognormal', median = 1, p99_s = 2}",
            "did you mean 'backend.latency.median_s'?",
        ),
        ("[backend]\nlatency = {kind = 'lognormal', median_s = 1}", "backend.latency.p99_s: Field required"),
        (
            "[backend]\nlatency = {kind = 'lognormal', median_s = 2, p99_s = 1}",
            "backend.latency: median_s (2) must not",
        ),
        ("[backend]\nlatency = {kind = 'log'}", "backend.latency: there is no kind 'log'; did you mean 'lognormal'?"),
        ("[backend]\nlatency = 'fast'", "backend.latency: 'fast' is no duration"),
        ("[backend]\nlatency = {kind = 'empirical', csv = 'no.csv'}", "no.csv: no such file"),
        ("[[outages]]\nmode = 'hang'", "outages.0: an outage needs one of at_s"),
        ("[[outages]]\nmode = 'hung'\nat_s = 1\nlasts_s = 1", "outages.0.mode: input should be 'refuse', 'hang'"),
        ("[[outages]]\nat = 1", "outages.0.at is not a field that exists; did you mean 'outages.0.at_s'?"),
        ("[[outages]]\nreplay = 'no.csv'", "no.csv: no such file"),
        ("[outages]\nat_s = 1", "outages: input should be a valid tuple"),
        ("[clients]\nprofile = 'wild'", "clients.profile: input should be 'flat', 'daily' or 'burst', not 'wild'"),
        ("[clients]\nburst_lasts_s = '2h'", "clients: burst_lasts_s (7200) must not exceed burst_every_s (3600)"),
        ("[clients]\nhour_weights = [1, 2]", "clients.hour_weights: Tuple should have at least 24 items"),
        (f"[clients]\nhour_weights = {[0] * 24}", "clients: hour_weights must not all be 0"),
        (
            "[clients]\npriorities = {high = 0.5}",
            "clients.priorities: high, normal and low must add up to 1, not to 1.4",
        ),
        ("start = 'noon'", "start: input should be a valid datetime"),
        ("duration_s = nan", "duration_s: input should be a finite number"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_one_sentence_that_names_it(tmp_path, text, sentence):
    with pytest.raises(InputError) as refused:
        load(tmp_path, text)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'mine.toml'}")
    assert sentence in message
    assert "\n" not in message
    assert "pydantic" not in message


def test_a_bad_row_of_a_replay_is_named_with_file_and_line(tmp_path):
    (tmp_path / "incidents.csv").write_text("started_at,resolved_at,impact\n2026-01-05T01:00,soon,3\n")
    with pytest.raises(InputError) as refused:
        load(tmp_path, "[[outages]]\nreplay = 'incidents.csv'")
    assert str(refused.value).startswith(
        f"{tmp_path / 'mine.toml'}: outages.0: {tmp_path / 'incidents.csv'}, line 2: resolved_at 'soon' is no time"
    )


def test_a_record_from_another_year_asks_for_a_start(tmp_path):
    (tmp_path / "incidents.csv").write_text("started_at,resolved_at,impact\n2023-09-05T01:00,2023-09-05T03:00,3\n")
    text = "[[outages]]\nreplay = 'incidents.csv'"
    with pytest.raises(InputError, match=r"start must be given: the incidents of outages\.0 are from 2023-09-05"):
        load(tmp_path, text)
    assert load(tmp_path, f"start = 2023-09-05T02:00:00Z\n{text}").timeline(Draws(0)).outages[0].end_s == 3600
    assert load(tmp_path, f"start = 2023-10-01\n{text}").timeline(Draws(0)).outages == ()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "mornin-outage",
            "there is no scenario 'mornin-outage'; did you mean 'morning-outage'? Name one of ai-provider",
        ),
        ("nowhere.toml", "nowhere.toml: no such file"),
        ("", "there is no scenario ''"),
    ],
)
def test_an_unknown_scenario_is_refused_with_a_sentence(source, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        Scenario.load(source)
    assert str(refused.value).startswith(sentence)


def test_a_place_that_cannot_be_written_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(InputError, match="can't be written"):
        Scenario().save(tmp_path / "no" / "folder.toml")


def test_messages_come_as_a_poisson_process():
    clients = ClientsModel(messages_per_hour=60)
    arrivals = times(clients, duration_s=100 * DAY_S)
    gaps_s = [later - earlier for earlier, later in zip([0.0, *arrivals], arrivals, strict=False)]
    assert stats.kstest(gaps_s, stats.expon(scale=60).cdf).pvalue > 0.001
    counts = [len(times(clients, client=client, duration_s=HOUR_S)) for client in range(2000)]
    assert math.fsum(counts) / 2000 == pytest.approx(60, abs=4 * (60 / 2000) ** 0.5)
    assert stats.variation(counts) ** 2 == pytest.approx(1 / 60, rel=0.15)


@pytest.mark.parametrize("start_hour", [0, 6.5, 23])
def test_a_daily_profile_follows_the_hours_of_the_day(start_hour):
    weights = tuple(float(hour % 5) for hour in range(24))
    clients = ClientsModel(messages_per_hour=60, profile="daily", hour_weights=weights)
    start = START + timedelta(hours=start_hour)
    arrivals = times(clients, start=start, duration_s=200 * DAY_S)
    seen = [0] * 24
    for at_s in arrivals:
        seen[(start + timedelta(seconds=at_s)).hour] += 1
    expected = [weight / sum(weights) * len(arrivals) for weight in weights]
    assert [hour for hour in range(24) if not seen[hour]] == [0, 5, 10, 15, 20]
    present = [hour for hour in range(24) if weights[hour]]
    assert stats.chisquare([seen[hour] for hour in present], [expected[hour] for hour in present]).pvalue > 0.001
    assert len(arrivals) == pytest.approx(200 * 24 * 60, rel=0.01)


def test_the_default_day_of_chat_peaks_in_the_evening():
    weights = ClientsModel(profile="daily").hour_weights
    assert max(range(24), key=weights.__getitem__) in range(18, 23)
    assert min(range(24), key=weights.__getitem__) in range(2, 6)


def test_a_burst_multiplies_the_messages_while_it_lasts():
    clients = ClientsModel(
        messages_per_hour=30, profile="burst", burst_every_s="30m", burst_lasts_s="5m", burst_factor=12
    )
    arrivals = times(clients, duration_s=100 * DAY_S)
    inside = sum(at_s % 1800 >= 1500 for at_s in arrivals)
    assert inside / (100 * 48) == pytest.approx(30 * 12 / 12, rel=0.02)
    assert (len(arrivals) - inside) / (100 * 48) == pytest.approx(30 * 25 / 60, rel=0.02)


@given(
    seed=st.integers(),
    profile=st.sampled_from(["flat", "daily", "burst"]),
    rate=st.floats(0.1, 3600),
    more=st.floats(1, 10),
    hour=st.integers(0, 23),
)
def test_a_higher_rate_brings_the_same_messages_earlier(seed, profile, rate, more, hour):
    start = START.replace(hour=hour)

    def first(per_hour):
        clients = ClientsModel(messages_per_hour=per_hour, profile=profile)
        return list(islice(clients.arrivals(Draws(seed), 3, start=start, duration_s=DAY_S), 30))

    seldom, often = first(rate), first(min(36_000, rate * more))
    assert seldom == sorted(seldom)
    assert len(often) >= len(seldom)
    assert all(later >= sooner * (1 - 1e-9) for later, sooner in zip(seldom, often, strict=False))


def test_clients_write_independently_and_always_at_the_same_times():
    clients = ClientsModel(count=2, messages_per_hour=20)
    one, other = times(clients, client=0), times(clients, client=1)
    assert one == times(clients.model_copy(update={"count": 500}), client=0)
    assert not set(one) & set(other)
    shorter = times(clients, client=0, duration_s=DAY_S / 2)
    assert shorter == one[: len(shorter)]


def test_who_writes_nothing_sends_no_messages():
    assert times(ClientsModel(messages_per_hour=0)) == []


def test_priorities_come_in_their_shares():
    clients = ClientsModel(priorities=Priorities(high=0.2, normal=0.5, low=0.3))
    drawn = [clients.priority(Draws(1), client, number) for client in range(20) for number in range(500)]
    assert [drawn.count(priority) for priority in range(3)] == pytest.approx([2000, 5000, 3000], rel=0.07)
    only = ClientsModel(priorities=Priorities(high=0, normal=0, low=1))
    assert {only.priority(Draws(1), 0, number) for number in range(100)} == {2}


def test_a_share_of_the_questions_comes_again_and_the_others_are_new():
    clients = ClientsModel(count=10, repeat_share=0.3)
    asked = [clients.question(Draws(2), client, number) for client in range(10) for number in range(1000)]
    common = [question for question in asked if question < COMMON_QUESTIONS]
    new = [question for question in asked if question >= COMMON_QUESTIONS]
    assert len(common) / len(asked) == pytest.approx(0.3, abs=0.02)
    assert set(common) == set(range(COMMON_QUESTIONS))
    assert common.count(0) > 2 * common.count(2) > 0
    assert len(set(new)) == len(new)
    assert clients.question(Draws(2), 3, 7) == clients.question(Draws(2), 3, 7)


def test_no_question_comes_again_unless_it_may():
    clients = ClientsModel(count=2)
    asked = [clients.question(Draws(0), client, number) for client in range(2) for number in range(300)]
    assert len(set(asked)) == 600
    always = ClientsModel(repeat_share=1.0)
    assert all(always.question(Draws(0), 0, number) < COMMON_QUESTIONS for number in range(300))


@pytest.mark.parametrize("model", [Scenario, scenario_module.BackendModel, ClientsModel, Priorities])
def test_every_field_is_explained(model):
    for name, info in model.model_fields.items():
        assert info.description, name
        assert info.description.endswith("."), name


def test_a_start_in_another_zone_is_the_same_scenario():
    moved = START.astimezone(timezone(timedelta(hours=9)))
    assert Scenario(start=moved) == Scenario(start=START)
