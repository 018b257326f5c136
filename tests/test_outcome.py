import asyncio

import pytest
from fakes import run_virtual

from hustle_sim.resilience.backend import Response, within
from hustle_sim.resilience.outcome import CONSEQUENCES, Outcome, outcome_of_status


def names(of):
    return {outcome.value for outcome, consequence in CONSEQUENCES.items() if of(consequence)}


class TestConsequences:
    def test_every_outcome_has_them_in_one_place(self):
        assert set(CONSEQUENCES) == set(Outcome)
        assert all(consequence.words.endswith(".") for consequence in CONSEQUENCES.values())

    def test_what_counts_against_the_backend(self):
        assert names(lambda c: c.against_backend) == {
            "timeout", "refused", "dns", "tls", "rate_limited", "overloaded", "http_5xx", "bad_body",
        }  # fmt: skip

    def test_our_own_haste_does_not_count_against_the_backend(self):
        assert not CONSEQUENCES[Outcome.CANCELLED].against_backend
        assert not CONSEQUENCES[Outcome.REJECTED].against_backend

    def test_what_may_be_retried(self):
        assert names(lambda c: c.may_retry) == {
            "timeout", "refused", "dns", "rate_limited", "overloaded", "http_5xx", "bad_body",
        }  # fmt: skip

    def test_only_a_4xx_is_a_verdict_on_the_message(self):
        assert names(lambda c: c.against_item) == {"http_4xx"}

    def test_when_nobody_knows_whether_it_was_processed(self):
        assert names(lambda c: c.fate_unknown) == {"timeout", "http_5xx", "bad_body", "cancelled"}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"), (201, "bad_body"), (204, "bad_body"), (302, "bad_body"), (400, "http_4xx"), (401, "http_4xx"),
        (404, "http_4xx"), (408, "http_4xx"), (429, "rate_limited"), (500, "http_5xx"), (502, "http_5xx"),
        (503, "overloaded"), (504, "http_5xx"), (529, "overloaded"), (599, "http_5xx"),
    ],
)  # fmt: skip
def test_outcome_of_status(status, outcome):
    assert outcome_of_status(status) == outcome


def test_another_status_may_be_the_expected_one():
    assert outcome_of_status(204, expected=204) is Outcome.OK
    assert outcome_of_status(200, expected=204) is Outcome.BAD_BODY


class TestWithin:
    @staticmethod
    def ended(request, limit_s=5.0):
        async def main():
            response = await within(limit_s, request())
            return response, asyncio.get_running_loop().time()

        return run_virtual(main())

    def test_an_answer_in_time_is_passed_on(self):
        async def request():
            await asyncio.sleep(4.9)
            return Response(Outcome.OK, "hi")

        assert self.ended(request) == (Response(Outcome.OK, "hi"), 4.9)

    def test_at_the_limit_the_request_is_cancelled(self):
        ends = []

        async def request():
            try:
                await asyncio.sleep(60)
            finally:
                ends.append(asyncio.get_running_loop().time())

        assert self.ended(request) == (Response(Outcome.TIMEOUT), 5.0)
        assert ends == [5.0]

    def test_a_backend_that_raises_has_answered_something_unreadable_and_leaves_one_line(self, caplog):
        async def request():
            raise ValueError("no JSON")

        assert self.ended(request)[0].outcome is Outcome.BAD_BODY
        assert [record.exc_info for record in caplog.records] == [None]
        assert "ValueError: no JSON" in caplog.text

    def test_cancelling_the_caller_is_not_swallowed(self):
        async def main():
            task = asyncio.create_task(within(5, asyncio.sleep(60)))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run_virtual(main())
