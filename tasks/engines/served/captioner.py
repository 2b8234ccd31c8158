"""The captioner behind a server."""

from tasks.engines.captioning import Captioning
from tasks.engines.served.options import CaptionerOptions
from tasks.engines.served.served import Served


class ServedCaptioner(Captioning, Served):
    """A `Captioner` behind an OpenAI-compatible server."""

    Options = CaptionerOptions
