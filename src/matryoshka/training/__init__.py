"""Where encoder, loss and optimizer meet: the LightningModule, its batches, its plan of updates."""
