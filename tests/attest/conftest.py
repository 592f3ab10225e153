"""Where the tests of verification find their issuer."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for issuer.py
