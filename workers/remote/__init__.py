"""Models that live behind HTTP: a connection that is patient with their servers, and the tensors that travel."""
