"""Coins followed by the node alone: through change, but not to outsiders, into titles, or once spent."""

from __future__ import annotations

from sandbox.coins import coins_in_custody
from sandbox.regtest import Regtest
from sandbox.wallet import Broadcast, Wallet


async def test_coins_are_followed_from_where_they_were_paid_in(regtest: Regtest) -> None:
    before = await regtest.height()
    ours, change_of_ours, outsider = Wallet.random(), Wallet.random(), Wallet.random()

    async def held() -> list[int]:
        found = await coins_in_custody(
            regtest.rpc, paid_in={ours.address}, outside={outsider.address}, after_height=before
        )
        return sorted(found.values())

    async def pay(payer: Wallet, wallet: Wallet, sats: int) -> int:
        payment = payer.pay(wallet.address, sats)
        assert await payer.broadcast(payment, regtest.rpc) is Broadcast.ACCEPTED
        wallet.receive_from(payment.raw_hex)
        return payment.fee_sats

    ours.receive(await regtest.fund(ours.address, 50_000))
    await regtest.fund(outsider.address, 7_000)
    assert await held() == [50_000]
    await regtest.mine()
    # To an address that nobody named: ours, as it is made of our coins.
    fees = await pay(ours, change_of_ours, 20_000)
    assert await held() == sorted([20_000, 30_000 - fees])
    # From there to an outsider, and a title: gone.
    fees += await pay(change_of_ours, outsider, 5_000)
    fees += await pay(change_of_ours, Wallet.random(), 1)
    await regtest.mine()
    assert sum(await held()) == 50_000 - 5_000 - 1 - fees
    assert len(await held()) == 2
