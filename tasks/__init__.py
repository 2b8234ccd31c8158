"""One module per stage: a plain function over a batch of clips. Engines, the store and the world live here too."""
