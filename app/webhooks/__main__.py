"""`python -m app.webhooks` runs the dispatcher until SIGINT or SIGTERM."""

from app.contract.settings import Settings
from app.webhooks.main import run_webhooks

if __name__ == "__main__":
    run_webhooks(Settings())
