"""False alarms of the audit over honest models, and what it finds of models that react to masks."""
