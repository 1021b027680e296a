"""Settings of the chain service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, model_validator

from mesh.config import Address, MeshSettings
from services.chain.adapters.http import Access
from services.chain.adapters.seed import SeedSource
from services.chain.app.bumping import BumpRule
from services.chain.app.orders import Policy
from services.chain.app.parts import Rules
from services.chain.app.sweeping import HotRule
from services.chain.app.withdrawal_requests import WithdrawalRule
from services.chain.domain.spending import SATS_PER_KB_MIN
from services.chain.domain.values import Network

NODE_URL = "http://127.0.0.1:18332"
HttpAddress = Annotated[str, StringConstraints(pattern=r"^(|(https?|wss?)://[^\s?#@]+)$", max_length=500)]
"""An address without query, user or password: keys have settings of their own."""


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read or change what is said."""
    parts = urlsplit(url)
    return not url or parts.scheme in ("https", "wss") or parts.hostname in ("127.0.0.1", "localhost", "::1")


class ChainSettings(MeshSettings, env_prefix="SATREEL_CHAIN_"):
    """What the chain service needs to know."""

    service: ClassVar[str] = "chain"

    listen: Address = Field("127.0.0.1:7106", description="Address the gRPC server listens on, HOST:PORT.")
    network: Network = Field(Network.REGTEST, description="Which chain: main, test or regtest.")
    woc_url: HttpAddress = Field(
        "", description="WhatsOnChain to read from: https://api.whatsonchain.com/v1/bsv/main; empty: none."
    )
    woc_socket: HttpAddress = Field(
        "",
        description="Its news of blocks, wss://HOST/websocket/blockHeaders; empty: polling only.",
    )
    woc_key: SecretStr = Field(SecretStr(""), description="Key for WhatsOnChain; empty: none.")
    woc_per_s: int = Field(3, ge=1, le=1000, description="Calls to WhatsOnChain a second; without a key 3.")
    arc_url: HttpAddress = Field("", description="ARC to send through: https://arc.taal.com; empty: none.")
    arc_key: SecretStr = Field(SecretStr(""), description="Bearer key for ARC; empty: none.")
    arc_per_s: int = Field(20, ge=1, le=1000, description="Calls to ARC a second.")
    callback_url: HttpAddress = Field(
        "",
        description="URL where ARC reaches CALLBACK_LISTEN, to /arc/callbacks; empty: no callbacks.",
    )
    callback_listen: Address = Field(
        "127.0.0.1:7116", description="Address that takes ARC's callbacks, HOST:PORT."
    )
    callback_token: SecretStr = Field(
        SecretStr(""), description="What ARC shows to call back; empty: made anew at each start."
    )
    source_timeout_s: float = Field(
        20.0, gt=0, le=120, description="How long WhatsOnChain and ARC have for an answer."
    )
    node_url: SecretStr = Field(
        SecretStr(""),
        description="The node's JSON-RPC: http://USER:PASSWORD@HOST:PORT; empty: none beside WhatsOnChain, "
        "else one at 127.0.0.1:18332.",
    )
    node_zmq: str = Field("", description="The node's ZMQ with hashblock and rawtx; empty: polling only.")
    node_timeout_s: float = Field(10.0, gt=0, le=120, description="How long the node has for an answer.")
    key_file: Path | None = Field(
        None, description="Encrypted key file of satreel-keys, mode 0600; on mainnet nothing else will do."
    )
    key_passphrase: SecretStr = Field(
        SecretStr(""), description="Passphrase of the key file; empty: from the passphrase file."
    )
    key_passphrase_file: Path | None = Field(
        None, description="File whose first line is the key file's passphrase, not for everybody to read."
    )
    seed: SecretStr = Field(
        SecretStr(""),
        description="Off mainnet: seed of all keys, 64 bytes, hex; empty: from the seed file.",
    )
    seed_file: Path | None = Field(
        None, description="Off mainnet: file of the seed, mode 0600; none: chain.seed under the data folder."
    )
    scan_from: int = Field(
        0, ge=0, description="At the very first start, read blocks from this height on; 0: from the tip."
    )
    poll_s: float = Field(1.0, gt=0, le=600, description="Time between two looks for a new best block.")
    stale_s: float = Field(
        60.0, gt=0, le=86_400, description="Time without a source that confirms our tip until it is stale."
    )
    mempool_s: float = Field(5.0, gt=0, le=600, description="Time between two looks at the mempool.")
    confirmations: int = Field(1, ge=1, le=100, description="Confirmations until a deposit is spendable.")
    final_depth: int = Field(
        10, ge=1, le=200, description="Confirmations after which our transaction is taken as permanent."
    )
    replace_after_blocks: int = Field(
        6, ge=0, le=200, description="Blocks a spent deposit must be gone before its spender is given up."
    )
    bump_after_blocks: int = Field(
        6, ge=0, le=1000, description="Blocks without it after which a child pays more for ours; 0: never."
    )
    bump_sats_per_kb: int = Field(
        500, ge=SATS_PER_KB_MIN, le=100_000, description="Fee rate that the stuck one and its child reach."
    )
    bump_fee_max_sats: int = Field(
        2_000, ge=0, le=1_000_000, description="What such a child pays for the miner at most."
    )
    sats_per_kb: int = Field(
        SATS_PER_KB_MIN, ge=SATS_PER_KB_MIN, le=100_000, description="Lowest miner's fee per 1,000 bytes."
    )
    sats_per_kb_max: int = Field(
        1_000, ge=SATS_PER_KB_MIN, le=100_000, description="Highest, whatever ARC's policy asks for."
    )
    withdrawal_min_sats: int = Field(200, ge=1, description="Smallest withdrawal, and smallest deposit.")
    withdrawal_fee_max_sats: int = Field(
        100,
        ge=0,
        le=100_000,
        description="What a withdrawal pays for the miner at most; the float pays the rest.",
    )
    batch_s: float = Field(3.0, gt=0, le=3600, description="Time between two batches of withdrawals.")
    change_parts: int = Field(
        4, ge=1, le=100, description="Parts that change is cut into while coins are few."
    )
    coins_wanted: int = Field(16, ge=1, le=1000, description="Free coins below which change is cut.")
    coins_max: int = Field(
        500, ge=2, le=1_000_000, description="Free coins above which the smallest are joined in quiet times."
    )
    hot_floor_sats: int = Field(0, ge=0, description="Satoshis below which the hot wallet alarms; 0: never.")
    hot_ceiling_sats: int = Field(
        0, ge=0, description="Satoshis above which it alarms, and sweeps to the cold address; 0: never."
    )
    cold_address: str = Field(
        "", description="Where to what is above the ceiling goes, down to the middle; empty: nowhere."
    )
    depth_max: int = Field(20, ge=1, le=900, description="Unmined transactions of ours stacked on another.")

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        if self.network is Network.MAIN:
            plain = [url for url in (self.woc_url, self.woc_socket, self.arc_url) if not _is_private(url)]
            if plain:
                raise ValueError(f"on mainnet {plain[0]} must be https or wss")
        return self

    @property
    def seed_source(self) -> SeedSource:
        """Where the keys come from."""
        return SeedSource(
            network=self.network,
            plain_file=self.seed_file or self.data_dir / "chain.seed",
            plain_hex=self.seed.get_secret_value(),
            key_file=self.key_file,
            passphrase=self.key_passphrase.get_secret_value(),
            passphrase_file=self.key_passphrase_file,
        )

    @property
    def node_address(self) -> str:
        """The node's JSON-RPC, with user and password; "" where none is used."""
        return self.node_url.get_secret_value() or ("" if self.woc_url else NODE_URL)

    @property
    def woc_access(self) -> Access:
        """How WhatsOnChain is asked."""
        key = self.woc_key.get_secret_value()
        headers = {"woc-api-key": key} if key else {}
        return Access(
            "WhatsOnChain", self.woc_url.rstrip("/"), headers, self.woc_per_s, self.source_timeout_s
        )

    @property
    def arc_access(self) -> Access:
        """How ARC is asked."""
        key = self.arc_key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return Access("ARC", self.arc_url.rstrip("/"), headers, self.arc_per_s, self.source_timeout_s)

    @property
    def rules(self) -> Rules:
        """How the service behaves."""
        return Rules(
            withdrawal=WithdrawalRule(self.network, self.withdrawal_min_sats, self.withdrawal_fee_max_sats),
            policy=Policy(
                change_parts=self.change_parts,
                coins_wanted=self.coins_wanted,
                coins_max=self.coins_max,
                depth_max=self.depth_max,
            ),
            hot=HotRule(self.network, self.hot_floor_sats, self.hot_ceiling_sats, self.cold_address),
            bump=BumpRule(self.bump_after_blocks, self.bump_sats_per_kb, self.bump_fee_max_sats),
            confirmations_needed=self.confirmations,
            final_depth=self.final_depth,
            replace_after_blocks=self.replace_after_blocks,
            scan_from=self.scan_from,
            batch_s=self.batch_s,
            mempool_s=self.mempool_s,
            stale_s=self.stale_s,
        )
