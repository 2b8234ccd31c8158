"""What there is to look at: frames, masks, and what tracks say."""
