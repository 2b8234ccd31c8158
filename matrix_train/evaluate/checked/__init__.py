"""How far a judge can be believed: faults that are planted, and what it says of them."""
