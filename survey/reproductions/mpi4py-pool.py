"""What mpi4py's pool does where a rule demands otherwise: `python mpi4py-pool.py`, with mpi4py and an MPI installed."""

import os
import subprocess
import sys
import time

from mpi4py.futures import MPIPoolExecutor


def end_worker(executor):
    """mpi4py: worker_loss.kill_while_running worker_loss.crash_while_running worker_loss.os_exit_while_running
    worker_loss.os_exit_with_status_zero_while_running worker_loss.os_exit_while_unpickling
    worker_loss.crash_while_unpickling worker_loss.kill_while_unpickling worker_loss.os_exit_while_pickling
    worker_loss.crash_while_pickling worker_loss.kill_while_pickling
    worker_loss.crash_while_pickling_an_exception worker_loss.os_exit_while_starting
    worker_loss.kill_from_outside worker_loss.kill_while_idle worker_loss.waiting_calls_end_at_a_loss
    worker_loss.broken_pool_refuses_submit worker_loss.broken_pool_refuses_map worker_loss.map_ends_at_a_loss
    worker_loss.cancelled_calls_stay_cancelled_at_a_loss worker_loss.callbacks_run_at_a_loss
    worker_loss.wait_wakes_at_a_loss worker_loss.as_completed_ends_at_a_loss
    worker_loss.finished_calls_keep_their_results_at_a_loss worker_loss.busy_calls_end_at_a_loss
    worker_loss.shutdown_after_a_loss_returns worker_loss.loss_during_shutdown_ends_it
    worker_loss.loss_while_a_large_argument_is_sent resources.threads_end_after_a_loss
    resources.descriptors_are_closed_after_a_loss
    """
    print("a call ends its worker; this process hopes to hear of it", flush=True)
    print(repr(executor.submit(os._exit, 3).exception(timeout=20)))


def answer():
    return 42


if __name__ == "__main__":
    shows = {show.__name__: show for show in (end_worker,)}
    if len(sys.argv) == 1:
        for name in shows:
            print(f"--- {name}", flush=True)
            command = [sys.executable, __file__, name]
            # MPI ends whatever belongs to a job whose process has gone: in a session of its own
            done = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60, check=False, start_new_session=True)
            if done.returncode:
                print(f"(the process ended with status {done.returncode})", flush=True)
    else:
        with MPIPoolExecutor(max_workers=1) as executor:
            executor.submit(answer).result()
            time.sleep(0.2)
            shows[sys.argv[1]](executor)
