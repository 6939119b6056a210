"""The speed of sessionledger: ASV suites (`asv run`), and each part against hand-written SQL (`floor.py`)."""
