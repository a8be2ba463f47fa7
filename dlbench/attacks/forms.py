"""Other forms of a model with fixed weights that compute the same function: made here, timed in ``rewrite.py``."""

from __future__ import annotations

import contextlib
import copy
import threading
import warnings

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dlbench import ops
from dlbench.attacks.modes import Model

TOLERANCE = 1e-3  # of logits, relative to their spread: far below what separates a clear label from the next
ROUNDING = 1e-5  # relative to the logits themselves
SLOPE_TOLERANCE = 1e-2  # relative to their length
WIDE = 16  # channels, of inputs or outputs, from which Winograd's way with a convolution may pay
RECTIFIERS = (F.relu, torch.relu, torch.relu_)
_TRACING = threading.Lock()  # torch's tracer changes how every module of the process is called meanwhile


def forms_of(model: Model, probe: Tensor, compiled: bool) -> list[tuple[str, Model]]:
    """The model and its other forms, by name, that give the same logits on a probe."""
    forms: list[tuple[str, Model]] = [("as it is", model)]
    if not isinstance(model, nn.Module) or len(probe) == 0:
        return forms
    candidates = _candidates(model, probe)
    if compiled:
        candidates += [(f"{name}, compiled", torch.compile(other)) for name, other in candidates or forms]
    try:
        want = _answers(model, probe)
    except Exception:  # a way back that fails, which an attack by queries need not care about
        return forms
    for name, other in candidates:
        with contextlib.suppress(Exception):  # nobody asked for this form; where it fails, the model itself remains
            got = _answers(other, probe)
            if agree(got[0], want[0]) and _slopes_agree(got[1], want[1]):
                forms.append((name, other))
    return forms


def agree(got: Tensor, want: Tensor) -> bool:
    """Whether logits [n, K] are the same but for rounding: by what lies between a sample's largest and its median one,
    which a class that is ruled out, far below the others, does not widen.
    """
    got, want = got.reshape(len(got), -1), want.reshape(len(want), -1)  # logits or not, that is for others to say
    if want.numel() == 0:
        return True
    spread = want.amax(1) - want.median(1).values
    spread = torch.maximum(spread, spread.median())[:, None] + torch.finfo(want.dtype).tiny
    return bool(((got - want).abs() <= TOLERANCE * spread + ROUNDING * want.abs()).all())


def _answers(model: Model, probe: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits on a probe, and the slopes of the two likeliest classes' difference; None of a model without any."""
    with torch.inference_mode(False), torch.enable_grad():
        points = probe.detach().clone().requires_grad_()
        logits = model(points)
        if not logits.requires_grad or logits.shape[-1] < 2:
            return logits.detach(), None
        first, second = logits.topk(2, dim=1).values.unbind(1)
        return logits.detach(), torch.autograd.grad((first - second).sum(), points)[0]


def _slopes_agree(got: Tensor | None, want: Tensor | None) -> bool:
    """Whether most samples' slopes are the same but for rounding, which may put a rectifier on its other side."""
    if got is None or want is None:
        return got is want
    off, size = (got - want).flatten(1).norm(dim=1), want.flatten(1).norm(dim=1)
    return bool((off <= SLOPE_TOLERANCE * size).double().mean() > 0.5)


def _candidates(model: nn.Module, probe: Tensor) -> list[tuple[str, Model]]:
    """Each form built upon the one before."""
    found: list[tuple[str, Model]] = []
    traced, done = _traced(model), []
    if traced is not None and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        done.append("batch norm folded")
        found.append((", ".join(done), traced))
    base = _copied(model) if traced is None else copy.deepcopy(traced)
    if base is None or probe.dim() != 4 or not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return found
    done.append("channels last")
    found.append((", ".join(done), ChannelsLast(base)))
    native = ops.status().implementation == "native" and probe.device.type == "cpu" and probe.dtype == torch.float32
    if native and put_winograd(rewritten := copy.deepcopy(base)):
        done.append("Winograd")
        found.append((", ".join(done), ChannelsLast(rewritten)))
    return found


def _traced(model: nn.Module) -> fx.GraphModule | None:
    """A copy that is a graph, with batch norms part of the convolutions before them; None where that cannot be had."""
    try:
        with _TRACING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's own, about its age
            from torch.fx.experimental.optimization import fuse

            traced = fuse(model).requires_grad_(False).eval()
    except Exception:  # whatever the tracer cannot follow: data-dependent branches, foreign calls
        return None
    return traced if isinstance(traced, fx.GraphModule) else None


def _copied(model: nn.Module) -> nn.Module | None:
    try:
        return copy.deepcopy(model).requires_grad_(False)
    except Exception:  # a module may hold what cannot be copied
        return None


class ChannelsLast(nn.Module):
    """A module that sees its images in channels-last order."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: nn.Module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """The module's answer."""
        out: Tensor = self.module(x.contiguous(memory_format=torch.channels_last))
        return out


# -------------------------------------------------------------------------------------------------------- convolutions


class WinogradConv2d(nn.Module):
    """A convolution of 3x3 by a quarter of the products, with its weights as they are now; see ``csrc/convolve``.

    Args:
        conv: one that :func:`suits` Winograd.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.kernels = ops.WinogradKernels.of(conv.weight)
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.relu = False  # whether the rectifier after it is part of it

    def forward(self, x: Tensor, padding: int = 1) -> Tensor:
        """[n, C, h, w] of any float type, as autocast may have it, to [n, K, h', w'] float32."""
        return ops.winograd_conv2d(x.float(), self.kernels, self.bias, padding=padding, relu=self.relu)


def put_winograd(model: nn.Module) -> bool:
    """Puts Winograd's convolutions, with their rectifiers, in the place of a model's own; whether there are any."""
    suitable = [(name, module) for name, module in model.named_modules() if suits(module)]
    for name, module in suitable:
        model.set_submodule(name, WinogradConv2d(module).eval())
    if isinstance(model, fx.GraphModule):
        _absorb_rectifiers(model)
    return bool(suitable)


def suits(module: nn.Module) -> bool:
    """Whether a module is a convolution of 3x3, of stride 1 and with a border of zeros, and nothing else."""
    if type(module) is not nn.Conv2d or not is_bare(module):
        return False
    form = (module.kernel_size, module.stride, module.padding, module.dilation, module.groups, module.padding_mode)
    plain = form == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") and module.weight.dtype == torch.float32
    return plain and max(module.in_channels, module.out_channels) >= WIDE


def is_bare(module: nn.Module) -> bool:
    """Whether no hook sees what goes through a module, forth or back."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return not any(hooks)


def _absorb_rectifiers(traced: fx.GraphModule) -> None:
    """Makes the rectifier that is all that comes after a Winograd convolution part of it."""
    graph = traced.graph
    places = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in list(graph.nodes):
        module = traced.get_submodule(node.target) if node.op == "call_module" else None
        if not isinstance(module, WinogradConv2d) or places.count(node.target) > 1 or len(node.users) != 1:
            continue
        (after,) = node.users
        if _is_rectifier(traced, after):
            module.relu = True
            after.replace_all_uses_with(node)
            graph.erase_node(after)
    traced.recompile()


def _is_rectifier(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        return type(module) is nn.ReLU and is_bare(module)
    by_name = node.op == "call_method" and node.target in ("relu", "relu_")
    return by_name or (node.op == "call_function" and node.target in RECTIFIERS)
