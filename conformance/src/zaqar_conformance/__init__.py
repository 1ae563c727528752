"""The conformance suite: proves that a storage backend keeps the contract of ``docs/contract.md``.

Run it with ``zaqar-conformance run TARGET`` or ``pytest --zaqar-conformance TARGET``.
"""
