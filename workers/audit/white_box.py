"""Grad-CAM beside the map: what gradients say of the same question, without a mask.

Grad-CAM (Selvaraju et al., ICCV 2017, equations 1 and 2): with `A_k` the k-th map of a convolution's output and `y` the
raw score of a class, `relu(sum_k mean_pixels(dy / dA_k) A_k)`. It needs a network to look into, one forward and one
backward pass; a fill plays no part in it. captum implements it, too, and depends on matplotlib.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.audit.plan import AuditPlan
from workers.blackbox import Classifier


class NoGradientsError(Exception):
    """There is nothing to compare with; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class GradCam:
    """Grad-CAM of each target of an explanation.

    Attributes:
        maps: `[T, h, w]`, float32, over the whole canvas; None where it cannot be had.
        reason: why not, as the end of a sentence.
    """

    maps: NDArray[np.float32] | None
    reason: str = ""


def grad_cam_of(plan: AuditPlan) -> GradCam:
    """Return Grad-CAM of the canvas that the maps are of; it asks the model for one picture."""
    if not isinstance(plan.black_box, Classifier):
        return GradCam(None, "this model is no classifier")
    if plan.explanation.parameters.canvas != "model":
        return GradCam(None, "masks were drawn on the image, and not on what the network takes")
    resolved = plan.explanation.resolved
    labels = [resolved.rows[row] for row in resolved.target_rows]
    try:
        found = grad_cam(plan.black_box, plan.explanation.problem.image, labels)
    except NoGradientsError as reason:
        return GradCam(None, str(reason))
    return GradCam(found.cpu().numpy())


def grad_cam(classifier: Classifier, image: Tensor, labels: list[int]) -> Tensor:
    """Return the Grad-CAM of some classes at the output of the last convolution.

    Args:
        classifier: with its network.
        image: as the model takes it, `[3, H, W]`.
        labels: class indices, T of them.

    Returns:
        `[T, h, w]`, at least 0, float32, of the size of the convolution's output.

    Raises:
        NoGradientsError: where there is no network, no convolution in it, or no gradient.
    """
    layer = _last_convolution(classifier.network)
    seen: list[Tensor] = []

    def watch(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # because what follows may work in place

    hook = layer.register_forward_hook(watch)
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            scores = classifier.forward(image[None].clone().to(classifier.dtype))[0]
            gradients = [torch.autograd.grad(scores[label], seen[-1], retain_graph=True)[0][0] for label in labels]
    except (RuntimeError, IndexError) as cause:  # in-place operations, a layer that is not used, no memory
        raise NoGradientsError("the scores of this model have no gradient at its last one") from cause
    finally:
        hook.remove()
    activations = seen[-1].detach()[0].float()  # [K, h, w]
    weights = torch.stack(gradients).float().mean((2, 3))  # [T, K]
    return torch.einsum("tk,khw->thw", weights, activations).relu()


def _last_convolution(network: nn.Module | None) -> nn.Module:
    if network is None:
        raise NoGradientsError("this model is not one, or gradients of its network cannot be had")
    found = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not found:
        raise NoGradientsError("this model has no convolution")
    return found[-1]
