"""InterGenEval (paper App. F): who does what to whom in generated videos, by a judge that can be checked.

scores.py     answers → KISA, SGI, SPI, IF            files.py        the authors' JSON files; theirs.py: as results
protocol.py   what is asked about: instances, frames, boxes     questions.py    the ten questions of an interaction
judge_truth.py   answers from true tracks and events   faults.py       planted faults, which must lower the right score
judge_tracks.py  answers from tracks alone             events.py       who does what to whom, worked out from them
judge_vlm.py  answers from a vision-language model     bias.py         how often it says yes to what is false
casting.py    who of two is the agent, with margins    planted.py     bias.py's questions put to such a model
tracks.py     what tracks say without a model          at_once.py      several videos under work at a time
footage.py    a video's frames and plain measures      decoding.py     in a child process
masks.py      tracks of a video, given or made
run.py        a folder of videos, resumable            compare.py      differences of runs, with intervals
generated.py  anyone's videos, with a prompts file     judges.py       the judges as a profile has them
models.py     a folder of such folders, one a model    vbench.py       VBench's files, beside our scores
page.py       the results to look at                   strip.py        decisive frames as a picture

Of `tasks` only `judge_vlm.py`, `generated.py`, `planted.py` and `judges.py` know, for the engines, `footage.py` and
`decoding.py`, for the child process; nothing here imports `flows`.
"""
