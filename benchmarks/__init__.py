"""Each module and package here is a command, `python -m benchmarks.NAME --help`; `setting` is what they stand on.

What came out, with command, machine and date: docs/log.md.

- the method on videos whose truth is known: quality, perfect, cuts, effect, planted, miniature, judge_agreement
- many clips, many workers: scale, barriers, store, listing, orchestration, workers, kill, people
- an engine against the bare model: detector, tracker, sam3, llm, in_process, sheets, verdicts
- a stage or the loader against plain libraries: ingest, shards, loader
- the trainer: gpu, full_size, alignment_flops, map_parity, analyze, guidance_cost, attention_strip
"""
