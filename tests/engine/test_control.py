"""Asking a running stage to end."""

from __future__ import annotations

import threading

import pytest

from engine.control import Interrupted, RunControl


@pytest.mark.parametrize(
    ("requests", "granted"),
    [
        (["pause"], "pause"),
        (["stop"], "stop"),
        (["pause", "stop"], "stop"),
        (["stop", "pause"], "stop"),
        (["pause", "pause"], "pause"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_that_the_strongest_request_is_granted(requests: list, granted: str) -> None:
    control = RunControl()
    for request in requests:
        control.request(request)
    assert control.requested == granted
    for _ in range(2):  # it stands until it is cleared
        with pytest.raises(Interrupted) as caught:
            control.check()
        assert caught.value.request == granted
    control.clear()
    control.check()
    assert control.requested is None


def test_that_a_request_from_another_thread_is_seen() -> None:
    control = RunControl()
    thread = threading.Thread(target=control.request, args=("pause",))
    thread.start()
    thread.join()
    with pytest.raises(Interrupted, match="pause"):
        control.check()
