"""Training on a CPU: keep freed memory instead of giving it back to the system after every tensor.

glibc maps each large block afresh and unmaps it when it is freed, so the kernel clears the same pages over and over:
encoding a small clip took 0.63 s of processor time instead of 0.27 (docs/log.md). PyTorch on CUDA has a caching
allocator of its own for the same reason.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEEP = 2**31 - 1


def keep_freed_memory() -> bool:
    """Asks glibc to serve large blocks from the heap and not to trim it. False where the C library is another."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _KEEP))
