"""The suite on its own reference driver: the command, the contract, a report. What `init` writes is in the wheel."""

import json
import subprocess
import sys
from pathlib import Path

command = Path(sys.prefix, "bin/zaqar-conformance")
subprocess.run([command, "run", "memory", "--only", "MSG-001", "--report", "report"], check=True)
assert json.loads(Path("report/report.json").read_text())["outcomes"]["passed"] > 0
subprocess.run([command, "init", "trial"], check=True)
assert {"driver.py", "py.typed", "known_failures.toml"} <= {
    path.name for path in Path("zaqar-trial/src/zaqar_trial").iterdir()
}
