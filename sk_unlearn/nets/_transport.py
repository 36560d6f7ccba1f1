"""Send nets between processes, also those of classes defined in a script or notebook."""

import copyreg
import io
import pickle

import cloudpickle
from skorch import NeuralNet

__all__ = ["pack_nets", "unpack_nets"]


class _Pickler(cloudpickle.Pickler):
    """Pickles nets by their attributes.

    skorch saves its modules through torch.save, which looks their class up by name and
    does not find one of ``__main__`` in a worker process.
    """

    def reducer_override(self, obj):
        if isinstance(obj, NeuralNet):
            return copyreg.__newobj__, (type(obj),), dict(vars(obj)), None, None, _set_state
        return super().reducer_override(obj)


def _set_state(net, state):
    vars(net).update(state)


def pack_nets(obj):
    """Pickle an object that may hold nets, classes by value where they have no module.

    Parameters
    ----------
    obj : object

    Returns
    -------
    packed : bytes
        For a process of the same session; not for keeping.
    """
    buffer = io.BytesIO()
    _Pickler(buffer).dump(obj)
    return buffer.getvalue()


def unpack_nets(packed):
    """Undo :func:`pack_nets`.

    Parameters
    ----------
    packed : bytes

    Returns
    -------
    obj : object
    """
    return pickle.loads(packed)
