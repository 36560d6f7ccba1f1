"""What ``fit`` and ``forget`` must not touch, and what must not touch them."""

import dis
import inspect
import random
import sys
from contextlib import contextmanager
from copy import deepcopy
from functools import cache

import numpy as np
import sklearn
import torch

from sk_unlearn.utils._ambient import restore_modes, torch_modes
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._signals import is_protected

__all__ = ["FORGET_CHECKS"]

_ROWS = [1, 6, 17]


def check_forget_leaves_global_rngs(case):
    """The global generators of random, NumPy and torch are as found."""
    found = _generators()
    # a state right after seeding could be the very one that an estimator seeds
    random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
    before = _generators()
    try:
        estimator = case.fit()
        _require_generators(case, before, "fit")
        estimator.forget_cost(_ROWS)
        _require_generators(case, before, "forget_cost")
        estimator.forget(_ROWS)
        _require_generators(case, before, "forget")
    finally:
        _restore(found)


def check_forget_repeats(case):
    """The same ``random_state`` gives the same bits, whatever the global generators say."""
    before = _generators()
    try:
        runs = []
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the global generator is what is checked
            torch.manual_seed(seed)
            estimator = case.fit(sample_id=case.ids)
            runs.append((case.observe(estimator), case.observe(estimator.forget(_ROWS))))
    finally:
        _restore(before)
    (fit_1, forget_1), (fit_2, forget_2) = runs
    case.same(fit_2, fit_1, "fit repeats with the same random_state")
    case.same(forget_2, forget_1, "forget repeats with the same random_state")


def check_forget_notices_changed_data(case):
    """Data changed in place after ``fit`` is refused, or was never needed."""
    honest = case.observe(case.fit().forget(_ROWS))
    for name in ("X", "y"):
        data = {"X": deepcopy(case.X), "y": case.y.copy()}
        estimator = case.new().fit(data["X"], data["y"])
        seen = case.observe(estimator)
        _shuffle(data[name])
        what = f"an in-place change of {name} between fit and forget"
        try:
            estimator.forget(_ROWS)
        except ValueError as error:
            rule = f"{what} is refused before anything changes"
            case.same(case.observe(estimator), seen, rule)
            named = f"the error about {what} names it"
            case.require(name in str(error), named, f"It says: {error}")
        else:
            rule = f"{what} is refused, or without effect"
            case.same(case.observe(estimator), honest, rule)
        data = {"X": deepcopy(case.X), "y": case.y.copy()}
        estimator = case.new().fit(data["X"], data["y"]).forget(_ROWS)
        _shuffle(data[name])
        after = case.observe(estimator.forget([20]))
        expected = case.observe(case.fit().forget(_ROWS).forget([20]))
        rule = f"after the first forget, changes of the caller's {name} are without effect"
        case.same(after, expected, rule)


def check_forget_is_atomic(case):
    """An exception anywhere inside ``forget`` leaves the state before or the state after."""
    fitted = case.fit(sample_id=case.ids, groups=case.groups).forget([0])
    old = _published(case, fitted)
    finished = deepcopy(fitted)
    n_calls = _count_calls(lambda: finished.forget(_ROWS))
    new = _published(case, finished)
    rule = "an exception inside forget leaves the estimator as it was"
    early = {int(n_calls * share) for share in (0.01, 0.1, 0.3, 0.6, 0.9, 0.98, 0.99)}
    for stop in sorted({*early, *range(n_calls - 4, n_calls + 1)} - {0}):
        victim = deepcopy(fitted)
        generators = _generators()
        raised = _interrupt(lambda victim=victim: victim.forget(_ROWS), stop)
        _restore(generators)
        if not raised:
            continue
        found = _published(case, victim)
        if found == new:
            continue
        at = f"It was raised at call {stop} of {n_calls}."
        case.require(found["receipts_"] == old["receipts_"], rule, f"{at} receipts_ differs.")
        case.same(found, old, f"{rule} ({at.lower()[:-1]})")
        if stop >= n_calls - 4 or stop == int(n_calls * 0.6):
            victim.forget(_ROWS)
            again = f"the request can be repeated after an exception ({at.lower()[:-1]})"
            case.same(_published(case, victim), new, again)


def _published(case, estimator):
    counts = [
        (receipt.n_requested, receipt.n_forgotten, receipt.n_remaining)
        for receipt in estimator.receipts_
    ]
    return {**case.observe(estimator), "receipts_": state_digest(counts)}


class _Injected(BaseException):
    """Not an ``Exception``: like Ctrl-C, it passes every handler that is no ``finally``."""


def _count_calls(call):
    n_calls = 0

    def count(frame, event, argument):
        nonlocal n_calls
        n_calls += event == "call"

    with _profiled(count):
        call()
    return n_calls


def _interrupt(call, stop):
    """Raise at the entry of the ``stop``-th Python function that ``call`` calls.

    Not in functions in which signals wait, and not where a generator goes on: raised there it
    would skip the ``finally`` blocks of the generator, as no signal does. The next one stands for
    these.
    """
    n_calls, raised = 0, False

    def count(frame, event, argument):
        nonlocal n_calls, raised
        n_calls += event == "call"
        protected = is_protected(frame) or goes_on(frame)
        if n_calls >= stop and event == "call" and not raised and not protected:
            raised = True
            raise _Injected

    gradients, config, modes = torch.is_grad_enabled(), sklearn.get_config(), torch_modes()
    broken_off = False
    try:
        with _profiled(count):
            call()
    except BaseException as error:
        # torch makes another one of it where one of its modes was being put back: what counts is
        # the state that is left
        if not _comes_of_injected(error):
            raise
        broken_off = True
    finally:
        # raised while torch.no_grad or sklearn.config_context was being left, it keeps gradients
        # or the validation of parameters off for good
        torch.set_grad_enabled(gradients)
        sklearn.set_config(**config)
    # not before: a generator of torch's, held by the traceback until now, puts a mode back
    restore_modes(*modes)
    return broken_off


def goes_on(frame):
    """Whether a generator goes on after a ``yield``, and is not just begun."""
    code = frame.f_code
    return bool(code.co_flags & inspect.CO_GENERATOR) and frame.f_lasti > _beginning(code)


@cache
def _beginning(code):
    return next(step.offset for step in dis.get_instructions(code) if step.opname == "RESUME")


def _comes_of_injected(error):
    while error is not None and not isinstance(error, _Injected):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def _profiled(function):
    before, hook = sys.getprofile(), sys.unraisablehook
    # raised inside a finaliser, it cannot get out: nothing to check then, nor to report
    sys.unraisablehook = lambda info: None if info.exc_type is _Injected else hook(info)
    sys.setprofile(function)
    try:
        yield
    finally:
        sys.setprofile(before)
        sys.unraisablehook = hook


def _generators():
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def _restore(states):
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


def _require_generators(case, before, step):
    for name, then, now in zip(("random", "NumPy", "torch"), before, _generators(), strict=True):
        rule = f"{step} leaves the global random generator of {name} as found"
        case.require(state_digest(then) == state_digest(now), rule)


def _shuffle(data):
    """Reverse rows in place: the values stay plausible, their rows do not."""
    if hasattr(data, "iloc"):
        data.iloc[:] = data.to_numpy()[::-1].copy()
    elif hasattr(data, "get_columns"):  # polars
        for i, column in enumerate(data.get_columns()):
            data.replace_column(i, column.reverse())
    else:
        data[:] = data[::-1].copy()


FORGET_CHECKS = (
    check_forget_leaves_global_rngs,
    check_forget_repeats,
    check_forget_notices_changed_data,
    check_forget_is_atomic,
)
