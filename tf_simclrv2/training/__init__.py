"""Training a learner: what goes in, and the job that fits, saves and evaluates it."""
