"""The batches of several nets, side by side and all of one size."""

import math

import torch

__all__ = ["VECTOR", "StackedBatches", "batch_options", "n_batches"]

# Rows of a batch are filled up to a multiple of this. Vector units work on 16 float32 or 8
# float64 at a time, two registers a turn; what is left over at the end of a tensor takes
# scalar code, which rounds exp, sigmoid and others differently. A net's part of a stacked
# tensor must therefore be a whole number of turns, wherever in the stack it lies.
VECTOR = 32


class StackedBatches:
    """Draw each net's epochs as :class:`~sk_unlearn.nets.TensorBatches` would for it alone.

    Parameters
    ----------
    row_sets : list of Tensor of int64
        Rows of each net, sorted by number of batches, most first.
    generators : list of torch.Generator
        One a net; what stands for torch's global generator.
    batch_size : int
    shuffle, drop_last : bool
    dtype : torch.dtype
    device : torch.device
        Of the nets. Everything is drawn on the CPU.

    Attributes
    ----------
    counts : list of int
        Batches an epoch of each net.
    n_rows : int
        Places in a batch.
    sizes : Tensor of shape (n_batches, n_nets), int64
        Rows of each batch.
    n_nets : list of int
        Nets that have each batch.
    valid : list of n_batches Tensor of shape (n_nets, n_rows), bool
        False where a place holds no row.
    share : list of n_batches Tensor of shape (n_nets, n_rows)
        One over the number of rows of the batch; 0 where a place holds none.
    """

    def __init__(self, row_sets, generators, *, batch_size, shuffle, drop_last, dtype, device):
        self.row_sets = row_sets
        self.generators = generators
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.device = device
        self.counts = [n_batches(len(rows), batch_size, drop_last) for rows in row_sets]
        self.n_rows = math.ceil(batch_size / VECTOR) * VECTOR
        self._shape = (max(self.counts), len(row_sets), self.n_rows)
        first = torch.stack([rows[0] for rows in row_sets])
        self._index = first[:, None].repeat(self._shape[0], 1, self.n_rows)
        self._orders = first[:, None].repeat(1, self._shape[0] * batch_size)
        self._number, self._shuffler = torch.empty((), dtype=torch.int64), torch.Generator()
        self.sizes = self._sizes()
        self.n_nets = (self.sizes > 0).sum(1).tolist()
        valid = torch.arange(self.n_rows) < self.sizes[..., None]
        share = torch.where(valid, 1 / self.sizes[..., None].to(dtype), 0.0)
        # one object for batches of equal sizes
        first = [self.sizes.tolist().index(sizes) for sizes in self.sizes.tolist()]
        valid, share = list(valid.to(device)), list(share.to(device))
        self.valid = [valid[i] for i in first]
        self.share = [share[i] for i in first]

    def epoch(self):
        """Draw one epoch.

        Returns
        -------
        index : Tensor of shape (n_batches, n_nets, n_rows), int64
            Rows of each batch; places that hold no row (see ``valid``) repeat one of the
            net's own, so that nothing of another net ever enters its arithmetic.
        """
        for k, generator in enumerate(self.generators):
            self._order(k, generator)
        n_steps, n_nets, size = *self._shape[:2], self.batch_size
        self._index[..., :size] = self._orders.view(n_nets, n_steps, size).transpose(0, 1)
        return self._index.to(self.device, copy=True)

    def _order(self, k, generator):
        """Write a net's rows in the order of an epoch into its places."""
        self._number.random_(generator=generator)  # as DataLoader draws
        rows = self.row_sets[k]
        if self.shuffle:
            self._shuffler.manual_seed(self._number.random_(generator=generator).item())
            rows = rows[torch.randperm(len(rows), generator=self._shuffler)]
        n_used = min(len(rows), self.counts[k] * self.batch_size)
        self._orders[k, :n_used] = rows[:n_used]

    def _sizes(self):
        lengths = torch.tensor([len(rows) for rows in self.row_sets])
        starts = torch.arange(self._shape[0]) * self.batch_size
        sizes = (lengths - starts[:, None]).clamp(0, self.batch_size)
        if self.drop_last:
            sizes[sizes < self.batch_size] = 0
        return sizes


def n_batches(n_rows, batch_size, drop_last):
    """Batches in an epoch of ``n_rows`` rows."""
    return n_rows // batch_size if drop_last else -(-n_rows // batch_size)


def batch_options(net):
    """Size of a net's training batches, whether they are shuffled, and the last one dropped."""
    options = net.get_params_for("iterator_train")
    return {
        "batch_size": options.get("batch_size", net.batch_size),
        "shuffle": options.get("shuffle", False),
        "drop_last": options.get("drop_last", False),
    }
