"""Whatever a Service does is seen here once, and told to metrics, spans and the log."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import VifplugError
from ..host.backup import NAME as BACKUP
from ..host.results import CallRecord
from ..model import VifType
from . import logs
from .metrics import Metrics
from .otlp import Otlp
from .peers import Peer
from .service import Service
from .spans import Span, Spans

_log = logging.getLogger("vifplug.daemon")
_requests = logging.getLogger("vifplug.requests")


class Observer:
    """Raises ConfigError when spans are configured and OpenTelemetry is not installed."""

    def __init__(self, service: Service) -> None:
        address = service.config.daemon.otlp
        self._otlp = otlp = Otlp(address, socket.gethostname()) if address else None
        self.spans = Spans(otlp)
        self.metrics = Metrics(
            service.host,
            service.activity,
            queue=service.admission.queue,
            connections=lambda: service.connections(),  # noqa: PLW0108  # the server sets it later
            backup=lambda: _modified(Path(service.config.state_dir, BACKUP)),
            missed=lambda: service.events.missed,
            spans=(lambda: (otlp.delivered, otlp.dropped)) if otlp is not None else None,
        )
        service.observe(around=self._verb, on_step=self.spans.on_step, on_call=self._call)
        service.events.listen(self.metrics.on_event)

    def close(self) -> None:
        """Let the spans that wait be delivered."""
        if self._otlp is not None:
            self._otlp.close()

    @contextmanager
    def request(
        self, method: str, route: str, path: str, *, peer: Peer, traceparent: str | None = None
    ) -> Iterator[Span]:
        """A request. Set "http.response.status_code" among the span's attributes before the block ends.

        ``route`` is the route's pattern, ``path`` what was sent, ``traceparent`` the header as it came.
        """
        started = time.monotonic()
        who = logs.about(uid=peer.uid, pid=peer.pid)  # on the line of the verb, too
        with self.spans.request(method, route, traceparent) as span, who:
            try:
                yield span
            finally:
                seconds = time.monotonic() - started
                status = int(span.attributes.setdefault("http.response.status_code", 500))
                if status >= 500:
                    span.error = span.error or f"status {status}"
                self.metrics.request(route, method, status, seconds)
                refused = status >= 400 and method not in ("GET", "HEAD")
                _requests.log(
                    logging.INFO if refused else logging.DEBUG,
                    "request",
                    extra=logs.fields(
                        method=method,
                        path=path,
                        status=status,
                        seconds=round(seconds, 6),
                        trace=span.context.trace,
                    ),
                )

    @contextmanager
    def _verb(self, verb: str, vif_id: str | None, vif_type: VifType | None) -> Iterator[None]:
        """A verb: counted, timed and traced; every log line within it has its id (that of its span) and its trace."""
        started = time.monotonic()
        with self.spans.verb(verb, vif_id) as span:
            if vif_type is not None:
                span.attributes["vif.type"] = vif_type.value
            about = {
                "trace": span.context.trace,
                "verb_id": span.context.span,
                "verb": verb,
                "vif_id": vif_id,
            }
            with logs.about(**{name: value for name, value in about.items() if value is not None}):
                outcome, error = "bug", None
                try:
                    yield
                    outcome = "done"
                except VifplugError as failure:
                    outcome, error = failure.code, failure.as_dict()
                    raise
                finally:
                    seconds = time.monotonic() - started
                    self.metrics.verb(verb, outcome, seconds)
                    span.attributes["vifplug.outcome"] = outcome
                    _log.log(
                        logging.INFO if outcome == "done" else logging.WARNING,
                        "%s %s",
                        verb,
                        "done" if outcome == "done" else "failed",
                        extra=logs.fields(
                            outcome=outcome,
                            seconds=round(seconds, 6),
                            **(logs.error_fields(error) if error else {}),
                        ),
                    )

    def _call(self, call: CallRecord) -> None:
        self.metrics.on_call(call)
        self.spans.on_call(call)


def _modified(path: Path) -> float | None:
    """When a file was written, in seconds since 1970; None when there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
