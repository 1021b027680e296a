"""WhatsOnChain: reading over REST, news of blocks over a WebSocket, and sending in reserve.

https://docs.whatsonchain.com; addresses are /v1/bsv/main and /v1/bsv/test. It is a stranger: what it says is
read strictly, and believed as far as headers and Merkle proofs prove it.
"""
