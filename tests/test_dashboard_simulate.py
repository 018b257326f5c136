"""The Simulate place without a browser: updates, results, cards, worker processes."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hustle_sim.analysis import METRICS
from hustle_sim.dashboard.cards import GROUPS, card, cards
from hustle_sim.dashboard.choice import (
    Choice,
    Side,
    default_choice,
    preset_of,
    seed_of,
)
from hustle_sim.dashboard.jobs import Request, Workshop, is_long
from hustle_sim.dashboard.simulate_state import SimulateState
from hustle_sim.dashboard.updates import CRASHED, PATIENCE_S, REST_S, Updates
from hustle_sim.inputs import InputError
from hustle_sim.policy import Policy
from hustle_sim.simulation import Cancelled, Scenario, run_virtual, simulate

SHORT = Scenario.load("morning-outage")


def chosen(seed):
    return replace(default_choice(), seed=seed)


# Results follow what is asked


LONG_S, PART_S = 1.5, 0.3


class FakeJob:
    """A simulation that takes its time, in virtual time."""

    def __init__(self, shop, request, since_s):
        self.shop, self.request, self.since_s = shop, request, since_s
        self.started, self.share, self.parts = False, 0.25, 0
        self.cancelled = False
        self.task = asyncio.get_running_loop().create_task(self.work())

    def cancel(self):
        self.cancelled = self.task.cancel()

    async def work(self):
        async with self.shop.worker(self.since_s):
            self.started = True
            self.shop.now += 1
            self.shop.most = max(self.shop.most, self.shop.now)
            try:
                takes_s = self.shop.takes_s.get(self.request.seed, 0.1)
                if takes_s >= LONG_S:
                    await asyncio.sleep(PART_S)
                    self.parts = 1
                    takes_s -= PART_S
                await asyncio.sleep(takes_s)
            finally:
                self.shop.now -= 1
        return self.request.seed

    async def so_far(self):
        return FakeRun(self.request.seed, "so far") if self.parts else None

    async def result(self):
        made = await asyncio.shield(self.task)
        if self.shop.error is not None:
            raise self.shop.error
        return FakeRun(made)


@dataclass
class FakeRun:
    seed: int
    label: str = "as others call it"


class FakeShop:
    def __init__(self, takes_s=None, error=None, workers=99):
        self.free, self.waiting = workers, []
        self.takes_s = takes_s or {}
        self.error = error
        self.jobs = []
        self.now = self.most = 0
        self.full = False

    def submit(self, request, since_s):
        if self.full:
            raise InputError("too many are waiting")
        self.jobs.append(FakeJob(self, request, since_s))
        return self.jobs[-1]

    @asynccontextmanager
    async def worker(self, since_s):
        """A free worker; who has waited for longest is first."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append((since_s, len(self.jobs), turn))
        self.serve()
        try:
            await turn
            yield
        finally:
            if not turn.cancelled():
                self.free += 1
            self.serve()

    def serve(self):
        self.waiting = sorted((one for one in self.waiting if not one[2].done()), key=lambda one: one[:2])
        while self.free and self.waiting:
            self.free -= 1
            self.waiting.pop(0)[2].set_result(None)


class Watched:
    """Updates, and all that they told."""

    def __init__(self, shop):
        self.shown, self.told, self.failed = [], [], []
        self.seen = []
        self.updates = Updates(shop, self.show, self.told.append, self.failed.append, self.show_part)

    async def show(self, choice, runs):
        assert [run.seed for run in runs] == [choice.seed, choice.seed]
        self.shown.append(choice.seed)
        self.seen.append(("whole", choice.seed))
        await asyncio.sleep(0.01)

    async def show_part(self, choice, runs):
        assert {run.seed for run in runs} <= {choice.seed}
        self.seen.append(("part" if runs else "given up", choice.seed))
        await asyncio.sleep(0.01)


def watched(shop, *steps):
    """What came of asking for seeds after pauses: ``(pause_s, seed)``, None cancels."""

    async def main():
        one = Watched(shop)
        tasks = []
        for pause_s, seed in steps:
            await asyncio.sleep(pause_s)
            if seed is None:
                one.updates.cancel()
            else:
                tasks.append(asyncio.create_task(one.updates.want(chosen(seed))))
        for task in tasks:
            await task
        return one

    return run_virtual(main())


def test_the_figures_move_with_a_control_while_it_is_dragged():
    one = watched(FakeShop(), *((0.05, seed) for seed in range(20)))
    assert one.shown[-1] == 19
    assert len(one.shown) > 6


def test_where_simulations_take_long_a_dragged_control_starts_one_when_it_rests():
    shop = FakeShop(dict.fromkeys(range(100), 2.0))
    one = watched(shop, *((0.05, seed) for seed in range(60)))
    assert one.shown == [59]
    assert len(shop.jobs) == 4
    assert [job.cancelled for job in shop.jobs] == [True, True, False, False]


def test_on_a_busy_server_all_who_drag_something_get_their_share():
    async def visitor(shop):
        one = Watched(shop)
        tasks = []
        for move in range(60):
            await asyncio.sleep(1)
            tasks.append(asyncio.create_task(one.updates.want(chosen(move))))
        await asyncio.gather(*tasks)
        return len(one.shown)

    async def main():
        shop = FakeShop(workers=2)
        return await asyncio.gather(*(visitor(shop) for _ in range(20)))

    # Two workers make twenty runs a second, and twenty visitors want forty.
    shown = run_virtual(main())
    assert min(shown) >= 25
    assert max(shown) - min(shown) <= 5


def test_an_older_simulation_is_cancelled_when_a_newer_one_is_asked_for():
    shop = FakeShop({1: 30.0})
    one = watched(shop, (0, 1), (5, 2))
    assert one.shown == [2]
    assert [job.cancelled for job in shop.jobs] == [True, True, False, False]


def test_progress_is_told_while_it_takes_long_and_cancel_shows_nothing():
    shop = FakeShop({1: 30.0})
    one = watched(shop, (0, 1), (5, None))
    assert one.told[0] == 0.25
    assert one.told[-1] is None
    assert one.shown == []
    assert all(job.cancelled for job in shop.jobs)


def test_the_beginning_of_a_long_simulation_is_shown_before_the_whole():
    one = watched(FakeShop({1: 3.0, 2: 0.2}), (0, 1), (5, 2))
    assert one.seen == [("part", 1), ("whole", 1), ("whole", 2)]


def test_what_is_given_up_after_its_beginning_was_shown_makes_place_for_what_was_there_before():
    one = watched(FakeShop({1: 3.0}), (0, 1), (1, None))
    assert one.seen == [("part", 1), ("given up", 1)]
    assert one.told[-1] is None


def test_a_newer_request_takes_the_place_of_a_beginning():
    one = watched(FakeShop({1: 3.0, 2: 2.0}), (0, 1), (1, 2))
    assert one.seen == [("part", 1), ("part", 2), ("whole", 2)]


def test_a_simulation_that_fails_after_its_beginning_was_shown_makes_place_too():
    one = watched(FakeShop({1: 3.0}, error=InputError("no")), (0, 1))
    assert one.seen == [("part", 1), ("given up", 1)]
    assert one.failed == ["no"]


def test_a_quick_simulation_tells_of_no_progress():
    one = watched(FakeShop(), (0, 1))
    assert one.told == [None]
    assert one.shown == [1]


@pytest.mark.parametrize(
    ("error", "sentences"),
    [(InputError("the file is odd"), ["the file is odd"]), (ZeroDivisionError("x"), [CRASHED]), (Cancelled("x"), [])],
)
def test_a_failed_simulation_is_one_sentence_and_the_next_one_is_made(error, sentences):
    shop = FakeShop(error=error)
    one = watched(shop, (0, 1))
    assert one.failed == sentences
    assert one.shown == []
    assert one.told[-1] is None


def test_a_full_workshop_is_a_sentence():
    shop = FakeShop()
    shop.full = True
    assert watched(shop, (0, 1)).failed == ["too many are waiting"]


@given(
    gaps_s=st.lists(st.floats(0, 2), min_size=1, max_size=30),
    takes_s=st.lists(st.floats(0.01, 3), min_size=30, max_size=30),
)
@settings(deadline=None)
def test_whatever_is_asked_when_the_last_is_shown_and_no_older_one_after_a_newer(gaps_s, takes_s):
    shop = FakeShop(dict(enumerate(takes_s)))
    one = watched(shop, *((gap_s, seed) for seed, gap_s in enumerate(gaps_s)))
    assert one.shown == sorted(set(one.shown))
    assert one.shown[-1] == len(gaps_s) - 1
    assert one.told[-1] is None
    assert one.failed == []
    # A's and B's, and never those of two choices at once.
    assert shop.most <= 2
    assert shop.now == 0


def test_patience_and_rest_are_short_enough_to_feel_live():
    assert PATIENCE_S <= 0.4
    assert REST_S <= 0.2


def test_the_state_holds_both_runs_and_keeps_the_last_good_ones():
    shop = FakeShop()

    async def main():
        state = SimulateState(shop)
        await state.run(chosen(3))
        assert state.results.mine == FakeRun(3, "default")
        assert state.results.other == FakeRun(3, "original")
        assert state.results.choice == chosen(3)
        shop.error = InputError("the file is odd")
        await state.run(chosen(4))
        assert state.problem == "the file is odd"
        assert state.results.mine.seed == 3
        shop.error = None
        state.refuse("")
        await state.run(chosen(5))
        assert (state.problem, state.running, state.results.mine.seed) == ("", False, 5)

    run_virtual(main())


# What is chosen


def test_both_sides_are_simulated_on_the_same_scenario_and_seed():
    mine, other = chosen(5).requests
    assert other.policy == Policy.preset("original")
    assert (mine.scenario, mine.seed) == (other.scenario, other.seed) == (SHORT, 5)
    assert mine.key != other.key
    assert (mine.label, other.label) == ("default", "original")


def test_a_policy_is_called_by_its_preset_as_long_as_it_is_that():
    assert preset_of(Policy()) == "default"
    assert preset_of(Policy.preset("grpc")) == "grpc"
    changed = Side("default", Policy().replace({"probe.fall": 5}))
    assert changed.changes == {"probe.fall": 5}
    choice = Choice(SHORT, changed, 7, Side("default", Policy().replace({"probe.fall": 6})))
    assert choice.labels == ("your policy", "pinned policy")


@pytest.mark.parametrize("seed", [-1, None, 1.5, True, "7", 2**63])
def test_a_seed_that_is_none_is_a_sentence(seed):
    with pytest.raises(InputError, match="whole number from 0 up"):
        seed_of(seed)


# Cards


@pytest.mark.parametrize(
    ("name", "mine", "other", "told"),
    [
        ("answered_share", 0.9, 0.8, "▲ better, +10 points"),
        ("answered_share", 0.8, 0.9, "▼ worse, −10 points"),
        ("lost", 0.0, 25.0, "▲ better, −25"),
        ("detection_s", 60.0, 30.0, "▼ worse, +30 s"),
        ("probe_rate_per_hour", 60.0, 30.0, "• +30"),
        ("answered_share", 0.900001, 0.900002, "= same"),
        ("drained_s", float("nan"), 3, "– can&#x27;t be compared"),
    ],
)
def test_a_card_says_what_became_better_or_worse_with_a_sign_and_a_word(name, mine, other, told):
    assert told in card(name, mine, other)


def test_cards_show_value_unit_the_other_run_and_the_sentence_of_each_metric():
    mine, original = simulate(SHORT, seed=3), simulate(SHORT, Policy.preset("original"), seed=3, label="original")
    html = cards(mine, original)
    for names in GROUPS.values():
        for name in names:
            assert f'data-metric="{name}"' in html
            assert METRICS[name].text.split("'")[0] in html
    assert html.count(">original ") == sum(map(len, GROUPS.values()))
    assert 'class="card empty"' in cards(None, None)
    assert "&lt;b&gt;" in card("lost", 1.0, 2.0, "<b>")


# Worker processes


def request(seed, scenario=SHORT, **changes):
    return Request(scenario, Policy().replace(changes), seed)


@pytest.mark.real
def test_a_worker_process_gives_the_same_run_and_knows_it_the_next_time():
    shop = Workshop(workers=1)
    try:
        job, twin = shop.submit(request(4)), shop.submit(request(4))
        run = asyncio.run(job.result())
        assert run.digest == simulate(SHORT, seed=4).digest
        assert twin.finished() is run
        assert job.share == 1.0
        assert shop.submit(request(4)).finished() is run
    finally:
        shop.close()


@pytest.mark.real
def test_who_has_waited_for_longest_is_next():
    order = []
    shop = Workshop(workers=1)
    try:
        jobs = {"first": shop.submit(request(11), 3.0)}
        jobs["late"] = shop.submit(request(12), 2.0)
        jobs["gone"] = shop.submit(request(13), 0.5)
        jobs["early"] = shop.submit(request(14), 1.0)
        for name, job in jobs.items():
            job._future.add_done_callback(lambda _, name=name: order.append(name))
        jobs["gone"].cancel()
        asyncio.run(jobs["late"].result())
    finally:
        shop.close()
    assert order == ["gone", "first", "early", "late"]


@pytest.mark.real
def test_a_workshop_that_closes_lets_nobody_wait():
    shop = Workshop(workers=1)
    jobs = [shop.submit(request(seed, YEARS)) for seed in range(3)]
    shop.close()
    for job in jobs:
        with pytest.raises((Cancelled, asyncio.CancelledError, InputError)):
            asyncio.run(job.result())


YEARS = Scenario.load("retry-storm").replace({"duration_s": 864000})
WEEKS = SHORT.replace({"duration_s": 30 * 86400})


@pytest.mark.real
def test_a_long_simulation_reports_progress_ends_when_the_last_who_wants_it_leaves_and_keeps_nobody_waiting():
    async def main(shop):
        job, twin = shop.submit(request(1, YEARS)), shop.submit(request(1, YEARS))
        async with asyncio.timeout(60):
            while not 0 < job.share < 1:
                assert not job.done
                await asyncio.sleep(0.01)
            await shop.submit(request(2)).result()
        assert not job.done
        job.cancel()
        await asyncio.sleep(0.2)
        assert not twin.done
        twin.cancel()
        with pytest.raises(Cancelled):
            async with asyncio.timeout(60):
                await twin.result()
        with pytest.raises(Cancelled):
            await job.result()

    shop = Workshop(workers=1)
    try:
        asyncio.run(main(shop))
    finally:
        shop.close()


@pytest.mark.real
def test_a_long_simulation_leaves_its_beginnings_one_after_the_other_and_nothing_behind():
    async def main(shop):
        job = shop.submit(request(1, WEEKS))
        lengths = []
        async with asyncio.timeout(120):
            while not job.done:
                run = await job.so_far()
                if run is not None and run.duration_s not in lengths:
                    lengths.append(run.duration_s)
                    assert run.metrics["messages"] > 0
                await asyncio.sleep(0.01)
            whole = await job.so_far()
        return lengths, whole

    shop = Workshop(workers=1)
    folder = Path(shop._folder.name)
    try:
        lengths, whole = asyncio.run(main(shop))
        # It is put away a moment after who waits for it has heard of the end.
        assert any(not list(folder.iterdir()) for _ in range(100_000))
    finally:
        shop.close()
    assert lengths == sorted(lengths)
    assert len(lengths) >= 2
    assert whole.duration_s == whole.planned_s == WEEKS.duration_s
    assert all(length < whole.planned_s for length in lengths[:-1])
    assert not folder.exists()


def test_long_simulations_are_told_from_quick_ones_before_they_run():
    assert not is_long(request(1))
    assert is_long(request(1, YEARS))
    assert is_long(request(1, Scenario.load("ai-provider-month")))
    assert is_long(request(1, SHORT, **{"probe.interval_s": 1, "probe.timeout_s": 1, "probe.degraded_above_s": 1,
                                        "probe.degraded_below_s": 1}))  # fmt: skip
