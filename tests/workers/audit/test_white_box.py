"""Grad-CAM is what its equations say, and the audit compares it with the map."""

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.conftest import SAMPLES
from tests.support.black_boxes import brightness_of, noise_image, study_of
from tests.support.black_boxes import classifier as black_box
from workers.audit.conclusion import conclude
from workers.audit.plan import audit_plan
from workers.audit.white_box import NoGradientsError, grad_cam, grad_cam_of
from workers.blackbox import Classifier, Preprocessing
from workers.demo import shapes

IMAGE = torch.rand(3, 12, 10, generator=torch.Generator().manual_seed(0))


class PooledNetwork(nn.Module):
    """A convolution to two maps, and three classes that weigh their means."""

    def __init__(self, *after: nn.Module) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.convolution = nn.Conv2d(3, 2, 3, padding=1)
            self.scores = nn.Linear(2, 3)
        self.after = nn.Sequential(*after)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.after(self.convolution(images)).mean((2, 3)))
        return scores


def of(network: nn.Module, *, inside: bool = True) -> Classifier:
    network = network.eval().requires_grad_(False)
    preprocessing = Preprocessing(size=(12, 10))
    return Classifier(
        forward=network, labels=("a", "b", "c"), preprocessing=preprocessing, network=network if inside else None
    )


def test_the_map_is_that_of_gradients_which_are_known() -> None:
    network = PooledNetwork(nn.ReLU())
    found = grad_cam(of(network), IMAGE, [2, 0])
    maps = network.convolution(IMAGE[None])[0]
    means = network.scores.weight * (maps > 0).float().mean((1, 2)) / 120  # of gradients, which are 0 where maps are
    by_hand = torch.stack([(means[label, :, None, None] * maps).sum(0) for label in (2, 0)])
    assert torch.allclose(found, by_hand.relu(), atol=1e-7)
    assert found.max() > 0


def test_a_layer_that_works_in_place_after_the_convolution_changes_nothing() -> None:
    in_place, copying = PooledNetwork(nn.ReLU(inplace=True)), PooledNetwork(nn.ReLU())
    assert torch.equal(grad_cam(of(in_place), IMAGE, [0, 1, 2]), grad_cam(of(copying), IMAGE, [0, 1, 2]))


def test_it_is_had_within_inference_too_and_leaves_nothing_behind() -> None:
    network = PooledNetwork()
    with torch.inference_mode():
        first = grad_cam(of(network), IMAGE.clone(), [1])
        plain = network(IMAGE[None])
    assert torch.equal(first, grad_cam(of(network), IMAGE, [1]))
    assert not plain.requires_grad
    assert not network.convolution._forward_hooks


@pytest.mark.parametrize(
    "classifier", [of(PooledNetwork(), inside=False), of(nn.Sequential(nn.Flatten(), nn.Linear(360, 3)))]
)
def test_where_there_is_no_network_or_no_convolution_it_is_said(classifier: Classifier) -> None:
    with pytest.raises(NoGradientsError, match="this model"):
        grad_cam(classifier, IMAGE, [0])


def test_the_audit_tells_how_far_grad_cam_agrees_and_the_same_each_time() -> None:
    model, image = shapes.load(), Image.open(SAMPLES / "star.jpg").convert("RGB")
    plan = audit_plan(study_of(model, image, fill="black"), model, image)
    blocks = {name: list(view.run()) for name, view in plan.views.items()}
    check, again = (
        next(each for each in conclude(plan, blocks, grad_cam_of(plan)).checks if each.check == "white-box")
        for _ in range(2)
    )
    assert check == again
    assert check.verdict == "nothing-found"
    assert check.value is not None
    assert check.value > 0.5
    assert "Grad-CAM" in check.sentence


def test_of_a_black_box_the_audit_says_why_there_is_none() -> None:
    model, image = black_box(brightness_of(slice(8, 16), slice(8, 16))), noise_image(48, 48)
    plan = audit_plan(study_of(model, image), model, image)
    result = conclude(plan, {name: list(view.run()) for name, view in plan.views.items()}, grad_cam_of(plan))
    check = next(each for each in result.checks if each.check == "white-box")
    assert (check.verdict, check.value) == ("nothing-found", None)
    assert "was not compared with Grad-CAM" in check.sentence
