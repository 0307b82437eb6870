import matplotlib as mpl
from matplotlib.figure import Figure

from abair_pl.evaluation.report.plotting import encoded, lines, plain_style


def drawn() -> Figure:
    with plain_style():
        figure = Figure(figsize=(1.0, 1.0))
        figure.add_subplot().plot([0, 1], [1, 0], label="a", clip_on=True)
    return figure


def test_lines_differ() -> None:
    assert len(set(lines(str(number) for number in range(30)).values())) == 30


def test_files_have_the_same_bytes_every_time() -> None:
    assert encoded(drawn(), "svg") == encoded(drawn(), "svg")
    assert encoded(drawn(), "png") == encoded(drawn(), "png")


def test_files_are_what_they_are_called_and_have_no_date() -> None:
    svg = encoded(drawn(), "svg")
    assert svg.startswith(b"<?xml")
    assert b"<svg" in svg
    assert b"<dc:date>" not in svg
    assert encoded(drawn(), "png").startswith(b"\x89PNG")


def test_users_settings_do_not_show() -> None:
    plain = encoded(drawn(), "svg")
    with mpl.rc_context(
        {"lines.linewidth": 9.0, "axes.facecolor": "red", "svg.fonttype": "none", "savefig.facecolor": "red"}
    ):
        assert encoded(drawn(), "svg") == plain
