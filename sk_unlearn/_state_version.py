"""Which structure of learned state this version of the package reads and writes."""

from sk_unlearn.exceptions import StateVersionError

__all__ = ["STATE_VERSION", "VersionedState", "check_state_version", "with_state_version"]

# Raise it with every change of what a fitted object holds, or of what its content means: a pickle
# of before would predict something else, or fail in the middle of a request.
STATE_VERSION = 1
_KEY = "_state_version"


def check_state_version(state, kind):
    """Refuse a pickled state that another version of the package has written.

    Parameters
    ----------
    state : dict
        As a pickle holds it.
    kind : str
        Class name of what it is of, for the message.

    Returns
    -------
    state : dict
        Without the version.

    Raises
    ------
    StateVersionError
    """
    found = state.get(_KEY)
    if found != STATE_VERSION:
        said = "none, as before versions were kept" if found is None else repr(found)
        raise StateVersionError(
            f"This pickle holds a {kind} of state version {said}; this version of sk_unlearn "
            f"reads {STATE_VERSION}. Its content may mean something else by now, so that it "
            "would give wrong answers or fail later. Fit the estimator again with this version. "
            "Receipts are read with the version that wrote them; receipts_.to_json() keeps them."
        )
    return {name: value for name, value in state.items() if name != _KEY}


def with_state_version(state):
    """Copy of a state that says its version."""
    return {**state, _KEY: STATE_VERSION}


class VersionedState:
    """Objects whose pickles say by which version they were written."""

    def __getstate__(self):
        return with_state_version(vars(self))

    def __setstate__(self, state):
        vars(self).update(check_state_version(state, type(self).__name__))
