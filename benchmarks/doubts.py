"""Every warning about a robust accuracy, raised by a network or ledger with that fault: its text, and a picture of the
window that shows it.

    QT_QPA_PLATFORM=offscreen python -m benchmarks.doubts FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QApplication

from cartl_gui.app import make_application
from cartl_gui.pages.attack_page import AttackPage
from cartl_gui.run_data import RunData
from cartl_gui.theme import DARK, LIGHT, Theme, palette_of, style_sheet
from engine.cli.evaluation import evaluation_texts
from engine.config import AttackConfig
from engine.evaluation.signs import doubts
from engine.evaluation.warnings import examine
from engine.events import AttackWarning
from engine.results import cells_of
from tests.engine.peers import PEERS
from tests.engine.test_warnings import FAILURES, Book, pgd_point
from tests.gui.test_gui_attack_page import played


def collected() -> dict[str, AttackWarning]:
    """One warning of each kind."""
    peer = PEERS["conv-BN"]().first(128)
    epsilon = peer.epsilon["linf"]
    config = AttackConfig(epsilon=epsilon, step_size=epsilon / 4)
    found = [
        warning
        for make, _codes, _words in FAILURES.values()
        for warning in examine(make(peer), peer.images, peer.labels, config=config, num_classes=10, seed=0)
    ]
    book, left = Book(1000), list(range(1000))
    for restart, broken in enumerate((400, 5, 20, 15)):
        left = book.attempt(left, broken, restart=restart)
    chosen = "AT on letters; weights of epoch 8, best by accuracy on training batches (71.3 %)"
    found += [
        *doubts(AttackConfig(name="autoattack"), 3),
        *doubts(AttackConfig(name="fgsm"), 10),
        *doubts(AttackConfig(), 10, history=(chosen,)),
        *book.signs([pgd_point()], restarts=4).values(),
    ]
    return {warning.code: warning for warning in reversed(found)}


def main() -> int:
    """Print what the command line tells, and take the pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    warnings = tuple(one for _, one in sorted(collected().items()))
    data = played(AttackConfig(samples=200), warnings=warnings)
    text = "\n".join(evaluation_texts(cells_of([data.info], {data.info.id: data.info})))
    (folder / "warnings.txt").write_text(text + "\n", encoding="utf-8")
    print(text)
    application = make_application()
    Theme(application, "light")
    for name, colours in (("light", LIGHT), ("dark", DARK)):
        application.setPalette(palette_of(colours))
        application.setStyleSheet(style_sheet(colours))
        _picture(data).save(str(folder / f"{name}-warnings.png"))
    return 0


def _picture(data: RunData) -> QPixmap:
    page = AttackPage()
    page.resize(1280, 1900)
    page.show_run(data)
    for panel in page.panels():
        panel.show_run(data, "attack")
    page.show()
    for _ in range(3):
        QApplication.processEvents()
    return page.grab()


if __name__ == "__main__":
    sys.exit(main())
