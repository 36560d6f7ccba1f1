import os
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, EarlyStopping

from sk_unlearn.nets import MLP
from sk_unlearn.nets._interrupt import StopSign
from sk_unlearn.utils._signals import raise_interrupts

X = np.ones((8, 2), np.float32)


def make(*callbacks):
    return NeuralNetRegressor(
        MLP,
        module__n_features=2,
        module__n_outputs=1,
        train_split=None,
        verbose=0,
        max_epochs=20,
        callbacks=list(callbacks),
    )


class PressCtrlC(Callback):
    def on_batch_end(self, net, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_real_interrupt_reaches_the_caller():
    before = signal.getsignal(signal.SIGINT)
    net = make(PressCtrlC())
    net.fit(X, X[:, :1])  # skorch alone swallows it
    with pytest.raises(KeyboardInterrupt), raise_interrupts(), raise_interrupts():
        net.fit(X, X[:, :1])
    assert signal.getsignal(signal.SIGINT) is before
    assert len(net.history) == 1


def test_early_stopping_still_stops():
    net = make(EarlyStopping("train_loss", patience=2, threshold=10.0))
    torch.manual_seed(0)
    with raise_interrupts():
        net.fit(X, X[:, :1])
    assert len(net.history) < 20


def test_errors_pass_and_the_handler_is_restored():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), raise_interrupts():
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_and_ignored_signals_are_left_alone():
    seen = []

    def work():
        with raise_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with raise_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [before]


STACKS_IN_THREADS = """
import os, signal, threading
import numpy as np
from sk_unlearn.nets import default_classifier, train_states

X, y = np.random.default_rng(0).normal(size=(64, 4)).astype("f"), np.arange(64) % 2
net = default_classifier(n_features=4, n_outputs=2, n_rows=64, device="cpu")
rows, seeds = [np.arange(64)] * 4, range(4)
train_states(net, X, y, rows, seeds, epochs=1, n_jobs=2)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    train_states(net, X, y, rows, seeds, epochs=10**6, n_jobs=2)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_stacks_in_threads_end_with_the_caller():
    """Threads that go on make the interpreter abort at its end."""
    done = subprocess.run(
        [sys.executable, "-c", STACKS_IN_THREADS], capture_output=True, text=True, timeout=3600
    )
    assert done.stdout == "interrupted\n"
    assert done.returncode == 0, done.stderr


def test_stop_sign():
    stop, begun, ended = StopSign(), threading.Event(), []

    def work():
        try:
            with stop.working():
                begun.set()
                while True:
                    stop.check()
        except KeyboardInterrupt:
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    copy = pickle.loads(pickle.dumps(stop))
    with pytest.raises(ZeroDivisionError), stop.shown_on_error():
        1 / 0  # noqa: B018
    thread.join(timeout=3600)
    assert ended == [True]
    copy.check()
    with pytest.raises(KeyboardInterrupt), stop.working():
        pass
