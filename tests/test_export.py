"""A policy taken home says what the policy says, exactly, and tells what it can't say."""

import ast
import json
import os
import re
import sys
import tomllib
import types
from fnmatch import fnmatchcase

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import hustle_sim as hs
from hustle_sim import PRESETS, InputError, Policy, policy_fields
from hustle_sim.cli import main
from hustle_sim.resilience.outcome import CONSEQUENCES, outcome_of_status
from hustle_sim.resilience.retry import backoff_s
from hustle_sim.tuning.export import FORMATS
from hustle_sim.tuning.export.languages import TYPESCRIPT_NAMES, typescript_name
from hustle_sim.tuning.export.parts import Taken

FIELDS = {field.name: field for field in policy_fields()}
ODD = {
    "retry.base_s": 0.0005, "retry.factor": 1.7, "retry.jitter": "decorrelated", "probe.timeout_s": 4.56789,
    "queue.ttl_s": 31536000, "request.fast_fail_offline": False, "breaker.window": "count", "breaker.min_calls": 1,
    "breaker.open_s": 0.25, "breaker.half_open_probes": 3, "retry.budget_share": 1.5, "cache.enabled": False,
    "request.attempt_timeout_s": 2.1, "breaker.failure_share": 0.333, "queue.overflow": "drop-oldest",
}  # fmt: skip
POLICIES = {
    **{name: Policy.preset(name) for name in PRESETS},
    "odd": Policy().replace(ODD),
    "bare": Policy().replace(
        {"request.max_attempts": 1, "retry.retry_after_clamp_s": 0, "request.late_answer_window_s": 0,
         "breaker.open_factor": 1, "breaker.jitter": 0, "probe.fall": 1, "probe.rise": 1, "probe.evidence": False}
    ),
    **{f"{jitter} jitter": Policy().replace({"retry.jitter": jitter}) for jitter in ("none", "full", "equal")},
}  # fmt: skip
TOOLS = ("tenacity", "stamina", "polly", "envoy")

every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


@every_policy
def test_environment_variables_come_back_as_the_same_policy(policy, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("HUSTLE_")]:
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(hs.export(policy, "env").text, encoding="utf-8")
    assert Policy.from_environment(env_file=tmp_path / ".env") == policy


@every_policy
@pytest.mark.parametrize("form", ["json", "toml"])
def test_files_load_as_the_same_policy(policy, form, tmp_path):
    path = tmp_path / f"mine.{form}"
    path.write_text(str(hs.export(policy, form)), encoding="utf-8")
    assert Policy.load(path) == policy


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not valid JSON"), ("[1]", "holds no JSON object"), ('{"probe": {"timeout": 3}}', "did you mean")],
)
def test_a_json_policy_that_can_not_be_used_is_one_sentence(tmp_path, text, words):
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        Policy.load(tmp_path / "bad.json")


def test_json_tells_unit_and_reason_of_each_field():
    about = json.loads(hs.export(Policy(), "json").text)["about"]
    assert about["probe.timeout_s"] == f"[s] {FIELDS['probe.timeout_s'].reason}"
    assert set(about) == set(FIELDS)


@every_policy
def test_python_constants_have_the_values(policy):
    names: dict[str, object] = {}
    exec(hs.export(policy, "python").text, names)
    assert {name: names[name.upper().replace(".", "_")] for name in FIELDS} == policy.flat()


CONSTANT = {
    "typescript": re.compile(r"^(?:export const |  )(\w+)(?: =|:) (\S+?)[;,]$", re.MULTILINE),
    "kotlin": re.compile(r"^ +const val (\w+): \w+ = (\S+)$", re.MULTILINE),
    "swift": re.compile(r"^ +public static let (\w+): \w+ = (\S+)$", re.MULTILINE),
}


@every_policy
@pytest.mark.parametrize("language", CONSTANT)
def test_a_language_has_each_field_once_with_its_exact_value(policy, language):
    found = CONSTANT[language].findall(hs.export(policy, language).text)
    # TypeScript's object for the queue stands last.
    order = sorted(FIELDS.values(), key=lambda field: language == "typescript" and field.part == "queue")
    assert len(found) == len(order)
    for field, (name, written) in zip(order, found, strict=True):
        value = policy.get(field.name)
        read = json.loads(written.removesuffix("L"))
        thousand = 1000 if field.unit == "s" and language != "swift" else 1
        if isinstance(value, str | bool):
            assert read == value
        else:
            assert read / thousand == value, name
            if thousand == 1000 and value == round(value, 3):
                assert isinstance(read, int), name


def test_typescript_has_the_names_that_apps_use_and_each_is_a_field():
    assert set(TYPESCRIPT_NAMES) <= set(FIELDS)
    text = hs.export(Policy.preset("original"), "typescript").text
    assert "export const HEALTH_CHECK_INTERVAL = 300000;" in text
    assert "export const HEALTH_CHECK_TIMEOUT = 5000;" in text
    assert "export const DEGRADED_THRESHOLD = 3000;" in text
    assert "export const REQUEST_TIMEOUT = 8000;" in text
    assert "  maxQueueSize: 50," in text
    assert "  maxRetries: 3," in text


def test_typescript_names_are_all_different():
    names = [(field.part == "queue", typescript_name(field)) for field in FIELDS.values()]
    assert len(set(names)) == len(names)


def test_a_wait_that_set_timeout_can_not_wait_is_told():
    (warning,) = hs.export(Policy().replace({"queue.ttl_s": 31536000}), "typescript").warnings
    assert warning.startswith("queue.ttl_s: ttlMs is longer than setTimeout can wait")


@pytest.mark.parametrize("form", FORMATS)
def test_each_constant_of_a_language_has_its_unit_and_reason(form):
    text = " ".join(re.sub(r"^[ *#/]+", "", line) for line in hs.export(Policy(), form).text.splitlines())
    for field in FIELDS.values():
        if form not in TOOLS:
            assert field.reason in text or json.dumps(field.reason)[1:-1] in text, field.name
        assert "*/" not in field.reason


@every_policy
@pytest.mark.parametrize("tool", TOOLS)
def test_each_field_is_expressed_or_told_or_without_effect(policy, tool, monkeypatch):
    forgotten = []
    real = Taken.export

    def export(taken, lines, prefix):
        forgotten.extend(taken.left())
        return real(taken, lines, prefix)

    monkeypatch.setattr(Taken, "export", export)
    hs.export(policy, tool)
    assert forgotten == []


@every_policy
@pytest.mark.parametrize("tool", TOOLS)
def test_warnings_name_fields_that_exist_and_stand_in_the_file(policy, tool):
    done = hs.export(policy, tool)
    text = " ".join(re.sub(r"^[ *#/-]+", "", line) for line in done.text.splitlines())
    assert done.warnings
    for warning in done.warnings:
        names, _, words = warning.partition(": ")
        assert words
        for name in names.split(", "):
            assert any(fnmatchcase(field, name) for field in FIELDS), name
        assert warning in text


def told(policy, tool):
    return {name for warning in hs.export(policy, tool).warnings for name in warning.partition(": ")[0].split(", ")}


@pytest.mark.parametrize("tool", ["tenacity", "stamina"])
def test_libraries_of_retries_are_warned_of_only_where_it_matters(tool):
    missing = {"breaker.*", "retry.budget_share", "retry.retry_after_clamp_s", "queue.*", "probe.*", "cache.*"}
    assert missing <= told(Policy(), tool)
    assert not missing & told(POLICIES["original"], tool) - {"queue.*", "probe.*", "retry.retry_after_clamp_s"}
    assert "retry.retry_after_clamp_s" not in told(POLICIES["bare"], tool)


class Span:
    """A wait between two limits, by retry: what tenacity's waits are."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __add__(self, other):
        return Span(lambda n: self.low(n) + other.low(n), lambda n: self.high(n) + other.high(n))


def wait_exponential(*, multiplier, exp_base, max):
    def wait(n):
        return min(multiplier * exp_base ** (n - 1), max)

    return Span(wait, wait)


def wait_random_exponential(*, multiplier, exp_base, max):
    return Span(lambda n: 0, wait_exponential(multiplier=multiplier, exp_base=exp_base, max=max).high)


class Stop(tuple):
    """stop_a(1) | stop_b(2) as ("a", 1, "b", 2)."""

    def __or__(self, other):
        return Stop((*self, *other))


def run(policy, tool, monkeypatch):
    """What the export hands to the library, taken by a library that only notes it."""
    noted = {}

    def retry(**settings):
        noted.update(settings)
        return lambda function: function

    fake = types.ModuleType(tool)
    vars(fake).update(
        retry=retry, RetryCallState=object, retry_if_exception=lambda test: test,
        stop_after_attempt=lambda n: Stop(("attempts", n)), stop_before_delay=lambda s: Stop(("seconds", s)),
        wait_exponential=wait_exponential, wait_random_exponential=wait_random_exponential,
        wait_none=lambda: Span(lambda n: 0, lambda n: 0),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, tool, fake)
    names: dict[str, object] = {}
    exec(compile(hs.export(policy, tool).text, tool, "exec"), names)
    return noted, names


retries = st.fixed_dictionaries(
    {
        "retry.base_s": st.sampled_from([0, 0.05, 0.1, 0.5, 2, 7.25]),
        "retry.factor": st.sampled_from([1, 1.5, 2, 3]),
        "retry.cap_s": st.sampled_from([8, 20, 60]),
        "retry.jitter": st.sampled_from(["none", "full", "equal"]),
        "request.max_attempts": st.integers(1, 20),
        "request.deadline_s": st.sampled_from([0.7, 6, 8]),
    }
)


@given(retries)
def test_tenacity_gets_the_attempts_and_the_waits_of_the_policy(changes):
    policy = Policy().replace(changes)
    with pytest.MonkeyPatch.context() as monkeypatch:
        noted, names = run(policy, "tenacity", monkeypatch)
    assert noted["stop"] == (
        "attempts", policy.request.max_attempts,
        "seconds", pytest.approx(policy.request.deadline_s - policy.queue.save_margin_s),
    )  # fmt: skip
    assert names["DEADLINE_S"] == policy.request.deadline_s
    assert names["ATTEMPT_TIMEOUT_S"] == policy.request.attempt_timeout_s
    for retry in range(1, 12):
        assert noted["wait"].low(retry) == pytest.approx(backoff_s(policy.retry, retry, 0, 0.0))
        assert noted["wait"].high(retry) == pytest.approx(backoff_s(policy.retry, retry, 0, 1.0))


@pytest.mark.parametrize("u", [0.0, 0.5, 1.0])
def test_tenacity_gets_decorrelated_jitter_as_a_function(u, monkeypatch):
    policy = Policy().replace({"retry.jitter": "decorrelated", "retry.base_s": 0.3, "retry.cap_s": 4})
    noted, names = run(policy, "tenacity", monkeypatch)
    names["random"] = types.SimpleNamespace(uniform=lambda low, high: low + u * (high - low))
    previous = 0.0
    for retry in range(1, 8):
        wait = noted["wait"](types.SimpleNamespace(upcoming_sleep=previous))
        assert wait == pytest.approx(backoff_s(policy.retry, retry, previous, u))
        previous = wait


@given(retries)
def test_stamina_gets_the_attempts_and_no_wait_beyond_the_cap(changes):
    policy = Policy().replace(changes)
    with pytest.MonkeyPatch.context() as monkeypatch:
        noted, _ = run(policy, "stamina", monkeypatch)
    assert noted["attempts"] == policy.request.max_attempts
    assert noted["timeout"] == pytest.approx(policy.request.deadline_s - policy.queue.save_margin_s)
    assert noted["wait_max"] == policy.retry.cap_s
    assert noted["wait_exp_base"] == policy.retry.factor
    # The longest first wait is the policy's, with every jitter.
    assert noted["wait_initial"] + noted["wait_jitter"] == pytest.approx(backoff_s(policy.retry, 1, 0, 1.0))
    if policy.retry.jitter in ("none", "equal"):
        assert noted["wait_initial"] == pytest.approx(backoff_s(policy.retry, 1, 0, 0.0))


def test_stamina_is_told_where_its_jitter_is_another():
    (warning,) = (text for text in hs.export(Policy(), "stamina").warnings if text.startswith("retry.jitter"))
    assert "0.25 to 0.5 s, 0.5 to 0.75 s where the policy (full jitter) has 0 to 0.5 s, 0 to 1 s" in warning
    assert "retry.jitter" not in told(POLICIES["none jitter"], "stamina")


@pytest.mark.parametrize("tool", ["tenacity", "stamina"])
def test_exported_retries_retry_what_the_resilience_code_retries(tool, monkeypatch):
    _, names = run(Policy(), tool, monkeypatch)
    may_retry = names["may_retry"]
    for status in range(400, 600):
        response = httpx.Response(status, request=httpx.Request("POST", "http://backend"))
        error = httpx.HTTPStatusError("", request=response.request, response=response)
        assert may_retry(error) == CONSEQUENCES[outcome_of_status(status)].may_retry, status
    assert may_retry(TimeoutError())
    assert may_retry(httpx.ConnectError(""))
    assert not may_retry(ValueError())


@every_policy
@pytest.mark.parametrize("tool", ["tenacity", "stamina"])
def test_exported_retries_use_only_names_that_the_libraries_have(policy, tool):
    known = {
        "tenacity": {"retry", "RetryCallState", "retry_if_exception", "stop_after_attempt", "stop_before_delay",
                     "wait_exponential", "wait_random_exponential", "wait_none"},
        "stamina": {"retry"},
    }[tool]  # fmt: skip
    used = {
        node.attr
        for node in ast.walk(ast.parse(hs.export(policy, tool).text))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == tool
    }
    assert used <= known


@every_policy
def test_envoy_is_yaml_that_keeps_envoys_own_rules(policy):
    tables = yaml.safe_load(hs.export(policy, "envoy").text)
    assert set(tables) == {"route", "cluster"}

    def seconds(text):
        assert re.fullmatch(r"\d+(\.\d{1,9})?s", text)
        return float(text[:-1])

    route, cluster = tables["route"], tables["cluster"]
    retry = route["retry_policy"]
    assert seconds(route["timeout"]) == policy.request.deadline_s
    assert retry["num_retries"] == policy.request.max_attempts - 1
    if "per_try_timeout" in retry:
        assert seconds(retry["per_try_timeout"]) == policy.request.attempt_timeout_s < policy.request.deadline_s
    if "retry_back_off" in retry:
        backoff = retry["retry_back_off"]
        assert 0 < seconds(backoff["base_interval"]) <= seconds(backoff["max_interval"])
        budget = cluster["circuit_breakers"]["thresholds"][0]["retry_budget"]
        assert 0 <= budget["budget_percent"]["value"] <= 100
        assert budget["min_retry_concurrency"] >= 1
    assert ("outlier_detection" in cluster) == policy.breaker.enabled
    if policy.breaker.enabled:
        outlier = cluster["outlier_detection"]
        assert seconds(outlier["base_ejection_time"]) == policy.breaker.open_s
        assert seconds(outlier["max_ejection_time"]) >= policy.breaker.open_s
        assert 0 <= outlier["failure_percentage_threshold"] <= 100
        # Envoy ends an ejection only when it judges again.
        assert seconds(outlier["interval"]) <= policy.breaker.open_s
        assert cluster["common_lb_config"]["healthy_panic_threshold"]["value"] == 0
    for check in cluster.get("health_checks", ()):
        assert seconds(check["interval"]) == policy.probe.interval_s
        assert seconds(check["timeout"]) == policy.probe.timeout_s
        assert check["unhealthy_threshold"] == policy.probe.fall
        assert check["healthy_threshold"] == policy.probe.rise


def test_envoy_warns_of_what_it_does_in_another_way():
    words = " ".join(hs.export(Policy().replace({"retry.jitter": "none", "retry.factor": 3}), "envoy").warnings)
    for part in ("always full", "doubles the wait", "no half-open", "5 failures in a row", "retries in flight"):
        assert part in words


@every_policy
def test_polly_has_the_numbers_within_pollys_bounds(policy):
    text = hs.export(policy, "polly").text
    for opening, closing in ("()", "[]", "{}"):
        code = re.sub(r"//.*", "", text)
        assert code.count(opening) == code.count(closing)
    timeouts = [float(ms) for ms in re.findall(r"AddTimeout\(TimeSpan\.FromMilliseconds\((.+?)\)\)", text)]
    assert timeouts == pytest.approx([policy.request.deadline_s * 1000, policy.request.attempt_timeout_s * 1000])
    attempts = re.findall(r"MaxRetryAttempts = (\d+),", text)
    assert attempts == ([str(policy.request.max_attempts - 1)] if policy.request.max_attempts > 1 else [])
    assert ("AddCircuitBreaker" in text) == policy.breaker.enabled
    if policy.breaker.enabled:
        assert int(re.search(r"MinimumThroughput = (\d+),", text)[1]) == max(2, policy.breaker.min_calls)
        assert float(re.search(r"FailureRatio = (\S+),", text)[1]) == policy.breaker.failure_share
        assert float(re.search(r" BreakDuration = TimeSpan.FromMilliseconds\((.+?)\)", text)[1]) >= 500


def test_polly_warns_where_its_breaker_is_another():
    assert {"breaker.min_calls", "breaker.open_s", "breaker.window_calls", "breaker.half_open_probes"} <= told(
        POLICIES["odd"], "polly"
    )


def test_an_export_that_does_not_exist_is_one_sentence():
    with pytest.raises(InputError, match="did you mean 'typescript'"):
        hs.export(Policy(), "typscript")


def test_the_help_names_every_format(hustle):
    _, out, _ = hustle("export", "--help")
    for form in FORMATS:
        assert form in out


@pytest.fixture
def hustle(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


def test_the_command_prints_the_file_and_its_warnings_apart(hustle):
    code, out, err = hustle("export", "default", "--to", "envoy", "--set", "request.max_attempts=5")
    assert code == 0
    assert yaml.safe_load(out)["route"]["retry_policy"]["num_retries"] == 4
    lines = err.splitlines()
    assert lines
    assert all(line.startswith("warning: ") for line in lines)


def test_the_command_writes_a_file_and_overwrites_it_only_when_told(hustle, tmp_path):
    assert hustle("export", "original", "--to", "toml", "--out", "mine.toml")[:2] == (0, "")
    code, _, err = hustle("export", "default", "--to", "toml", "--out", "mine.toml")
    assert code == 2
    assert "--force" in err
    assert Policy.load(tmp_path / "mine.toml") == Policy.preset("original")
    assert hustle("export", "mine.toml", "--to", "json", "--out", "mine.toml", "--force")[0] == 0
    assert set(json.loads((tmp_path / "mine.toml").read_text())) == {"about", *tomllib.loads(Policy().to_toml())}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["default", "--to", "yaml"], "there is no export to 'yaml'"),
        (["orignal", "--to", "env"], "did you mean 'original'?"),
        (["default", "--to", "env", "--out", "no/such/folder/x"], "can't be written"),
        (["default", "--to", "env", "--set", "probe.timeout_s=-1"], "greater than or equal to"),
    ],
)
def test_bad_input_to_the_command_is_one_sentence(hustle, arguments, words):
    code, out, err = hustle("export", *arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1
