"""ARC's addresses under /arc/v1: submissions in every form, statuses, policy, health."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.explorers.arc_callbacks import Callbacks
from sandbox.explorers.arc_life import Submissions
from sandbox.explorers.arc_requests import Options, transactions_in
from sandbox.explorers.arc_status import Problem, Submission, now
from sandbox.explorers.config import ExplorersSettings
from sandbox.explorers.faults import FAULT, Fault, FaultOrder, Faults
from sandbox.explorers.index import ChainIndex
from sandbox.explorers.wire import Submitted
from sandbox.rpc import NodeRpc, NodeUnreachable, RpcFailure

BASE = "/arc"
VERSION = "v1.0.0"
TXS_MAX = 1000
SCRIPT_BYTES_MAX, TX_BYTES_MAX, SIGOPS_MAX = 500_000, 10_000_000, 4_294_967_295
NO_TXID = "00" * 32

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Arc:
    """The handlers over one node."""

    def __init__(self, settings: ExplorersSettings, rpc: NodeRpc, index: ChainIndex, faults: Faults) -> None:
        self._settings, self._rpc, self._index = settings, rpc, index
        self.callbacks = Callbacks(settings, faults)
        self.submissions = Submissions(rpc, index, self.callbacks.tell)

    def add_routes(self, app: web.Application) -> None:
        """Everything but the health needs the bearer key, where one is set."""
        app.router.add_get(BASE + "/v1/health", self._health)
        app.router.add_get(BASE + "/v1/policy", self._for_clients(self._policy))
        app.router.add_post(BASE + "/v1/tx", self._for_clients(self._post_one))
        app.router.add_post(BASE + "/v1/txs", self._for_clients(self._post_many))
        app.router.add_get(BASE + "/v1/tx/{txid}", self._for_clients(self._get))

    def _for_clients(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            try:
                self._require_key(request)
                return await handler(request)
            except Problem as problem:
                return problem.answer()
            except RpcFailure as failure:
                return Problem(409, f"the node fails: {type(failure).__name__}").answer()

        return handle

    def _require_key(self, request: web.Request) -> None:
        key = self._settings.arc_key.get_secret_value()
        sent = request.headers.get("Authorization", "")
        if key and not hmac.compare_digest(sent.encode(), f"Bearer {key}".encode()):
            raise Problem(401)

    async def _health(self, _request: web.Request) -> web.Response:
        try:
            await self._rpc.integer("getblockcount")
        except RpcFailure as failure:
            reason = f"the node fails: {type(failure).__name__}"
            return web.json_response({"healthy": False, "version": VERSION, "reason": reason})
        return web.json_response({"healthy": True, "version": VERSION, "reason": ""})

    async def _policy(self, _request: web.Request) -> web.Response:
        policy = {
            "maxscriptsizepolicy": SCRIPT_BYTES_MAX,
            "maxtxsigopscountspolicy": SIGOPS_MAX,
            "maxtxsizepolicy": TX_BYTES_MAX,
            "miningFee": {"satoshis": self._settings.fee_sats_per_kb, "bytes": 1000},
            "standardFormatSupported": True,
        }
        return web.json_response({"policy": policy, "timestamp": now()})

    async def _get(self, request: web.Request) -> web.Response:
        found = self.submissions.get(request.match_info["txid"].lower())
        if found is None:
            raise Problem(404, "transaction not found")
        fault = request.get(FAULT)
        spoil = fault is not None and fault.kind is Fault.BAD_PROOF
        return web.json_response(found.shown(spoil_proof=spoil))

    async def _post_one(self, request: web.Request) -> web.Response:
        options = Options.of(request)
        given = await transactions_in(request, many=False)
        if len(given) != 1:
            raise Problem(400, "exactly one transaction is expected")
        return web.json_response(await self._submit(given[0], options, request.get(FAULT)))

    async def _post_many(self, request: web.Request) -> web.Response:
        options = Options.of(request)
        given = await transactions_in(request, many=True)
        if not 1 <= len(given) <= TXS_MAX:
            raise Problem(400, f"1 to {TXS_MAX} transactions are expected")
        results = []
        for tx in given:
            try:
                results.append(await self._submit(tx, options, request.get(FAULT)))
            except Problem as problem:
                results.append(problem.shown())
        return web.json_response(results)

    async def _submit(self, tx: Submitted, options: Options, fault: FaultOrder | None) -> dict[str, object]:
        kind = fault.kind if fault is not None else None
        if fault is not None and kind is Fault.PROBLEM:
            raise Problem(fault.status, "asked for", tx.txid)
        await self._index.sync()
        known = self.submissions.get(tx.txid)
        if known is None:
            self._validate(tx, options)
        submission = self.submissions.keep(tx)
        if options.callback is not None and options.callback not in submission.callbacks:
            submission.callbacks.append(options.callback)
        submission.swallowed = kind is Fault.SWALLOW
        if kind is Fault.DOUBLE_SPEND:
            submission.contested = True
            submission.competing = [hashlib.sha256(tx.raw).hexdigest()]
        with contextlib.suppress(NodeUnreachable):  # RECEIVED then; it is sent when the node is back
            await self.submissions.accept(submission)
        await self._wait(submission, options)
        return {**submission.shown(), "status": 200, "title": "OK"}

    async def _wait(self, submission: Submission, options: Options) -> None:
        """For the status that the client awaits, as long as it likes to; a REJECTED one ends it too."""
        if options.wait_for:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.submissions.reached(submission, options.wait_for), options.wait_s)

    def _validate(self, tx: Submitted, options: Options) -> None:
        """What ARC itself looks at before it sends. Raises Problem."""
        if not tx.spends or any(txid == NO_TXID for txid, _ in tx.spends):
            raise Problem(462, "arc error 462: no inputs, or a coinbase", tx.txid)
        if len(tx.raw) > TX_BYTES_MAX:
            raise Problem(463, "arc error 463: too large", tx.txid)
        spent_sats = tx.spent_sats if tx.spent_sats is not None else self._spent_sats(tx)
        fee_min = -(-len(tx.raw) * self._settings.fee_sats_per_kb // 1000)
        if spent_sats - tx.paid_sats < fee_min and not options.skip_fee:
            told = f"a fee of {spent_sats - tx.paid_sats} sat is too low, at least {fee_min} sat is expected"
            raise Problem(465, f"arc error 465: {told}", tx.txid)

    def _spent_sats(self, tx: Submitted) -> int:
        """What its inputs bring, where it does not say. Raises Problem for an unknown parent."""
        total = 0
        for txid, vout in tx.spends:
            parent = self._index.mined.txs.get(txid) or self._index.waiting.txs.get(txid)
            if parent is None:
                raise Problem(460, f"arc error 460: parent transaction {txid} not found", tx.txid)
            if vout >= len(parent.outputs):
                raise Problem(462, f"arc error 462: {txid} has no output {vout}", tx.txid)
            total += parent.outputs[vout].sats
        return total
