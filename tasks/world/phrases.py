"""Noun phrases: the words by which a caption tells one drawn thing from the others."""

from dataclasses import dataclass

from tasks.world.words import KIND, PLACES


@dataclass(frozen=True)
class Actor:
    """Someone or something that a caption may name."""

    key: str
    cls: str
    colour: str
    adjective: str = ""
    garment: str = ""
    """People only: what carries the colour, "shirt"."""
    worn: str = "in a"
    """People only: "in a" or "wearing a" garment; "in" alone says the colour without the garment."""
    place: str = ""
    """"left" or "right" where only the place tells it apart."""
    say_colour: bool = True

    @property
    def phrase(self) -> str:
        """The full phrase without its article: "young man in a red shirt", "small red ball on the left"."""
        return self._phrase(definite=False)

    @property
    def definite(self) -> str:
        """The same as a definite phrase: "man in the red shirt", "red ball on the left"."""
        return self._phrase(definite=True)

    @property
    def short(self) -> str:
        """Class and colour only: "man in red", "red ball"."""
        if not self.say_colour:
            return self.cls
        return f"{self.cls} in {self.colour}" if KIND[self.cls] == "person" else f"{self.colour} {self.cls}"

    def _phrase(self, definite: bool) -> str:
        words = [] if definite or not self.adjective else [self.adjective]
        person = KIND[self.cls] == "person"
        if self.say_colour and not person:
            words.append(self.colour)
        words.append(self.cls)
        if self.say_colour and person:
            article = {"in": "in", "in a": "in the", "wearing a": "wearing the"}[self.worn] if definite else self.worn
            if not definite and article.endswith(" a") and self.colour[0] in "aeiou":
                article += "n"
            words.append(f"{article} {self.colour}" + ("" if self.worn == "in" else f" {self.garment}"))
        if self.place:
            words.append(PLACES[self.place])
        return " ".join(words)
