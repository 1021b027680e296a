"""The runtime every service stands on. It knows no domain nouns and imports no service."""

import os

# The handlers of gRPC around fork() crash the child now and then when the parent is in a call. A child of ours
# only ever becomes another program, so it needs none of them. gRPC reads this when it is first imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
