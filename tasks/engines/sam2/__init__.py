"""SAM2 behind the `Tracker` protocol: boxes in, one mask track per ID out (paper §3.2 step 3).

`engine` is what the profile names, `sweep` the way over a clip, `original` and `ported` the two implementations.
"""
