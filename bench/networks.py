"""Networks of the sizes that people use, with random weights: only their speed matters here."""

import torch
from torch import Tensor, nn

from workers.blackbox import Classifier, Detections, Detector, Preprocessing


class Basic(nn.Module):
    """The basic block of He et al. 2015."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        same = channels_in == channels and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        summed: Tensor = self.body(maps) + self.short(maps)
        return summed.relu()


class Bottleneck(nn.Module):
    """The bottleneck block of He et al. 2015."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 4 * channels, 1, bias=False),
            nn.BatchNorm2d(4 * channels),
        )
        same = channels_in == 4 * channels and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(channels_in, 4 * channels, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        summed: Tensor = self.body(maps) + self.short(maps)
        return summed.relu()


def residual_network(depths: tuple[int, ...], *, bottleneck: bool) -> nn.Sequential:
    """Return a ResNet for 1,000 classes: (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) with bottlenecks ResNet-50."""
    torch.manual_seed(0)
    block, grow = (Bottleneck, 4) if bottleneck else (Basic, 1)
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels_in = 64
    for stage, depth in enumerate(depths):
        channels = 64 * 2**stage
        for place in range(depth):
            layers.append(block(channels_in, channels, 2 if stage and not place else 1))
            channels_in = grow * channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, 1000)).eval()


def classifier(network: nn.Module, *, device: torch.device, dtype: torch.dtype) -> Classifier:
    """Return a network as a black box, in the layout that is fastest."""
    fast = network.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = tuple(f"class {index}" for index in range(1000))
    statistics = Preprocessing((224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return Classifier(fast, labels, statistics, device=device, dtype=dtype)


def null_classifier(classes: int = 10) -> Classifier:
    """Return a model that reads 48 numbers of a picture and does nothing else: what is left is the loop's own cost."""
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(3 * 224 * 224, (48,), generator=generator)
    weights = torch.rand(48, classes, generator=generator)
    return Classifier(
        lambda images: images.flatten(1)[:, places] @ weights,
        tuple(map(str, range(classes))),
        Preprocessing((224, 224)),
        activation="probabilities",
    )


def one_stage_detector(*, device: torch.device, dtype: torch.dtype) -> Detector:
    """Return a one-stage detector with 300 proposals of 80 classes on a ResNet-18, for pictures of 224 x 224."""
    body = residual_network((2, 2, 2, 2), bottleneck=False)[:-3]
    head = nn.Conv2d(512, 3 * 85, 1)
    network = nn.Sequential(body, head).to(device=device, dtype=dtype, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def forward(images: Tensor) -> Detections:
        proposals = network(images).unflatten(1, (3, 85)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        corner = proposals[..., :2].sigmoid() * 120
        boxes = torch.cat([corner, corner + 20 + 100 * proposals[..., 2:4].sigmoid()], -1)
        return Detections(boxes, proposals[..., 5:].sigmoid(), proposals[..., 4].sigmoid())

    labels = tuple(f"class {index}" for index in range(80))
    return Detector(forward, labels, Preprocessing((224, 224)), device=device, dtype=dtype)
