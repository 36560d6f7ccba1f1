"""The batches of several nets, side by side and all of one size."""

import torch

from sk_unlearn.nets.stacked._module import padded

__all__ = ["StackedBatches", "batch_options", "n_batches"]


class StackedBatches:
    """Draw each net's epochs as :class:`~sk_unlearn.nets.TensorBatches` would for it alone.

    ``row_sets`` are sorted by number of batches, most first; ``generators``, one a net, stand for
    torch's global one. Everything is drawn on the CPU, and moved to where ``like`` is.

    Attributes
    ----------
    sizes : Tensor of shape (n_batches, n_nets), int64
        Rows of each batch.
    n_nets : list of int
        Nets that have each batch.
    valid, share : Tensor of shape (n_batches, n_nets, n_rows)
        Whether a place holds a row, and one over the number of rows of the batch or 0.
    """

    def __init__(self, row_sets, generators, options, like):
        self.generators, self._row_sets, self._options = generators, row_sets, options
        size, n_steps = options["batch_size"], n_batches(row_sets[0], options)
        starts = torch.arange(n_steps)[:, None] * size
        self.sizes = (torch.tensor([len(rows) for rows in row_sets]) - starts).clamp(0, size)
        if options["drop_last"]:
            self.sizes[self.sizes < size] = 0
        self.n_nets = (self.sizes > 0).sum(1).tolist()
        valid = torch.arange(padded(size)) < self.sizes[..., None]
        share = torch.where(valid, 1 / self.sizes[..., None].to(like.dtype), 0.0)
        self.valid, self.share = valid.to(like.device), share.to(like.device)
        # places that hold no row repeat one of the net's own, so that nothing of another net
        # ever enters its arithmetic
        first = torch.stack([rows[0] for rows in row_sets])[:, None]
        self._orders = first.repeat(1, n_steps * size)
        self._index = first.repeat(n_steps, 1, padded(size))

    def epoch(self):
        """Draw one epoch: rows of each batch, of shape (n_batches, n_nets, n_rows)."""
        number, shuffler = torch.empty((), dtype=torch.int64), torch.Generator()
        size = self._options["batch_size"]
        for order, rows, own in zip(self._orders, self._row_sets, self.generators, strict=True):
            number.random_(generator=own)  # as DataLoader draws
            if self._options["shuffle"]:
                shuffler.manual_seed(number.random_(generator=own).item())
                rows = rows[torch.randperm(len(rows), generator=shuffler)]
            n_used = min(len(rows), n_batches(rows, self._options) * size)
            order[:n_used] = rows[:n_used]
        self._index[..., :size] = self._orders.unflatten(1, (-1, size)).transpose(0, 1)
        return self._index.to(self.share.device, copy=True)


def n_batches(rows, options):
    """Batches in an epoch of some rows."""
    size = options["batch_size"]
    return len(rows) // size if options["drop_last"] else -(-len(rows) // size)


def batch_options(net):
    """Size of a net's training batches, whether they are shuffled, and the last one dropped."""
    options = net.get_params_for("iterator_train")
    return {
        "batch_size": options.get("batch_size", net.batch_size),
        "shuffle": options.get("shuffle", False),
        "drop_last": options.get("drop_last", False),
    }
