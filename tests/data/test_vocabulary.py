"""External ids and their rows: nothing is lost, nothing is taken for something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bilinear.data.vocabulary import Vocabulary, canonical_integer
from bilinear.errors import IdValueError, ParameterValueError, UnknownIdError

integers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
columns = st.one_of(st.lists(integers, max_size=40), st.lists(texts, max_size=40))


@given(columns)
@settings(max_examples=200, deadline=None)
def test_encode_and_decode_are_inverse(ids: list[Any]) -> None:
    vocabulary, codes = Vocabulary.factorize(ids)
    assert list(vocabulary) == sorted(set(ids))
    assert vocabulary.decode(codes).tolist() == ids
    np.testing.assert_array_equal(vocabulary.encode(ids), codes)
    assert [vocabulary.row(id_) for id_ in ids] == codes.tolist()
    assert codes.dtype == np.int32


@given(columns)
@settings(max_examples=100, deadline=None)
def test_saved_arrays_give_the_same_vocabulary(ids: list[Any]) -> None:
    vocabulary = Vocabulary.from_ids(ids)
    again = Vocabulary.from_tensors(vocabulary.tensors())
    assert again == vocabulary
    assert list(again) == list(vocabulary)
    assert again.kind == vocabulary.kind


@given(st.lists(integers, min_size=1, max_size=300), st.lists(st.one_of(integers, texts), max_size=600))
@settings(max_examples=50, deadline=None)
def test_many_look_ups_equal_single_ones(ids: list[int], wanted: list[Any]) -> None:
    for vocabulary in (Vocabulary.from_ids(ids), Vocabulary.from_ids(list(map(str, ids)))):
        wanted_twice = [*wanted, *ids] * 2  # long enough for the other way of looking up
        singly = [vocabulary.encode([id_])[0] for id_ in wanted_twice]
        assert vocabulary.encode(wanted_twice).tolist() == singly


@given(columns, st.one_of(texts, integers.map(str)), st.integers(0, 20))
@settings(max_examples=200, deadline=None)
def test_rows_with_a_prefix_are_those_whose_text_begins_with_it(ids: list[Any], text: str, n: int) -> None:
    vocabulary = Vocabulary.from_ids(ids)
    for prefix in (text[:n], str(ids[n % len(ids)])[: 1 + n] if ids else "-"):
        expected = [row for row, id_ in enumerate(vocabulary) if str(id_).startswith(prefix)]
        assert [row for run in vocabulary.with_prefix(prefix) for row in run] == expected


@given(st.text(max_size=25))
@settings(max_examples=300, deadline=None)
def test_canonical_integers_are_those_that_print_as_they_are_spelled(text: str) -> None:
    value = canonical_integer(text)
    try:
        spelled = str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        spelled = False
    assert (value is not None) == spelled
    assert value is None or str(value) == text


@pytest.mark.parametrize("text", ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "1_0", "²", "١", "9" * 5000])
def test_other_spellings_are_text(text: str) -> None:
    assert canonical_integer(text) is None


def test_an_integer_and_its_spelling_are_one_id() -> None:
    numbers, words = Vocabulary.from_ids([7, 12]), Vocabulary.from_ids(["7", "007"])
    assert numbers.encode([7, "7", np.int8(7), "007", 7.5, True, None]).tolist() == [0, 0, 0, -1, -1, -1, -1]
    assert words.encode(["7", 7, "007", "07"]).tolist() == [1, 1, 0, -1]
    assert numbers.encode(np.array([12, 2**64 - 1], np.uint64)).tolist() == [1, -1]
    assert "7" in numbers
    assert 2**70 not in numbers


def test_unknown_ids_are_named_with_known_ones() -> None:
    with pytest.raises(UnknownIdError, match=r"no such item: 'x'.*3 items \(integer ids such as 1, 2, 5\)"):
        Vocabulary.from_ids([5, 1, 2]).row("x", "item")


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([1, None], "row 2: the user is missing"),
        ([1, float("nan")], "row 2: the user is missing"),
        ([1, "a"], "row 2: user 'a' is text, the rows before have an integer"),
        (["a", 1], "row 2: user 1 is an integer, the rows before have text"),
        ([1.5, 2], "row 1: user 1.5 is not a whole number"),
        ([True, False], "row 1: user 'True' is of type bool"),
        ([b"a"], r"row 1: user .*is of type bytes"),
        ([2**63], "64 bits"),
        (np.array([2**63], np.uint64), "64 bits"),
        (["a", "\ud800"], "row 2: user '\\\\ud800' is not valid Unicode"),
    ],
)
def test_bad_ids_are_refused_with_their_row(ids: Any, words: str) -> None:
    with pytest.raises(IdValueError, match=words):
        Vocabulary.factorize(ids, "user")


@pytest.mark.parametrize("ids", [[3, 1], ["b", "a"]])
def test_a_vocabulary_cannot_be_changed(ids: list[Any]) -> None:
    vocabulary = Vocabulary.from_ids(ids)
    for array in vocabulary.tensors().values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        vocabulary.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        hash(vocabulary)


def test_the_callers_array_stays_writable() -> None:
    ids = np.array([3, 1, 2])
    Vocabulary.from_ids(ids)
    ids[0] = 9
    ordered = np.array([1, 2, 3])
    vocabulary = Vocabulary.from_sorted(ordered)
    ordered[0] = 9
    assert list(vocabulary) == [1, 2, 3]


def test_rows_outside_raise() -> None:
    vocabulary = Vocabulary.from_ids(["a", "b"])
    for row in (-1, 2):
        with pytest.raises(IndexError, match=r"0\.\.1"):
            vocabulary[row]
    with pytest.raises(ParameterValueError):
        Vocabulary()


def test_text_is_ordered_by_code_point() -> None:
    # In UTF-16 the emoji would come before U+FFFF.
    assert list(Vocabulary.from_ids(["😀", "\uffff", "é", "z", "Z", "a\0b", "a"])) == [
        *("Z", "a", "a\0b", "z", "é", "\uffff", "😀")
    ]


def test_equality() -> None:
    assert Vocabulary.from_ids([1, 2]) == Vocabulary.from_ids([2, 1, 1])
    assert Vocabulary.from_ids([1, 2]) != Vocabulary.from_ids(["1", "2"])
    assert Vocabulary.from_ids([1, 2]) != [1, 2]
    assert "2 integer ids: 1, 2" in repr(Vocabulary.from_ids([1, 2]))
