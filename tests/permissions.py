"""Commands that obey file permissions where the tests run as root too: `python tests/permissions.py COMMAND …`.

Root passes permissions by two powers (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH). They are taken from this process for
good, and then it becomes the command. Exit code 77: the machine does not let root give powers away.
"""

import ctypes
import os
import sys

_DROP_FOR_GOOD = 24
_VERSION_3 = 0x20080522
_POWERS = (1, 2)

UNABLE = 77


def obey() -> None:
    """From now on, in this process and in all that it starts. (capabilities(7), capset(2))"""
    if os.geteuid():
        return
    system = ctypes.CDLL(None)
    header, held = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable
    failed = system.capget(header, held)
    for power in _POWERS:
        failed |= system.prctl(_DROP_FOR_GOOD, power, 0, 0, 0)
        for kind in range(3):
            held[kind] &= ~(1 << power)
    if failed or system.capset(header, held):
        sys.exit(UNABLE)


def matrix_data() -> None:
    """The command line, in a process that was forked for it."""
    obey()
    from flows.cli import main

    main()


if __name__ == "__main__":
    obey()
    os.execv(sys.argv[1], sys.argv[1:])
