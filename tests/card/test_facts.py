import pytest

from abair_pl.card.facts import by_source, number


@pytest.mark.parametrize(("value", "expected"), [(3, 3.0), (2.5, 2.5), ("3", 0.0), (None, 0.0), ([1], 0.0)])
def test_what_is_no_number_counts_nothing(value: object, expected: float) -> None:
    assert number(value) == expected


def test_what_is_not_by_source_is_not_known() -> None:
    assert by_source({"data_sources": {"a": 1.0}}, "data_sources") == {"a": 1.0}
    assert by_source({"data_sources": ["a"]}, "data_sources") == {}
    assert by_source({}, "data_sources") == {}
