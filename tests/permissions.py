"""Runs a command that obeys file permissions where the tests run as root too: `python tests/permissions.py COMMAND …`.

Root passes permissions by two powers (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH). They are taken from this process for
good, and then it becomes the command. Exit code 77: the machine does not let root give powers away.
"""

import ctypes
import os
import sys

_DROP_FOR_GOOD = 24
_POWERS = (1, 2)

UNABLE = 77


def main() -> None:
    if os.geteuid() == 0:
        system = ctypes.CDLL(None)
        for power in _POWERS:
            if system.prctl(_DROP_FOR_GOOD, power, 0, 0, 0):
                sys.exit(UNABLE)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
