from abair_pl.evaluation.table import markdown_table


def means(psnr_input: float, psnr: float, ssim: float) -> dict[str, float]:
    return {"psnr_input": psnr_input, "ssim_input": 0.5, "psnr": psnr, "ssim": ssim}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_several_degradations_get_a_row_of_their_means() -> None:
    by = {
        "noise": {"soft": means(20.0, 30.0, 0.9), "none": means(20.0, 26.0, 0.7)},
        "rain": {"soft": means(24.0, 31.0, 0.8), "none": means(24.0, 27.0, 0.6)},
    }
    lines = markdown_table(by, ["soft", "none"]).splitlines()
    assert cells(lines[0]) == ["PSNR / SSIM", "input", "SW", "phase I"]
    assert cells(lines[2]) == ["noise", "20.00 / 0.500", "30.00 / 0.900", "26.00 / 0.700"]
    assert cells(lines[-1]) == ["mean", "22.00 / 0.500", "30.50 / 0.850", "26.50 / 0.650"]
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1


def test_pairs_without_a_degradation_are_one_row_named_all() -> None:
    lines = markdown_table({"": {"rain": means(20.0, 30.0, 0.9)}}, ["rain"]).splitlines()
    assert cells(lines[0])[2] == "rain"
    assert [cells(line)[0] for line in lines[2:]] == ["all"]


def test_degradations_side_by_side_do_not_end_their_cell() -> None:
    lines = markdown_table({"rain|noise": {"soft": means(20.0, 30.0, 0.9)}}, ["soft"]).splitlines()
    assert lines[2].startswith(r"| rain\|noise | 20.00 / 0.500")
