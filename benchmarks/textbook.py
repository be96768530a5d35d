"""The FDM step as a textbook writes it: every ratio's denominator. It shares no code with the engine.

float32, NCHW, eager, augmentation image by image on the host, `.item()` at every step, an attack without weight
gradients, two passes in train mode. Networks: wide ResNets with LeakyReLU 0.1 and ResNet-18 and -34.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

from engine.config import ModelConfig

#: One image, uint8 [3, 32, 32] to float32 in [0, 1].
HOST_AUGMENTATION = transforms.Compose(
    [
        transforms.ToPILImage(),
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(15),
        transforms.ToTensor(),
    ]
)


class TextbookWideBlock(nn.Module):
    """Pre-activation block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.down = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        y = F.leaky_relu(self.bn1(x), 0.1)
        out = self.conv2(F.leaky_relu(self.bn2(self.conv1(y)), 0.1))
        return out + (x if self.down is None else self.down(y))


class TextbookBasicBlock(nn.Module):
    """Basic ResNet block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.down = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.down(x))


class TextbookNetwork(nn.Module):
    """A wide ResNet or ResNet-18/-34; the feature at k is what enters the k-th part from the end."""

    def __init__(self, config: ModelConfig, classes: int = 10) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))
        wide = config.name == "wide_resnet"
        counts = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}.get(config.depth) or [(config.depth - 4) // 6] * 3
        first, channels = (16 * config.widen_factor, 16) if wide else (64, 64)
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 1, 1, bias=False))
        if not wide:
            self.stem.extend([nn.BatchNorm2d(channels), nn.ReLU()])
        parts: list[nn.Module] = []
        for stage, count in enumerate(counts):
            for index in range(count):
                width, stride = first * 2**stage, 2 if stage and not index else 1
                parts.append((TextbookWideBlock if wide else TextbookBasicBlock)(channels, width, stride))
                channels = width
        if wide:
            parts.append(nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(0.1)))
        self.parts = nn.ModuleList([*parts, nn.Linear(channels, classes)])

    def forward(self, x: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """Logits and the feature at k."""
        x = feature = self.stem((x - self.mean) / self.std)
        for index, part in enumerate(self.parts):
            if index == len(self.parts) - 1:
                x = x.mean((2, 3))
            if index == len(self.parts) - k:
                feature = x
            x = part(x)
        return x, feature

    def take_weights(self, model: nn.Module) -> None:
        """Copy a network's weights; both list them from the input on."""
        with torch.no_grad():
            for own, other in zip(self.state_dict().values(), model.state_dict().values(), strict=True):
                own.copy_(other)


def textbook_attack(
    network: TextbookNetwork, x: Tensor, y: Tensor, noise: Tensor, *, epsilon: float, step_size: float, steps: int
) -> Tensor:  # fmt: skip
    """PGD, without gradients of the weights."""
    network.eval()
    network.requires_grad_(False)
    adversarial = (x + epsilon * noise).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_(True)
        loss = F.cross_entropy(network(adversarial)[0], y, reduction="sum")
        gradient = torch.autograd.grad(loss, adversarial)[0]
        adversarial = adversarial.detach() + step_size * gradient.sign()
        adversarial = torch.max(torch.min(adversarial, x + epsilon), x - epsilon).clamp(0, 1)
    network.requires_grad_(True)
    network.train()
    return adversarial.detach()


def textbook_step(
    network: TextbookNetwork, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, noise: Tensor, *,
    k: int, weight: float = 0.005, epsilon: float = 8 / 255, step_size: float = 2 / 255, steps: int = 7,
) -> dict[str, float]:  # fmt: skip
    """One FDM update; what a textbook's loop prints."""
    adversarial = textbook_attack(network, x, y, noise, epsilon=epsilon, step_size=step_size, steps=steps)
    logits, feature = network(adversarial, k)
    _, clean = network(x, k)
    entropy = F.cross_entropy(logits, y)
    difference = (feature - clean).flatten(1)
    term = weight * (difference.norm(dim=1) / difference.shape[1] ** 0.5).sum()
    loss = entropy + term
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    correct = (logits.argmax(1) == y).sum()
    return {"loss": loss.item(), "entropy": entropy.item(), "term": term.item(), "correct": correct.item()}
