"""The verifier behind a server."""

from tasks.engines.served.options import VerifierOptions
from tasks.engines.served.served import Served
from tasks.engines.verifying import Verifying


class ServedVerifier(Verifying, Served):
    """A `Verifier` behind an OpenAI-compatible server."""

    Options = VerifierOptions
