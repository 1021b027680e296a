"""Addresses and signatures of Bitcoin wallets: which are good here, and by which scheme."""

from services.identity.adapters.wallets.addresses import Network
from services.identity.adapters.wallets.wallets import BitcoinWallets

__all__ = ["BitcoinWallets", "Network"]
