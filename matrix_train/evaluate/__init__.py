"""InterGenEval (paper App. F): who does what to whom in generated videos, by a judge that can be checked.

protocol/        what is asked of a video, and what answers are worth
  prompt.py      what is asked about: instances, frames, boxes
  questions.py   the ten questions of an interaction
  scores.py      answers → KISA, SGI, SPI, IF
  sampled.py     what `sample` leaves for it: lines of prompts and ID maps
seen/            what there is to look at
  footage.py     a video's frames and plain measures
  decoding.py    … made in a child process with limits
  masks.py       tracks of a video, given or made; frames with boxes
  tracks.py      what masks say: who touches whom, who moves
  strip.py       decisive frames as a picture
judge/           who answers
  by_truth.py    by true tracks and events
  by_tracks.py   by tracks alone
  events.py      … which two it is, worked out from them
  casting.py     … who of the two acts, with margins: below them it is undecided
  agreement.py   … how far such answers are right, as measured
  by_vlm.py      by a vision-language model
checked/         how far a judge can be believed
  faults.py      planted faults, which must lower the right score
  painting.py    … as pictures
  bias.py        how often a judge says yes to what is false, and scores corrected for it
  planted.py     such questions put to a model, resumable
exchange/        results in other people's files
  authors.py     the authors' JSON files, written
  reading.py     … and read: a result of ours from answers of theirs
  vbench.py      VBench's files

run.py           a folder of videos, resumable, and its results
generated.py     anyone's videos, several at a time (at_once.py)
models.py        a folder of videos a model
profile.py       the judges as a profile has them
compare.py       runs side by side, and their differences with intervals
page.py          report.html

Of `tasks` know `judge/by_vlm.py`, `checked/planted.py`, `generated.py` and `profile.py`, for the engines, and
`seen/footage.py` and `seen/decoding.py`, for the child process; nothing here imports `flows`.
"""
