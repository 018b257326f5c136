"""The crash suite finds planted bugs: a few of them here, all of them with ``python tests/mutations.py``."""

import mutations
import pytest
from mutations import MUTATIONS, apply, caught_by

FAST = (
    "acknowledge before sending",
    "forget to persist the lease",
    "settle without storing",
    "replay with a new key",
)


def test_every_mutation_still_fits_the_code(tmp_path):
    for number, mutation in enumerate(MUTATIONS):
        text = (mutations.ROOT / "hustle_sim" / "resilience" / mutation.file).read_text(encoding="utf-8")
        assert text.count(mutation.old) == 1, mutation.why
        compile(text.replace(mutation.old, mutation.new), f"{number}", "exec")
    apply(MUTATIONS[0], tmp_path)
    assert (tmp_path / "hustle_sim" / "resilience" / MUTATIONS[0].file).is_file()
    assert len(MUTATIONS) >= 10


@pytest.mark.real
@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if each.why in FAST], ids=lambda each: each.why)
def test_a_planted_bug_is_caught(mutation):
    assert caught_by(mutation, cases=100) is not None
