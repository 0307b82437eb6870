from abair_pl.data.shards.structure import Split


def _texts(split: Split) -> list[tuple[str, str | None]]:
    return [(tree.input.text, tree.target.text if tree.target else None) for tree in split.variants()]


def test_variants_are_all_roots_with_all_trees() -> None:
    split = Split(None, "{,train/}", ("{a,b}/<name>", "<name>"))
    folders = ["a/<name>", "b/<name>", "<name>", "train/a/<name>", "train/b/<name>", "train/<name>"]
    assert _texts(split) == [(folder, None) for folder in folders]


def test_variants_of_pairs_are_all_inputs_with_all_targets_under_one_root() -> None:
    split = Split(None, "x/", (("{low,in}/<name>", "{high,gt}/<name>"),))
    assert _texts(split) == [
        ("x/low/<name>", "x/high/<name>"),
        ("x/low/<name>", "x/gt/<name>"),
        ("x/in/<name>", "x/high/<name>"),
        ("x/in/<name>", "x/gt/<name>"),
    ]
