"""Everything that the main window is completed with once it stands on the screen.

Importing this module imports pyqtgraph and builds on the settings' classes, which takes longer than all the rest.
"""

from cartl_gui.actions import Actions
from cartl_gui.bridge import EngineBridge
from cartl_gui.forms.kept_study import KeptStudy
from cartl_gui.forms.setup_panel import SetupPanel
from cartl_gui.pages.compare_page import ComparePage
from cartl_gui.pages.examples import ExamplesPage
from cartl_gui.pages.inspector import InspectorPanel
from cartl_gui.pages.layers import LayersPage
from cartl_gui.pages.live import LivePage
from cartl_gui.pages.log import LogPage
from cartl_gui.pages.results import ResultsPage
from cartl_gui.pages.runs_panel import RunsPanel

__all__ = [
    "Actions",
    "ComparePage",
    "EngineBridge",
    "ExamplesPage",
    "InspectorPanel",
    "KeptStudy",
    "LayersPage",
    "LivePage",
    "LogPage",
    "ResultsPage",
    "RunsPanel",
    "SetupPanel",
]
