"""A service that hangs costs a tick a few seconds, once."""

import socket
import time
from dataclasses import replace
from functools import lru_cache
from threading import Event

import pytest

from cellassets.reconcile import live as live_module
from cellassets.reconcile.patience import PatientCall
from cellassets.reconcile.standing import plate_agenda
from cellassets.reconcile.work import embedding_agenda
from cellassets.registry import opening
from cellassets.stages.catalogue import stages


def test_an_answer_in_time_is_returned_and_the_next_call_asks_again():
    numbers = iter(range(9))
    call = PatientCall(lambda: next(numbers), 5.0)
    assert (call(), call()) == (0, 1)


def test_an_error_is_raised_as_it_is():
    def refuse():
        raise ValueError("no")

    call = PatientCall(refuse, 5.0)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            call()


def test_a_call_that_hangs_is_waited_for_once_and_its_late_answer_is_taken():
    answer, asked = Event(), []

    def hang():
        asked.append(1)
        answer.wait(30)
        return "late"

    call = PatientCall(hang, 0.2)
    started = time.monotonic()
    for _ in range(5):
        with pytest.raises(TimeoutError, match="no answer"):
            call()
    assert time.monotonic() - started < 1.0
    answer.set()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert call() == "late"
            break
        except TimeoutError:
            time.sleep(0.02)
    assert asked == [1]


def test_a_registry_that_takes_connections_and_never_answers_is_named_and_the_rest_goes_on(world, monkeypatch):
    monkeypatch.setattr(live_module, "REGISTRY_LIMIT_S", 1.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")  # so that the thread ends soon after the test
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    world.land("HUVEC-1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = f"http://127.0.0.1:{silent.getsockname()[1]}"
        world.deployment = replace(world.deployment, tracking_uri=deaf)
        snapshot = live_module.LiveSnapshot(world.deployment, stages())
        started = time.monotonic()
        for _ in range(3):
            world.refresh(snapshot)
        assert time.monotonic() - started < 5
        assert [item.keys for item in plate_agenda(snapshot).work] == [{"experiment": "HUVEC-1"}]
        (waiting,) = embedding_agenda(snapshot).waiting
        assert "does not answer within 1 s" in waiting.reason


def test_the_import_of_mlflow_does_not_count_as_the_time_of_the_server(world, monkeypatch):
    opened = opening._open_client

    def slowly(*place):
        time.sleep(1.5)  # as on a busy machine, in a process that has just started
        return opened(*place)

    monkeypatch.setattr(opening, "_open_client", lru_cache(slowly))
    monkeypatch.setattr(live_module, "REGISTRY_LIMIT_S", 1.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    world.deployment = replace(world.deployment, tracking_uri=url)
    snapshot = live_module.LiveSnapshot(world.deployment, stages())
    world.refresh(snapshot)
    (waiting,) = embedding_agenda(snapshot).waiting
    assert "refused" in waiting.reason, "the server's own answer, and not that it took too long"
