"""Modules of which everything is known: what they compute, and all that they keep."""

from torch import nn

__all__ = ["is_known"]

# Where modules come from whose forward pass keeps nothing, and what else may run in it.
_KNOWN = ("torch.nn.modules.", "sk_unlearn.nets.")
_HOOKS = [
    name
    for name, value in vars(nn.Module()).items()
    if isinstance(value, dict) and name not in ("_parameters", "_buffers", "_modules")
]


def is_known(module):
    """Whether all parts of a module are torch's own layers or this package's, as they were made.

    A module of somebody else may keep a tensor that was made while it ran, or write to one of its
    own; so may a hook, and a ``forward`` that was put in place of the class's.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    known : bool
    """
    return all(
        type(part).__module__.startswith(_KNOWN)
        and "forward" not in vars(part)
        and not any(getattr(part, hooks) for hooks in _HOOKS)
        for part in module.modules()
    )
