"""satreel-verify-round: checks a round's record with nothing but a source of the chain and an export.

It belongs to whoever does not trust Satreel. docs/ROUND-RECORD.md describes what it checks.
"""
