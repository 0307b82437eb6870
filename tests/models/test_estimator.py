import pytest
import torch

from abair_pl.models.estimator import Estimator, native_crops, with_labels
from abair_pl.models.presets import preset_config


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    torch.manual_seed(0)
    return Estimator(dim=4, labels=6).eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 65), (64, 64), (130, 200)])
def test_any_size_gives_one_row_an_image(estimator: Estimator, size: tuple[int, int]) -> None:
    with torch.no_grad():
        logits = estimator(torch.rand(2, 3, *size))
    assert logits.shape == (2, 6)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("size", "crops"),
    [((1, 1), 1), ((64, 64), 1), ((127, 64), 1), ((128, 64), 2), ((64, 200), 3), ((200, 150), 6), ((500, 400), 25)],
)
def test_small_images_give_fewer_crops(size: tuple[int, int], crops: int) -> None:
    assert native_crops(torch.rand(2, 3, *size)).shape == (2, crops, 3, 64, 64)


def test_crops_are_native_pixels_that_do_not_overlap() -> None:
    image = torch.arange(3 * 140 * 200).reshape(1, 3, 140, 200).float()
    crops = native_crops(image)[0]
    assert torch.equal(crops[0], image[0, :, 3:67, 1:65])
    assert torch.equal(crops[-1], image[0, :, 73:137, 135:199])
    assert crops.unique().numel() == crops.numel()


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [("tiny", 1, 0.5e6), ("paper", 5.45e6, 5.9e6), ("restormer", 5.45e6, 5.9e6), ("promptir", 5.45e6, 5.9e6)],
)
def test_presets_have_the_sizes_that_they_promise(preset: str, least: float, most: float) -> None:
    with torch.device("meta"):
        estimator = Estimator(preset_config(preset).estimator_dim, labels=6)
    assert least <= sum(parameter.numel() for parameter in estimator.parameters()) < most


@pytest.mark.parametrize("contrast", [1.0, 0.0])
def test_gradients_are_finite_everywhere(contrast: float) -> None:
    estimator = Estimator(dim=4, labels=6)
    estimator(torch.rand(2, 3, 70, 80) * contrast).log_softmax(dim=1)[:, 0].sum().backward()
    gradients = [parameter.grad for parameter in estimator.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_every_parameter_is_trained() -> None:
    estimator = Estimator(dim=4, labels=6)
    estimator(torch.rand(2, 3, 70, 80)).log_softmax(dim=1)[:, 0].sum().backward()
    assert [name for name, value in estimator.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_images_of_a_batch_do_not_mix(estimator: Estimator) -> None:
    images = torch.rand(3, 3, 80, 80)
    with torch.no_grad():
        alone = torch.cat([estimator(image[None]) for image in images])
        torch.testing.assert_close(estimator(images), alone, atol=1e-5, rtol=1e-5)


def test_other_labels_keep_the_weights_of_those_that_are_known(estimator: Estimator) -> None:
    known, labels = ["clean", "rain", "haze", "noise", "blur", "snow"], ["clean", "blur", "sleet", "rain"]
    image = torch.rand(2, 3, 70, 64)
    with torch.no_grad():
        before = estimator(image)
        logits = with_labels(estimator, known, labels).eval()(image)
        after = estimator(image)
    assert logits.shape == (2, 4)
    torch.testing.assert_close(logits[:, [0, 1, 3]], before[:, [0, 4, 1]])
    assert torch.equal(after, before), "the one that is copied stays as it is"
