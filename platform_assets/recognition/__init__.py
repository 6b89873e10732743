"""Recognition: what is learned from labelled images, the model that was learned, and what it names."""
