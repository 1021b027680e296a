"""The runtime every service stands on. It knows no domain nouns and imports no service."""

import os

# The handlers of gRPC around fork() crash a child now and then when the parent is in a call. Our children
# only ever become other programs, so they need none of them. gRPC reads this when it is first imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
