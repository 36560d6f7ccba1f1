"""Errors and warnings of sk_unlearn.

Each error also inherits the builtin that scikit-learn users would catch.
"""

__all__ = [
    "CheckpointError",
    "ConcurrentChangeError",
    "ForgetRequestError",
    "ForgottenRowsReturnedError",
    "ForgottenRowsReturnedWarning",
    "FullRetrainWarning",
    "InputScaleWarning",
    "RemovalFailedError",
    "RetrainAdvisedWarning",
    "StateVersionError",
    "TargetScaleWarning",
    "TrainingDataChangedError",
    "UnsupportedNetError",
    "VersionsChangedWarning",
]


class CheckpointError(OSError, ValueError):
    """States between training steps cannot be written to ``checkpoints``.

    The estimator stays as it was. The message says which folder, and why.
    """


class ConcurrentChangeError(RuntimeError):
    """An estimator was changed, not by ``fit`` or ``forget``, while a request was worked on.

    The request changed nothing and can be repeated.
    """


class ForgetRequestError(ValueError):
    """A forget request names rows that the estimator cannot forget.

    Raised before any work; the estimator stays as it was.
    """


class ForgottenRowsReturnedError(ValueError):
    """``fit(..., on_return="raise")`` was given rows that this estimator has forgotten.

    Raised before any work; the message names them.
    """


class RemovalFailedError(ArithmeticError):
    """A removal step could not be computed; the estimator stays as it was.

    The message says what was not finite or not found, and what to do about it.
    """


class RetrainAdvisedError(RuntimeError):
    """An approximate removal advised to retrain, and ``on_advice="raise"`` asked for this error.

    Nothing was forgotten: the estimator is as it was.
    """


class StateVersionError(ValueError):
    """A pickle holds a fitted estimator, or receipts, as another version of the package has them.

    It would predict something else, or fail later. Fit again; receipts are read with the version
    that wrote them.
    """


class TrainingDataChangedError(ValueError):
    """The arrays given to ``fit`` were modified before ``forget``.

    The training rows are held by reference until the first request, so a change made
    in place would silently alter what the retained rows are.
    """


class UnsupportedNetError(ValueError):
    """A net, module, criterion or optimiser lacks what a removal method needs.

    The message says what is missing and what to do about it.
    """


class ForgottenRowsReturnedWarning(UserWarning):
    """``fit`` was given rows that this estimator has forgotten: they are in the model again."""


class RetrainAdvisedWarning(UserWarning):
    """An approximate removal measured that its own approximation does not hold.

    The step was taken; the receipt holds the numbers. Retraining, or a smaller request,
    is the safe answer.
    """


class InputScaleWarning(UserWarning):
    """A net reads inputs whose scale is far from 1, on which nets train badly.

    Given once in ``fit``; the net was trained all the same.
    """


class TargetScaleWarning(UserWarning):
    """A net of the user's own is trained on targets whose scale is far from 1.

    Given once in ``fit``; the net was trained all the same.
    """


class FullRetrainWarning(UserWarning):
    """A request trains all of a last step that promises to do with less."""


class VersionsChangedWarning(UserWarning):
    """A request is answered by other library versions, or on another kind of processor, than fit.

    What is trained now may differ in its last bits from what is not; the receipt says so.
    """
