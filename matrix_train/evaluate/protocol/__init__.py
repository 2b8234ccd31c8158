"""What is asked of a video, and what answers are worth."""
