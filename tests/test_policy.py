import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hustle_sim.inputs import InputError
from hustle_sim.policy import PRESETS, Policy, RetryPolicy, policy_fields

FIELDS = {field.name: field for field in policy_fields()}


class TestDefaults:
    def test_the_default_is_the_hardened_policy_of_the_design(self):
        flat = Policy().flat()
        expected = {
            "probe.timeout_s": 5, "probe.interval_s": 300, "probe.confirm_s": 10, "probe.offline_interval_s": 10,
            "probe.offline_interval_max_s": 60, "probe.jitter": 0.2, "probe.fall": 3, "probe.rise": 2,
            "probe.degraded_above_s": 3.0, "probe.degraded_below_s": 2.4, "probe.window": 5,
            "request.deadline_s": 8, "request.attempt_timeout_s": 8, "request.late_answer_window_s": 30,
            "retry.factor": 2, "retry.cap_s": 60, "retry.jitter": "full", "retry.retry_after_clamp_s": 5,
            "breaker.enabled": True, "breaker.open_factor": 2, "breaker.half_open_probes": 1,
            "queue.overflow": "displace", "queue.ttl_s": 86400, "cache.enabled": True, "cache.max_entries": 200,
        }  # fmt: skip
        assert {name: flat[name] for name in expected} == expected

    def test_a_policy_is_frozen(self):
        with pytest.raises(ValidationError):
            Policy().probe.timeout_s = 3

    def test_two_equal_policies_are_equal_and_hash_alike(self):
        assert Policy() == Policy()
        assert hash(Policy()) == hash(Policy())


class TestFields:
    def test_every_field_is_explained_and_bounded(self):
        for field in FIELDS.values():
            assert field.reason, field.name
            assert field.reason.endswith("."), field.name
            if isinstance(field.default, bool):
                assert (field.low, field.high, field.choices) == (None, None, ()), field.name
            elif isinstance(field.default, str):
                assert field.default in field.choices, field.name
            else:
                assert field.low is not None, field.name
                assert field.high is not None, field.name
                assert field.unit, field.name
                assert field.low <= field.default <= field.high, field.name

    def test_names_ending_in_s_are_seconds_and_only_those(self):
        for field in FIELDS.values():
            is_time = field.name.endswith("_s") and not field.name.endswith("_per_s")
            assert is_time == (field.unit == "s"), field.name

    def test_shares_are_shares(self):
        shares = [field for field in FIELDS.values() if field.unit == "share"]
        assert len(shares) == 5
        assert all(field.low >= 0 for field in shares)

    @pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.low is not None])
    def test_outside_of_its_bounds_a_field_is_refused_with_one_sentence(self, name):
        field = FIELDS[name]
        for value in (field.low - 1, field.high + 1, float("nan"), float("inf")):
            with pytest.raises(InputError, match=f"^policy: {name}: [^\n]*$"):
                Policy().replace({name: value})

    @pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.choices])
    def test_a_word_that_is_no_choice_is_refused(self, name):
        with pytest.raises(InputError, match=f"^policy: {name}: input should be .*, not 'sideways'$"):
            Policy().replace({name: "sideways"})
        for choice in FIELDS[name].choices:
            assert Policy().replace({name: choice}).get(name) == choice

    def test_flat_get_and_fields_agree(self):
        policy = Policy().replace({"probe.timeout_s": 3.5, "queue.overflow": "reject"})
        assert policy.flat() == {name: policy.get(name) for name in FIELDS}
        assert policy.get("probe.timeout_s") == 3.5


class TestWhatCannotWorkTogether:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"probe.degraded_above_s": 6}, "degraded_above_s (6) must not exceed timeout_s (5)"),
            ({"probe.degraded_below_s": 3.5}, "degraded_below_s (3.5) must not exceed degraded_above_s (3)"),
            ({"probe.timeout_s": 20, "probe.interval_s": 10}, "timeout_s (20) must not exceed interval_s (10)"),
            ({"probe.offline_interval_s": 61}, "offline_interval_s (61) must not exceed offline_interval_max_s (60)"),
            ({"retry.base_s": 61}, "base_s (61) must not exceed cap_s (60)"),
            ({"breaker.open_s": 121}, "open_s (121) must not exceed open_max_s (120)"),
            ({"breaker.window": "count", "breaker.min_calls": 21}, "min_calls (21) must not exceed window_calls (20)"),
            ({"queue.warn_size": 501}, "warn_size (501) must not exceed max_size (500)"),
            ({"queue.base_s": 61}, "base_s (61) must not exceed cap_s (60)"),
            ({"cache.fresh_s": 86401}, "fresh_s (86401) must not exceed stale_s (86400)"),
            ({"queue.lease_s": 7}, "request.deadline_s (8) must not exceed queue.lease_s (7)"),
            ({"request.attempt_timeout_s": 19}, "request.attempt_timeout_s (19) must not exceed queue.lease_s (18)"),
            ({"queue.ttl_s": 7}, "request.deadline_s (8) must not exceed queue.ttl_s (7)"),
            ({"queue.save_margin_s": 2, "request.deadline_s": 1}, "queue.save_margin_s (2) must not exceed"),
        ],
    )
    def test_is_refused_with_a_sentence_that_says_why(self, changes, sentence):
        with pytest.raises(InputError) as caught:
            Policy().replace(changes)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
        because = str(caught.value).split(sentence)[1]
        assert ": " in because

    def test_a_breaker_by_time_does_not_mind_the_size_of_the_other_window(self):
        assert Policy().replace({"breaker.min_calls": 100}).breaker.min_calls == 100


class TestReplace:
    def test_leaves_the_first_policy_alone(self):
        policy = Policy()
        assert policy.replace({"probe.timeout_s": "3s"}).probe.timeout_s == 3
        assert policy.probe.timeout_s == 5

    def test_changes_that_only_work_together_are_checked_together(self):
        policy = Policy().replace({"retry.base_s": 100, "retry.cap_s": 200})
        assert (policy.retry.base_s, policy.retry.cap_s) == (100, 200)

    @pytest.mark.parametrize("name", ["probe.timout_s", "timeout_s", "probe", "probe.timeout_s.x", "", "."])
    def test_an_unknown_name_is_one_sentence(self, name):
        with pytest.raises(InputError, match=r"^there is no policy field "):
            Policy().replace({name: 3})
        with pytest.raises(InputError, match=r"^there is no policy field "):
            Policy().get(name)

    def test_a_misspelt_name_is_recognised(self):
        with pytest.raises(InputError, match=r"did you mean 'probe\.timeout_s'\?"):
            Policy().replace({"probe.timout_s": 3})


class TestPresets:
    @pytest.mark.parametrize("name", PRESETS)
    def test_loads_by_name_and_says_what_it_is(self, name):
        assert Policy.preset(name) == Policy.load(name)
        assert PRESETS[name].about.endswith(".")
        assert Policy.preset(name) == Policy().replace(PRESETS[name].changes)

    def test_the_default_preset_is_the_default(self):
        assert Policy.preset("default") == Policy()

    def test_original_has_the_numbers_of_the_first_design(self):
        policy = Policy.preset("original")
        assert policy.probe.interval_s == 300
        assert policy.probe.timeout_s == 5
        assert policy.probe.degraded_above_s == 3
        assert policy.probe.fall == 1
        assert not policy.probe.evidence
        assert policy.request.deadline_s == 8
        assert policy.request.max_attempts == 1
        assert policy.request.late_answer_window_s == 0
        assert not policy.breaker.enabled
        assert (policy.queue.max_size, policy.queue.overflow) == (50, "drop-oldest")
        assert (policy.queue.max_attempts, policy.queue.outages_count) == (3, True)
        assert not policy.queue.dead_letters
        assert policy.queue.flush_on == "verdict"
        assert not policy.queue.canary
        assert not policy.cache.enabled

    @pytest.mark.parametrize(
        ("name", "attempts", "base_s", "cap_s"),
        [
            ("tenacity", 100, 0, 0), ("stamina", 10, 0.1, 5), ("httpx-retries", 11, 0, 120), ("botocore", 3, 0.05, 20),
            ("grpc", 5, 0.1, 1), ("polly", 4, 2, 60),
        ],
    )  # fmt: skip
    def test_other_tools_have_their_numbers(self, name, attempts, base_s, cap_s):
        policy = Policy.preset(name)
        assert (policy.request.max_attempts, policy.retry.base_s, policy.retry.cap_s) == (attempts, base_s, cap_s)

    def test_an_unknown_one_is_one_sentence_that_names_those_there_are(self):
        with pytest.raises(InputError) as caught:
            Policy.preset("originel")
        assert str(caught.value).startswith("there is no preset 'originel'; did you mean 'original'? Presets: default")
        with pytest.raises(InputError, match=r"^there is no preset 'xyzzy'\. Presets: default, "):
            Policy.preset("xyzzy")
        with pytest.raises(InputError, match=r"^there is no preset 'xyzzy'\. Name one of default, .*, or a TOML file"):
            Policy.load("xyzzy")


class TestToml:
    @pytest.mark.parametrize("name", PRESETS)
    def test_a_saved_policy_loads_equal(self, name, tmp_path):
        policy = Policy.preset(name)
        policy.save(tmp_path / "mine.toml")
        assert Policy.load(tmp_path / "mine.toml") == policy

    @given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.floats(0, 1), max_size=8))
    def test_any_policy_survives_the_trip_to_the_last_bit(self, wanted):
        policy = Policy()
        for name, share in wanted.items():
            field = FIELDS[name]
            if field.low is not None:
                value = field.low + share * (field.high - field.low)
                value = round(value) if isinstance(field.default, int) else value
                try:
                    policy = policy.replace({name: value})
                except InputError:
                    continue
        assert Policy.model_validate(tomllib.loads(policy.to_toml())) == policy

    def test_each_field_is_explained_in_the_file(self):
        text = Policy().to_toml()
        assert "# [s] A probe without an answer by then is cancelled and has failed.\ntimeout_s = 5\n" in text
        assert all(field.reason in text for field in FIELDS.values())

    def test_fields_left_out_have_their_defaults_and_durations_may_be_text(self, tmp_path):
        (tmp_path / "p.toml").write_text('[probe]\ninterval_s = "5m"\ntimeout_s = 4\n')
        assert Policy.load(str(tmp_path / "p.toml")) == Policy().replace({"probe.timeout_s": 4})

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("[probe]\ntimout_s = 3", "probe.timout_s is not a field that exists; did you mean 'probe.timeout_s'?"),
            ("[prope]\ntimeout_s = 3", "prope is not a field that exists"),
            ("[probe]\ntimeout_s = 'soon'", "probe.timeout_s: 'soon' is no duration"),
            ("[probe]\ntimeout_s = -1", "probe.timeout_s: input should be greater than or equal to 0.05, not -1"),
            ("[probe]\nfall = 2.5", "probe.fall: input should be a valid integer"),
            ("probe = 3", "probe: input should be"),
            ("[probe", "is not valid TOML"),
            ("[retry]\nbase_s = 100", "retry: base_s (100) must not exceed cap_s (60)"),
        ],
    )
    def test_what_is_wrong_is_one_sentence_with_file_and_field(self, text, sentence, tmp_path):
        path = tmp_path / "p.toml"
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            Policy.load(path)
        assert str(caught.value).startswith(str(path))
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_is_one_sentence(self, tmp_path):
        with pytest.raises(InputError, match="no such file"):
            Policy.load(tmp_path / "none.toml")


class TestEnvironment:
    def test_sets_single_fields(self, monkeypatch):
        monkeypatch.setenv("HUSTLE_PROBE__TIMEOUT_S", "3")
        monkeypatch.setenv("HUSTLE_PROBE__INTERVAL_S", "10m")
        monkeypatch.setenv("HUSTLE_QUEUE__OVERFLOW", "reject")
        monkeypatch.setenv("HUSTLE_BREAKER__ENABLED", "false")
        policy = Policy.from_environment(env_file=None)
        assert policy == Policy().replace(
            {
                "probe.timeout_s": 3,
                "probe.interval_s": 600,
                "queue.overflow": "reject",
                "breaker.enabled": False,
            }
        )

    def test_goes_on_top_of_a_base(self, monkeypatch):
        monkeypatch.setenv("HUSTLE_REQUEST__DEADLINE_S", "6")
        base = Policy.preset("original")
        assert Policy.from_environment(base, env_file=None) == base.replace({"request.deadline_s": 6})

    def test_reads_a_file_and_the_environment_wins(self, monkeypatch, tmp_path):
        (tmp_path / ".env").write_text(
            "HUSTLE_BACKEND_URL=http://x\nHUSTLE_API_KEY=secret\nHUSTLE_PROBE__TIMEOUT_S=3\nHUSTLE_PROBE__FALL=2\nX=1\n"
        )
        monkeypatch.setenv("HUSTLE_PROBE__FALL", "4")
        policy = Policy.from_environment(env_file=tmp_path / ".env")
        assert (policy.probe.timeout_s, policy.probe.fall) == (3, 4)

    def test_a_missing_file_is_no_error(self, tmp_path):
        assert Policy.from_environment(env_file=tmp_path / "none") == Policy()

    def test_other_variables_of_ours_are_left_alone(self, monkeypatch):
        monkeypatch.setenv("HUSTLE_BACKEND_URL", "http://localhost:1")
        monkeypatch.setenv("HUSTLE_API_KEY", "secret")
        assert Policy.from_environment(env_file=None) == Policy()

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("HUSTLE_PROBE__TIMOUT_S", "3", "did you mean 'probe.timeout_s'?"),
            ("HUSTLE_PROBE__TIMEOUT_S", "soon", "probe.timeout_s: 'soon' is no duration"),
            ("HUSTLE_PROBE__TIMEOUT_S", "", "probe.timeout_s: '' is no duration"),
            ("HUSTLE_PROBE__FALL", "2.5", "probe.fall: input should be a valid integer"),
            ("HUSTLE_PROBE", "3", "HUSTLE_"),
            ("HUSTLE_PROBE", "{broken", "HUSTLE_"),
            ("HUSTLE_PROBE__TIMEOUT_S__X", "3", ""),
        ],
    )
    def test_what_is_wrong_is_one_sentence(self, monkeypatch, name, value, sentence):
        monkeypatch.setenv(name, value)
        with pytest.raises(InputError) as caught:
            Policy.from_environment(env_file=None)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_json_for_a_whole_part_works_too(self, monkeypatch):
        monkeypatch.setenv("HUSTLE_PROBE", '{"timeout_s": "3"}')
        assert Policy.from_environment(env_file=None).probe.timeout_s == 3


def test_a_part_can_be_built_alone():
    assert RetryPolicy(base_s="2s").base_s == 2
