"""keras.Model subclasses with their own train_step, one for each step of the method."""
