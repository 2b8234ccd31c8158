"""What Wan 2.1 and Wan 2.2 have in common (`backbones/wan21/`, `backbones/wan22/`)."""
