"""What a net was when a request left it, to notice when somebody has changed it since."""

from dataclasses import dataclass

import torch

from sk_unlearn.utils._digest import state_digest

__all__ = ["NetImprint"]


_PLAIN = frozenset((bool, int, float, str, type(None)))


@dataclass(frozen=True, eq=False)
class NetImprint:
    """Copies of a net's parameters and buffers, and the settings of its criterion.

    Attributes
    ----------
    state : dict of str to Tensor
    criterion : list or str
        A digest where settings are more than numbers and names.
    """

    state: dict
    criterion: list | str

    @classmethod
    def of(cls, net):
        """The imprint of an initialised net."""
        state = {name: value.detach().clone() for name, value in _tensors(net).items()}
        return cls(state, _settings(net.criterion_))

    def fits(self, net):
        """Whether the net is still the same."""
        state = _tensors(net)
        return (
            state.keys() == self.state.keys()
            and all(_equal(value, self.state[name]) for name, value in state.items())
            and self.criterion == _settings(net.criterion_)
        )

    @property
    def nbytes(self):
        """Memory that it holds."""
        return sum(value.nbytes for value in self.state.values())


def _tensors(net):
    found = net.module_.state_dict()
    return {name: value for name, value in found.items() if torch.is_tensor(value)}


def _settings(criterion):
    """A criterion's settings, which are not in its ``state_dict``."""
    parts = criterion.modules() if isinstance(criterion, torch.nn.Module) else [criterion]
    settings = [(type(part), _filled(vars(part))) for part in parts]
    plain = all(kind in _PLAIN for _, values in settings for kind, _ in values.values())
    return settings if plain else state_digest(settings)


def _filled(values):
    """Without the empty tables of hooks and the like that every module has."""
    return {k: (type(v), v) for k, v in values.items() if not _is_empty(v)}


def _is_empty(table):
    if isinstance(table, dict):
        return all(value is None for value in table.values())
    return isinstance(table, set) and not table


def _equal(one, other):
    alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return alike and torch.equal(one, other)
