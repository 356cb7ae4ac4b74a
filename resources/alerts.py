"""Where failures are reported: a webhook that takes JSON, such as Slack's or a small service of your own.

| variable | meaning |
| --- | --- |
| `CELLASSETS_ALERT_WEBHOOK` | http(s) URL that gets one POST for each failure; without it nothing is sent |
| `CELLASSETS_UI_URL` | address of Dagster's UI as people reach it; alerts then link to the run |
"""

import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

import dagster as dg

TIMEOUT_S = 5.0


class AlertResource(dg.ConfigurableResource):
    """The webhook. Its URL is a secret: it is read where it is used, so that no page shows it."""

    webhook_variable: str = "CELLASSETS_ALERT_WEBHOOK"
    ui_variable: str = "CELLASSETS_UI_URL"

    @property
    def is_set(self) -> bool:
        """True if there is a webhook."""
        return bool(dg.EnvVar(self.webhook_variable).get_value())

    def link(self, run_id: str) -> str | None:
        """Returns the address of a run in the UI; None if the UI's address is not set."""
        ui = dg.EnvVar(self.ui_variable).get_value()
        return f"{ui.rstrip('/')}/runs/{run_id}" if ui else None

    def send(self, key: str, content: Mapping[str, Any]) -> None:
        """Sends one alert.

        Args:
            key: equal for two sendings of the same alert; the receiver can use it to drop the second one.
            content: JSON-like values.

        Raises:
            OSError: the webhook does not answer in time, or refuses.
        """
        url = str(dg.EnvVar(self.webhook_variable).get_value())
        if not url.startswith(("https://", "http://")):
            message = f"{self.webhook_variable} does not begin with https:// or http://"
            raise OSError(message)
        try:
            self._post(url, key, content)
        except (HTTPException, ValueError) as error:
            message = f"{type(error).__name__}: {error}"
            raise OSError(message) from error

    @staticmethod
    def _post(url: str, key: str, content: Mapping[str, Any]) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        request = urllib.request.Request(url, json.dumps(content).encode(), headers, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310  checked above
            pass
