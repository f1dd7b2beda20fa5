"""Signed callbacks: subscriptions, transactional outbox, dispatcher. `python -m app.webhooks` runs the dispatcher."""
