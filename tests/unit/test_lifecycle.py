"""The service's life, as all its processes see it."""

import os

from service.lifecycle import Lifecycle


def in_a_child(lifecycle: Lifecycle) -> tuple[bool, bool]:
    """What a forked process sees of it."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(theirs, bytes([lifecycle.draining, lifecycle.ending]))
        os._exit(0)
    os.waitpid(pid, 0)
    draining, ending = os.read(ours, 2)
    os.close(ours)
    os.close(theirs)
    return bool(draining), bool(ending)


def test_every_process_sees_each_step() -> None:
    lifecycle = Lifecycle()
    assert in_a_child(lifecycle) == (False, False)
    lifecycle.drain()
    assert (lifecycle.draining, lifecycle.ending) == (True, False)
    assert in_a_child(lifecycle) == (True, False)
    lifecycle.end()
    assert in_a_child(lifecycle) == (True, True)


def test_a_process_that_was_forked_before_sees_it_too() -> None:
    lifecycle = Lifecycle()
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(to_child, 1)
        os.write(from_child, bytes([lifecycle.draining]))
        os._exit(0)
    lifecycle.drain()
    os.write(from_parent, b"!")
    assert os.read(to_parent, 1) == b"\x01"
    os.waitpid(pid, 0)
    for end in (to_child, from_parent, to_parent, from_child):
        os.close(end)


def test_to_end_without_a_drain_is_to_drain_too() -> None:
    lifecycle = Lifecycle()
    lifecycle.end()
    assert (lifecycle.draining, lifecycle.ending) == (True, True)
