"""From rows to integers: random Fourier features, or the numbers themselves.

Every step is exact or the same elementary operation for each number, so that a row has the same
features in whatever company, on whatever processor, with however many threads.
"""

import math

import numpy as np
import torch
from scipy import sparse

from sk_unlearn.utils._digest import state_digest

__all__ = ["FourierMap", "LinearMap"]

_CHUNK = 2**21  # numbers at a time
_NARROW = 256  # columns, beyond which orthogonal directions are dear and no better
_CUT = 32.0  # in units: numbers further from the centre count as this far


class LinearMap:
    """Numbers of a row in their units, as integers of 18 bits.

    Parameters
    ----------
    n_columns : int
    """

    bits = 12

    def __init__(self, n_columns):
        self.n_columns = self.n_features = n_columns

    @property
    def penalty_unit(self):
        """What a penalty of 1 is for these integers."""
        return 4.0**self.bits

    @property
    def digest(self):
        """Of what it computes."""
        return state_digest(("linear", self.n_columns, self.bits))

    def __call__(self, rows, frame):
        """Features of some rows.

        Returns
        -------
        features : Tensor of shape (n, n_features), float64
            Integers.
        n_cut : int
            Numbers beyond 32 units, which count as 32.
        """
        if sparse.issparse(rows):
            rows = rows.toarray()
        return _whole(rows, frame, self.bits)


class FourierMap:
    """Random Fourier features of a Gaussian kernel, as integers of 12 bits.

    Frequencies are integers too, and the cosine is read from a table.

    Parameters
    ----------
    n_columns, n_features : int
    gamma : float
        The kernel is exp(-gamma * squared distance), in units.
    seed : int
    """

    bits = 11
    _Z_BITS, _PHASE_BITS = 10, 14

    def __init__(self, n_columns, n_features, gamma, seed):
        self.n_columns, self.n_features = n_columns, n_features
        rng = np.random.RandomState(seed)
        turns = _directions(rng, n_columns, n_features) * (math.sqrt(2 * gamma) / (2 * math.pi))
        # the product of a row with frequencies must stay below 2^52
        largest = np.abs(turns).sum(axis=0).max() * _CUT * 2**self._Z_BITS
        self._w_bits = min(20, 51 - math.ceil(math.log2(max(largest, 1.0))))
        scale = 2.0**self._w_bits
        self.frequencies = torch.from_numpy(np.rint(turns * scale))
        unit = 2 ** (self._Z_BITS + self._w_bits)
        # half a step of the table more: cutting off bits then rounds
        step = 2 ** (self._Z_BITS + self._w_bits - self._PHASE_BITS)
        phases = rng.randint(0, 2**31, n_features).astype(np.float64) / 2**31
        self.phases = torch.from_numpy(np.floor(phases * unit) + step // 2)
        self._shift = self._Z_BITS + self._w_bits - self._PHASE_BITS

    @property
    def penalty_unit(self):
        """What a penalty of 1 is for these integers; the kernel of a row with itself is 1."""
        return 4.0**self.bits * self.n_features / 2

    @property
    def digest(self):
        """Of what it computes."""
        return state_digest(("fourier", self.frequencies, self.phases, self._w_bits))

    def __call__(self, rows, frame):
        """Features of some rows; see :meth:`LinearMap.__call__`."""
        whole, n_cut = _whole(rows, frame, self._Z_BITS)
        if sparse.issparse(whole):
            product = torch.from_numpy(whole @ self.frequencies.numpy())
        else:
            product = whole @ self.frequencies
        phase = product.add_(self.phases).to(torch.int64)
        index = phase.bitwise_right_shift_(self._shift).bitwise_and_(2**self._PHASE_BITS - 1)
        cosines = _table(self.bits, self._PHASE_BITS).index_select(0, index.view(-1))
        return cosines.view(index.shape), n_cut


_tables = {}


def _table(bits, phase_bits):
    """Cosines of all phases, as integers."""
    if (bits, phase_bits) not in _tables:
        n = 2**phase_bits
        values = [round(math.cos(2 * math.pi * i / n) * 2**bits) for i in range(n)]
        _tables[bits, phase_bits] = torch.tensor(values, dtype=torch.float64)
    return _tables[bits, phase_bits]


def _directions(rng, n_columns, n_features):
    """Gaussian directions; blocks of orthogonal ones where a block costs little."""
    if n_columns > _NARROW:
        return rng.standard_normal((n_columns, n_features))
    blocks = []
    for start in range(0, n_features, n_columns):
        block = np.linalg.qr(rng.standard_normal((n_columns, n_columns)))[0]
        lengths = np.sqrt((rng.standard_normal((n_columns, n_columns)) ** 2).sum(axis=0))
        blocks.append((block * lengths)[:, : n_features - start])
    return np.hstack(blocks)


def _whole(rows, frame, bits):
    """Rows in units of 2^-bits, as integers, and how many were cut."""
    limit = _CUT * 2**bits
    if sparse.issparse(rows):
        whole = sparse.csr_array(rows, dtype=np.float64, copy=True)
        values = np.rint(whole.data * frame.per_unit[whole.indices] * 2.0**bits)
        n_cut = int((np.abs(values) > limit).sum())
        whole.data = np.clip(values, -limit, limit)
        return whole, n_cut
    rows = torch.from_numpy(np.ascontiguousarray(rows)).to(torch.float64)
    whole = (rows - torch.from_numpy(frame.centre)).mul_(torch.from_numpy(frame.per_unit))
    whole.mul_(2.0**bits).round_()
    n_cut = int((whole.abs() > limit).sum())
    return whole.clamp_(-limit, limit), n_cut
