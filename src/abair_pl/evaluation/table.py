"""Results as text."""

from collections.abc import Mapping, Sequence

TITLES = {"none": "phase I", "oracle": "oracle", "one_hot": "OH", "soft": "SW"}


def markdown_table(means: Mapping[str, Mapping[str, Mapping[str, float]]], blends: list[str]) -> str:
    """A Markdown table of PSNR/SSIM, a row for each degradation and their mean below.

    Args:
        means: By degradation and blend, the values ``psnr_input``, ``ssim_input``, ``psnr`` and ``ssim``.
        blends: The columns after the input's.

    Examples:
        >>> row = {"psnr_input": 20.0, "ssim_input": 0.5, "psnr": 25.0, "ssim": 0.75}
        >>> print(markdown_table({"noise": {"soft": row}}, ["soft"]))
        | PSNR / SSIM | input         | SW            |
        |-------------|---------------|---------------|
        | noise       | 20.00 / 0.500 | 25.00 / 0.750 |
    """
    header = ["PSNR / SSIM", "input", *(TITLES.get(blend, blend) for blend in blends)]
    lines = []
    for name, by_blend in means.items():
        first = by_blend[blends[0]]
        values = [(first["psnr_input"], first["ssim_input"])]
        values += [(by_blend[blend]["psnr"], by_blend[blend]["ssim"]) for blend in blends]
        lines.append((name.replace("|", r"\|") or "all", values))
    if len(lines) > 1:
        columns = zip(*(values for _, values in lines), strict=True)
        averages = [tuple(sum(part) / len(lines) for part in zip(*column, strict=True)) for column in columns]
        lines.append(("mean", [(psnr, ssim) for psnr, ssim in averages]))
    cells = [[name, *(f"{psnr:.2f} / {ssim:.3f}" for psnr, ssim in values)] for name, values in lines]
    return aligned([header, *cells])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table whose columns are aligned in plain text, too; the first row is the heading.

    A row with nothing but a first cell may be longer than its column.
    """
    counted = [row for row in rows if any(row[1:])]
    widths = [max(len(row[index]) for row in counted) for index in range(len(rows[0]))]
    drawn = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([drawn[0], rule, *drawn[1:]])
