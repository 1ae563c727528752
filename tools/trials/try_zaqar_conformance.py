"""The suite on its own reference driver: the command, the contract, a report."""

import json
import subprocess
import sys
from pathlib import Path

command = Path(sys.prefix, "bin/zaqar-conformance")
subprocess.run([command, "run", "memory", "--only", "MSG-001", "--report", "report"], check=True)
assert json.loads(Path("report/report.json").read_text())["outcomes"]["passed"] > 0
