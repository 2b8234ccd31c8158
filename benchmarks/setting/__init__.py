"""What benchmarks and tests set up: servers as real processes on loopback, made-up rows, sizes one after the other."""
