"""Label Studio's words for an explanation: what its ML backend answers with, and what a batch is downloaded as."""
