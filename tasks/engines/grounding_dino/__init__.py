"""GroundingDINO behind the `Detector` protocol (paper App. A.2), by `groundingdino-py` or by transformers.

`engine` is the way in. `prompts`, `pixels` and `boxes` are what both implementations share: the text and which of its
tokens are whose, the pixels the network sees, and what becomes of its scores. `upstream` and `ported` load a network.
"""
