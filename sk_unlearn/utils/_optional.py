"""Packages that only some functions need."""

from importlib import import_module

__all__ = ["import_optional"]


def import_optional(module, *, extra, needed_for):
    """Import a module of a package that is not among the requirements.

    Parameters
    ----------
    module : str
        For example "matplotlib.pyplot".
    extra : str
        Extra of sk-unlearn that brings the package.
    needed_for : str
        What the caller was about to do: the subject of the message.

    Returns
    -------
    module : module

    Raises
    ------
    ImportError
        With the command that installs it, if it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        message = f'{needed_for} needs {package}: pip install "sk-unlearn[{extra}]"'
        if error.name not in (package, module):  # it is there, and something else is not
            message += f" (importing it failed: {error})"
        raise ImportError(f"{message}.", name=package) from error
