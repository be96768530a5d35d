"""Make SVG of what Qt wrote whose lines keep their width relative to the figure.

Plots draw with cosmetic pens, which Qt writes as strokes that do not scale: their width would be that of the screen,
however large the figure is shown or printed. Here their coordinates are worked out, so that a stroke is a stroke.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_EFFECT = "vector-effect"
_MATRIX = re.compile(r"matrix\(([^)]*)\)")
_PAIR = re.compile(r"(-?[\d.]+(?:e[-+]?\d+)?),(-?[\d.]+(?:e[-+]?\d+)?)")
_Map = Callable[[float, float], tuple[float, float]]

ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def with_scaling_strokes(data: bytes) -> bytes:
    """The same drawing, with every stroke's width in the units of the drawing."""
    root = ElementTree.fromstring(data)
    for group in root.iter(f"{{{_SVG}}}g"):
        matrix = _MATRIX.fullmatch(group.get("transform", ""))
        if matrix is None or all(child.get(_EFFECT) is None for child in group):
            continue
        a, b, c, d, e, f = (float(part) for part in matrix[1].split(","))

        def moved(x: float, y: float, m: tuple[float, ...] = (a, b, c, d, e, f)) -> tuple[float, float]:
            return m[0] * x + m[2] * y + m[4], m[1] * x + m[3] * y + m[5]

        transform = group.attrib.pop("transform")
        for child in group:
            if child.attrib.pop(_EFFECT, None) is None:
                child.set("transform", f"{transform} {child.get('transform', '')}".strip())
            else:
                _move(child, moved)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _move(shape: ElementTree.Element, moved: _Map) -> None:
    for name in ("d", "points"):
        text = shape.get(name)
        if text is not None:
            shape.set(name, _PAIR.sub(lambda pair: _written(*moved(float(pair[1]), float(pair[2]))), text))
    if shape.tag == f"{{{_SVG}}}rect":
        x, y, width, height = (float(shape.get(name, "0")) for name in ("x", "y", "width", "height"))
        (left, top), (right, bottom) = moved(x, y), moved(x + width, y + height)
        for name, value in (
            ("x", min(left, right)), ("y", min(top, bottom)),
            ("width", abs(right - left)), ("height", abs(bottom - top)),
        ):  # fmt: skip
            shape.set(name, f"{value:.6g}")


def _written(x: float, y: float) -> str:
    return f"{x:.6g},{y:.6g}"
