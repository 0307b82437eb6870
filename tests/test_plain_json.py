import json
from pathlib import Path

import pytest

from abair_pl.plain_json import MAX_JSON_BYTES, MAX_JSON_DEPTH, parse_json, read_json


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_what_is_within_the_limits_is_read(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, "é"], "b": {}}
    assert parse_json(json.dumps(value).encode()) == value
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == value
    assert parse_json(nested(MAX_JSON_DEPTH))
    assert parse_json(b" " * (MAX_JSON_BYTES - 1) + b"1") == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (nested(MAX_JSON_DEPTH + 1), "nested more than 32 deep"),
        (b" " * MAX_JSON_BYTES + b"1", "more than 1048576"),
        (b'"\\ud800"', "surrogates not allowed"),
        (b'{"\\ud800": 1}', "surrogates not allowed"),
        (b"\xff", "can't decode"),
        (b"9" * 5000, "Exceeds the limit"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_beyond_them_is_not(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(data)
