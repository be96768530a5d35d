"""The attack stage of a run: one evaluation of its network on the test images of its last domain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from engine.config import AttackConfig, DataConfig
from engine.data import ImageSet
from engine.data.augment import to_unit
from engine.errors import ConfigError, Problem
from engine.evaluation.evaluate import Evaluation, Told
from engine.evaluation.ledger import Ledger
from engine.evaluation.pace import fastest_batch_size
from engine.evaluation.plan import Plan
from engine.evaluation.signs import merged, signs
from engine.evaluation.warnings import examine
from engine.events import (
    AttackResult,
    AttackWarning,
    Columns,
    MemberResult,
    StageLayout,
    TableName,
)
from engine.inspection.graph import Graph, trace
from engine.inspection.rows import look, names_of, probe_table
from engine.loading import LoadedNetwork, load_network
from engine.models import BlockwiseModel, build_skeleton
from engine.models.folding import folded
from engine.models.placement import place_on
from engine.randomness import generator
from engine.stages import Host, model_config, path_before, require_model
from engine.statistics import wilson
from engine.wording import percent

#: Kinds of journal entries: the batch size that was measured, and the time that single attacks took.
BATCH_SIZE, SECONDS = "attack batch size", "attack seconds"
#: Most images that are looked at for reasons to doubt the figures.
EXAMINED = 128


class AttackStage:
    """Attack the finished model on test images."""

    def __init__(self, config: AttackConfig, host: Host) -> None:
        self.config = config
        data = host.config.evaluation_data or self._trained_on(host)
        self.data = data
        domain = host.domain(data)
        samples = min(config.samples or len(domain.test), len(domain.test))
        self.plan = Plan(config, len(domain.class_names))
        title = f"{self.plan.title} on {samples} test images of {domain.title}"
        size = domain.test.images.shape[-1]
        self.layout = StageLayout(
            "attack", title, samples=samples, points=self.plan.points, image_size=size,
            class_names=domain.class_names, **names_of(self._structure(host, len(domain.class_names), size)),
        )  # fmt: skip
        self.cost = self.plan.cost(samples)

    def kept(self, host: Host, tables: Mapping[TableName, Columns]) -> tuple[dict[TableName, Columns], float]:
        """The clean images and the ledger up to the last whole batch; the other tables follow from them."""
        clean, attempts = tables.get("clean", {}), tables.get("attempts", {})
        batch_size = self._batch_size(host)
        if not len(clean.get("row", ())) or not batch_size:
            return {}, 0.0
        if len(clean["row"]) < self.layout.samples:
            whole = len(clean["row"]) // batch_size * batch_size
            return {"clean": {name: values[:whole] for name, values in clean.items()}}, 0.0
        ledger = Ledger(self.plan.points, clean)
        count = self.plan.whole_rows(ledger, attempts, batch_size)
        rows = {name: values[:count] for name, values in attempts.items()}
        done = sum(
            self.plan.members[point][member].config.cost
            for point, member in zip(rows["point"], rows["member"], strict=True)
        )
        return {"clean": clean, "attempts": rows}, min(done / self.cost, 0.999)

    def work(self, host: Host) -> AttackResult:
        """Carry out what the ledger does not hold yet, then write down what follows from it."""
        domain, samples = host.domain(self.data), self.layout.samples
        network = self._network(host, len(domain.class_names))
        judge = network.module
        place_on(judge, host.device)
        fast = folded(judge) if isinstance(judge, BlockwiseModel) else judge
        # A drawn order, so that the figures so far are of all classes.
        order = torch.randperm(len(domain.test), generator=generator("cpu", self.data.seed, "attack order"))
        images = domain.test.subset(order[:samples])
        for note in (*network.notes, *self.plan.notes):
            host.log("info", note)
        self._load_surrogate(host)
        warnings = self._examine(host, network, images)
        batch_size = self._batch_size(host) or self._measured_batch_size(host, fast, images)
        seconds = self._seconds_before(host)
        evaluation = Evaluation(
            self.plan, judge, fast, images, seed=host.config.seed, batch_size=batch_size, device=host.device,
            told=self._told(host), seconds=seconds, run_id=host.folder.id,
        )  # fmt: skip
        tables = host.tables("attack")
        try:
            evaluation.run(tables.get("clean", {}), tables.get("attempts", {}))
        finally:
            for place, spent in evaluation.seconds.items():
                if spent > seconds.get(place, 0.0):
                    point, member = place
                    host.folder.journal(
                        SECONDS, point=point, member=member, seconds=spent - seconds.get(place, 0.0)
                    )
        return self._conclude(host, evaluation, domain.title, (*network.notes, *self.plan.notes), warnings)

    def _examine(self, host: Host, network: LoadedNetwork, images: ImageSet) -> tuple[AttackWarning, ...]:
        """What speaks against the figures before the attack begins."""
        few = images.subset(torch.arange(min(EXAMINED, len(images)))).to(host.device)
        history = network.spec.history if network.spec is not None else ()
        found = examine(
            network.module, to_unit(few.images), few.labels, config=self.config,
            num_classes=len(images.class_names), seed=host.config.seed, history=history,
            each_step=host.control.check,
        )  # fmt: skip
        for warning in found:
            host.log("warning", f"{warning.title}. {warning.evidence} {warning.advice}")
            if warning.code == "no_gradients" and any(self.plan.points[0].white_box):
                raise ConfigError([Problem("attack.name", f"{warning.evidence} {warning.advice}")])
        return found

    def _conclude(
        self,
        host: Host,
        evaluation: Evaluation,
        data: str,
        notes: tuple[str, ...],
        warnings: tuple[AttackWarning, ...],
    ) -> AttackResult:
        """Write the tables that follow from the ledger, and say what was found."""
        ledger, samples = evaluation.ledger, self.layout.samples
        attempts = host.tables("attack").get("attempts", {})
        later = signs(self.config, self.plan.points, attempts, samples=samples) if attempts else []
        for warning in later:
            host.log("warning", f"{warning.title}. {warning.evidence} {warning.advice}")
        examples = evaluation.examples(attempts, self.config.examples)
        sweep = ledger.sweep()
        if sweep:
            rows = {
                "epsilon": np.array([found.epsilon for found in sweep]),
                "steps": np.array([found.steps for found in sweep]),
                "robust_accuracy": np.array([found.robust_accuracy.value for found in sweep]),
                "robust_accuracy_errors": np.array(
                    [(found.robust_accuracy.high - found.robust_accuracy.low) / 2 for found in sweep]
                ),
            }
            host.rows("attack", "sweep", rows)
        if len(examples["sample"]):
            host.rows("attack", "examples", examples)
            if self.layout.layer_names:
                host.rows("attack", "probe", self._distances(host, evaluation.judge, examples))
        host.rows("attack", "samples", ledger.verdicts())
        any_step = ledger.robust_at_any_step() if evaluation.any_step else None
        return AttackResult(
            data=data,
            attack=self.plan.title,
            samples=samples,
            clean_accuracy=wilson(int(ledger.clean["correct"].sum()), samples),
            robust_accuracy=wilson(ledger.robust(), samples),
            seconds=sum(evaluation.seconds.values()),
            robust_at_any_step=None if any_step is None else wilson(any_step, samples),
            members=evaluation.members(),
            sweep=sweep,
            warnings=merged((*warnings, *later)),
            notes=notes,
        )

    def _distances(self, host: Host, network: nn.Module, examples: Columns) -> dict[str, np.ndarray]:
        """How far the attack moved the features of the examples."""
        images, adversarial, labels, clean, attacked = (
            torch.from_numpy(np.asarray(examples[name])).to(host.device)
            for name in ("clean", "adversarial", "label", "clean_prediction", "adversarial_prediction")
        )
        graph = trace(network, images[:1])
        pairs = look(network, graph, images, adversarial)
        return probe_table(
            graph, pairs, samples=examples["sample"], labels=labels, predictions=(clean, attacked)
        )

    def _structure(self, host: Host, num_classes: int, image_size: int) -> Graph:
        """The attacked network's blocks and layers, known before it is trained."""
        if host.config.pretraining is not None or host.config.finetuning is not None:
            network: nn.Module = build_skeleton(model_config(host), num_classes)
            device = torch.device("meta")
        else:
            network = load_network(path_before(host, "attack"), host.config.checkpoint).module
            device = torch.device("cpu")
        return trace(network, torch.zeros(1, 3, image_size, image_size, device=device))

    def _trained_on(self, host: Host) -> DataConfig:
        """The data that the weights were last trained on, where the settings name none."""
        path = path_before(host, "attack")
        spec = load_network(path, host.config.checkpoint).spec
        if spec is None:
            reason = f"{path.name} does not say what it was trained on; name the images to attack"
            raise ConfigError([Problem("target", reason)])
        return spec.data

    def _network(self, host: Host, num_classes: int) -> LoadedNetwork:
        path = path_before(host, "attack")
        network = load_network(path, host.config.checkpoint)
        trained_on = ""
        if network.spec is not None:
            require_model(host, network.spec, path)
            trained_on = f" ({network.spec.data.name})"
        if network.num_classes is not None and network.num_classes != num_classes:
            reason = (
                f"the model tells {network.num_classes} classes apart, {host.domain(self.data).title} has "
                f"{num_classes}; attack it with the data it was trained on{trained_on}"
            )
            raise ConfigError([Problem("attack", reason)])
        return network

    def _load_surrogate(self, host: Host) -> None:
        if host.surrogate_weights is None:
            return
        surrogate = load_network(host.surrogate_weights).module.requires_grad_(False)
        place_on(surrogate, host.device)
        for attack in (attack for group in self.plan.members for attack in group):
            attack.surrogate = surrogate

    def _batch_size(self, host: Host) -> int:
        """As the settings say, else as measured when the run began; 0 before that."""
        entries = [entry for entry in host.folder.read_journal() if entry["kind"] == BATCH_SIZE]
        return self.config.batch_size or (int(entries[0]["size"]) if entries else 0)

    def _measured_batch_size(self, host: Host, network: nn.Module, images: ImageSet) -> int:
        probe = to_unit(images.subset(torch.arange(min(32, len(images)))).images.to(host.device))
        size = fastest_batch_size(network, probe, check=host.control.check)
        host.folder.journal(BATCH_SIZE, size=size)
        host.log("info", f"Attacks {size} images together, which is fastest here")
        return size

    def _seconds_before(self, host: Host) -> dict[tuple[int, int], float]:
        found: dict[tuple[int, int], float] = {}
        for entry in host.folder.read_journal():
            if entry["kind"] == SECONDS:
                place = (int(entry["point"]), int(entry["member"]))
                found[place] = found.get(place, 0.0) + float(entry["seconds"])
        return found

    def _told(self, host: Host) -> Told:
        def finished(result: MemberResult, number: int) -> None:
            share = result.robust_accuracy
            later = self.plan.points[0].members[number + 1 :]
            figure = f"{percent(share.value)} % ({percent(share.low)} to {percent(share.high)})"
            host.log(
                "info",
                f"{result.title}: robust {figure}"
                + (f", provisional: {', '.join(later)} still to come" if later else ""),
            )

        def left(done: float, rest: float) -> None:
            host.advance("attack", min(done / max(done + rest, 1.0), 0.999))

        return Told(
            rows=lambda table, columns: host.rows("attack", table, columns),
            progress=host.emit,
            left=left,
            finished=finished,
            check=host.control.check,
        )
