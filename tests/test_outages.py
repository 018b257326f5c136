"""Outages: what people write, what it resolves to, and the condition of the backend at any time."""

import math
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hustle_sim.simulation.outages import IMPACTS, RAMP_STEPS, Outage, OutageSpec, Timeline, resolve
from hustle_sim.simulation.randomness import Draws

START = datetime(2026, 1, 5, tzinfo=UTC)
YEAR_S = 365 * 86400.0
PARAMETERS = {"rate_limit": {"rate_per_s": 2}}


def timeline(*specs, duration_s=1000.0, seed=0, start=START):
    read = [spec if isinstance(spec, OutageSpec) else OutageSpec.model_validate(spec) for spec in specs]
    return resolve(read, duration_s=duration_s, start=start, draws=Draws(seed))


def scheduled(mode, at_s=100, lasts_s=200, **parameters):
    return {"at_s": at_s, "lasts_s": lasts_s, "mode": mode, **PARAMETERS.get(mode, {}), **parameters}


def walk(line, end_s):
    """The conditions from 0 on, each asked for when the one before ends."""
    now_s = 0.0
    while now_s < end_s:
        condition = line.condition_at(now_s)
        assert condition.until_s > now_s
        yield now_s, condition
        now_s = condition.until_s


def test_without_outages_all_is_well_for_ever():
    condition = timeline().condition_at(5)
    assert (condition.mode, condition.fault, condition.until_s) == ("ok", None, math.inf)


@pytest.mark.parametrize("mode", ["refuse", "hang", "error", "bad_body"])
def test_a_fault_is_in_force_from_its_beginning_until_its_end(mode):
    line = timeline(scheduled(mode, share=0.4))
    assert [(at_s, c.mode, c.fault and c.fault.mode, c.fault_share) for at_s, c in walk(line, 1000)] == [
        (0, "ok", None, 0),
        (100, mode, mode, 0.4),
        (300, "ok", None, 0),
    ]
    assert line.condition_at(99.999).mode == "ok"
    assert line.outages[0].severity == 0.4


@pytest.mark.parametrize(
    ("mode", "parameters", "seen", "severity"),
    [
        ("slow", {}, {"slow_factor": 3}, 2 / 3),
        ("slow", {"factor": 8}, {"slow_factor": 8}, 7 / 8),
        ("brownout", {}, {"capacity_factor": 0.5}, 0.5),
        ("brownout", {"capacity_factor": 0}, {"capacity_factor": 0}, 1),
        ("rate_limit", {"retry_after_s": "1m"}, {"rate_per_s": 2, "retry_after_s": 60}, 1),
        ("rate_limit", {}, {"rate_per_s": 2, "retry_after_s": None}, 1),
    ],
)
def test_other_modes_change_one_thing_each(mode, parameters, seen, severity):
    line = timeline(scheduled(mode, **parameters))
    neutral = {"fault": None, "slow_factor": 1, "capacity_factor": 1, "rate_per_s": None, "retry_after_s": None}
    condition = line.condition_at(150)
    assert condition.mode == mode
    assert {name: getattr(condition, name) for name in neutral} == {**neutral, **seen}
    assert line.outages[0].severity == pytest.approx(severity)


def test_an_error_has_its_status():
    assert timeline(scheduled("error")).condition_at(100).fault.status_code == 500
    assert timeline(scheduled("error", status=529)).condition_at(100).fault.status_code == 529


def test_a_ramp_grows_in_equal_steps_whose_mean_is_half():
    steps = [c for _, c in walk(timeline(scheduled("refuse", ramp_s=100)), 1000) if c.mode == "refuse"]
    shares = [c.fault_share for c in steps]
    assert shares == pytest.approx([(n + 0.5) / RAMP_STEPS for n in range(RAMP_STEPS)] + [1])
    assert [c.until_s for c in steps] == pytest.approx([105 + 5 * n for n in range(RAMP_STEPS)] + [300])
    assert math.fsum(shares[:-1]) / RAMP_STEPS == pytest.approx(0.5)


def test_every_mode_ramps_from_nothing_to_its_full_extent():
    line = timeline(
        scheduled("slow", factor=9, ramp_s=200),
        scheduled("brownout", capacity_factor=0.2, ramp_s=200),
        scheduled("rate_limit", rate_per_s=3, ramp_s=200),
    )
    half = line.condition_at(204)
    assert half.slow_factor == pytest.approx(1 + 8 * 0.525)
    assert half.capacity_factor == pytest.approx(1 - 0.8 * 0.525)
    assert half.rate_per_s == pytest.approx(3 / 0.525)
    last = line.condition_at(299)
    assert last.slow_factor == pytest.approx(9, rel=0.03)


def test_an_outage_that_ends_before_its_ramp_never_comes_to_its_full_extent(tmp_path):
    write(tmp_path, f"{stamp(100)},{stamp(150)},3")
    spec = replay(tmp_path, modes={3: {"mode": "refuse", "ramp_s": 100}})
    shares = [c.fault_share for _, c in walk(timeline(spec), 1000)]
    assert max(shares) == pytest.approx(0.475)


def test_a_flap_is_down_for_its_duty_of_each_period_and_keeps_its_name_meanwhile():
    line = timeline(scheduled("flap", at_s=100, lasts_s=95, period_s=40, duty=0.25))
    seen = [(at_s, c.mode, c.fault.mode if c.fault else None) for at_s, c in walk(line, 1000)]
    down, up = ("flap", "refuse"), ("flap", None)
    expected = [(0, "ok", None), (100, *down), (110, *up), (140, *down), (150, *up), (180, *down), (190, *up)]
    assert seen == [*expected, (195, "ok", None)]


@given(
    start_s=st.floats(0, 1e6),
    period_s=st.floats(0.1, 1000),
    duty=st.floats(0.01, 0.99),
    at=st.floats(0, 1),
)
def test_a_flap_makes_progress_and_is_down_for_its_share_at_any_time(start_s, period_s, duty, at):
    line = Timeline((Outage(start_s, start_s + 50 * period_s, "flap", period_s=period_s, duty=duty),), 2e6)
    now_s = start_s + at * 45 * period_s
    down_s = 0.0
    first_s = now_s = line.condition_at(now_s).until_s
    for _ in range(6):
        condition = line.condition_at(now_s)
        assert condition.until_s > now_s
        down_s += (condition.until_s - now_s) if condition.fault else 0
        now_s = condition.until_s
    assert down_s == pytest.approx(duty * (now_s - first_s), rel=1e-4)


def test_a_flap_of_a_month_costs_no_more_than_one_of_a_minute():
    line = timeline(scheduled("flap", at_s=0, lasts_s=30 * 86400, period_s=1), duration_s=30 * 86400)
    assert len(line._bounds) == 2
    assert line.condition_at(29 * 86400.25).until_s - 29 * 86400.25 <= 1


def test_where_outages_overlap_the_worst_of_each_kind_counts():
    line = timeline(
        scheduled("slow", 0, 1000, factor=2),
        scheduled("slow", 200, 100, factor=5),
        scheduled("bad_body", 100, 500, share=0.3),
        scheduled("error", 200, 300, share=0.2),
        scheduled("hang", 300, 100),
        scheduled("refuse", 350, 20, share=0.1),
        scheduled("rate_limit", 0, 1000, rate_per_s=5, retry_after_s=3),
        scheduled("rate_limit", 500, 1000, rate_per_s=1),
    )
    at = line.condition_at
    assert [at(t).mode for t in (50, 150, 250, 320, 360, 380, 450, 550, 700)] == [
        "rate_limit", "bad_body", "error", "hang", "refuse", "hang", "error", "bad_body", "rate_limit",
    ]  # fmt: skip
    assert [at(t).slow_factor for t in (50, 250, 350)] == [2, 5, 2]
    assert [at(t).fault_share for t in (50, 150, 250, 320, 360)] == [0, 0.3, 0.2, 1, 0.1]
    assert [(at(t).rate_per_s, at(t).retry_after_s) for t in (0, 600)] == [(5, 3), (1, None)]


def test_two_faults_of_one_mode_count_as_the_wider_one():
    line = timeline(scheduled("error", share=0.2), scheduled("error", share=0.6, status=503))
    assert (line.condition_at(150).fault_share, line.condition_at(150).fault.status_code) == (0.6, 503)


@given(st.lists(st.tuples(st.floats(0, 900), st.floats(1, 500), st.floats(0, 400)), max_size=8), st.floats(0, 999))
def test_a_condition_holds_until_it_says(times, now_s):
    outages = tuple(Outage(at, at + lasts, "slow", ramp_s=ramp, factor=3) for at, lasts, ramp in times)
    condition = Timeline(outages, 2000).condition_at(now_s)
    end_s = min(condition.until_s, 2000)
    for share in (0.1, 0.5, 0.999999):
        later_s = now_s + share * (end_s - now_s)
        assert later_s == end_s or Timeline(outages, 2000).condition_at(later_s) == condition
    in_force = any(outage.start_s <= now_s < outage.end_s for outage in outages)
    assert (condition.mode == "slow") == in_force


def test_outages_are_cut_to_the_scenario():
    line = timeline(scheduled("hang", 900, 5000), scheduled("refuse", 10, 20))
    assert [(o.start_s, o.end_s) for o in line.outages] == [(10, 30), (900, 1000)]
    assert line.end_s == 1000
    assert line.condition_at(1000).until_s == math.inf


RANDOM = {"mode": "refuse", "mtbf_s": "20h", "mttr": {"kind": "lognormal", "median_s": "1h", "p99_s": "8h"}}


@pytest.mark.parametrize("gaps", [{}, {"gap": "gamma", "gap_cv": 2}, {"gap": "lognormal", "gap_cv": 1.5}])
def test_availability_is_mtbf_over_mtbf_and_mttr(gaps):
    spec = OutageSpec.model_validate({**RANDOM, **gaps})
    line = timeline(spec, duration_s=40 * YEAR_S)
    down_s = math.fsum(outage.end_s - outage.start_s for outage in line.outages)
    mtbf_s, mttr_s = 20 * 3600, spec.mttr.mean_s
    assert 1 - down_s / (40 * YEAR_S) == pytest.approx(mtbf_s / (mtbf_s + mttr_s), abs=0.004)
    gaps_s = [after.start_s - before.end_s for before, after in zip(line.outages, line.outages[1:], strict=False)]
    mean_s = math.fsum(gaps_s) / len(gaps_s)
    cv = math.sqrt(math.fsum((gap_s - mean_s) ** 2 for gap_s in gaps_s) / len(gaps_s)) / mean_s
    assert mean_s == pytest.approx(mtbf_s, rel=0.06)
    assert cv == pytest.approx(gaps.get("gap_cv", 1), rel=0.1)


@pytest.mark.parametrize("gaps", [{}, {"gap": "gamma", "gap_cv": 2}, {"gap": "lognormal", "gap_cv": 2}])
def test_a_short_scenario_has_its_share_of_outages_too(gaps):
    # Beginning right after an outage would give bursty gaps too many: the scenario begins at any moment.
    spec = OutageSpec.model_validate({**RANDOM, **gaps})
    counts = [len(timeline(spec, duration_s=48 * 3600, seed=seed).outages) for seed in range(3000)]
    expected = 48 * 3600 / (20 * 3600 + spec.mttr.mean_s)
    assert math.fsum(counts) / 3000 == pytest.approx(expected, rel=0.09)


def test_random_outages_are_keyed_by_their_place_and_number():
    first, other = OutageSpec.model_validate(RANDOM), OutageSpec.model_validate({**RANDOM, "mode": "hang"})
    alone, both = timeline(first, duration_s=YEAR_S), timeline(first, other, duration_s=YEAR_S)
    assert alone == timeline(first, duration_s=YEAR_S)
    assert alone != timeline(first, duration_s=YEAR_S, seed=1)
    assert [outage for outage in both.outages if outage.mode == "refuse"] == list(alone.outages)
    assert [o.start_s for o in both.outages if o.mode == "hang"] != [o.start_s for o in alone.outages]
    shorter = timeline(first, duration_s=YEAR_S / 2)
    assert shorter.outages[:-1] == alone.outages[: len(shorter.outages) - 1]


def stamp(after_s):
    return (START + timedelta(seconds=after_s)).isoformat()


def write(folder, *rows, header="started_at,resolved_at,impact"):
    (folder / "incidents.csv").write_text("\n".join((header, *rows)) + "\n")


def replay(folder, **more):
    return OutageSpec.model_validate({"replay": "incidents.csv", **more}, context={"folder": folder})


def test_recorded_incidents_are_replayed_with_their_impact(tmp_path):
    write(
        tmp_path,
        f"{stamp(100)},{stamp(160)},1,x,a note",
        f"{stamp(200)},{stamp(200)},3,x,no time at all",
        f"{stamp(250)},{stamp(260)},0,x,no impact",
        f"{stamp(300)},{stamp(400)},2,y,",
        "2026-01-05 00:08:20,2026-01-05T01:38:20+01:00,3,x,other ways to write a time",
        f"{stamp(-500)},{stamp(50)},3,x,began before",
        f"{stamp(900)},{stamp(9000)},4,x,ends after",
        f"{stamp(2000)},{stamp(2100)},3,x,outside",
        header="started_at,resolved_at,impact,provider,note",
    )
    line = timeline(replay(tmp_path))
    assert [(o.start_s, o.end_s, o.mode) for o in line.outages] == [
        (0, 50, "refuse"), (100, 160, "slow"), (300, 400, "error"), (500, 1000, "refuse"), (900, 1000, "error"),
    ]  # fmt: skip
    assert [o.start_s for o in timeline(replay(tmp_path, provider="y")).outages] == [300]
    own = replay(tmp_path, modes={"1": {"mode": "hang"}, "0": {"mode": "slow", "factor": 2}})
    assert [o.mode for o in timeline(own).outages] == ["refuse", "hang", "slow", "error", "refuse", "error"]


def test_a_replay_needs_its_file_only_once(tmp_path):
    write(tmp_path, f"{stamp(100)},{stamp(160)},3")
    spec = replay(tmp_path)
    (tmp_path / "incidents.csv").unlink()
    assert timeline(pickle.loads(pickle.dumps(spec))) == timeline(spec) != timeline()
    assert OutageSpec.model_validate_json(spec.model_dump_json()) == spec
    assert timeline(spec, start=START + timedelta(seconds=60)).outages[0].start_s == 40


def test_every_impact_but_none_has_a_mode():
    assert {impact: mode.mode for impact, mode in IMPACTS.items()} == {1: "slow", 2: "error", 3: "refuse", 4: "error"}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("yesterday,2026-01-05,3", "line 2: started_at 'yesterday' is no time"),
        ("2026-01-05,,3", "line 2: resolved_at '' is no time"),
        ("2026-01-05,2026-01-04,3", "line 2: resolved_at is before started_at"),
        ("2026-01-05,2026-01-06,bad", "line 2: impact 'bad' is no whole number from 0 to 4"),
        ("2026-01-05,2026-01-06", "line 2: impact '' is no whole number"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, row, sentence):
    write(tmp_path, row)
    with pytest.raises(ValidationError, match=r"incidents\.csv") as refused:
        replay(tmp_path)
    assert sentence in str(refused.value)


def test_a_file_without_the_columns_or_the_provider_is_refused(tmp_path):
    write(tmp_path, header="start,end")
    with pytest.raises(ValidationError, match="has no column 'started_at'"):
        replay(tmp_path)
    write(tmp_path, f"{stamp(0)},{stamp(1)},3,openai", header="started_at,resolved_at,impact,provider")
    with pytest.raises(ValidationError, match=r"provider 'opnai'; did you mean 'openai'\?"):
        replay(tmp_path, provider="opnai")
    with pytest.raises(ValidationError, match="no such file"):
        OutageSpec.model_validate({"replay": "nowhere.csv"})


MTTR = {"kind": "constant", "value_s": 60}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"mode": "hang"}, "needs one of at_s .* and has none"),
        ({"mode": "hang", "at_s": 1, "lasts_s": 1, "mtbf_s": 100, "mttr": MTTR}, "not at_s and mtbf_s"),
        ({"mode": "hang", "at_s": 1, "lasts_s": 1, "mttr": MTTR}, "mttr belongs to mtbf_s, not to at_s"),
        ({"mode": "hang", "mtbf_s": 100, "mttr": MTTR, "lasts_s": 1}, "lasts_s belongs to at_s, not to mtbf_s"),
        ({"mode": "hang", "at_s": 1, "lasts_s": 1, "modes": {1: {"mode": "hang"}}}, "modes belongs to replay"),
        ({"mode": "hang", "at_s": 1}, "needs lasts_s"),
        ({"mode": "hang", "mtbf_s": 100}, "needs mttr"),
        ({"mode": "hang", "mtbf_s": 100, "mttr": MTTR, "gap_cv": 2}, "gap_cv belongs to gap = 'lognormal' or 'gamma'"),
        ({"at_s": 1, "lasts_s": 1}, "an outage needs a mode"),
        ({"at_s": 1, "lasts_s": 1, "share": 0.5}, "share needs a mode"),
        ({"mode": "down", "at_s": 1, "lasts_s": 1}, "'refuse', 'hang'"),
        (scheduled("hang", lasts_s=-1), "greater than 0"),
        (scheduled("hang", at_s="-1s"), "'-1s' is no duration"),
        (scheduled("hang", at_s="noon"), "'noon' is no duration"),
        (scheduled("hang", share=1.1), "less than or equal to 1"),
        (scheduled("hang", ramp_s=300), r"ramp_s \(300\) must not exceed lasts_s \(200\)"),
        (scheduled("flap", duty=1.0), "less than or equal to 0.99"),
        (scheduled("slow", duty=0.5), "duty does not belong to mode slow, which has factor and ramp_s"),
        (scheduled("slow", share=0.5), "share does not belong to mode slow"),
        (scheduled("hang", status=500), "status does not belong to mode hang"),
        (scheduled("error", status=200), "greater than or equal to 400"),
        ({"mode": "rate_limit", "at_s": 1, "lasts_s": 1}, "needs rate_per_s"),
        ({**scheduled("hang"), "colour": "red"}, "Extra inputs"),
        ({"mode": "hang", "incidents": [{"started_at": START, "resolved_at": START, "impact": 1}]}, "say in modes"),
        (
            {"incidents": [{"started_at": START, "resolved_at": START, "impact": 1}], "modes": {1: {}}},
            r"modes.1 needs a mode",
        ),
        ({"incidents": [{"started_at": stamp(9), "resolved_at": START, "impact": 1}]}, "resolved_at is before"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(spec, sentence):
    with pytest.raises(ValidationError, match=sentence):
        OutageSpec.model_validate(spec)


def test_a_timeline_is_equal_and_pickles():
    line = timeline(scheduled("slow", ramp_s=50), RANDOM)
    line.condition_at(120)
    assert pickle.loads(pickle.dumps(line)) == line
    assert pickle.loads(pickle.dumps(line)).condition_at(120) == line.condition_at(120)
