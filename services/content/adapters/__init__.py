"""The world outside of content: records, files, AITubo, decoding processes, queue, other services."""
