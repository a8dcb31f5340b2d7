"""Signals that end a run, and work that ends between two steps."""

from __future__ import annotations

import signal

import pytest

from bertcli import interrupts

pytestmark = pytest.mark.usefixtures("watched")

ends = pytest.mark.parametrize("number", interrupts.ENDING)


@ends
def test_a_signal_is_an_interrupt_that_is_remembered(number: signal.Signals) -> None:
    assert not interrupts.seen()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert interrupts.seen()


@ends
def test_a_deferred_signal_only_asks(number: signal.Signals) -> None:
    with interrupts.deferred() as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
    assert not interrupts.seen()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@ends
def test_only_a_second_ctrl_c_is_impatient(number: signal.Signals) -> None:
    with interrupts.deferred() as asked:
        signal.raise_signal(number)
        for calm in (signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(calm)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_somebody_ignores_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    interrupts.watch()
    with interrupts.deferred() as asked:
        signal.raise_signal(number)
        assert not asked()
    assert signal.getsignal(number) == signal.SIG_IGN
