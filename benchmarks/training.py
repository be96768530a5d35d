"""What a training step costs, beside a textbook's: one JSON line per variant.

    python -m benchmarks.training --depth 16 --widen-factor 2 --k 6 --batch-size 64 --threads 1 --rounds 10
    python -m benchmarks.training --metrics --rounds 5 --block-steps 200

The reference is the FDM step of `benchmarks.textbook`. Variants take
turns within each round on the same batch, and a ratio is the median of the ratios of the rounds, so that load on the
machine spoils no comparison. Below about 75 % of the convolution peak (step alone) the reference is a straw man.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.textbook import HOST_AUGMENTATION, TextbookNetwork, textbook_step
from engine.attacks import attacks
from engine.config import (
    AttackConfig,
    AugmentationConfig,
    InspectionConfig,
    MachineConfig,
    ModelConfig,
    PretrainingConfig,
    TrainingAttackConfig,
)
from engine.control import RunControl
from engine.data import Batch, ImageSet, batches
from engine.device import autocast, default_threads
from engine.errors import DeviceError
from engine.inspection.probe import Probe
from engine.models import build_model
from engine.models.placement import memory_format
from engine.pretraining import pretraining_methods
from engine.randomness import stream_seed
from engine.training.loop import Trainer

CLASSES, SEED, RATE = 10, 0, 0.01
#: Classes of difference: R same mathematics with other rounding, L lower precision.
VARIANTS = {"engine float32": ("float32", "R"), "engine bfloat16": ("bfloat16", "L")}


class FlopCounter(TorchDispatchMode):
    """Adds up what torch's own formulas say of every operation (its counter cannot follow `autograd.grad`)."""

    total = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry the operation out and count it."""
        result = operation(*args, **(kwargs or {}))
        formula = flop_registry.get(operation._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


class FirstLoss:
    """A recorder that keeps the first step's loss and nothing else."""

    value: float | None = None

    def rows(self, stage: str, table: str, columns: Mapping[str, np.ndarray]) -> None:
        """Look at rows of steps."""
        if table == "steps" and self.value is None:
            self.value = float(columns["loss"][0])

    def show(self, *_: Any) -> None:
        """Let a table go."""

    def checkpoint(self, *_: Any) -> None:
        """Let a state go."""

    def advance(self, *_: Any) -> None:
        """Let a share go."""


class Bench:
    """Everything that the variants of one call share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        self.config = ModelConfig(name=options.model, depth=options.depth, widen_factor=options.widen_factor)
        self.model = build_model(self.config, CLASSES, torch.Generator().manual_seed(SEED))
        count = options.batch_size * max(options.rounds + options.warm_up, options.block_steps, 2)
        draw = torch.Generator().manual_seed(SEED)
        self.images = ImageSet(
            torch.randint(
                256, (count, 3, options.image_size, options.image_size), generator=draw, dtype=torch.uint8
            ),
            torch.randint(CLASSES, (count,), generator=draw),
            tuple(map(str, range(CLASSES))),
            torch.arange(count),
        )
        self.conditions = {
            "model": self.config.title, "batch_size": options.batch_size, "k": options.k,
            "attack_steps": options.attack_steps, "threads": torch.get_num_threads(), "device": options.device,
            "torch": torch.__version__, "tf32": options.tf32, "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "augmentation": options.augmentation, "rounds": options.rounds,
        }  # fmt: skip

    def trainer(self, precision: str) -> Trainer:
        """The engine's own loop over the same images, from the same weights."""
        options, model = self.options, copy.deepcopy(self.model).to(self.device)
        model.to(memory_format=memory_format(model, self.device))
        moves = {"crop_padding": 4, "horizontal_flip": True, "rotation": 15.0} if options.augmentation else {}
        config = PretrainingConfig(
            method="fdm", num_finetuned_blocks=options.k, batch_size=options.batch_size, learning_rate=RATE,
            schedule="constant", epochs=10_000, augmentation=AugmentationConfig(**moves),
            attack=TrainingAttackConfig(steps=options.attack_steps),
        )  # fmt: skip
        objective = pretraining_methods["fdm"](config)
        objective.prepare(model, torch.Generator())
        objective.set_mode(model)
        watched = self.images.subset(torch.arange(options.probe_size) % len(self.images)).to(self.device)
        probe = Probe(watched, True, attacks["pgd"](AttackConfig(steps=7)), SEED, 256)
        return Trainer(
            "pretraining", model, objective, config=config, train=self.images.to(self.device), probe=probe, seed=SEED,
            inspection=InspectionConfig(probe_size=options.probe_size), control=RunControl(), recorder=FirstLoss(),
            machine=MachineConfig(device=options.device, precision=precision, checkpoint_minutes=1440),
        )  # fmt: skip

    def batch(self, number: int) -> Batch:
        """The same batch for every variant."""
        part = slice(number * self.options.batch_size, (number + 1) * self.options.batch_size)
        positions = torch.arange(part.start, part.stop)
        return Batch(self.images.images[part], self.images.labels[part], positions)

    def textbook(self) -> tuple[Callable[[int], float], list[float]]:
        """The reference's step by the batch's number, giving its loss; and where augmentation's seconds are noted."""
        network = TextbookNetwork(self.config)
        network.take_weights(self.model)
        network.to(self.device).train()
        optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
        augmenting: list[float] = []

        def step(number: int) -> float:
            batch, began = self.batch(number), time.perf_counter()
            x = torch.stack([HOST_AUGMENTATION(image) for image in batch.images]) if self.options.augmentation \
                else batch.images.float() / 255  # fmt: skip
            augmenting.append(time.perf_counter() - began)
            x, y = x.to(self.device), batch.labels.to(self.device)
            # The engine's noise, so that without augmentation both steps are the same mathematics.
            draw = torch.Generator(self.device).manual_seed(
                stream_seed(SEED, "pretraining", "attack", number)
            )
            noise = torch.rand(x.shape, generator=draw, device=self.device) * 2 - 1
            made = textbook_step(
                network, optimiser, x, y, noise, k=self.options.k, steps=self.options.attack_steps
            )
            return made["loss"]

        return step, augmenting

    def engine_step(self, trainer: Trainer, number: int) -> None:
        """One turn of the engine's loop; `Trainer.run` takes them all."""
        batch = self.batch(number)
        trainer._train_on(Batch(batch.images.to(self.device), batch.labels.to(self.device), batch.positions))

    def timed(self, work: Callable[[], Any]) -> tuple[float, float, Any]:
        """Wall seconds, CPU seconds and result."""
        self.synchronise()
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.synchronise()
        return time.perf_counter() - wall, time.process_time() - cpu, result

    def synchronise(self) -> None:
        """Wait for a GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def convolution_peak(self, dtype: torch.dtype) -> float:
        """Best FLOP/s of 3x3 convolutions of several sizes in both layouts, forward only."""
        best = 0.0
        for channels, size, layout in (
            (channels, size, layout)
            for channels, size in ((64, 32), (128, 16), (256, 16))
            for layout in (torch.contiguous_format, torch.channels_last)
        ):
            x = torch.rand(32, channels, size, size, device=self.device, dtype=dtype).to(memory_format=layout)
            weight = torch.rand(channels, channels, 3, 3, device=self.device, dtype=dtype)
            weight = weight.to(memory_format=layout)
            work = 2 * 32 * channels**2 * 9 * size**2
            for _ in range(4):
                best = max(
                    best, work / self.timed(lambda x=x, weight=weight: F.conv2d(x, weight, padding=1))[0]
                )
        return best

    def flops_per_image(self) -> float:
        """Counted over one textbook step, 2 per multiply and add."""
        step, _ = self.textbook()
        with FlopCounter() as counter:
            step(0)
        return counter.total / self.options.batch_size

    def compare_steps(self) -> Iterator[dict[str, Any]]:
        """Rounds in which every variant takes one step on the same batch, in turning order."""
        options = self.options
        flops, (reference, augmenting) = self.flops_per_image(), self.textbook()
        steps: dict[str, Callable[[int], float | None]] = {"textbook": reference}
        trainers: dict[str, Trainer] = {}
        for name, (precision, _) in VARIANTS.items():
            try:
                autocast(self.device, MachineConfig(device=options.device, precision=precision))
            except DeviceError as error:
                yield {"variant": name, "left_out": str(error)}
            else:
                trainers[name] = self.trainer(precision)
                steps[name] = partial(self.engine_step, trainers[name])
        wall: dict[str, list[float]] = {name: [] for name in steps}
        cpu, first = copy.deepcopy(wall), {}
        peaks = {dtype: self.convolution_peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
        for number in range(options.warm_up + options.rounds):
            names = list(steps)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                seconds, cpu_seconds, loss = self.timed(partial(steps[name], number))
                first.setdefault(name, loss)
                if number >= options.warm_up:
                    wall[name].append(seconds)
                    cpu[name].append(cpu_seconds)
        for name, trainer in trainers.items():
            trainer._flush()
            first[name] = trainer.recorder.value
        augmentation = np.array(augmenting[options.warm_up :])
        for name, seconds in wall.items():
            precision, kind = VARIANTS.get(name, ("float32", "reference"))
            # On one CPU thread the CPU's seconds count, so that other work on the machine does not.
            busy = cpu[name] if self.device.type == "cpu" and options.threads == 1 else seconds
            alone = np.array(busy) - (augmentation if name == "textbook" else 0)
            rate, peak = options.batch_size * flops / np.median(alone), peaks[getattr(torch, precision)]
            yield {
                "variant": name, "class": kind, "dtype": precision,
                "images_per_second": options.batch_size / np.median(seconds),
                "images_per_cpu_second": options.batch_size / max(np.median(cpu[name]), 1e-9),
                **spread("ms", 1e3 * np.array(seconds)),
                **spread("faster_than_textbook", np.array(wall["textbook"]) / np.array(seconds)),
                "gflop_per_image": flops / 1e9, "conv_peak_gflops": peak / 1e9, "percent_of_conv_peak": 100 * rate / peak,
                "host_augmentation_ms": 1e3 * np.median(augmentation) if name == "textbook" else 0.0,
                "first_loss": first[name],
            }  # fmt: skip

    def compare_metrics(self) -> Iterator[dict[str, Any]]:
        """Epochs of `block_steps` steps, in turn with all that is measured and with nothing.

        Percentages are of the time without. The attack on the probe gives each epoch's robust accuracy and is told
        apart: `ratio` leaves it out, so that it is what distances and bounds cost, the epoch's end included.
        """
        options, (on, off) = self.options, (self.trainer("float32"), self.trainer("float32"))
        spent = {name: self.clocked(on.observer, name) for name in ("look", "_compare", "sample")}

        def with_metrics() -> None:
            on._epoch()

        def without_look() -> None:
            epoch = off.step // off.steps_per_epoch
            for batch in batches(off.train, options.batch_size, seed=SEED, stage="pretraining", epoch=epoch):
                off._train_on(batch)

        ratios, without = [], 0.0
        for number in range(options.warm_up + options.rounds):
            order = (with_metrics, without_look) if number % 2 else (without_look, with_metrics)
            attacking = sum(spent["look"]) - sum(spent["_compare"])
            seconds = {work: self.timed(work)[0] for work in order}
            attacking = sum(spent["look"]) - sum(spent["_compare"]) - attacking
            # The share of the time counts from the training's own time, which goes on while the other one steps.
            on._began += seconds[without_look]
            if number >= options.warm_up:
                ratios.append((seconds[with_metrics] - attacking) / seconds[without_look])
                without += seconds[without_look]
            else:
                for times in spent.values():
                    times.clear()
        same = all(torch.equal(*pair) for pair in zip(on.model.state_dict().values(), off.model.state_dict().values(), strict=True))  # fmt: skip
        yield {
            "variant": "metrics on / off", "block_steps": on.steps_per_epoch, "probe_size": options.probe_size,
            **spread("ratio", np.array(ratios)), "bounds_percent": 100 * sum(spent["sample"]) / without,
            "distances_percent": 100 * sum(spent["_compare"]) / without,
            "probe_attack_percent": 100 * (sum(spent["look"]) - sum(spent["_compare"])) / without,
            "samples": len(spent["sample"]), "seconds_per_sample": float(np.mean(spent["sample"] or [np.nan])),
            "steps_per_sample": options.rounds * on.steps_per_epoch / max(1, len(spent["sample"])),
            "same_weights": same,
        }  # fmt: skip

    def clocked(self, owner: object, name: str) -> list[float]:
        """The seconds that each call of a method takes from now on."""
        method, times = getattr(owner, name), []

        def call(*arguments: Any, **named: Any) -> Any:
            self.synchronise()
            seconds, _, result = self.timed(lambda: method(*arguments, **named))
            times.append(seconds)
            return result

        setattr(owner, name, call)
        return times


def spread(name: str, values: np.ndarray) -> dict[str, float]:
    """Median, 10th and 90th percentile."""
    low, middle, high = np.percentile(values, (10, 50, 90))
    return {name: middle, f"{name}_p10": low, f"{name}_p90": high}


@contextmanager
def rounding(tf32: bool, benchmark: bool) -> Iterator[None]:
    """Choose TF32 and cuDNN's search for fast kernels, and put both back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = tf32, tf32, benchmark
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before


def main() -> None:
    """Measure what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="wide_resnet", choices=("wide_resnet", "resnet"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    for name, value in (("depth", 16), ("widen-factor", 2), ("k", 6), ("batch-size", 64), ("attack-steps", 7),
                        ("rounds", 10), ("warm-up", 1), ("threads", default_threads()), ("block-steps", 200),
                        ("probe-size", 128), ("image-size", 32)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value}")
    for name in ("augmentation", "tf32", "cudnn-benchmark", "metrics"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with rounding(options.tf32, options.cudnn_benchmark):
        bench = Bench(options)
        for line in bench.compare_metrics() if options.metrics else bench.compare_steps():
            values = {
                key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()
            }
            print(json.dumps({"benchmark": "training", **values, **bench.conditions}), flush=True)


if __name__ == "__main__":
    main()
