"""Commands on the chain."""

from __future__ import annotations

from typing import Annotated

import strawberry
from satreel.chain.v1 import chain_service_pb2

from graphql_gateway.arguments import NewId, about
from graphql_gateway.chain.types import WalletFreeze, Withdrawal
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Mutation
from graphql_gateway.ids import new_or_given
from graphql_gateway.proto import shown, shown_all
from graphql_gateway.safety.access import ADMINS, SIGNED_IN
from graphql_gateway.safety.declared import at_most
from graphql_gateway.scalars import Sats


@part_of(Mutation)
class ChainMutation:
    """What can be done on the chain."""

    @strawberry.mutation(
        description="Sends coins of the viewer to an address; the miner's fee comes on top.",
        directives=SIGNED_IN,
    )
    async def withdraw(
        self,
        info: Info,
        address: Annotated[str, about("Where the coins go: an address of the network in use.")],
        amount_sats: Annotated[Sats, about("What the address gets; the fee is on top.")],
        id: NewId = None,
    ) -> Withdrawal:
        """May be repeated with the same id."""
        request = chain_service_pb2.RequestWithdrawalRequest(
            withdrawal_id=new_or_given("Withdrawal", id), address=address, amount_sats=amount_sats
        )
        return shown(Withdrawal, (await info.context.services.chain.RequestWithdrawal(request)).withdrawal)

    @strawberry.mutation(
        description="The operator's address: coins sent there pay miners' fees and inscriptions. "
        "Administrators only.",
        directives=ADMINS,
    )
    async def float_address(self, info: Info) -> str:
        """Always the same address."""
        response = await info.context.services.chain.GetFloatAddress(
            chain_service_pb2.GetFloatAddressRequest()
        )
        return response.address

    @strawberry.mutation(
        description="Where coins from the cold address come back to the hot wallet; nobody is credited for "
        "them. Administrators only.",
        directives=ADMINS,
    )
    async def refill_address(self, info: Info) -> str:
        """Always the same address."""
        response = await info.context.services.chain.GetFloatAddress(
            chain_service_pb2.GetFloatAddressRequest()
        )
        return response.refill_address

    @strawberry.mutation(
        description="Lets signing go on after somebody looked into a spend of a coin of ours (`books { "
        "custody { freezes } }`); what still stops it. Administrators only.",
        directives=(*at_most(100), *ADMINS),
    )
    async def lift_wallet_freeze(
        self,
        info: Info,
        txid: Annotated[str, about("The transaction that spent the coin, hex as explorers show it.")],
    ) -> list[WalletFreeze]:
        """May be repeated."""
        request = chain_service_pb2.LiftFreezeRequest(txid=txid)
        return shown_all(WalletFreeze, (await info.context.services.chain.LiftFreeze(request)).freezes)
