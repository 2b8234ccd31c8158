"""Language model, captioner and verifier in this process, by transformers: for machines without a server.

options.py   settings of the three engines       network.py   the model and its tokenizer, one for all three
held.py      JSON enforced while decoding         line.py      questions of all clips, put together into batches
engine.py    all of it put together
"""
