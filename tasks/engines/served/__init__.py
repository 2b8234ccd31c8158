"""Engines behind an OpenAI-compatible server: `vllm serve` is the reference, any other will do.

options.py   settings of the three engines          client.py    one request until it ends, and whose fault it was
wire.py      what goes out and what may come back    connection.py  the HTTP side: bounds, the key, no redirects
reply.py     from a reply's text to a checked model  faults.py    failures sorted by whose they are
models.py    which model the server really serves    patience.py  the process-wide bound, waits, circuit breaker
cache.py     replies kept, a database a chunk         background.py  the one event loop that owns connections
served.py    all of it put together: the base of language.py, verifier.py and captioner.py
"""
