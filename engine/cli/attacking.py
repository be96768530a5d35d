"""How an evaluation gets on: a bar for each single attack, what is certain so far, and what has yet to come."""

from __future__ import annotations

from engine.cli.progress import Display
from engine.config import ATTACKS, AttackConfig, format_ratio, is_standard, members_of
from engine.events import AttackPoint, AttackProgress, AttackResult, MemberResult, StageLayout
from engine.wording import duration, percent

#: Classes with which nothing has to be left out of AutoAttack.
ENOUGH_CLASSES = 10
#: The last two attacks of AutoAttack standard. In public logs on nine networks (AWP, Wu et al., NeurIPS 2020) they
#: lowered the robust accuracy by at most 0.02 points and took most of the time.
LAST_TWO = " and ".join(ATTACKS[name].title for name in ("fab_t", "square"))
#: Stands for the sweep among the numbers of single attacks.
SWEEP = -1


class AttackDisplay:
    """Shows the progress of one evaluation at a time."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._points: tuple[AttackPoint, ...] = ()
        self._members: tuple[str, ...] = ()
        self._standard = False
        self._finished = 0
        self._shown: int | None = None
        self._swept = 0

    def started(self, layout: StageLayout, config: AttackConfig | None) -> None:
        """An evaluation begins, or goes on after a pause."""
        self._points = layout.points
        self._members = layout.points[0].members if layout.points else ()
        self._standard = (
            config is not None
            and is_standard(config, ENOUGH_CLASSES)
            and self._members == tuple(member.label for member in members_of(config, ENOUGH_CLASSES)[0])
        )
        self._finished, self._shown = 0, None
        self._display.line(f"  {layout.title}")

    def show(self, event: AttackProgress) -> None:
        """Show how far it is, and each single attack of the headline once when it is done."""
        for member in event.members[self._finished :]:
            self._finished += 1
            self._tell(member)
        if event.point:
            self._show_sweep(event)
        elif event.title:
            self._show_headline(event)

    def ended(self, result: AttackResult) -> None:
        """The evaluation is over: show the single attacks that no later one has shown to be done."""
        if self._shown == SWEEP:
            self._display.advance(self._swept)
        for member in result.members[self._finished :]:
            self._finished += 1
            self._tell(member)

    def _show_headline(self, event: AttackProgress) -> None:
        if self._shown != event.number:
            self._shown = event.number
            of = (
                f" ({event.number} of {len(self._members)})"
                if event.number and len(self._members) > 1
                else ""
            )
            self._display.stage(f"{event.title}{of}", event.total)
        if not event.number:  # the clean images
            self._display.advance(event.done)
            return
        note = f"robust at most {percent(event.robust_accuracy)} %"
        self._display.passing(
            event.done, event.total, share=event.share, seconds_left=event.seconds_left, note=note
        )

    def _show_sweep(self, event: AttackProgress) -> None:
        """One bar for the whole sweep: it may have a hundred points."""
        if self._shown != SWEEP:
            self._shown = SWEEP
            self._swept = event.count - len(self._members)
            self._display.stage("Sweep", self._swept)
        radius = format_ratio(self._points[event.point].epsilon)
        self._display.advance(event.number - 1 - len(self._members), note=f"{event.title}, epsilon {radius}")

    def _tell(self, member: MemberResult) -> None:
        rest = len(self._members) - self._finished
        share, attacked = member.robust_accuracy, member.attacked
        self._display.line(
            f"  {member.title}: robust {'at most ' if rest > 0 else ''}{percent(share.value)} % "
            f"({percent(share.low)} to {percent(share.high)}), {attacked} image{'' if attacked == 1 else 's'} attacked, "
            f"{duration(member.seconds)}"
        )
        if self._standard and rest == 2:
            self._display.line(f"  provisional: {LAST_TWO} follow, expected change below 0.1 points")
