"""Files of saved states: whose they are, what kills leave, what may lie in their place."""

import copy
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_unlearn import ArcaneEnsembleClassifier, RetrainClassifier, SisaClassifier
from sk_unlearn.exact._draft_mark import DraftMark, remove_dead_drafts
from sk_unlearn.exceptions import CheckpointError, FullRetrainWarning
from sk_unlearn.nets import default_density
from sk_unlearn.pipeline import ForgetPipeline
from sk_unlearn.utils._checks._isolation import goes_on
from sk_unlearn.utils._digest import state_digest
from sk_unlearn.utils._signals import is_protected

RNG = np.random.RandomState(0)
Y = RNG.permutation(np.arange(60) % 3)
X = (RNG.normal(size=(60, 4)) + 2 * Y[:, None]).astype(np.float32)

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{FullRetrainWarning.__module__}.FullRetrainWarning"
)


def sisa(folder, **params):
    params = {"n_shards": 2, "n_slices": 3, "max_epochs": 3, "random_state": 0} | params
    return SisaClassifier(GaussianNB(), checkpoints=folder, **params)


def piped(folder):
    return ForgetPipeline([("scale", StandardScaler()), ("last", sisa(folder))], random_state=0)


def arcane(folder):
    net = default_density(n_features=4).set_params(max_epochs=1)
    return ArcaneEnsembleClassifier(net, n_blocks=3, checkpoints=folder, random_state=0)


MAKERS = {"sisa": sisa, "arcane": arcane, "pipeline": piped}


def held(clf):
    """Files that an estimator needs."""
    ensemble = clf[-1] if hasattr(clf, "steps") else clf
    return {item.name for chain in ensemble._chains_.values() for item in chain.saved}


def found(folder):
    """Everything below a folder but folders that hold something."""
    return {
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if not path.is_dir() or path.is_symlink() or not any(path.iterdir())
    }


def first_row(clf):
    """A row whose removal uses no saved state and saves new ones."""
    ensemble = clf[-1] if hasattr(clf, "steps") else clf
    return int(np.flatnonzero(ensemble._placement_.block == 0)[0])


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def test_nothing_but_what_is_needed_lies_in_the_folder(make, tmp_path):
    clf = make(tmp_path).fit(X, Y)
    assert found(tmp_path) == held(clf)
    for row in (first_row(clf), 7, 8):
        clf.forget(row)
        assert found(tmp_path) == held(clf)
    clf.fit(X, Y, forget=np.arange(60) < 9)
    assert found(tmp_path) == held(clf)
    with pytest.raises(ValueError, match="on_return"):
        clf.fit(X, Y, on_return="?")
    assert found(tmp_path) == held(clf)
    clf.set_params(**{"last__checkpoints" if hasattr(clf, "steps") else "checkpoints": None})
    assert not found(tmp_path) & held(clf.fit(X, Y))
    assert found(tmp_path) == set()


# ------------------------------------------------------------------------- kills, interrupts

KILLS = textwrap.dedent(
    """
    import os, pickle, shutil, signal, sys, warnings
    from pathlib import Path
    import numpy as np
    sys.path.insert(0, sys.argv[1])
    import test_checkpoint_files as here
    from sk_unlearn.utils._digest import state_digest

    warnings.simplefilter("ignore")
    name, place, n_kills = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    folder, spare, rng = place / "states", place / "spare", np.random.RandomState(0)

    def counted(call, at=None):
        n = 0
        def count(frame, event, argument):
            nonlocal n
            n += event == "call"
            if n == at:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(None)
        return n

    clf = here.MAKERS[name](folder).fit(here.X, here.Y)
    row, saved, before = here.first_row(clf), pickle.dumps(clf), here.held(clf)
    shutil.copytree(folder, spare)
    for _ in range(3):
        pickle.loads(saved).forget(row)
        shutil.rmtree(folder)
        shutil.copytree(spare, folder)
    clf.forget(row)
    expected, kinds = state_digest(clf._exact_state()), set()
    shutil.rmtree(folder)
    shutil.copytree(spare, folder)
    child = os.fork()
    if child == 0:  # counted where it will be killed, after what is imported late
        n_calls = counted(lambda: pickle.loads(saved).forget(row))
        (place / "n_calls").write_text(str(n_calls))
        os._exit(0)
    os.waitpid(child, 0)
    n_calls = int((place / "n_calls").read_text())
    late, finished = n_calls - 5 * np.arange(1, n_kills // 2), 0
    for at in sorted({*rng.randint(1, n_calls, n_kills - len(late)), *late}):
        shutil.rmtree(folder)
        shutil.copytree(spare, folder)
        child = os.fork()
        if child == 0:
            counted(lambda: pickle.loads(saved).forget(row), at=at)
            os._exit(1)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):  # a child may need a few calls less
            finished += 1
            continue
        after = here.found(folder)
        kinds |= {"left" if after - before else "clean", "lost" if before - after else "whole"}
        back = pickle.loads(saved)
        if at % 2:
            back.clean_checkpoints()
        assert here.found(folder) <= before, (at, n_calls, here.found(folder) - before)
        assert state_digest(back.forget(row)._exact_state()) == expected, at
        assert here.found(folder) == here.held(back), at
    assert finished <= n_kills // 4, finished
    print(*sorted(kinds))
    """
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["sisa", "pipeline"])
def test_a_killed_request_leaves_nothing_and_the_pickle_works(name, tmp_path):
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", KILLS, here, name, str(tmp_path), "16"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # some of them did leave files, and some were late enough to have removed old ones
    assert {"left", "lost"} <= set(done.stdout.split())


class Injected(BaseException):
    """Like Ctrl-C: no handler of ``Exception`` sees it."""


def interrupted(call, at):
    n_calls = 0

    def count(frame, event, argument):
        nonlocal n_calls
        n_calls += event == "call"
        # signals wait in protected functions; raised where a generator goes on, it would skip the
        # generator's finally blocks, as no signal does: the next one stands for these
        protected = is_protected(frame) or goes_on(frame)
        if at and n_calls >= at and event == "call" and not protected:
            sys.setprofile(None)
            raise Injected

    sys.setprofile(count)
    try:
        call()
    except Injected:
        pass
    finally:
        sys.setprofile(None)
    return n_calls


@pytest.mark.parametrize("way", ["forget_cost", "clean_checkpoints", "forget", "fit", "pickle"])
def test_an_interrupted_request_leaves_nothing_at_the_next_call(make, tmp_path, way):
    clf = make(tmp_path).fit(X, Y)
    row, saved = first_row(clf), pickle.dumps(clf)
    shutil.copytree(tmp_path, spare := tmp_path.parent / f"spare-{tmp_path.name}")
    n_calls = interrupted(lambda: pickle.loads(saved).forget(row), at=None)
    rng = np.random.RandomState(len(way))
    for at in {*rng.randint(1, n_calls, 4), *rng.randint(n_calls * 9 // 10, n_calls, 4)}:
        shutil.rmtree(tmp_path)
        shutil.copytree(spare, tmp_path)
        clf = pickle.loads(saved)
        interrupted(lambda clf=clf: clf.forget(row), at)
        if way == "forget":
            clf.forget([])
        elif way == "fit":
            clf.fit(X, Y)
        elif way == "forget_cost":
            clf.forget_cost(5)
        elif way == "pickle":
            clf = pickle.loads(pickle.dumps(clf))
        else:
            clf.clean_checkpoints()
        assert found(tmp_path) == held(clf), (at, n_calls)


@pytest.mark.parametrize("name", ["sisa", "pipeline"])
def test_an_interrupted_fit_leaves_nothing(name, tmp_path):
    make, mask = MAKERS[name], np.arange(60) < 5
    n_calls = interrupted(lambda: make(tmp_path).fit(X, Y, forget=mask), at=None)
    shutil.rmtree(tmp_path)
    for at in np.linspace(1, n_calls - 1, 12).astype(int):
        clf = make(tmp_path)
        interrupted(lambda clf=clf: clf.fit(X, Y, forget=mask), at)
        needed = held(clf) if hasattr(clf, "receipts_") else set()
        make(tmp_path).clean_checkpoints()
        assert found(tmp_path) == needed, at
        del clf
        shutil.rmtree(tmp_path, ignore_errors=True)


# -------------------------------------------------------------------------------- ownership


def test_sweeping_takes_nothing_from_others(make, tmp_path):
    one, two = make(tmp_path).fit(X, Y), make(tmp_path).fit(X, Y)
    mine, theirs = held(one), held(two)
    shallow, deep = copy.copy(one), copy.deepcopy(one)
    for clf in (one, two, shallow, deep, make(tmp_path)):
        assert clf.clean_checkpoints() == []
    two.forget(first_row(two))
    assert mine <= found(tmp_path)
    two.fit(X[:40], Y[:40])
    assert mine <= found(tmp_path)
    assert not theirs & found(tmp_path)
    # what a copy makes is its own: the original and other copies leave it alone
    deep.forget(3)
    one.clean_checkpoints()
    one.forget_cost(1)
    one.forget(4)
    pickle.loads(pickle.dumps(one)).clean_checkpoints()
    assert held(deep) - mine <= found(tmp_path)
    assert held(one) - mine <= found(tmp_path)
    one.fit(X, Y)
    assert held(deep) - mine <= found(tmp_path)


def test_a_relative_folder_is_that_of_fit(make, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    clf = make("states").fit(X, Y)
    monkeypatch.chdir(tmp_path / "elsewhere")
    clf.forget(first_row(clf))
    assert found(tmp_path / "states") == held(clf)
    assert not found(tmp_path / "elsewhere")


def test_a_draft_of_a_living_process_stays(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from sk_unlearn.exact._store import FolderStore
        store = FolderStore(sys.argv[1])
        store.begin()
        store.save("k", {"a": 1})
        print("ready", flush=True)
        sys.stdin.read()
        """
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "ready\n"
    clf = sisa(tmp_path).fit(X, Y)
    before = found(tmp_path)
    assert len(before - held(clf)) == 2  # its file and its mark
    clf.clean_checkpoints()
    assert found(tmp_path) == before
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()
    assert [Path(path).name for path in clf.clean_checkpoints()] != []
    assert found(tmp_path) == held(clf)


def test_marks_live_as_long_as_somebody_can_publish(tmp_path):
    folder = tmp_path / "sk_unlearn-a"
    mark = DraftMark(str(folder))
    folder.mkdir()
    (folder / "file").write_text("")
    (tmp_path / "sk_unlearn-b.draft").mkdir()
    os.mkfifo(tmp_path / "sk_unlearn-c.draft")
    (tmp_path / "other.draft").write_text("")
    assert remove_dead_drafts(str(tmp_path), "sk_unlearn-") == []
    assert (folder / "file").exists()
    del mark
    assert remove_dead_drafts(str(tmp_path), "sk_unlearn-") == [str(folder)]
    assert not folder.exists()
    assert (tmp_path / "other.draft").exists()
    assert remove_dead_drafts(str(tmp_path / "none"), "sk_unlearn-") == []


def test_states_in_memory_leave_nothing_to_clean():
    assert sisa(None).clean_checkpoints() == []
    assert sisa(None).fit(X, Y).clean_checkpoints() == []
    pipe = ForgetPipeline([("last", RetrainClassifier(GaussianNB()))])
    assert pipe.clean_checkpoints() == []


def test_remote_states_are_those_of_the_retained_rows():
    import fsspec

    url = "memory://states-of-a-test"
    fs = fsspec.filesystem("memory")
    clf = sisa(url).fit(X, Y)
    clf.forget(first_row(clf)).forget(9)
    assert {path.rpartition("states-of-a-test/")[2] for path in fs.find(url)} == held(clf)
    whole = sisa(None).fit(X, Y)
    whole.forget(first_row(whole)).forget(9)
    assert state_digest(whole.estimators_) == state_digest(clf.estimators_)
    clf.set_params(checkpoints=None).fit(X, Y)
    assert fs.find(url) == []


# --------------------------------------------------------------- what else may be in the place


def _replace(path, kind, elsewhere):
    path.unlink()
    if kind == "directory":
        path.mkdir()
        (path / "somebody's").write_text("x")
    elif kind == "dangling link":
        path.symlink_to(elsewhere / "nowhere")
    elif kind == "link to a directory":
        path.symlink_to(elsewhere)
    elif kind == "link in a circle":
        path.symlink_to(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)


KINDS = ["directory", "dangling link", "link to a directory", "link in a circle", "pipe", "empty"]


@pytest.mark.parametrize("kind", [*KINDS, "device", "large"])
def test_whatever_is_in_place_of_a_state_counts_as_lost(make, tmp_path, kind):
    folder, elsewhere = tmp_path / "states", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    whole, hurt = make(None).fit(X, Y), make(folder).fit(X, Y)
    for name in held(hurt):
        _replace(folder / name, kind, elsewhere)
    late = 59 - int(
        np.argmax((hurt[-1] if hasattr(hurt, "steps") else hurt)._placement_.block[::-1])
    )
    for row in (late, first_row(hurt), 20):
        whole.forget(row)
        hurt.forget(row)
        assert state_digest(hurt._model_state()) == state_digest(whole._model_state())
    pickle.loads(pickle.dumps(hurt)).clean_checkpoints()
    assert (elsewhere / "kept").exists()
    hurt.fit(X, Y)
    left = found(folder) - held(hurt)
    assert kind == "directory" or not left
    assert all(name.endswith("somebody's") for name in left)


@pytest.mark.parametrize("kind", ["file", "dangling link", "pipe", "gone"])
@pytest.mark.parametrize("level", ["folder of a draft", "checkpoints"])
def test_whatever_is_in_place_of_the_folder_is_lost_or_named(make, tmp_path, kind, level):
    folder = tmp_path / "states"
    whole, hurt = make(None).fit(X, Y), make(folder).fit(X, Y)
    place = folder if level == "checkpoints" else next(folder.iterdir())
    lost = held(hurt) | {place.name}
    shutil.rmtree(place)
    if kind == "file":
        place.write_text("x")
    elif kind == "dangling link":
        place.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(place)
    before, row = state_digest(hurt._model_state()), first_row(hurt)
    with suppress(CheckpointError):  # of a pipeline: it looks at what its last step would do
        hurt.forget_cost(row)
    hurt.clean_checkpoints()
    if level == "checkpoints" and kind != "gone":
        with pytest.raises(CheckpointError, match=r"checkpoints must be a folder.*states'"):
            hurt.forget(row)
        assert state_digest(hurt._model_state()) == before
        assert len(hurt.receipts_) == 0
        place.unlink()
    whole.forget(row)
    hurt.forget(row)
    assert state_digest(hurt._model_state()) == state_digest(whole._model_state())
    assert found(folder) - lost == held(hurt) - lost


def test_a_file_system_that_refuses_is_named_and_asked_again(make, tmp_path, monkeypatch):
    clf = make(tmp_path).fit(X, Y)
    old, row, unlink = held(clf), first_row(clf), os.unlink

    def refuse(path, *args, **kwargs):
        if str(path).endswith(".safetensors"):
            raise PermissionError(13, "planted", str(path))
        return unlink(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.warns(UserWarning, match="could not remove checkpoints.*planted"):
            clf.forget(row)
        dropped = old - held(clf)
        assert dropped
        assert dropped <= found(tmp_path)
        with pytest.raises(CheckpointError, match="planted"):
            clf.clean_checkpoints()
        copied = pickle.loads(pickle.dumps(clf))
    assert found(tmp_path) == old | held(clf)
    copied = pickle.loads(pickle.dumps(copied))  # loading tries again
    assert found(tmp_path) == held(copied)


def test_a_state_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    from fsspec.implementations.local import LocalFileSystem

    clf = sisa(tmp_path).fit(X, Y)
    before = found(tmp_path), state_digest(clf._exact_state())

    def full(self, path, value, **kwargs):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(LocalFileSystem, "pipe_file", full)
    with pytest.raises(CheckpointError, match=r"could not be written.*No space left"):
        clf.forget(first_row(clf))
    assert (found(tmp_path), state_digest(clf._exact_state())) == before


def test_sgd_goes_on_from_files_too(tmp_path):
    model = SGDClassifier(loss="log_loss", random_state=0)
    params = {"n_shards": 2, "n_slices": 3, "max_epochs": 3, "random_state": 0}
    disk = SisaClassifier(model, checkpoints=tmp_path, **params).fit(X, Y).forget([3, 30])
    memory = SisaClassifier(model, **params).fit(X, Y).forget([3, 30])
    assert state_digest(disk._exact_state()["_store_"]) == state_digest(
        memory._exact_state()["_store_"]
    )


def test_files_of_models_that_are_cloned_are_refused(tmp_path):
    match = r"checkpoints of SisaClassifier.*Set them to None"
    inner = sisa(tmp_path)
    with pytest.raises(ValueError, match=match):
        RetrainClassifier(make_pipeline(StandardScaler(), inner)).fit(X, Y)
    with pytest.raises(ValueError, match=match):
        RetrainClassifier(inner).fit(X, Y)
    stacked = SelectFromModel(inner)
    with pytest.raises(ValueError, match=match):
        ForgetPipeline([("a", stacked), ("b", RetrainClassifier(GaussianNB()))]).fit(X, Y)
    assert not tmp_path.exists() or found(tmp_path) == set()
    RetrainClassifier(sisa(None), random_state=0).fit(X, Y).forget([1])
