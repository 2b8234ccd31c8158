"""compose.yaml as the tests read it: YAML with its anchors resolved, variables replaced as `docker compose` would."""

import re
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "docker"
FILE = FOLDER / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def settings() -> dict[str, str]:
    """Every variable of .env.example with the value it has there, commented out or not; compose's own left out."""
    lines = (FOLDER / ".env.example").read_text().splitlines()
    found = (re.fullmatch(r"#?([A-Z0-9_]+)=(.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match and not match[1].startswith("COMPOSE_")}


def load(**values: str) -> dict[str, Any]:
    """The services by name. Variables that neither `values` nor the file itself gives become empty."""

    def replaced(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: replaced(value) for key, value in node.items()}
        if isinstance(node, list):
            return [replaced(value) for value in node]
        if isinstance(node, str):
            text = VARIABLE.sub(lambda m: values.get(m[1], m[3] if m[2] == "-" else ""), node)
            return text.replace("$$", "$")
        return node

    services: dict[str, Any] = replaced(yaml.safe_load(FILE.read_text()))["services"]
    return services
