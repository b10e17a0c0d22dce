"""What every process and interpreter of a schedule executes first: it puts the faults of the schedule in place."""

import os

if "COREFUTURES_TEST_FAULTS" in os.environ:
    import faults

    faults.install()
