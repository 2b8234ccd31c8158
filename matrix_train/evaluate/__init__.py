"""InterGenEval (paper App. F): who does what to whom in generated videos, by a judge that can be checked.

scores.py     answers → KISA, SGI, SPI, IF            files.py        the authors' JSON files
protocol.py   what is asked about: instances, frames, boxes     questions.py    the ten questions of an interaction
judge_truth.py   answers from true tracks and events   faults.py       planted faults, which must lower the right score
judge_tracks.py  answers from tracks alone             events.py       who does what to whom, worked out from them
judge_vlm.py  answers from a vision-language model     bias.py         how often it says yes to what is false
casting.py    who of two is the agent, with margins: below them it is undecided
footage.py    a video's frames and plain measures      decoding.py     in a child process
masks.py      tracks of a video, given or made
run.py        a folder of videos, resumable            compare.py      differences of runs, with intervals
generated.py  anyone's videos, several at a time       judges.py       the judges as a profile has them
strip.py      decisive frames as a picture            page.py        the report
models.py     a folder of models                      planted.py     questions of known answers, for the bias
theirs.py     the authors' files read and scored      vbench.py      results of VBench
at_once.py    several videos under work

Of `tasks` know `judge_vlm.py`, `generated.py`, `planted.py` and `judges.py`, for the engines, and
`footage.py` and `decoding.py`, for the child process; nothing here imports `flows`.
"""
