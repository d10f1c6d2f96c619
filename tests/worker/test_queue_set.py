"""Which queues a worker serves: those that are named, and those that a pattern means as they come and go."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import WorkerOptions
from taskflow.errors import ConfigError, InvalidQueue
from taskflow.worker.queue_set import MOST_FOUND, QueueSet


def served(queues: dict[str, int], *names: str) -> list[tuple[str, int]]:
    queue_set = QueueSet(queues)
    queue_set.find([name.encode() for name in names])
    return list(queue_set.items())


def test_what_is_named_is_served_whether_it_exists_or_not_the_heaviest_first() -> None:
    assert served({"low": 1, "high": 6, "mid": 3}, "other") == [("high", 6), ("mid", 3), ("low", 1)]


def test_a_pattern_means_the_queues_that_match_it() -> None:
    assert served({"default": 3, "tenant-*": 1}, "tenant-b", "tenant-a", "my-tenant-a", "tenant") == [
        ("default", 3),
        ("tenant-a", 1),
        ("tenant-b", 1),
    ]


def test_a_star_stands_for_any_text_and_nothing_else_is_special() -> None:
    assert dict(served({"a.[x]*?": 1}, "a.[x]?", "a.[x]yz?", "aa[x]?", "a.x?", "a.[x]yz")) == {
        "a.[x]?": 1,
        "a.[x]yz?": 1,
    }
    assert dict(served({"*-*": 1}, "a-b", "-", "ab", "*-*")) == {"a-b": 1, "-": 1, "*-*": 1}


def test_a_name_decides_before_patterns_and_the_longest_pattern_before_the_others() -> None:
    queues = {"*": 1, "tenant-*": 2, "tenant-gold-*": 3, "tenant-gold-x": 9}

    assert dict(served(queues, "a", "tenant-1", "tenant-gold-1", "tenant-gold-x")) == {
        "tenant-gold-x": 9,
        "tenant-gold-1": 3,
        "tenant-1": 2,
        "a": 1,
    }


def test_queues_come_and_go_and_those_that_stay_keep_their_place() -> None:
    queue_set = QueueSet({"q*": 1})
    changes: list[list[str]] = []
    queue_set.on_change = lambda: changes.append(list(queue_set))

    queue_set.find([b"q2", b"q5"])
    queue_set.find([b"q1", b"q5", b"q2"])
    queue_set.find([b"q1", b"q2"])

    assert changes == [["q2", "q5"], ["q2", "q5", "q1"], ["q2", "q1"]]


def test_queues_are_served_and_left_at_run_time() -> None:
    queue_set = QueueSet({"default": 1})
    queue_set.find([b"tenant-a", b"tenant-b"])
    assert dict(queue_set) == {"default": 1}

    queue_set.serve("tenant-*", 2)
    queue_set.serve("late")
    assert dict(queue_set) == {"tenant-a": 2, "tenant-b": 2, "default": 1, "late": 1}
    queue_set.leave("tenant-a")
    queue_set.leave("default")
    assert dict(queue_set) == {"tenant-b": 2, "late": 1}
    queue_set.serve("tenant-a", 5)
    queue_set.leave("tenant-*")
    assert dict(queue_set) == {"tenant-a": 5, "late": 1}
    assert queue_set.patterns == []


def test_names_that_cannot_be_a_queues_are_ignored() -> None:
    queue_set = QueueSet({"*": 1})
    queue_set.find([b"", b"a{b}", b"\xff", b"with space", b"x" * 200, b"good"])

    assert dict(queue_set) == {"good": 1}


def test_patterns_bring_only_so_many_queues() -> None:
    queue_set = QueueSet({"*": 1})
    queue_set.find(b"%d" % number for number in range(MOST_FOUND + 50))

    assert len(queue_set) == MOST_FOUND


@given(
    st.text(st.sampled_from("ab*?"), min_size=1, max_size=6), st.text(st.sampled_from("ab?"), min_size=1, max_size=6)
)
def test_a_pattern_matches_as_the_shell_would_have_it(pattern: str, name: str) -> None:
    expected = fnmatchcase(name, pattern.replace("?", "[?]"))

    assert (name in dict(served({pattern: 1}, name))) == (expected or name == pattern)


def test_what_cannot_be_served_is_refused() -> None:
    for queues in ({}, {"a": 0}, {"a*": -1}):
        with pytest.raises(ConfigError, match="queues"):
            WorkerOptions(queues=queues)
    with pytest.raises(InvalidQueue):
        WorkerOptions(queues={"a {*}": 1})
    with pytest.raises(ConfigError, match="weight"):
        QueueSet({"a": 1}).serve("b", 0)
