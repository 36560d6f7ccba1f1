"""What the displays share."""

from sk_unlearn.utils._optional import import_optional

__all__ = ["COLOURS", "GREY", "new_axes"]

# Okabe and Ito: told apart with any kind of colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "0.45"


def new_axes(ax, n=1, **options):
    """Axes to draw on: those given, or those of a new figure.

    Parameters
    ----------
    ax : Axes, sequence of Axes or None
    n : int, default=1
        Axes needed.
    **options : dict
        Of ``plt.subplots``.

    Returns
    -------
    figure : Figure
    axes : list of Axes
    """
    plt = import_optional("matplotlib.pyplot", extra="plot", needed_for="A plot")
    if ax is None:
        figure, axes = plt.subplots(1, n, layout="constrained", squeeze=False, **options)
        return figure, list(axes[0])
    axes = list(getattr(ax, "flat", ax if isinstance(ax, (list, tuple)) else [ax]))
    if len(axes) != n:
        raise ValueError(f"ax must hold {n} axes, got {len(axes)}.")
    return axes[0].figure, axes
