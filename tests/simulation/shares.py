"""A round recomputed by the slow model of the rules, from its sessions and the moves of titles."""

from __future__ import annotations

from collections.abc import Iterator

from services.ledger.domain.books import TITLE_PREFIX
from services.ledger.domain.rounds import RoundState
from services.ledger.domain.shares import Parameters
from services.ledger.domain.views import Tally
from services.ledger.rpc.read import parameters_of
from tests.ledger import model
from tests.simulation.actors.rounds import Played
from tests.simulation.world import World


def recompute(world: World, played: Played) -> Iterator[str]:
    """What differs from the acknowledged end; adds what the round brought everybody to what is expected."""
    play = _told(world, played)
    world.expected.net.update(model.balances(play))
    yield from _void(play, played) if played.void else _distributed(play, played)


def _void(play: model.Play, played: Played) -> Iterator[str]:
    burned = sum(viewing.sats(play.rates) for film in play.films for viewing in film.viewings)
    if played.view.state is not RoundState.VOIDED or played.view.refunded != burned:
        yield f"{burned} sat were burned in a voided round, {played.view.refunded} refunded"


def _distributed(play: model.Play, played: Played) -> Iterator[str]:
    view = played.view
    for found, film in zip(view.tallies, play.films, strict=True):
        if found != (wanted := _tally(film, play.rates)):
            yield f"round {played.round_id}: {found!r}, should be {wanted!r}"
    pool, ranked = model.pool_sats(play), model.ranked(play.films, play.rates)
    amounts = model.pool(pool, len(ranked), play.rates)
    wanted_payouts = [
        (rank, film.meme, film.creator, sats)
        for rank, (film, sats) in enumerate(zip(ranked, amounts, strict=False), 1)
    ]
    payouts = [(one.rank, one.meme_id, one.user_id, one.amount_sats) for one in view.payouts]
    if (view.pool, payouts) != (pool, wanted_payouts):
        yield f"a pool of {view.pool} paid {payouts}, should have been {pool} and {wanted_payouts}"
    if view.carried_out != pool - sum(amounts):
        yield f"{view.carried_out} sat were carried over of a pool of {pool} that paid {amounts}"


def _told(world: World, played: Played) -> model.Play:
    """The round as facts."""
    films = {
        entry.meme_id: model.Film(
            entry.meme_id, entry.creator_id, entry.quality_ppm, _owners(world, entry.meme_id)
        )
        for entry in played.entries
    }
    for session in world.checker.sessions.values():
        if session.round_id == played.round_id:
            viewing = model.Viewing(session.viewer_id, session.opened_ns, session.seconds)
            films[session.meme_id].viewings.append(viewing)
    outcome = model.Outcome.VOIDED if played.void else model.Outcome.PAID
    rates = parameters_of(played.rates)
    return model.Play(played.round_id, rates, list(films.values()), played.view.carried_in, outcome)


def _owners(world: World, meme_id: str) -> list[tuple[int, str]]:
    asset = TITLE_PREFIX + meme_id
    return [
        (view.at_ns, view.credit.removeprefix("user:"))
        for view in world.checker.postings
        if view.asset == asset
    ]


def _tally(film: model.Film, rates: Parameters) -> Tally:
    takings, scored = film.takings(rates), film.scored(rates)
    fee, creator, owners, pool = model.split(takings, rates)
    return Tally(
        meme_id=film.meme,
        paid_seconds=sum(takings.values()) // rates.second_price_sats,
        takings=sum(takings.values()),
        fee=fee,
        creator=creator,
        owner=sum(owners.values()),
        pool=pool,
        scored_seconds=sum(scored.values()),
        viewers=len(scored),
        first_view_ns=film.first_view_ns(rates),
        running_sessions=0,
    )
