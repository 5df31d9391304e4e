"""The commands: flags to config to learner. Each module's ``run`` takes a parsed command line."""
