"""Training: batches, the loop over epochs, callbacks, checkpoints, schedules, early stopping, evaluation."""
