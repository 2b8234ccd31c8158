"""From role maps to a loss: decoder, SGA and SPA, and what is measured on maps."""
