import abair_pl
from abair_pl.evaluation.classical.base import Classical, Pixels


def made(package: str, told: str = "", untold: str = "") -> Classical:
    def unchanged(degraded: Pixels, plan: object) -> Pixels:
        return degraded

    return Classical(("noise",), "nothing", package, unchanged, told, untold)


def test_a_package_is_installed_or_not() -> None:
    assert made("abair-pl").installed == abair_pl.__version__
    assert made("no-such-package-of-any-name").installed is None


def test_what_it_knows_is_said() -> None:
    assert made("numpy").knowledge == "it is told nothing of the degradation"
    assert made("numpy", "sigma").knowledge == "it is told sigma"
    assert made("numpy", "sigma", "a guess").knowledge == "it is told sigma, or where nobody knows it takes a guess"
