import pytest
import torch
from torch import nn

from sk_unlearn.exceptions import UnsupportedNetError
from sk_unlearn.functional import GaussNewtonOperator, HessianOperator, RowwiseModel
from sk_unlearn.functional import _score_curvature as score_curvature

CASES = ["cross_entropy", "weighted", "bce", "mse", "cnn", "embedder", "probabilities"]
WEIGHTS = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0, 3.0, 1.0], dtype=torch.float64)


def matrix(oracle, operator):
    return oracle.dense(operator.matvec, operator.model.flatten(operator.params))


@pytest.mark.parametrize("keep_graph", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_gauss_newton_equals_dense_matrix(make, oracle, case, keep_graph):
    rows = make(case)
    operator = GaussNewtonOperator(*rows, WEIGHTS, keep_graph=keep_graph)
    got = matrix(oracle, operator)
    torch.testing.assert_close(got, oracle.gauss_newton(*rows, WEIGHTS), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(got, got.T, rtol=1e-8, atol=1e-10)
    assert torch.linalg.eigvalsh(got).min() > -1e-10
    assert got.abs().max() > 1e-3
    assert operator.n_products == len(got) == operator.shape[0]


@pytest.mark.parametrize("keep_graph", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_hessian_equals_autograd(make, oracle, case, keep_graph):
    rows = make(case)
    got = matrix(oracle, HessianOperator(*rows, WEIGHTS, keep_graph=keep_graph))
    torch.testing.assert_close(got, oracle.hessian(*rows, WEIGHTS), rtol=1e-8, atol=1e-10)


def test_they_agree_for_a_linear_net_and_not_for_a_deep_one(make, oracle):
    linear, deep = make("linear"), make("cross_entropy")
    torch.testing.assert_close(
        matrix(oracle, GaussNewtonOperator(*linear)), matrix(oracle, HessianOperator(*linear))
    )
    gap = matrix(oracle, GaussNewtonOperator(*deep)) - matrix(oracle, HessianOperator(*deep))
    assert gap.abs().max() > 1e-3


@pytest.mark.parametrize("operator", [GaussNewtonOperator, HessianOperator])
@pytest.mark.parametrize("chunk_size", [1, 3, 7])
def test_chunks_do_not_matter(make, operator, chunk_size):
    rows = make("cnn")
    v = torch.linspace(-1, 2, rows[0].n_parameters, dtype=torch.float64)
    torch.testing.assert_close(
        operator(*rows, WEIGHTS, chunk_size=chunk_size).matvec(v),
        operator(*rows, WEIGHTS).matvec(v),
    )


@pytest.mark.parametrize("operator", [GaussNewtonOperator, HessianOperator])
def test_active_subset_is_the_block_of_the_whole(make, oracle, operator):
    whole = matrix(oracle, operator(*make("cross_entropy")))
    block = matrix(oracle, operator(*make("cross_entropy", active=("2.weight", "2.bias"))))
    torch.testing.assert_close(block, whole[-18:, -18:])


@pytest.mark.parametrize("operator", [GaussNewtonOperator, HessianOperator])
def test_graph_is_kept_only_when_asked_and_can_be_released(make, operator):
    rows = make("cross_entropy")
    kept, fresh = operator(*rows), operator(*rows, keep_graph=False)
    v = torch.ones(kept.shape[0], dtype=torch.float64)
    assert torch.equal(kept.matvec(v), fresh.matvec(v))
    assert kept._kept
    assert not fresh._kept
    kept.release()
    assert not kept._kept
    assert torch.equal(kept.matvec(v), fresh.matvec(v))


def test_root_is_exact_for_few_scores_and_a_lower_bound_for_many(make, monkeypatch):
    model, params, X, y = make("weighted")
    scores = model.forward(params, X)
    hessian = score_curvature.ScoreCurvature(model.loss, scores, y, WEIGHTS).dense()
    root = score_curvature.ScoreCurvature(model.loss, scores, y, WEIGHTS).root()
    torch.testing.assert_close(root @ root.mT, hessian)
    monkeypatch.setattr(score_curvature, "DENSE_SCORES", 2)
    monkeypatch.setattr(score_curvature, "ROOT_COLUMNS", 1)
    low = score_curvature.ScoreCurvature(model.loss, scores, y, WEIGHTS).root()
    assert low.shape == (7, 3, 1)
    assert torch.linalg.eigvalsh(hessian - low @ low.mT).min() > -1e-12
    assert low.abs().max() > 0.1


def softmax_curvature(scale, n_rows=40, n_scores=6):
    generator = torch.Generator().manual_seed(0)
    scores = scale * torch.randn(n_rows, n_scores, generator=generator, dtype=torch.float64)
    loss = nn.CrossEntropyLoss(reduction="none")
    return score_curvature.ScoreCurvature(loss, scores, torch.zeros(n_rows, dtype=torch.long))


@pytest.mark.parametrize("tol", [0.3, 1e-1, 1e-2, 1e-4, 0.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_narrow_root_is_as_exact_as_asked_and_a_lower_bound(scale, tol):
    curvature = softmax_curvature(scale)
    hessian, root = curvature.dense(), curvature.narrow_root(tol)
    rest = hessian - root @ root.mT
    assert rest.norm() <= (tol + 1e-13) * hessian.norm()
    assert torch.linalg.eigvalsh(rest).min() > -1e-14
    if root.shape[2] > 1 and tol > 0:  # one column less would not do
        fewer = root[:, :, :-1]
        assert (hessian - fewer @ fewer.mT).norm() > tol * hessian.norm()


def test_sure_scores_need_few_columns():
    widths = [softmax_curvature(scale).narrow_root(1e-2).shape[2] for scale in (0.1, 20.0)]
    assert widths[0] == 5  # the sixth direction moves all scores alike
    assert widths[1] <= 2


def test_narrow_root_of_rows_of_different_rank_keeps_out_rounding(monkeypatch):
    # the second row is used up after one column, while the first goes on
    used_up = torch.tensor([[1.0, 0, 0], [0, 1e-30, 1e-17], [0, 1e-17, 0]], dtype=torch.float64)
    hessians = torch.stack([torch.eye(3, dtype=torch.float64), used_up])
    curvature = softmax_curvature(1.0, n_rows=2, n_scores=3)
    monkeypatch.setattr(curvature, "dense", hessians.clone)
    monkeypatch.setattr(curvature, "root", None)  # what would be left to do
    root = curvature.narrow_root(1e-12)
    torch.testing.assert_close(root @ root.mT, hessians, rtol=1e-12, atol=1e-14)


def test_narrow_root_leaves_out_negative_curvature():
    curvature = score_curvature.ScoreCurvature(
        lambda s, y: s[:, 0] * s[:, 1] + s[:, 2] ** 2, torch.zeros(2, 3), torch.zeros(2)
    )
    root = curvature.narrow_root(1e-3)
    assert torch.equal(root, curvature.root())
    assert (root @ root.mT).diagonal(dim1=1, dim2=2).min() > 0.4  # (1, 1) / 2 is positive


@pytest.mark.parametrize("loss", [nn.NLLLoss(reduction="none"), None])
def test_losses_linear_in_the_scores_are_refused(make, loss):
    model, params, X, y = make("probabilities")
    loss = loss or (lambda s, y: s[:, 0])
    linear = RowwiseModel(model.module, loss, scores=model.scores)
    with pytest.raises(UnsupportedNetError, match="linear in the scores"):
        GaussNewtonOperator(linear, params, X, y).matvec(model.flatten(params))


@pytest.mark.parametrize("kind", [nn.HuberLoss, nn.SmoothL1Loss, nn.L1Loss])
def test_large_residuals_do_not_make_a_loss_linear(make, kind):
    model, params, X, _ = make("linear")
    y = torch.full((len(X), 3), 100.0, dtype=torch.float64)
    loss = kind(reduction="none")
    rows = RowwiseModel(model.module, lambda s, y: loss(s, y).mean(dim=1)), params, X, y
    if kind is nn.L1Loss:
        with pytest.raises(UnsupportedNetError, match="linear in the scores"):
            GaussNewtonOperator(*rows).matvec(model.flatten(params))
    else:
        assert not GaussNewtonOperator(*rows).matvec(model.flatten(params)).any()


def test_saturated_scores_are_not_mistaken_for_a_linear_loss(make):
    model, params, X, y = make("linear")
    params["bias"][0] += 1e5
    product = GaussNewtonOperator(model, params, X, y).matvec(model.flatten(params))
    assert not product.any()


def test_memory_of_a_kept_graph_is_bounded_by_the_chunks(make, monkeypatch):
    from sk_unlearn.functional import _chunks, _curvature

    rows = make("cross_entropy", n_rows=50)
    assert GaussNewtonOperator(*rows).keep_graph
    monkeypatch.setattr(_curvature, "KEEP_BYTES", 1000)
    monkeypatch.setattr(_chunks, "CHUNK_BYTES", 4000)
    operator = GaussNewtonOperator(*rows)
    assert not operator.keep_graph
    assert 1 <= operator.chunk_size < 50


@pytest.mark.parametrize("operator", [GaussNewtonOperator, HessianOperator])
def test_bad_rows_are_refused(make, operator):
    model, params, X, y = make("linear")
    with pytest.raises(ValueError, match="rows"):
        operator(model, params, X[:0], y[:0])
    with pytest.raises(ValueError, match="weights"):
        operator(model, params, X, y, torch.ones(3))


def test_an_unused_parameter_has_no_curvature(oracle):
    net = oracle.seeded(lambda: nn.Linear(2, 3)).double().eval()
    net.register_parameter("idle", nn.Parameter(torch.ones(2).double()))
    model = RowwiseModel(net, nn.CrossEntropyLoss(reduction="none"), active=("idle", "bias"))
    X, y = torch.ones(4, 2).double(), torch.zeros(4).long()
    for operator in (GaussNewtonOperator, HessianOperator):
        got = matrix(oracle, operator(model, model.parameters(), X, y))
        assert not got[:2].any()
        assert got[2:, 2:].any()


def test_an_operation_without_second_derivative_is_never_silently_dropped(make, oracle):
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return 3 * ctx.saved_tensors[0] ** 2 * gradient

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.last(Once.apply(self.first(x)))

    _, _, X, y = make("linear")
    net = oracle.seeded(Net).double().eval()
    loss = nn.CrossEntropyLoss(reduction="none")
    model = RowwiseModel(net, loss)
    for operator in (GaussNewtonOperator, HessianOperator):
        with pytest.raises(UnsupportedNetError, match="only once"):
            operator(model, model.parameters(), X, y).matvec(model.flatten(model.parameters()))
    head = RowwiseModel(net, loss, active=("last.weight", "last.bias"))
    got = matrix(oracle, GaussNewtonOperator(head, head.parameters(), X, y))
    torch.testing.assert_close(got, oracle.gauss_newton(head, head.parameters(), X, y))


def test_attention_works_inside_the_mathematical_kernel_and_the_error_says_so(oracle):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
            self.head = nn.Linear(4, 3)

        def forward(self, X):
            return self.head(self.layer(X).mean(dim=1))

    net = oracle.seeded(Encoder).double().eval()
    model = RowwiseModel(net, nn.CrossEntropyLoss(reduction="none"))
    X = torch.linspace(-1, 1, 24, dtype=torch.float64).view(2, 3, 4)
    y = torch.tensor([0, 2])
    params = model.parameters()
    v = torch.linspace(-1, 1, model.n_parameters, dtype=torch.float64)
    with pytest.raises(UnsupportedNetError, match="sdpa_kernel"):
        GaussNewtonOperator(model, params, X, y).matvec(v)
    with sdpa_kernel(SDPBackend.MATH):
        got = GaussNewtonOperator(model, params, X, y).matvec(v)
        expected = oracle.gauss_newton(model, params, X, y) @ v
    torch.testing.assert_close(got, expected)
