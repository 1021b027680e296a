"""The pipeline when things go wrong outside: it waits, gives up or starts over, and does nothing twice."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import Failure, Unavailable
from mesh.ids import uuid7
from services.content.app.ports import RenderFailed, RenderPending
from services.content.app.rendering import (
    CheckOverran,
    FilmUnusable,
    KeyRefused,
    NotSent,
    OrderRefused,
    RendererAway,
    RendererBusy,
)
from services.content.domain.failures import MemeNotFound, StateConflict
from services.content.domain.memes import IN_PIPELINE, TRANSITIONS, MemeState
from services.content.domain.values import MemeId
from tests.content.world import BAD, World


async def test_a_good_picture_is_published_and_all_stages_are_told(world: World) -> None:
    meme = await world.upload()
    await world.run()
    published = await world.meme(meme.id)
    assert published.state is MemeState.PUBLISHED
    assert published.published_ns == published.last_stage.at_ns
    assert published.film is not None
    assert published.film.facts is not None
    assert [stage.state for _, stage in world.told.stages] == [
        stage.state for stage in published.version.stages
    ]
    assert world.outside.jobs == [meme.id]
    assert "job-1" not in repr(published)


@pytest.mark.parametrize(
    ("what", "failures"),
    [
        ("order", [NotSent(), NotSent(), RendererBusy(retry_after_s=30.0)]),
        ("order", [KeyRefused()] * 20),
        ("look", [RendererAway(), RendererBusy(retry_after_s=5.0), KeyRefused(), NotSent()]),
        ("download", [RendererAway(), NotSent()]),
        ("measure", [Unavailable(), CheckOverran()]),
        ("issue", [Unavailable()] * 30),
        ("inscribe", [Unavailable()] * 30),
    ],
)
async def test_what_passes_is_waited_for(world: World, what: str, failures: list[Failure]) -> None:
    world.outside.refusals[what] = list(failures)
    meme = await world.upload()
    await world.run()
    assert (await world.meme(meme.id)).state is MemeState.PUBLISHED
    assert len(world.outside.jobs) == 1
    assert (await world.meme(meme.id)).version.number == 1


async def test_a_failed_job_is_tried_again_as_a_new_version(world: World) -> None:
    world.outside.answers = [RenderFailed("no luck")]
    meme = await world.upload()
    await world.run()
    published = await world.meme(meme.id)
    assert published.state is MemeState.PUBLISHED
    assert [version.number for version in published.versions] == [1, 2]
    assert published.versions[0].film is None
    assert [stage.state for stage in published.versions[0].stages] == ["UPLOADED", "RENDERING"]
    assert len(world.outside.jobs) == 2


@pytest.mark.parametrize(
    ("what", "failures"),
    [
        ("order", [OrderRefused("bad template")] * 6),
        ("look", [OrderRefused("job not found")] * 6),
        ("download", [FilmUnusable("what came is no MP4 file")] * 2),
    ],
)
async def test_what_cannot_get_better_ends_in_a_rejection(
    world: World, what: str, failures: list[Failure]
) -> None:
    world.outside.refusals[what] = list(failures)
    meme = await world.upload()
    await world.run()
    rejected = await world.meme(meme.id)
    assert (rejected.state, rejected.reason) == (MemeState.REJECTED, "RENDER_FAILED")
    assert failures[0].message in rejected.reason_detail
    assert world.outside.titles == {}


async def test_a_job_that_never_ends_is_given_up(world: World) -> None:
    world.outside.answers = [RenderPending()] * 1_000
    meme = await world.upload()
    await world.run(rounds_max=1_000)
    rejected = await world.meme(meme.id)
    assert (rejected.state, rejected.reason) == (MemeState.REJECTED, "RENDER_FAILED")
    assert len(world.outside.jobs) == 2


async def test_orders_of_unknown_fate_are_bounded(world: World) -> None:
    world.outside.refusals["order"] = [RendererAway()] * 100
    meme = await world.upload()
    await world.run()
    rejected = await world.meme(meme.id)
    assert (rejected.state, rejected.reason) == (MemeState.REJECTED, "RENDER_FAILED")
    # At most three orders for each of two versions.
    assert 100 - len(world.outside.refusals["order"]) == 6


async def test_a_bad_film_is_rejected_with_what_was_measured(world: World) -> None:
    world.outside.facts = BAD
    meme = await world.upload()
    await world.run()
    rejected = await world.meme(meme.id)
    assert (rejected.state, rejected.reason) == (MemeState.REJECTED, "QUALITY_TOO_LOW")
    assert "motion smoothness 0.500" in rejected.reason_detail
    assert rejected.facts == BAD
    assert world.outside.titles == {}
    assert world.outside.inscribed == {}


async def test_two_workers_on_one_meme_do_its_step_once(world: World) -> None:
    meme = await world.upload()
    await asyncio.gather(*(world.pipeline.advance(meme.id) for _ in range(10)))
    assert world.outside.jobs == [meme.id]


async def test_redis_losing_every_job_loses_nothing(world: World) -> None:
    memes = [await world.upload(b"picture %d" % number) for number in range(3)]
    world.queue.jobs.clear()
    await world.clock.advance(60)
    assert await world.pipeline.sweep() == 3
    assert {meme_id for meme_id, _, _ in world.queue.jobs} == {meme.id for meme in memes}
    # What was queued again is queued once: the queue tells jobs apart by meme and generation.
    await world.pipeline.sweep()
    assert len(set(world.queue.jobs)) == 3


async def test_a_dead_process_lease_runs_out_or_is_void_at_the_next_start(world: World) -> None:
    meme = await world.upload()
    kept = await world.memes.get(meme.id)
    assert kept is not None
    leased = kept.meme.with_task(world.pipeline._leased(kept.meme, kept.meme.task))  # type: ignore[arg-type]
    await world.memes.put(leased, kept.generation)
    await world.pipeline.advance(meme.id)
    assert world.outside.jobs == []
    await world.restart()
    await world.pipeline.advance(meme.id)
    assert world.outside.jobs == [meme.id]


@pytest.mark.parametrize("steps", range(4))
async def test_an_administrator_stops_a_meme_at_any_step(world: World, steps: int) -> None:
    meme = await world.upload()
    for _ in range(steps):
        await world.clock.advance(2)
        await world.pipeline.advance(meme.id)
    rejected = await world.moderating.reject(meme.id, "not funny")
    assert (rejected.state, rejected.reason) == (MemeState.REJECTED, "BY_ADMINISTRATOR")
    await world.run()
    assert await world.meme(meme.id) == rejected.with_task(None)
    assert await world.moderating.reject(meme.id, "again") == rejected.with_task(None)
    assert world.outside.titles == {}


async def test_an_outcome_that_comes_after_a_rejection_is_dropped(world: World) -> None:
    meme = await world.upload()
    original = world.steps._renderer.order

    async def rejected_meanwhile(asked: object) -> str:
        await world.moderating.reject(meme.id, "not funny")
        return await original(asked)  # type: ignore[arg-type]

    world.steps._renderer.order = rejected_meanwhile  # type: ignore[assignment, method-assign]
    await world.pipeline.advance(meme.id)
    assert (await world.meme(meme.id)).state is MemeState.REJECTED


async def test_taking_down(world: World) -> None:
    meme = await world.upload()
    with pytest.raises(StateConflict):
        await world.moderating.take_down(meme.id, "too early")
    with pytest.raises(MemeNotFound):
        await world.moderating.take_down(MemeId(uuid7()), "nobody")
    await world.run()
    with pytest.raises(StateConflict):
        await world.moderating.reject(meme.id, "too late")
    down = await world.moderating.take_down(meme.id, "stolen")
    page = await world.reading.page(state=MemeState.PUBLISHED, creator_id=None, size=10, token="")
    assert page.memes == ()
    await world.run()
    assert await world.moderating.take_down(meme.id, "again") == down.with_task(None)


def test_states_only_move_forward_but_for_a_new_version() -> None:
    order = list(MemeState)
    back = {
        (before, after)
        for before in order
        for after in TRANSITIONS[before]
        if order.index(after) < order.index(before)
    }
    assert back == {(MemeState.RENDERING, MemeState.UPLOADED)}
    assert {state for state in order if MemeState.REJECTED in TRANSITIONS[state]} == IN_PIPELINE
