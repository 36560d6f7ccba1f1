"""Recognisable rows are planted, forgotten, and looked for."""

import gc
import pickle
import types
from copy import deepcopy

import numpy as np
import torch

__all__ = ["FORGET_CHECKS"]

_ROWS = [4, 13]
_WIDTHS = ("<f8", ">f8", "<f4", ">f4")  # NumPy's own, a pickled Python float, a net's


def check_forget_leaves_no_residue(case):
    """Neither the pickle nor the memory of the estimator holds a forgotten row."""
    X, y = _planted(case)
    if X is None:
        return
    flat = np.asarray(X).reshape(len(y), -1)
    for keep_ids in (False, True):
        params = {"sample_id": case.ids, "groups": case.groups} if keep_ids else {}
        estimator = case.new().fit(X, y, **params)
        estimator.forget_cost(_ROWS)
        estimator.forget([_ROWS[0]]).forget([_ROWS[1], 20])
        places = {
            "its pickle": pickle.dumps(estimator),
            "the memory that it reaches": b"\0".join(_reachable(estimator)),
        }
        for place, content in places.items():
            for row in _ROWS:
                found = _found(flat[row], content)
                case.require(
                    not found,
                    f"after forget, {place} holds no forgotten row",
                    f"{found} numbers of row {row} are there.",
                )
                if not case.classifies:
                    rule = f"after forget, {place} holds no target of a forgotten row"
                    case.require(not _found(np.ravel(y[row]), content), rule)


def _planted(case):
    X, y = deepcopy(case.X), case.y.copy()
    values = np.asarray(X)
    if values.dtype.kind != "f":
        return None, None
    rng = np.random.RandomState(20)
    for row in _ROWS:
        # in the range of the data: a scaler or a positive-only method takes them as they are
        low, high = values[row].min(), values[row].max() + 0.01
        marks = rng.uniform(low, high, values[row].shape).astype(values.dtype)
        if hasattr(X, "iloc"):
            X.iloc[row] = marks
        elif hasattr(X, "get_columns"):  # polars
            for column, mark in enumerate(marks):
                X[row, column] = mark
        else:
            X[row] = marks
        if not case.classifies:
            y[row] += rng.uniform(0.001, 0.01)
    return X, y


def _found(numbers, content):
    """How many numbers of a row occur in some bytes, if more than chance would have it."""
    hits = sum(
        any(np.array(number, dtype=width).tobytes() in content for width in _WIDTHS)
        for number in numbers
    )
    return hits if hits >= min(2, len(numbers)) else 0


def _reachable(root):
    """Bytes of every number, array and tensor that can be reached from an object."""
    stack, seen = [root], set()
    skipped = (type, types.ModuleType, types.FrameType, types.CodeType)
    while stack:
        obj = stack.pop()
        if id(obj) in seen or isinstance(obj, skipped):
            continue
        seen.add(id(obj))
        if isinstance(obj, np.ndarray):
            if obj.base is not None:
                stack.append(obj.base)  # a view keeps all rows of its base alive
            if obj.dtype.hasobject:
                stack.extend(obj.ravel().tolist())
            else:
                yield np.ascontiguousarray(obj).tobytes()
        elif isinstance(obj, torch.Tensor):
            storage = obj.detach().untyped_storage().cpu()
            yield bytes(torch.tensor([], dtype=torch.uint8).set_(storage).numpy())
            stack.extend([obj.grad, vars(obj)])
        elif isinstance(obj, (bytes, bytearray)):
            yield bytes(obj)
        elif isinstance(obj, float):
            yield np.float64(obj).tobytes()
        elif isinstance(obj, types.FunctionType):
            stack.extend([obj.__closure__, obj.__defaults__, obj.__kwdefaults__])
        else:
            stack.extend(gc.get_referents(obj))


FORGET_CHECKS = (check_forget_leaves_no_residue,)
