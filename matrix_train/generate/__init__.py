"""From a scene to an mp4: the one way in which videos are made here, at validations of `fit` and by `sample`."""
