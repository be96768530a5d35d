"""The operations that a program from a file may ask for: tensor algebra of networks, and nothing else.

A name is looked up in `torch.ops.aten` only if it stands on the list here. None of them reads or writes files, starts
programs or takes the name of either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from engine.errors import CheckpointError
from engine.store.archives import refusal

#: Largest whole number that a program may count with.
MAX_NUMBER = 2**63

_NAMES = """
    _adaptive_avg_pool2d _batch_norm_impl_index _convolution _log_softmax _native_batch_norm_legit
    _native_batch_norm_legit_no_training _prelu_kernel _reshape_alias
    _scaled_dot_product_flash_attention_for_cpu _softmax _to_copy _unsafe_view _upsample_bilinear2d_aa
    abs abs_ adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d add add_ addbmm addcdiv addcmul
    addmm addmv affine_grid_generator alias all amax amin any arange argmax argmin as_strided atan atan2
    atleast_1d avg_pool1d avg_pool2d baddbmm batch_norm bernoulli bernoulli_ bitwise_and bitwise_not
    bitwise_or bmm broadcast_tensors broadcast_to cat ceil celu celu_ channel_shuffle chunk clamp clamp_
    clamp_max clamp_max_ clamp_min clamp_min_ clone concat constant_pad_nd contiguous conv1d conv2d
    conv3d conv_transpose2d convolution copy copy_ cos cosine_similarity count_nonzero cross cumprod
    cumsum detach detach_ diag diagonal dim div div_ dot dropout dropout_ einsum elu elu_ embedding
    empty empty_like eq equal erf exp exp_ expand expand_as expm1 eye feature_dropout fill fill_ flatten
    flip floor floor_divide fmod frac full full_like gather ge gelu gelu_ glu greater greater_equal
    grid_sampler grid_sampler_2d group_norm gt hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh
    hardtanh_ im2col index index_add index_copy index_fill index_put index_select instance_norm
    is_complex is_floating_point is_same_size isfinite isinf isnan item layer_norm le leaky_relu
    leaky_relu_ lerp less less_equal lift lift_fresh lift_fresh_copy linalg_norm linalg_vector_norm
    linear linspace log log10 log1p log2 log_sigmoid log_softmax logical_and logical_not logical_or
    logical_xor logsumexp lt masked_fill masked_fill_ masked_select matmul max max_pool1d max_pool2d
    max_pool2d_with_indices maximum mean min minimum mish mish_ mm moveaxis movedim mul mul_ multiply mv
    nan_to_num narrow native_batch_norm native_dropout native_group_norm native_layer_norm ne neg neg_
    new_empty new_full new_ones new_zeros norm normal normal_ not_equal numel ones ones_like pad permute
    pixel_shuffle pixel_unshuffle pow pow_ prelu prod rand rand_like randint randn randn_like randperm
    real reciprocal reciprocal_ reflection_pad2d relu relu6 relu6_ relu_ remainder repeat
    repeat_interleave replication_pad2d reshape reshape_as roll round rsqrt rsqrt_ rsub scalar_tensor
    scaled_dot_product_attention scatter scatter_add select selu selu_ sigmoid sigmoid_ sign silu silu_
    sin size slice slice_scatter softmax softplus sort split split_with_sizes sqrt sqrt_ square squeeze
    squeeze_ stack std std_mean stride sub sub_ subtract sum swapaxes sym_numel sym_size
    sym_storage_offset sym_stride t take tan tanh tanh_ tensor_split threshold threshold_ tile to topk
    trace transpose transpose_ tril triu true_divide type_as unbind unflatten unfold uniform uniform_
    unsqueeze unsqueeze_ upsample_bicubic2d upsample_bilinear2d upsample_nearest2d var var_mean view
    view_as where zero zero_ zeros zeros_like
"""
#: Names in `torch.ops.aten`; a trailing underscore stands for the variant that works in place.
OPERATORS = frozenset(_NAMES.split())

#: Batch norms, and the beginning of their arguments.
_BATCH_NORMS = frozenset(
    ("_batch_norm_impl_index", "_native_batch_norm_legit", "batch_norm", "instance_norm", "native_batch_norm")
)
_BATCH_NORM_ARGUMENTS = ("input", "weight", "bias", "running_mean", "running_var", "training")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def operator(name: str, overload: str = "") -> Callable[..., Any]:
    """An operation of `torch.ops.aten`.

    Args:
        name: its name without namespace ("conv2d").
        overload: which of its variants ("default", "Tensor"); "" leaves the choice to the arguments.

    Raises:
        UntrustedFileError: it is not on the list, or has no such variant.
    """
    if name not in OPERATORS or not hasattr(torch.ops.aten, name):
        raise refused(f"aten.{name}")
    packet = getattr(torch.ops.aten, name)
    found: Callable[..., Any] = packet
    if overload:
        if not _NAME.fullmatch(overload) or overload not in packet.overloads():
            raise refused(f"aten.{name}.{overload}")
        found = getattr(packet, overload)
    return found


def arithmetic(function: Callable[..., Any], *numbers: Any) -> Any:
    """The result of arithmetic on sizes.

    Raises:
        ValueError: it is not about numbers of 64 bits, and could be made to fill the memory.
    """
    result = function(*numbers) if all(isinstance(number, int | float) for number in numbers) else None
    if result is None or (isinstance(result, int) and abs(result) > MAX_NUMBER):
        raise ValueError("arithmetic on something else than sizes")
    return result


def refused(asked: object) -> Exception:
    """The error for a program that asks for something else than tensor algebra."""
    return refusal(
        "tensor operations only",
        f"the program asks for {str(asked)[:120]!r}, which is not among the operations that are let through",
    )


def require_evaluation_mode(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    """Check that a call is no batch norm that normalises by the batch and changes its running statistics.

    Args:
        name: the operation.
        arguments: its positional arguments.
        keywords: those by name.

    Raises:
        CheckpointError: it is.
    """
    if name not in _BATCH_NORMS:
        return
    given = dict(zip(_BATCH_NORM_ARGUMENTS, arguments, strict=False)) | dict(keywords)
    training = given.get("training", False) is True or given.get("use_input_stats", False) is True
    if training and given.get("running_mean") is not None:
        raise CheckpointError(
            "the program was saved in training mode: its batch norm uses the statistics of the batch and changes its own; "
            "call eval() on the network and save the program again"
        )
