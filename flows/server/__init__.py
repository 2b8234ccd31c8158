"""What a build asks of Prefect's server: runs on work pools, limits, credentials, events and the end of dead runs."""
