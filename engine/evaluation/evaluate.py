"""Carrying out an evaluation: clean images, then every attempt of the plan, written down as it is made.

Stops between two attack steps, goes on from the ledger, and ends in the same ledger as if it had never stopped.

Shapes: M images, B images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, fields
from functools import partial
from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn

from engine.attacks import Attempt
from engine.attacks.base import Pass, clean_logits
from engine.attacks.criteria import margin, misclassified, ranked_classes
from engine.data.augment import to_unit
from engine.data.base import ImageSet
from engine.device import exact_float32
from engine.errors import DeviceError
from engine.evaluation.ledger import Ledger
from engine.evaluation.pace import Pace
from engine.evaluation.plan import Batch, Plan
from engine.evaluation.workers import Workers, workers
from engine.events import AttackProgress, Columns, MemberResult, TableName
from engine.models.modes import evaluation
from engine.randomness import own_stream, stream_seed


@dataclass(frozen=True, slots=True)
class Told:
    """Where an evaluation reports to.

    Attributes:
        rows: takes new rows of a table.
        progress: takes how far it is.
        left: takes the passes through the network that are done and left.
        finished: takes a single attack of the headline that is finished.
        check: raises if the evaluation is to end here.
    """

    rows: Callable[[TableName, Columns], None]
    progress: Callable[[AttackProgress], None] = lambda progress: None
    left: Callable[[float, float], None] = lambda done, left: None
    finished: Callable[[MemberResult, int], None] = lambda result, number: None
    check: Callable[[], None] = lambda: None


class Evaluation:
    """One network, one plan, one set of images in their order of attack.

    Args:
        plan: what to do.
        judge: the network whose predictions count, on `device`.
        fast: the same network in the form that attacks run on; the judge itself where there is no faster one.
        images: uint8 images in the order of attack.
        seed: of the run.
        batch_size: images attacked together.
        device: where it computes.
        told: where it reports to.
        seconds: computing time so far by point and single attack.
        run_id: of the run, for its reports.
    """

    def __init__(
        self, plan: Plan, judge: nn.Module, fast: nn.Module, images: ImageSet, *, seed: int, batch_size: int,
        device: torch.device, told: Told, seconds: Mapping[tuple[int, int], float] | None = None, run_id: str = "",
    ) -> None:  # fmt: skip
        self.plan, self.judge, self.fast, self.images = plan, judge, fast, images
        self.seed, self.batch_size, self.device, self.told = seed, batch_size, device, told
        self.seconds = dict(seconds or {})
        self.run_id = run_id
        self.ledger = Ledger(plan.points, {})
        self._logits = torch.empty(0)
        self._finished = 0
        self._place: tuple[int, int] | None = None
        #: Passes through the network that are done, and that were when the single attack under way began.
        self._cost_done = self._cost_before = 0.0
        self._pace = Pace()
        self._lock = Lock()
        self._workers = Workers(1)
        #: Whether the network draws from torch's global random numbers, of which there is but one stream.
        self._draws = False

    @property
    def any_step(self) -> bool:
        """Whether figures at any step are figures of their own."""
        members = (attack.config for attack in self.plan.members[0])
        return any(config.applies("judged_at") and config.judged_at == "last_step" for config in members)

    def run(self, clean: Columns, attempts: Columns) -> None:
        """Carry out what is not in the tables yet.

        Args:
            clean, attempts: rows so far, of whole batches; empty at first.

        Raises:
            Interrupted: `told.check` asked for it; what is written down is kept.
            DivergedError: the network's outputs are not numbers.
            DeviceError: not even one image fits into the device's memory.
        """
        with exact_float32(), evaluation(self.judge), evaluation(self.fast), ExitStack() as stack:
            self._look_at_clean_images(clean)
            if self.device.type == "cpu" and not self._draws:
                self._workers = stack.enter_context(workers(torch.get_num_threads()))
                stack.callback(setattr, self, "_workers", Workers(1))
            stored, known = 0, len(attempts.get("row", ()))
            for batch in self.plan.batches(self.ledger, self.batch_size):
                count = len(batch.positions)
                self._tell_place((batch.point, batch.member))
                if stored + count <= known:
                    rows = {
                        name: np.asarray(values[stored : stored + count]) for name, values in attempts.items()
                    }
                    stored += count
                else:
                    rows = self._timed(batch)
                    self.told.rows("attempts", rows)
                self.ledger.add(rows)
                self._tell_progress(batch, 1.0)
                self._cost_done += batch.attack.config.cost * count
            self._tell_finished((len(self.plan.points), 0))
            self._tell_end()

    def members(self) -> tuple[MemberResult, ...]:
        """What the single attacks of the headline left so far."""
        return self.ledger.members(self.seconds, any_step=self.any_step)

    def examples(self, attempts: Columns, count: int) -> dict[str, np.ndarray]:
        """The table of examples: the first images that were classified correctly, and what became of them.

        Adversarial images are not kept while attacks run; each is made again from the random numbers of the attempt
        that decided.

        Args:
            attempts: all rows of the ledger.
            count: how many.
        """
        chosen = self.ledger.clean["correct"].nonzero()[0][:count]
        images, labels, logits = self.look(chosen)
        adversarial, decided = images.clone(), self.ledger.deciding[chosen]
        for (member, one), where in self._passes_of(attempts, decided, logits, labels).items():
            attack = self.plan.members[0][member]
            batch = Batch(0, member, one, attack, chosen[where], 0, len(where))
            with exact_float32():
                adversarial[torch.from_numpy(where)] = self._attempt(batch, batch.positions).adversarial
        with exact_float32():
            judged = clean_logits(self.judge, adversarial) if len(chosen) else logits
        columns = {
            "label": labels,
            "clean_prediction": logits.argmax(1),
            "clean_confidence": logits.softmax(1).amax(1),
            "adversarial_prediction": judged.argmax(1),
            "adversarial_confidence": judged.softmax(1).amax(1),
            "clean": images,
            "adversarial": adversarial,
            "difference": adversarial - images,
        }
        return {
            "sample": self.ledger.clean["sample"][chosen],
            "robust": self.ledger.alive(0)[chosen].astype(np.uint8),
            "attempt": decided,
            **{name: tensor.cpu().numpy() for name, tensor in columns.items()},
        }

    def look(self, positions: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, H, W] in 0..1, labels [B] and clean logits [B, K] at these places, on the device."""
        index = torch.from_numpy(np.ascontiguousarray(positions))
        part = self.images.subset(index).to(self.device)
        return to_unit(part.images), part.labels, self._logits[index].to(self.device)

    def _passes_of(
        self, attempts: Columns, rows: np.ndarray, logits: Tensor, labels: Tensor
    ) -> dict[tuple[int, Pass], np.ndarray]:
        """The passes in which some attempts were made, each with the indices into `rows` that belong to it."""
        ranked = ranked_classes(logits, labels).cpu().numpy()
        found: dict[tuple[int, Pass], list[int]] = {}
        for index, row in enumerate(rows.tolist()):
            if row >= 0:
                member, restart, target = (
                    int(attempts[name][row]) for name in ("member", "restart", "target")
                )
                rank = None if target < 0 else int((ranked[index] == target).argmax())
                found.setdefault((member, Pass(restart, rank)), []).append(index)
        return {key: np.array(indices) for key, indices in found.items()}

    def _look_at_clean_images(self, known: Columns) -> None:
        logits, found = [], []
        stored, total = len(known.get("sample", ())), len(self.images)
        right = 0
        for start in range(0, total, self.batch_size):
            self.told.check()
            part = self.images.subset(torch.arange(start, min(start + self.batch_size, total))).to(
                self.device
            )
            with own_stream(self.device, stream_seed(self.seed, "attack", "network", "clean", start)):
                before = torch.random.get_rng_state()
                outputs = clean_logits(self.judge, to_unit(part.images))
                self._draws = self._draws or not torch.equal(before, torch.random.get_rng_state())
            logits.append(outputs.cpu())
            columns = _clean_columns(outputs, part, start)
            # What was written down decides, should another machine round otherwise.
            kept = {name: np.asarray(values)[start : start + len(part)] for name, values in known.items()}
            new = {name: values[len(kept.get(name, ())) :] for name, values in columns.items()}
            if start + len(part) > stored:
                self.told.rows("clean", new)
            found.append(
                {name: np.concatenate([kept.get(name, new[name][:0]), new[name]]) for name in columns}
            )
            right += int(found[-1]["correct"].sum())
            share = right / (start + len(part))
            self.told.progress(
                AttackProgress(
                    self.run_id,
                    start + len(part),
                    total,
                    share,
                    share,
                    "Clean images",
                    0,
                    self.plan.num_members,
                )
            )
        self._logits = torch.cat(logits)
        self.ledger = Ledger(
            self.plan.points, {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        )

    def _timed(self, batch: Batch) -> dict[str, np.ndarray]:
        place = (batch.point, batch.member)
        self._pace.begin(place)
        try:
            return self._columns(self._attempt(batch, batch.positions), batch)
        finally:
            seconds = self._pace.end(batch.attack.config.cost * len(batch.positions))
            self.seconds[place] = self.seconds.get(place, 0.0) + seconds

    def _each_step(self, batch: Batch) -> None:
        """Before every iteration of an attack: end here if asked to, and tell now and then how far it is."""
        self.told.check()
        with self._lock:
            if self._pace.step():
                expected = batch.attack.config.iterations * len(self._workers.parts(batch.positions))
                self._tell_progress(batch, min(self._pace.steps / expected, 1.0))

    def _attempt(self, batch: Batch, positions: np.ndarray) -> Attempt:
        """One pass over some images; on a CPU in parts side by side."""
        parts = self._workers.parts(positions) if self.device.type == "cpu" else [positions]
        return _joined(self._workers.map(partial(self._attempt_part, batch), parts))

    def _attempt_part(self, batch: Batch, positions: np.ndarray) -> Attempt:
        """One pass over some images; in two halves if they do not fit into the memory of the device."""
        try:
            found = self._attempt_on(self.fast, batch, positions)
            if self.fast is not self.judge:
                self._confirm(found, batch, positions)
            return found
        except torch.OutOfMemoryError:
            if len(positions) == 1:
                raise DeviceError(
                    f"{batch.attack.config.label} on a single image needs more memory than {self.device} has free. "
                    "Close what else uses it, or choose another device."
                ) from None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return _joined([self._attempt_part(batch, half) for half in np.array_split(positions, 2)])

    def _attempt_on(self, network: nn.Module, batch: Batch, positions: np.ndarray) -> Attempt:
        images, labels, logits = self.look(positions)
        ids = self.images.ids[positions]
        aim = -1 if batch.one.rank is None else batch.one.rank
        stream = (batch.point, batch.member, batch.one.restart, aim, int(ids[0]))
        seed = stream_seed(self.seed, "attack", "network", *stream)
        with (
            nullcontext() if self.device.type == "cpu" and not self._draws else own_stream(self.device, seed)
        ):
            return batch.attack.attempt(
                network, images, labels, logits=logits, seed=self.seed, sample_ids=ids, one=batch.one,
                judge=self.judge, each_step=partial(self._each_step, batch),
            )  # fmt: skip

    def _confirm(self, found: Attempt, batch: Batch, positions: np.ndarray) -> None:
        """Try images anew on the judge itself if only the fast form of it, which rounds otherwise, was broken."""
        with torch.no_grad(), evaluation(self.fast):
            claimed = misclassified(self.fast(found.adversarial), self.look(positions)[1])
        doubtful = (claimed & found.certified & ~found.broken).nonzero().flatten().cpu()
        if len(doubtful):
            again = self._attempt_on(self.judge, batch, positions[doubtful.numpy()])
            for item in fields(Attempt):
                tensor = getattr(found, item.name)
                tensor[doubtful.to(tensor.device)] = getattr(again, item.name)

    def _columns(self, found: Attempt, batch: Batch) -> dict[str, np.ndarray]:
        count = len(batch.positions)
        constant = {"point": batch.point, "member": batch.member, "restart": batch.one.restart}
        measured = {
            "target": found.target,
            "broken": found.broken.to(torch.uint8),
            "broken_on_the_way": found.broken_on_the_way.to(torch.uint8),
            "prediction": found.prediction,
            "margin": found.margin,
            "steps": found.steps,
            "seed": found.seed,
            "norm": found.norm,
            "certified": found.certified.to(torch.uint8),
        }
        return {
            "row": np.arange(self.ledger.rows, self.ledger.rows + count),
            "sample": self.ledger.clean["sample"][batch.positions],
            **{name: np.full(count, value) for name, value in constant.items()},
            **{name: tensor.cpu().numpy() for name, tensor in measured.items()},
        }

    def _tell_place(self, place: tuple[int, int]) -> None:
        if place != self._place:
            self._place, self._cost_before = place, self._cost_done
            self._tell_finished(place)

    def _tell_finished(self, now: tuple[int, int]) -> None:
        """Tell about the single attacks of the headline that lie before the present one."""
        before = now[1] if now[0] == 0 else len(self.plan.members[0])
        if before > self._finished:
            for number, result in list(enumerate(self.members()))[self._finished : before]:
                self.told.finished(result, number)
            self._finished = before

    def _tell_end(self) -> None:
        ledger, count = self.ledger, self.plan.num_members
        clean, robust = float(ledger.clean["correct"].mean()), ledger.robust() / ledger.samples
        self.told.progress(
            AttackProgress(
                self.run_id, 0, 0, clean, robust, "", count, count, share=1.0, members=self.members()
            )
        )

    def _tell_progress(self, batch: Batch, share: float) -> None:
        """Tell how far the evaluation is with this share 0..1 of a batch done."""
        ledger, plan = self.ledger, self.plan
        cost = batch.attack.config.cost * len(batch.positions)
        own, left = (rest + (1 - share) * cost for rest in plan.cost_left(ledger, batch))
        done = self._cost_done + share * cost
        self.told.left(done, left)
        pace = self._pace.passes_per_second(share * cost)
        begun = done - self._cost_before
        self.told.progress(
            AttackProgress(
                self.run_id,
                batch.done + (len(batch.positions) if share == 1 else 0),
                batch.total,
                float(ledger.clean["correct"].mean()),
                ledger.robust() / ledger.samples,
                plan.points[batch.point].members[batch.member],
                sum(map(len, plan.members[: batch.point])) + batch.member + 1,
                plan.num_members,
                batch.point,
                own / pace if pace else None,
                self.members()[: self._finished],
                begun / (begun + own) if begun + own else 0.0,
            )
        )


def _joined(parts: list[Attempt]) -> Attempt:
    return Attempt(*(torch.cat([getattr(part, item.name) for part in parts]) for item in fields(Attempt)))


def _clean_columns(logits: Tensor, part: ImageSet, start: int) -> dict[str, np.ndarray]:
    prediction = logits.argmax(1)
    columns = {
        "row": torch.arange(start, start + len(part)),
        "sample": part.ids,
        "label": part.labels,
        "prediction": prediction,
        "correct": (prediction == part.labels).to(torch.uint8),
        "confidence": logits.softmax(1).amax(1),
        "margin": margin(logits, part.labels),
    }
    return {name: tensor.cpu().numpy() for name, tensor in columns.items()}
