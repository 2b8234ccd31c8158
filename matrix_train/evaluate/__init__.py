"""InterGenEval (paper App. F): who does what to whom in generated videos, by a judge that can be checked.

protocol.py      what is asked about: instances, frames, boxes
questions.py     the ten questions of an interaction
scores.py        answers → KISA, SGI, SPI, IF
files.py         the authors' JSON files, written
theirs.py        … and read: a result of ours from answers of theirs

tracks.py        what masks say: who touches whom, who moves
judge_truth.py   answers from true tracks and events
judge_tracks.py  answers from tracks alone
events.py        which two it is, worked out from them
casting.py       who of the two acts, with margins: below them it is undecided
agreement.py     how far answers from tracks are right, as measured
judge_vlm.py     answers from a vision-language model

faults.py        planted faults, which must lower the right score
bias.py          how often a judge says yes to what is false, and scores corrected for it
planted.py       such questions put to a model, resumable

run.py           a folder of videos, resumable, and its results
generated.py     anyone's videos, several at a time (at_once.py)
models.py        a folder of videos a model
judges.py        the judges as a profile has them
compare.py       runs side by side, and their differences with intervals
vbench.py        VBench's files

sampled.py       what `sample` leaves for it: lines of prompts and ID maps

footage.py       a video's frames and plain measures
decoding.py      … made in a child process with limits
masks.py         tracks of a video, given or made; frames with boxes
strip.py         decisive frames as a picture
page.py          report.html

Of `tasks` know `judge_vlm.py`, `planted.py`, `generated.py` and `judges.py`, for the engines, and `footage.py` and
`decoding.py`, for the child process; nothing here imports `flows`.
"""
