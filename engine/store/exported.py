"""Reading a program that `torch.export.save` wrote (`.pt2`) without running anything in it.

The archive keeps the program as JSON and its tensors as plain bytes:

    models/model.json                           the graph: a list of operations, and what each takes and gives
    data/weights/model_weights_config.json      name -> member, type, shape
    data/weights/weight_0 ...                   the numbers
    data/constants/                             the same for constants
    data/sample_inputs/model.pt                 a pickle; never read

torch.export.load would follow names in the graph to any attribute of torch, evaluate shape expressions as Python
and unpickle; so the file is not given to it. `engine.models.exported` carries the graph out itself.

Source: torch/_export/serde/schema.py and torch/export/pt2_archive of PyTorch, which document the format.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import DamagedFileError
from engine.store.archives import Archive, StoredTensors, member_names, open_archive, refusal
from engine.store.tensor_files import check_file_type

if TYPE_CHECKING:
    import torch

MAX_GRAPH_BYTES = 64_000_000
MAX_TENSORS = 20_000
#: Version of the graph's format; the minor one counts changes that need no notice.
SCHEMA_MAJOR = 8

_MEMBER = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/[a-z_]+|\.format_version|\.storage_alignment"
    r"|models/model\.json|data/sample_inputs/model\.pt|data/weights/(weight_[0-9]+|model_weights_config\.json)"
    r"|data/constants/(tensor_[0-9]+|model_constants_config\.json)|extra/.*",
    re.ASCII,
)
_PAYLOAD = re.compile(r"(weight|tensor)_[0-9]+", re.ASCII)
_CODE = re.compile(r"data/(aotinductor/.*|executorch/.*|constants/(custom|opaque)_obj_.*)")
#: Types of numbers by their code in the graph.
SCALAR_TYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    12: "bool", 13: "bfloat16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExportedProgram:
    """What an archive holds.

    Attributes:
        graph: inputs, nodes and outputs, as in the JSON.
        signature: what each input and output of the graph is.
        tensors: weights, buffers and constants by name, on the CPU.
        parameters: which of them are parameters.
    """

    graph: dict[str, Any]
    signature: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    parameters: frozenset[str]


def is_exported(path: Path) -> bool:
    """Whether a file is an archive of `torch.export.save`, of whatever age."""
    names = member_names(path)
    return (
        "models/model.json" in names
        or "archive_format" in names
        or "serialized_exported_program.json" in names
    )


def read_exported(path: Path) -> ExportedProgram:
    """Read an exported program.

    Raises:
        UntrustedFileError: it breaks a rule, which the message names; nothing in it was run.
        DamagedFileError: it is cut short, a checksum is wrong, or it has another format.
        StoreError: it cannot be read.
    """
    check_file_type(path)
    names = member_names(path)
    code = next((name for name in names if _CODE.fullmatch(name)), None)
    if code is not None:
        raise refusal("no code", f"{path} holds {code[:80]!r}, which is compiled code or a pickled object")
    others = [name for name in names if name.startswith("models/") and name != "models/model.json"]
    if others:
        raise refusal("one program", f"{path} holds more than one program: {others[0][:80]!r}")
    if "models/model.json" not in names or "data/weights/model.pt" in names:
        raise DamagedFileError(
            f"{path} was exported in an older format; load it with the torch that wrote it and save it with "
            "torch.export.save of torch 2.9 or newer"
        )
    with open_archive(path, _MEMBER, what="exported program") as archive:
        archive.require_byte_order()
        try:
            return _read(archive)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedFileError(
                f"{path}: models/model.json is not as torch writes it: {error!r}"
            ) from error


def _read(archive: Archive) -> ExportedProgram:
    program = _json(archive, "models/model.json")
    major = program["schema_version"]["major"]
    if major != SCHEMA_MAJOR:
        raise DamagedFileError(
            f"{archive.path} has the format {major!r}.x of exported programs; this program reads {SCHEMA_MAJOR}.x"
        )
    stored = StoredTensors(archive)
    tensors: dict[str, torch.Tensor] = {}
    parameters = set()
    for folder, table in (
        ("weights", "model_weights_config.json"),
        ("constants", "model_constants_config.json"),
    ):
        entries = _json(archive, f"data/{folder}/{table}")["config"]
        for name, entry in entries.items():
            if name in tensors or len(tensors) > MAX_TENSORS:
                raise refusal("number of tensors", f"{archive.path}: {name[:80]!r} is one tensor too many")
            tensors[name] = _tensor(archive, stored, f"data/{folder}", entry)
            if entry["is_param"] is True:
                parameters.add(name)
    module = program["graph_module"]
    return ExportedProgram(module["graph"], module["signature"], tensors, frozenset(parameters))


def _tensor(archive: Archive, stored: StoredTensors, folder: str, entry: dict[str, Any]) -> torch.Tensor:
    import torch

    member = entry["path_name"]
    if entry["use_pickle"] is not False or not _PAYLOAD.fullmatch(member):
        raise refusal("no pickle", f"{archive.path}: {member[:80]!r} is pickled, which can run any program")
    meta = entry["tensor_meta"]
    if meta["dtype"] not in SCALAR_TYPES:
        raise refusal("tensor type", f"{archive.path}: {member} does not hold plain numbers")
    dtype = getattr(torch, SCALAR_TYPES[meta["dtype"]])
    size, stride = (tuple(_whole(part["as_int"]) for part in meta[key]) for key in ("sizes", "strides"))
    return stored.tensor(f"{folder}/{member}", dtype, size, stride, _whole(meta["storage_offset"]["as_int"]))


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"expected a whole number, got {number!r}")
    return number


def _json(archive: Archive, name: str) -> Any:
    # A broken text raises a ValueError, which `open_archive` tells as damage.
    return json.loads(archive.read(name, limit=MAX_GRAPH_BYTES))
