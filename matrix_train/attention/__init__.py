"""What is read from attention: role maps, log-sum-exp, the dense yardstick, roles, and their tokens in a prompt."""
