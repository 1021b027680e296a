"""Log-in and what people change about themselves."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import strawberry
from satreel.identity.v1 import identity_service_pb2

from graphql_gateway.accounts.types import Challenge, ChallengePurpose, Tokens
from graphql_gateway.arguments import about
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Mutation, User
from graphql_gateway.proto import shown
from graphql_gateway.safety.access import SIGNED_IN
from graphql_gateway.safety.declared import LOG_IN

WalletAddress: TypeAlias = Annotated[
    str, about("The address whose owner signs, or the identity key of a BRC-100 wallet in hexadecimal.")
]
ChallengeId: TypeAlias = Annotated[strawberry.ID, about("The challenge that was signed.")]
Signature: TypeAlias = Annotated[
    str,
    about(
        "Over the challenge's text, base64: Bitcoin Signed Message, BIP-322 simple, or by an identity key "
        'createSignature with protocolID [2, "satreel wallet proof"], keyID "1", counterparty "anyone".'
    ),
]


@part_of(Mutation)
class AccountsMutation:
    """What people can do about themselves."""

    @strawberry.mutation(
        description="A text to sign with the wallet of an address; it is good once and for minutes.",
        directives=LOG_IN,
    )
    async def create_challenge(
        self,
        info: Info,
        address: WalletAddress,
        purpose: Annotated[ChallengePurpose, about("What it shall prove.")] = ChallengePurpose.LOG_IN,
    ) -> Challenge:
        """First step of a log-in."""
        request = identity_service_pb2.CreateChallengeRequest(
            address=address,
            purpose=int(purpose),  # type: ignore[arg-type] # the contract's numbers
            client_address=info.context.client_address,
        )
        return shown(Challenge, (await info.context.services.identity.CreateChallenge(request)).challenge)

    @strawberry.mutation(description="Logs in with a signed challenge.", directives=LOG_IN)
    async def log_in(
        self, info: Info, challenge_id: ChallengeId, address: WalletAddress, signature: Signature
    ) -> Tokens:
        """Second step of a log-in."""
        request = identity_service_pb2.LogInRequest(
            challenge_id=challenge_id,
            address=address,
            signature=signature,
            client_address=info.context.client_address,
            client=info.context.client,
        )
        return shown(Tokens, (await info.context.services.identity.LogIn(request)).session)

    @strawberry.mutation(
        description="The next pair of tokens. A refresh token works once; used again, it ends the log-in.",
        directives=LOG_IN,
    )
    async def refresh_tokens(
        self,
        info: Info,
        refresh_token: Annotated[str, about("Of the newest pair.")],
        request_id: Annotated[
            str | None,
            about(
                "16 to 64 random characters of your own, not stored: if no answer comes, the same request "
                "with the same id may be repeated within a minute."
            ),
        ] = None,
    ) -> Tokens:
        """Goes on with a session."""
        request = identity_service_pb2.RefreshSessionRequest(
            refresh_token=refresh_token, request_id=request_id or ""
        )
        return shown(Tokens, (await info.context.services.identity.RefreshSession(request)).session)

    @strawberry.mutation(
        description="Ends a log-in of the viewer, or all of them when no id is given. Gives their number.",
        directives=SIGNED_IN,
    )
    async def log_out(
        self,
        info: Info,
        session_id: Annotated[strawberry.ID | None, about("The log-in, as `logIns` lists it.")] = None,
    ) -> int:
        """May be repeated."""
        request = identity_service_pb2.RevokeSessionRequest(session_id=session_id or "")
        return (await info.context.services.identity.RevokeSession(request)).revoked

    @strawberry.mutation(
        description="Sets the viewer's name: 3 to 32 letters, digits, spaces, '.', '-' and '_'.",
        directives=SIGNED_IN,
    )
    async def set_display_name(
        self, info: Info, display_name: Annotated[str, about("The name that others see.")]
    ) -> User:
        """May be repeated."""
        request = identity_service_pb2.SetDisplayNameRequest(display_name=display_name)
        return shown(User, (await info.context.services.identity.SetDisplayName(request)).user)

    @strawberry.mutation(
        description="Sets where the viewer is paid out, proved by a challenge with purpose PAYOUT_ADDRESS "
        "signed by that address.",
        directives=SIGNED_IN,
    )
    async def set_payout_address(
        self,
        info: Info,
        challenge_id: ChallengeId,
        address: WalletAddress,
        signature: Signature,
        auto_payout: Annotated[bool, about("Send what a round earned there when it ends.")] = False,
    ) -> User:
        """A P2PKH address of the BSV network in use."""
        request = identity_service_pb2.SetPayoutAddressRequest(
            challenge_id=challenge_id, address=address, signature=signature, auto_payout=auto_payout
        )
        return shown(User, (await info.context.services.identity.SetPayoutAddress(request)).user)
