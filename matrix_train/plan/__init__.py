"""What a step costs before any is made: parameters, FLOPs, memory, on the meta device."""
