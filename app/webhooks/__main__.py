"""`python -m app.webhooks` sends callbacks until it is asked to stop."""

from app.contract.settings import Settings
from app.webhooks.main import run_webhooks

if __name__ == "__main__":
    run_webhooks(Settings())
