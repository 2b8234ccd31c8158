"""The language model behind a server."""

from tasks.engines.reading import Reading
from tasks.engines.served.options import LanguageOptions
from tasks.engines.served.served import Served


class ServedLanguage(Reading, Served):
    """A `LanguageModel` behind an OpenAI-compatible server."""

    Options = LanguageOptions
