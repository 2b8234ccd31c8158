"""Everything that wants a GPU, in one command of nine minutes (`docs/training/gpu.md`).

python -m benchmarks.gpu                              # all parts in the order of `parts.PARTS`
python -m benchmarks.gpu --only step vae --minutes 3
python -m benchmarks.gpu --toy                        # the same code at toy size; always so without CUDA
"""
