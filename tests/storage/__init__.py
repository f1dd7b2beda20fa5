"""Object stores and Redis servers as operators have them: remote, secured, watched, full, slow and away."""
