import asyncio
import gc
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from hustle_sim.inputs import InputError
from hustle_sim.live.breakage import by_hand
from hustle_sim.live.practice import Places, PracticeBackend
from hustle_sim.live.wire import REPLIES, reply_to
from hustle_sim.resilience.backend import Response, within
from hustle_sim.resilience.http import HttpBackend, HttpDialogue
from hustle_sim.resilience.outcome import Outcome
from hustle_sim.simulation.outages import WORST_FIRST
from hustle_sim.simulation.scenario import Scenario

WAIT_S = 20.0


@pytest.fixture(autouse=True)
def _nothing_is_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    gc.collect()
    assert set(threading.enumerate()) <= before
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def quick(*outages: dict[str, object], duration_s: float = 3600.0, **model: object) -> Scenario:
    at_once = {"kind": "constant", "value_s": 0.01}
    backend = {"latency": at_once, "health_latency": at_once, "refusal_s": 0.0, **model}
    return Scenario.from_dict({"backend": backend, "outages": outages, "duration_s": duration_s})


def play(
    main: Callable[[PracticeBackend, HttpBackend], Awaitable[None]], scenario: Scenario | None = None, **more: Any
) -> PracticeBackend:
    """Run a test against a practice backend in this thread; nothing may be left running."""

    async def whole() -> PracticeBackend:
        async with asyncio.timeout(WAIT_S), PracticeBackend(scenario or quick(), **more) as practice:
            backend = HttpBackend(practice.url)
            try:
                await main(practice, backend)
            finally:
                await backend.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return practice

    return asyncio.run(whole(), debug=False)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.01)


class TestPlaces:
    def test_in_line(self) -> None:
        async def main() -> None:
            places = Places(1)
            await places.enter()
            first, second, third = (asyncio.create_task(places.enter()) for _ in range(3))
            await asyncio.sleep(0)
            assert (places.in_service, places.waiting) == (1, 3)
            second.cancel()
            await asyncio.sleep(0)
            assert places.waiting == 2
            places.leave()
            await asyncio.sleep(0)
            assert first.done()
            assert not third.done()
            places.resize(2)
            await third
            assert (places.in_service, places.waiting) == (2, 0)
            places.resize(0)
            late = asyncio.create_task(places.enter())
            places.leave()
            places.leave()
            await asyncio.sleep(0)
            assert (places.in_service, places.waiting) == (0, 1)
            places.resize(1)
            late.cancel()  # at the very moment when it is let in
            await asyncio.gather(late, return_exceptions=True)
            assert (places.in_service, places.waiting) == (0, 0)

        asyncio.run(main())


class TestByHand:
    @pytest.mark.parametrize("mode", WORST_FIRST)
    def test_each_mode_is_in_force_for_ever(self, mode: str) -> None:
        timeline = by_hand(mode, {}, 0.0).timeline
        assert timeline.condition_at(0.0).mode == mode
        assert timeline.condition_at(1e6).mode == mode

    @pytest.mark.parametrize(
        ("mode", "parameters", "says"),
        [
            ("refus", {}, "mode: input should be 'refuse', "),
            ("hang", {"status": 500}, "status does not belong to mode hang"),
            ("error", {"stats": 500}, "did you mean 'status'"),
            ("error", {"status": 200}, "status: input should be greater than or equal to 400, not 200"),
            ("slow", {"factor": -1}, "not -1"),
            ("slow", {"delay_s": -1}, "not -1"),
            ("hang", {"delay_s": 1}, "delay_s is not a field that exists"),
            ("refuse", {"share": float("nan")}, "share"),
        ],
    )
    def test_bad_input(self, mode: str, parameters: dict[str, float], says: str) -> None:
        with pytest.raises(InputError) as caught:
            PracticeBackend().break_it(mode, **parameters)
        assert says in str(caught.value)


def test_replies_are_the_same_for_the_same_text() -> None:
    assert reply_to("Hi") == reply_to("Hi")
    assert {reply_to(f"Question {number} \ud800") for number in range(200)} == set(REPLIES)


@pytest.mark.parametrize("given", [{"speed": 0}, {"speed": float("nan")}, {"port": 70000}])
def test_bad_arguments(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a number"):
        PracticeBackend(**given)


@pytest.mark.real
class TestOnTheWire:
    def test_both_dialogues(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            health = await backend.health()
            assert health.outcome is Outcome.OK
            assert health.version
            assert await backend.chat("Hi", key="a") == Response(Outcome.OK, reply_to("Hi"), 200)
            openai = HttpBackend(practice.url, HttpDialogue.openai("any"))
            assert (await openai.health()).outcome is Outcome.OK
            assert (await openai.chat("Hi", key="b")).text == reply_to("Hi")
            await openai.aclose()
            assert practice.requests == 4
            assert practice.effects == {"a": 1, "b": 1}
            assert practice.condition.mode == "ok"

        play(main)

    @pytest.mark.parametrize(
        ("method", "path", "content", "status"),
        [
            ("GET", "/", b"", 404),
            ("POST", "/health", b"", 404),
            ("POST", "/chat", b"{", 400),
            ("POST", "/chat", b'{"message": 3}', 400),
            ("POST", "/chat", b"[" * 100_000, 400),
            ("POST", "/v1/chat/completions", b'{"messages": []}', 400),
        ],
    )
    def test_requests_that_make_no_sense(self, method: str, path: str, content: bytes, status: int) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            async with httpx.AsyncClient(trust_env=False) as client:
                response = await client.request(method, practice.url + path, content=content)
            assert response.status_code == status
            assert response.json()["error"]["message"]
            assert not practice.effects

        play(main)

    @pytest.mark.parametrize(
        ("mode", "parameters", "chat", "health"),
        [
            ("refuse", {}, Outcome.REFUSED, Outcome.REFUSED),
            ("hang", {}, Outcome.TIMEOUT, Outcome.TIMEOUT),
            ("error", {}, Outcome.HTTP_5XX, Outcome.HTTP_5XX),
            ("error", {"status": 529}, Outcome.OVERLOADED, Outcome.OVERLOADED),
            ("slow", {"delay_s": 30}, Outcome.TIMEOUT, Outcome.TIMEOUT),
            ("rate_limit", {"rate_per_s": 1e-6}, Outcome.RATE_LIMITED, Outcome.RATE_LIMITED),
            ("flap", {"period_s": 600}, Outcome.REFUSED, Outcome.REFUSED),
        ],
    )
    def test_broken_by_hand_and_mended(
        self, mode: str, parameters: dict[str, float], chat: Outcome, health: Outcome
    ) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            # The connection of this first message is kept, and must not be a way around the breakage.
            assert (await backend.chat("Hi", key="0")).outcome is Outcome.OK
            practice.break_it(mode, **parameters)
            if mode == "rate_limit":  # a bucket that was full lets one through
                assert (await backend.health()).outcome is Outcome.OK
            assert practice.condition.mode == mode
            limit_s = 0.3 if chat is Outcome.TIMEOUT else WAIT_S
            assert (await within(limit_s, backend.chat("Hi", key="1"))).outcome is chat
            assert (await within(limit_s, backend.health())).outcome is health
            practice.mend()
            assert practice.condition.mode == "ok"
            assert (await within(WAIT_S, backend.chat("Hi", key="2"))).outcome is Outcome.OK
            assert (await backend.health()).outcome is Outcome.OK

        play(main)

    def test_bad_bodies(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            practice.break_it("bad_body")
            assert await backend.chat("Hi", key="1") == Response(Outcome.BAD_BODY, status_code=200)
            assert practice.effects == {"1": 1}

        play(main)

    def test_retry_after(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            practice.break_it("rate_limit", rate_per_s=0.01, retry_after_s=6.5)
            outcomes = [await backend.chat("Hi", key=str(number)) for number in range(3)]
            assert [one.outcome for one in outcomes] == [Outcome.OK, Outcome.RATE_LIMITED, Outcome.RATE_LIMITED]
            assert outcomes[1].retry_after_s == 7.0

        play(main)

    def test_a_share_of_the_requests(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            practice.break_it("error", share=0.5)
            outcomes = [(await backend.health()).outcome for _ in range(60)]
            assert 10 < outcomes.count(Outcome.HTTP_5XX) < 50
            practice.break_it("refuse", share=0.5)
            outcomes = [(await backend.health()).outcome for _ in range(60)]
            assert 10 < outcomes.count(Outcome.BAD_BODY) < 50
            assert outcomes.count(Outcome.OK) == 60 - outcomes.count(Outcome.BAD_BODY)

        play(main)

    def test_a_message_that_its_sender_gave_up_is_processed_all_the_same(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            practice.break_it("slow", delay_s=0.5)
            given_up = asyncio.create_task(backend.chat("Hi", key="1"))
            await until(lambda: practice.in_service == 1)
            given_up.cancel()
            await until(lambda: practice.effects == {"1": 1})
            assert (await backend.chat("Hi", key="1")).outcome is Outcome.OK
            assert practice.effects == {"1": 2}
            assert given_up.cancelled()

        play(main, quick(honours_keys=False))

    def test_what_is_under_way_when_the_port_closes_is_answered(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            practice.break_it("slow", delay_s=0.3)
            under_way = asyncio.create_task(backend.chat("Hi", key="1"))
            await until(lambda: practice.in_service == 1)
            practice.break_it("refuse")
            assert (await backend.chat("Hi", key="2")).outcome is Outcome.REFUSED
            assert (await under_way).outcome is Outcome.OK
            assert (await backend.chat("Hi", key="3")).outcome is Outcome.REFUSED

        play(main)

    def test_a_full_waiting_room(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            model = practice._model
            practice.break_it("slow", delay_s=10)
            many = model.capacity + model.waiting_room + 1
            client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None), timeout=WAIT_S)
            async with client:
                answers = [client.post(f"{practice.url}/chat", json={"message": "Hi"}) for _ in range(many)]
                tasks = [asyncio.create_task(answer) for answer in answers]
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                assert next(iter(done)).result().status_code == 503
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        play(main, quick(capacity=2, waiting_room=2))

    def test_closing_is_prompt_whatever_is_under_way(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            practice.break_it("hang")
            hung = [asyncio.create_task(backend.chat("Hi", key=str(number))) for number in range(5)]
            await until(lambda: practice.requests == 5)
            await practice.aclose()
            await practice.aclose()
            assert {response.outcome for response in await asyncio.gather(*hung)} == {Outcome.BAD_BODY}
            assert (await backend.health()).outcome is Outcome.REFUSED

        play(main)

    def test_a_port_that_is_taken(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            port = int(practice.url.rpartition(":")[2])
            with pytest.raises(InputError, match=f"port {port} is taken"):
                await PracticeBackend(port=port).open()
            with pytest.raises(InputError, match=f"port {port} is taken"):
                PracticeBackend.in_thread(port=port)
            assert (await backend.health()).outcome is Outcome.OK

        play(main)

    def test_garbage_is_turned_away(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            host, port = practice.url.removeprefix("http://").split(":")
            for sent in (
                b"\x00\xff\r\n\r\n",
                b"GET / HTTP/1.1\r\n",
                b"POST /chat HTTP/1.1\r\nContent-Length: 99\r\n\r\n",
            ):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(sent)
                await writer.drain()
                writer.close()
            assert (await backend.health()).outcome is Outcome.OK

        play(main)


@pytest.mark.real
class TestScenarios:
    def test_outages_come_and_go_and_come_again(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            async def next_change(before: Outcome) -> Outcome:
                outcome = before
                # A request that is under way as the port closes may lose its connection: that is no change yet.
                while outcome in (before, Outcome.BAD_BODY):
                    outcome = (await backend.health()).outcome
                return outcome

            changes = [outcome := Outcome.OK]
            for _ in range(4):
                changes.append(outcome := await next_change(outcome))
            assert changes == [Outcome.OK, Outcome.REFUSED, Outcome.OVERLOADED, Outcome.OK, Outcome.REFUSED]

        outages = (
            {"mode": "refuse", "at_s": 100, "lasts_s": 100},
            {"mode": "error", "status": 503, "at_s": 200, "lasts_s": 100},
        )
        play(main, quick(*outages, duration_s=300), speed=200)

    def test_by_hand_comes_before_the_scenario(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            assert (await backend.health()).outcome is Outcome.REFUSED
            practice.break_it("error")
            assert (await backend.health()).outcome is Outcome.HTTP_5XX
            practice.mend()
            assert (await backend.health()).outcome is Outcome.REFUSED

        play(main, quick({"mode": "refuse", "at_s": 0, "lasts_s": 3600}))

    def test_broken_before_it_begins(self) -> None:
        async def main() -> None:
            practice = PracticeBackend(quick())
            practice.break_it("hang")
            async with practice:
                assert practice.condition.mode == "hang"

        asyncio.run(main())

    def test_no_capacity_left(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            practice.break_it("brownout", capacity_factor=0)
            waiting = asyncio.create_task(backend.chat("Hi", key="1"))
            await until(lambda: practice.waiting == 1)
            assert practice.in_service == 0
            practice.mend()
            assert (await waiting).outcome is Outcome.OK

        play(main)

    def test_load_slows_it_down(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            loop = asyncio.get_running_loop()

            async def took_s(number: int) -> float:
                began_s = loop.time()
                await backend.chat("hello", key=f"k{number}")
                return loop.time() - began_s

            alone_s = await took_s(0)
            crowd_s = await asyncio.gather(*(took_s(number) for number in range(1, 9)))
            # The last of nine finds eight before it, of the ten a second that it can bear: five times longer.
            assert max(crowd_s) > 3 * alone_s

        slow = {"kind": "constant", "value_s": 0.1}
        play(main, quick(latency=slow, saturates_at_per_s=10, load_window_s=1.0))

    def test_errors_of_a_good_day(self) -> None:
        async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
            assert (await backend.chat("Hi", key="1")).outcome is Outcome.HTTP_5XX
            assert not practice.effects

        play(main, quick(error_rate=1))


@pytest.mark.real
def test_in_a_thread_and_broken_from_this_one() -> None:
    practice = PracticeBackend.in_thread()

    def outcome() -> Outcome:
        async def ask() -> Response:
            backend = HttpBackend(practice.url)
            try:
                return await backend.health()
            finally:
                await backend.aclose()

        return asyncio.run(ask()).outcome

    try:
        assert outcome() is Outcome.OK
        practice.break_it("refuse")
        assert outcome() is Outcome.REFUSED
        with pytest.raises(InputError):
            practice.break_it("nonsense")
        assert outcome() is Outcome.REFUSED
        practice.mend()
        assert outcome() is Outcome.OK
    finally:
        practice.close()
    practice.close()
    practice.mend()
    assert outcome() is Outcome.REFUSED


@pytest.mark.real
def test_a_key_that_comes_again_is_answered_as_the_draft_says() -> None:
    async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
        first = asyncio.create_task(backend.chat("hello", key="k"))
        await until(lambda: practice.in_service == 1)
        assert (await backend.chat("hello", key="k")).status_code == 409
        answer = await first
        again = await backend.chat("hello", key="k")
        assert (again.outcome, again.text) == (Outcome.OK, answer.text)
        assert (await backend.chat("something else", key="k")).status_code == 422
        assert practice.effects == {"k": 1}

    play(main, quick(latency={"kind": "constant", "value_s": 0.5}))


@pytest.mark.real
def test_keys_may_be_ignored_as_real_llm_providers_do() -> None:
    async def main(practice: PracticeBackend, backend: HttpBackend) -> None:
        for _ in range(3):
            await backend.chat("hello", key="k")
        assert practice.effects == {"k": 3}

    play(main, quick(honours_keys=False))
