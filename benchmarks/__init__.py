"""The speed of sessionledger: against the same work by hand (`run.py`), and for comparing revisions with ASV.

ASV imports this folder as a package, with every module in it; everybody else runs the files in it.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
