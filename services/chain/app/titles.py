"""Titles on chain: inscribed once, moved after each sale. The float pays for both."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice

from mesh import logs, telemetry
from mesh.clock import Clock
from mesh.errors import IdReused
from mesh.records import Exists
from services.chain.app.accounts import Accounts
from services.chain.app.books import Books
from services.chain.app.floats import Float
from services.chain.app.orders import Order
from services.chain.app.pauses import Pauses
from services.chain.app.ports import News, TitleView
from services.chain.app.records import Kept
from services.chain.app.wallet import Wallet
from services.chain.domain.bitcom import APP
from services.chain.domain.entities import NO_PLAN, Move, Title, TitleBody, Tx
from services.chain.domain.failures import DataTooLarge, InscriptionNotFound
from services.chain.domain.inscriptions import inscription
from services.chain.domain.keys import KeyRing, KeyUse
from services.chain.domain.scripts import SCRIPT_BYTES_MAX
from services.chain.domain.spending import Spendable
from services.chain.domain.states import JOB, JobState, TxState, check
from services.chain.domain.values import MemeId, Outpoint, PlanId, Purpose, Sats, UserId
from services.chain.domain.wire import Output, parse_transaction

log = logs.logger(__name__)


class Titles:
    """Ordinals of memes, held for their owners."""

    def __init__(
        self,
        *,
        books: Books,
        wallet: Wallet,
        float_: Float,
        accounts: Accounts,
        keys: KeyRing,
        news: News,
        clock: Clock,
    ) -> None:
        self._books = books
        self._records = books.records
        self._wallet = wallet
        self._float = float_
        self._accounts = accounts
        self._keys = keys
        self._news = news
        self._clock = clock
        self._inscriptions: dict[MemeId, Kept[Title]] = {}
        self._moves: dict[str, Kept[Move]] = {}
        # Of those that were refused, by meme or sale: what no miner takes shall not be made without end.
        self._pauses = Pauses(clock)

    async def recover(self) -> None:
        """Goes on with what was under way."""
        for state in (JobState.QUEUED, JobState.ASSIGNED):
            for title in await self._records.titles.where("state", state):
                if await self._wallet.settled(title.value.plan) is None:
                    self._inscriptions[title.value.meme_id] = await self._requeue_title(title)
            for move in await self._records.moves.where("state", state):
                if await self._wallet.settled(move.value.plan) is None:
                    self._moves[move.value.sale_id] = await self._requeue_move(move)
        for tx in self._books.live():
            if tx.purpose in (Purpose.INSCRIPTION, Purpose.TITLE_TRANSFER):
                await self.signed(tx)

    async def inscribe(self, body: TitleBody) -> TitleView:
        """Queues an inscription. Raises DataTooLarge, IdReused."""
        telemetry.note_cause(body.meme_id)
        if len(self._script(body, b"\0" * 20)) > SCRIPT_BYTES_MAX:
            raise DataTooLarge(bytes=len(body.poster), maximum=SCRIPT_BYTES_MAX)
        path = await self._accounts.path(body.creator_id, KeyUse.TITLE)
        kept_body = await self._records.title_bodies.ensure(body)
        if kept_body.value != body:
            raise IdReused(meme_id=body.meme_id)
        title = Title(
            body.meme_id,
            body.creator_id,
            JobState.QUEUED,
            self._clock.now_ns(),
            address=self._keys.address(path),
        )
        try:
            kept = await self._records.titles.create(title)
        except Exists:
            return await self.get(body.meme_id)
        self._inscriptions[body.meme_id] = kept
        self._news.changed(TitleView(title, None, 0))
        return TitleView(title, None, 0)

    async def transfer(self, sale_id: str, meme_id: MemeId, new_owner_id: UserId) -> TitleView:
        """Queues a move. Raises InscriptionNotFound, IdReused."""
        telemetry.note_cause(sale_id)
        shown = await self.get(meme_id)
        path = await self._accounts.path(new_owner_id, KeyUse.TITLE)
        move = Move(sale_id, meme_id, new_owner_id, JobState.QUEUED, self._behind_others_ns(meme_id))
        try:
            kept = self._moves[sale_id] = await self._records.moves.create(move)
        except Exists:
            known = await self._records.moves.get(sale_id)
            if known is None or (known.value.meme_id, known.value.new_owner_id) != (meme_id, new_owner_id):
                raise IdReused(sale_id=sale_id) from None
            kept = known
        if kept.value.state is not JobState.SENT:
            target = replace(shown.title, owner_id=new_owner_id, address=self._keys.address(path))
            return TitleView(target, None, 0)
        return shown

    def _behind_others_ns(self, meme_id: MemeId) -> int:
        """Now, and behind the moves of the title that wait, whatever became of the clock."""
        waiting = (kept.value for kept in self._moves.values() if kept.value.meme_id == meme_id)
        return max(self._clock.now_ns(), 1 + max((move.requested_ns for move in waiting), default=0))

    @property
    def queued(self) -> int:
        """How much is to be done."""
        return len(self._inscriptions) + len(self._moves)

    async def next(self) -> Tx | None:
        """Makes the next transaction; None when nothing can be done now. Raises WalletEmpty."""
        may_be_tried = (kept for kept in self._inscriptions.values() if self._pauses.over(kept.value.meme_id))
        for kept in list(islice(may_be_tried, 1)):
            # The float may be too low for it, and still do for a move.
            if (tx := await self._inscribe(kept)) is not None:
                return tx
        first: dict[MemeId, Kept[Move]] = {}
        for move in sorted(self._moves.values(), key=lambda kept: kept.value.requested_ns):
            first.setdefault(move.value.meme_id, move)
        for move in first.values():  # no later one before an earlier one of the same title
            tx = await self._move(move) if self._pauses.over(move.value.sale_id) else None
            if tx is not None:
                return tx
        return None

    async def _inscribe(self, kept: Kept[Title]) -> Tx | None:
        body = await self._records.title_bodies.get(kept.value.meme_id)
        if body is None:
            raise InscriptionNotFound
        path = await self._accounts.path(body.value.creator_id, KeyUse.TITLE)
        output = Output(Sats(1), self._script(body.value, self._keys.key(path).key_hash))
        order = Order(
            Purpose.INSCRIPTION,
            jobs=(kept.value.meme_id,),
            outputs=(output,),
            title=path,
            assign=partial(self._assign_title, kept),
        )
        return await self._float.make(order)

    async def _move(self, kept: Kept[Move]) -> Tx | None:
        coin = await self._title_coin(kept.value.meme_id)
        if coin is None:
            return None
        path = await self._accounts.path(kept.value.new_owner_id, KeyUse.TITLE)
        order = Order(
            Purpose.TITLE_TRANSFER,
            jobs=(kept.value.sale_id, kept.value.meme_id),
            # First input, first output: the satoshi keeps its place, and the title goes with it.
            outputs=(Output(Sats(1), self._keys.key(path).script),),
            title=path,
            assign=partial(self._assign_move, kept),
            fixed=(coin,),
        )
        return await self._float.make(order)

    async def _title_coin(self, meme_id: MemeId) -> Spendable | None:
        """The title's coin, if it is signed and not stacked too deep."""
        kept = await self._records.titles.get(meme_id)
        if kept is None or kept.value.state is not JobState.SENT:
            return None
        coin = self._books.coins.get(Outpoint.parse(kept.value.outpoint))
        tx = await self._books.tx(kept.value.plan)
        if coin is None or tx is None or not self._wallet.may_spend(coin.value):
            return None
        script = parse_transaction(tx.raw).outputs[coin.value.outpoint.vout].script
        return self._wallet.as_spendable(coin.value, script)

    def _script(self, body: TitleBody, key_hash: bytes) -> bytes:
        fields = {
            "app": APP,
            "type": "ord",
            "name": body.name,
            "subType": "title",
            "memeId": body.meme_id,
            "creator": body.creator_id,
            "film": body.film_sha256,
        }
        return inscription(key_hash, body.mime, body.poster, fields)

    async def _assign_title(self, kept: Kept[Title], plan: PlanId) -> None:
        check(JOB, kept.value.state, JobState.ASSIGNED)
        after = replace(kept.value, state=JobState.ASSIGNED, plan=plan)
        await self._records.titles.put(kept, after)
        self._inscriptions.pop(kept.value.meme_id, None)

    async def _assign_move(self, kept: Kept[Move], plan: PlanId) -> None:
        check(JOB, kept.value.state, JobState.ASSIGNED)
        after = replace(kept.value, state=JobState.ASSIGNED, plan=plan)
        await self._records.moves.put(kept, after)
        self._moves.pop(kept.value.sale_id, None)

    async def signed(self, tx: Tx) -> None:
        """The title is where the transaction brings it."""
        kept = await self._records.titles.get(MemeId(tx.jobs[-1]))
        if kept is None or (kept.value.plan == tx.plan and kept.value.state is JobState.SENT):
            return
        if tx.purpose is Purpose.TITLE_TRANSFER:
            await self._moved(kept, tx)
            return
        if kept.value.state is JobState.SENT:
            return  # moved on since
        point = str(Outpoint(tx.txid, 0))
        after = replace(kept.value, state=JobState.SENT, plan=tx.plan, origin=point, outpoint=point)
        await self._records.titles.put(kept, after)
        self._inscriptions.pop(after.meme_id, None)
        await self._tell(after)

    async def _moved(self, kept: Kept[Title], tx: Tx) -> None:
        move = await self._records.moves.get(tx.jobs[0])
        if move is None or kept.value.outpoint not in tx.inputs:
            return  # moved on since
        path = await self._accounts.path(move.value.new_owner_id, KeyUse.TITLE)
        after = replace(
            kept.value,
            plan=tx.plan,
            outpoint=str(Outpoint(tx.txid, 0)),
            owner_id=move.value.new_owner_id,
            address=self._keys.address(path),
        )
        await self._records.titles.put(kept, after)
        await self._records.moves.put(move, replace(move.value, state=JobState.SENT, plan=tx.plan))
        self._moves.pop(move.value.sale_id, None)
        await self._tell(after)

    async def mined(self, tx: Tx) -> None:
        """Tells who follows it."""
        await self._tell_of(tx)

    async def unmined(self, tx: Tx) -> None:
        """Tells who follows it."""
        await self._tell_of(tx)

    async def rejected(self, tx: Tx) -> None:
        """Back to where the title was, and once more. Later moves of it are undone by their own rejection."""
        self._pauses.begin(tx.jobs[0])
        kept = await self._records.titles.get(MemeId(tx.jobs[-1]))
        if kept is None:
            return
        if tx.purpose is Purpose.INSCRIPTION:
            if kept.value.plan != tx.plan:
                return  # done before: another one may be under way
            self._inscriptions[kept.value.meme_id] = await self._requeue_title(kept)
            return
        move = await self._records.moves.get(tx.jobs[0])
        if move is not None and move.value.plan == tx.plan:
            self._moves[move.value.sale_id] = await self._requeue_move(move)
        if kept.value.state is JobState.SENT:
            await self._put_back(kept, tx)

    async def _put_back(self, kept: Kept[Title], tx: Tx) -> None:
        before = Outpoint.parse(tx.inputs[0])
        found = await self._records.txs.where("txid", before.txid)
        coin = await self._records.coins.get(str(before))
        if not found or coin is None:
            return
        owner = self._accounts.owner(coin.value.path)
        after = replace(
            kept.value,
            plan=found[0].value.plan,
            outpoint=str(before),
            owner_id=owner,
            address=self._keys.address(coin.value.path),
        )
        await self._records.titles.put(kept, after)
        await self._tell(after)

    async def _requeue_title(self, kept: Kept[Title]) -> Kept[Title]:
        again = replace(kept.value, state=JobState.QUEUED, plan=NO_PLAN, origin="", outpoint="")
        return kept if again == kept.value else await self._records.titles.put(kept, again)

    async def _requeue_move(self, kept: Kept[Move]) -> Kept[Move]:
        again = replace(kept.value, state=JobState.QUEUED, plan=NO_PLAN)
        return kept if again == kept.value else await self._records.moves.put(kept, again)

    async def get(self, meme_id: MemeId) -> TitleView:
        """A title on chain. Raises InscriptionNotFound."""
        kept = await self._records.titles.get(meme_id)
        if kept is None:
            raise InscriptionNotFound(meme_id=meme_id)
        return await self._books.title_view(kept.value)

    async def get_many(self, meme_ids: list[MemeId]) -> list[TitleView]:
        """Those that exist, in the order asked."""
        found = await self._records.titles.get_many(meme_ids)
        return [await self._books.title_view(found[id_].value) for id_ in meme_ids if id_ in found]

    async def _tell_of(self, tx: Tx) -> None:
        """As the transaction is from now on, which may not be on record yet."""
        kept = await self._records.titles.get(MemeId(tx.jobs[-1]))
        if kept is not None and kept.value.plan == tx.plan:
            self._news.changed(TitleView(kept.value, tx.state, self._books.confirmations(tx)))

    async def _tell(self, title: Title) -> None:
        view = await self._books.title_view(title)
        self._news.changed(view)
        if view.tx_state == TxState.SIGNED:
            log.info("title on its way", meme=title.meme_id, outpoint=title.outpoint)
