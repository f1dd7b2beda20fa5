"""What one explanation computes: plan, targets, convergence, findings, evaluation."""
