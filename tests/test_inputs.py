import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hustle_sim.inputs import (
    InputError,
    Seconds,
    closest,
    format_duration,
    parse_duration,
    read_text,
    read_toml,
    sentence,
    toml_value,
)


class TestParseDuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("90", 90), ("1.5", 1.5), ("90s", 90), ("90 s", 90), (" 90S ", 90), ("250ms", 0.25), ("5m", 300),
            ("5min", 300), ("2h", 7200), ("1h30m", 5400), ("1 h 30 min", 5400), ("1d", 86400), ("2w", 1209600),
            ("1.5h", 5400), ("1e3", 1000), ("0", 0),
        ],
    )  # fmt: skip
    def test_understands_what_people_write(self, text, seconds):
        assert parse_duration(text) == pytest.approx(seconds)

    @pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "m", "5m and", "-5m", "1,5s", "5 5m s", "h2"])
    def test_refuses_what_is_no_duration_in_one_sentence(self, text):
        with pytest.raises(ValueError, match="is no duration: write seconds as a number, or text such as '90s'"):
            parse_duration(text)

    @pytest.mark.parametrize("value", [5, 2.5, None, [1], {"a": 1}])
    def test_leaves_everything_but_text_as_it_is(self, value):
        assert parse_duration(value) is value

    @given(st.integers(0, 100000), st.sampled_from(["ms", "s", "m", "min", "h", "d", "w"]))
    def test_a_number_and_a_unit_is_their_product(self, number, unit):
        unit_s = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
        assert parse_duration(f"{number}{unit}") == pytest.approx(number * unit_s)

    def test_a_field_of_seconds_reads_text(self):
        assert TypeAdapter(Seconds).validate_python("5m") == 300


class TestFormatDuration:
    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (0, "0 s"), (0.35, "350 ms"), (0.9994, "999 ms"), (0.9996, "1 s"), (8, "8 s"), (2.4, "2.4 s"),
            (59.94, "59.9 s"), (59.96, "1 min"), (300, "5 min"), (90, "1 min 30 s"), (5400, "1 h 30 min"),
            (3599.7, "1 h"), (86400, "1 d"), (90000, "1 d 1 h"), (86460, "1 d"), (-8, "-8 s"),
            (math.inf, "for ever"), (-math.inf, "-for ever"), (math.nan, "–"),
        ],
    )  # fmt: skip
    def test_says_it_as_a_person_does(self, seconds, words):
        assert format_duration(seconds) == words

    @given(st.floats(0, 1e9))
    def test_what_it_says_reads_back_to_nearly_the_same(self, seconds):
        read = parse_duration(format_duration(seconds))
        assert read == pytest.approx(seconds, rel=0.05, abs=0.0006)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    wait_s: Seconds = Field(default=1, ge=0, le=10)
    words: str = ""


def said(table, known=("wait_s", "words")):
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate(table)
    return sentence(caught.value, "my.toml", known)


class TestSentence:
    def test_names_the_file_the_field_the_limit_and_the_value(self):
        assert said({"wait_s": 11}) == "my.toml: wait_s: input should be less than or equal to 10, not 11"

    def test_passes_on_our_own_words(self):
        assert said({"wait_s": "soon"}).startswith("my.toml: wait_s: 'soon' is no duration")

    def test_proposes_the_nearest_name(self):
        assert said({"wait": 1}) == "my.toml: wait is not a field that exists; did you mean 'wait_s'?"

    def test_proposes_nothing_when_nothing_is_near(self):
        assert said({"colour": 1}) == "my.toml: colour is not a field that exists."

    def test_says_how_much_more_is_wrong(self):
        assert said({"wait_s": 11, "words": 3}).endswith("not 11 (and 1 more)")

    def test_does_not_print_whole_tables(self):
        assert said({"words": {"a": 1}}) == "my.toml: words: input should be a valid string"

    def test_closest(self):
        assert closest("originel", ["original", "default"]) == "; did you mean 'original'?"
        assert closest("xyz", ["original", "default"]) == "."


class TestFiles:
    def test_a_missing_file_is_one_sentence(self, tmp_path):
        with pytest.raises(InputError, match=r"^.*none\.toml: no such file$"):
            read_toml(tmp_path / "none.toml")

    def test_a_folder_is_one_sentence(self, tmp_path):
        with pytest.raises(InputError, match="is a folder: name a file"):
            read_text(tmp_path)

    def test_what_is_not_text_is_one_sentence(self, tmp_path):
        (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="is not text in UTF-8"):
            read_toml(tmp_path / "x.toml")

    def test_broken_toml_is_one_sentence_with_its_line(self, tmp_path):
        (tmp_path / "x.toml").write_text("[probe]\ntimeout_s = = 3\n")
        with pytest.raises(InputError, match=r"x\.toml is not valid TOML: .*line 2"):
            read_toml(tmp_path / "x.toml")

    @given(
        st.one_of(
            st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False),
            st.text(st.characters(exclude_categories=["Cs"])),
        )
    )  # fmt: skip
    def test_toml_values_read_back_equal_control_characters_too(self, value):
        read = tomllib.loads(f"x = {toml_value(value)}")["x"]
        assert read == value
