# SPDX-License-Identifier: Apache-2.0
"""Events: order, bounded history, and readers that cannot keep up."""

from __future__ import annotations

import asyncio
import threading

from pyrt.container.events import Events


def publish(events: Events, *names: str) -> None:
    for name in names:
        events.publish("container", "start", "c" * 64, name)


def test_readers_get_what_happens_from_now_on_or_all_that_is_kept() -> None:
    async def go() -> None:
        events = Events()
        publish(events, "a", "b")
        with events.subscribe() as new, events.subscribe(history=True) as old:
            publish(events, "c")
            assert [event.name for event in (await new.read())[1]] == ["c"]
            assert [event.name for event in (await old.read())[1]] == ["a", "b", "c"]
            assert new.pending() == (0, [])

    asyncio.run(go())


def test_attributes_are_text_and_none_is_left_out() -> None:
    events = Events()
    events.publish("container", "die", "c" * 64, "web", exitCode=3, reason=None)
    assert dict(events.since(0)[0].attributes) == {"exitCode": "3"}


def test_a_reader_that_was_overtaken_is_told_what_it_missed() -> None:
    async def go() -> None:
        events = Events(history=3)
        with events.subscribe() as reader:
            publish(events, *"abcdefgh")
            missed, found = await reader.read()
            assert missed == 5 and [event.name for event in found] == ["f", "g", "h"]
            publish(events, "i")
            missed, found = await reader.read()
            assert missed == 0 and [event.number for event in found] == [8]

    asyncio.run(go())


def test_a_waiting_reader_is_woken_from_another_thread() -> None:
    async def go() -> None:
        events = Events()
        with events.subscribe() as reader:
            thread = threading.Thread(target=publish, args=(events, "late"))
            asyncio.get_running_loop().call_later(0.02, thread.start)
            async with asyncio.timeout(10):
                _, found = await reader.read()
            thread.join()
            assert found[0].name == "late"

    asyncio.run(go())


def test_readers_that_left_or_whose_loop_is_closed_are_forgotten() -> None:
    events = Events()

    async def go(leave: bool) -> None:
        reader = events.subscribe()
        if leave:
            with reader:
                pass

    asyncio.run(go(True))
    asyncio.run(go(False))
    publish(events, "a")
    assert not events._readers


def test_many_publishers_lose_nothing_and_keep_an_order() -> None:
    events = Events(history=4000)
    threads = [threading.Thread(target=publish, args=(events, *map(str, range(1000)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.number for event in events.since(0)] == list(range(4000))
