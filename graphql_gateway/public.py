"""Lookups of what services tell everybody alike, gathered across all requests of this process.

Each of these methods is open to the gateway without a user and has no rule about who asks, so that one call
may answer many requests, whoever they are of. It is made for nobody: no user's token goes along. What depends
on the viewer has no place here; it is loaded for one request alone (`context.Loaders`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from satreel.chain.v1 import chain_pb2, chain_service_pb2
from satreel.content.v1 import content_pb2, content_service_pb2
from satreel.identity.v1 import identity_pb2, identity_service_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2
from satreel.market.v1 import market_pb2, market_service_pb2
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2

from graphql_gateway.services import Services
from mesh.batching import Batcher

Ids: TypeAlias = list[str]
WAITING_MAX = 100_000


class Public:
    """A batcher for each kind, by the ids that the kind's services take."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.users = Batcher(self._users, waiting_max=WAITING_MAX)
        self.memes = Batcher(self._memes, waiting_max=WAITING_MAX)
        self.titles = Batcher(self._titles, waiting_max=WAITING_MAX)
        self.quotes = Batcher(self._quotes, waiting_max=WAITING_MAX)
        self.listings = Batcher(self._listings, waiting_max=WAITING_MAX)
        self.offers = Batcher(self._offers, waiting_max=WAITING_MAX)
        self.inscriptions = Batcher(self._inscriptions, waiting_max=WAITING_MAX)
        self.records = Batcher(self._records, waiting_max=WAITING_MAX)
        self.rounds = Batcher(self._rounds, waiting_max=WAITING_MAX)
        self.transactions = Batcher(self._transactions, waiting_max=WAITING_MAX)

    async def _users(self, ids: Ids) -> Mapping[str, identity_pb2.User]:
        request = identity_service_pb2.BatchGetUsersRequest(user_ids=ids)
        return {user.id: user for user in (await self._services.identity.BatchGetUsers(request)).users}

    async def _memes(self, ids: Ids) -> Mapping[str, content_pb2.Meme]:
        request = content_service_pb2.BatchGetMemesRequest(meme_ids=ids)
        return {meme.id: meme for meme in (await self._services.content.BatchGetMemes(request)).memes}

    async def _titles(self, ids: Ids) -> Mapping[str, ledger_pb2.Title]:
        request = ledger_service_pb2.BatchGetTitlesRequest(meme_ids=ids)
        response = await self._services.ledger.BatchGetTitles(request)
        return {title.meme_id: title for title in response.titles}

    async def _quotes(self, ids: Ids) -> Mapping[str, market_service_pb2.Quote]:
        request = market_service_pb2.BatchGetQuotesRequest(meme_ids=ids)
        response = await self._services.market.BatchGetQuotes(request)
        return {quote.meme_id: quote for quote in response.quotes}

    async def _listings(self, ids: Ids) -> Mapping[str, market_pb2.Listing]:
        request = market_service_pb2.BatchGetListingsRequest(listing_ids=ids)
        response = await self._services.market.BatchGetListings(request)
        return {listing.id: listing for listing in response.listings}

    async def _offers(self, ids: Ids) -> Mapping[str, market_pb2.Offer]:
        request = market_service_pb2.BatchGetOffersRequest(offer_ids=ids)
        response = await self._services.market.BatchGetOffers(request)
        return {offer.id: offer for offer in response.offers}

    async def _inscriptions(self, ids: Ids) -> Mapping[str, chain_pb2.Inscription]:
        request = chain_service_pb2.BatchGetInscriptionsRequest(meme_ids=ids)
        response = await self._services.chain.BatchGetInscriptions(request)
        return {inscription.meme_id: inscription for inscription in response.inscriptions}

    async def _records(self, ids: Ids) -> Mapping[str, chain_pb2.ResultRecord]:
        request = chain_service_pb2.BatchGetResultRecordsRequest(round_ids=ids)
        response = await self._services.chain.BatchGetResultRecords(request)
        return {record.round_id: record for record in response.records}

    async def _rounds(self, ids: Ids) -> Mapping[str, rounds_pb2.Round]:
        request = rounds_service_pb2.BatchGetRoundsRequest(round_ids=ids)
        return {played.id: played for played in (await self._services.rounds.BatchGetRounds(request)).rounds}

    async def _transactions(self, ids: Ids) -> Mapping[str, chain_pb2.ChainTransaction]:
        request = chain_service_pb2.BatchGetTransactionsRequest(txids=ids)
        response = await self._services.chain.BatchGetTransactions(request)
        return {transaction.txid: transaction for transaction in response.transactions}
