"""Several processes that train together, as torchrun starts them."""

import os
import signal
import subprocess
import sys


def torchrun(*arguments: object, processes: int = 2) -> None:
    """Run `fcnproto` in so many processes on the CPU; AssertionError unless they end well."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    command += ["--standalone", "-m", "fcnproto", *map(str, arguments), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the launcher's children too
        raise
    assert process.returncode == 0, errors
