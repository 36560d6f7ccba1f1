"""The suite itself: it passes on a slow machine, and says how long it takes."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

TESTS = Path(__file__).parent
MAKEFILE = TESTS.parent / "Makefile"
# shorter limits can be met on a slow machine; pauses below a second wait for nothing
SHORT = range(1, 600)
LIMIT = re.compile(r"(?:timeout=\"?|\.join\(|\.wait\()(\d+(?:\.\d+)?)")
CLOCK = re.compile(r"^\s*assert\b.*\b(perf_counter|monotonic|time\.time|seconds_?)\b.*[<>]", re.M)


@given(st.integers(0, 1))
def test_slow_examples_pass(number):
    time.sleep(0.25)  # hypothesis alone allows 0.2 s


def test_the_profile_holds():
    assert settings.default.deadline is None
    assert settings.get_current_profile_name() in ("suite", "default")


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_depends_on_time(path):
    source = path.read_text()
    if path == Path(__file__):
        return
    assert not [limit for limit in LIMIT.findall(source) if int(float(limit)) in SHORT]
    assert path.name == "conftest.py" or "deadline=" not in source
    assert not CLOCK.search(source)


def test_a_limit_would_be_noticed():
    limits = ("run(command, timeout=100)", "thread.join(5)", 'Client(timeout="60s")')
    assert [LIMIT.findall(limit) for limit in limits] == [["100"], ["5"], ["60"]]
    assert not LIMIT.search('", ".join(words), thread.join()')
    assert CLOCK.search("    assert time.perf_counter() - start < 5")
    assert CLOCK.search("    assert receipt.seconds < 5")


@pytest.mark.skipif(not MAKEFILE.exists(), reason="not in a checkout")
def test_make_says_how_long_it_takes_before_it_starts():
    recipe = MAKEFILE.read_text().split("\ntest:")[1].split("\n\n")[0]
    said, run = recipe.index("minutes on two cores"), recipe.index("-m pytest")
    assert said < run
