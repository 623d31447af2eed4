"""Spans on their way to an OpenTelemetry collector: OTLP over HTTP, by the official SDK."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

from .._version import __version__
from ..errors import ConfigError
from .spans import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

_log = logging.getLogger("vifplug.daemon.otlp")

#: spans that wait for the collector; what comes when so many wait is dropped
_QUEUE = 4096
_BATCH = 512
#: seconds from a span's end to its dispatch, and that a dispatch may take with all its attempts
_DELAY, _PATIENCE = 1.0, 5.0
_NANO = 1_000_000_000


class Otlp:
    """Takes spans without ever waiting; a thread of the SDK delivers them in batches.

    ``address``: that of the collector, say ``http://127.0.0.1:4318``. Headers and certificates are
    taken from OTEL_EXPORTER_OTLP_HEADERS and the like, as the SDK documents them. ``patience``: seconds
    that the collector has for one batch. Raises ConfigError when the SDK is not installed.
    """

    def __init__(self, address: str, hostname: str, *, patience: float = _PATIENCE) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as error:
            raise ConfigError(
                f"daemon.otlp is set to {address}, but OpenTelemetry's packages are not installed ({error}): install "
                'them with pip install "vifplug[otel]", or take daemon.otlp out of the configuration',
                field="daemon.otlp",
                value=address,
            ) from error
        #: spans that the collector has taken, and spans that nobody will see
        self.delivered = 0
        self.dropped = 0
        self._waiting = 0
        self._down = False
        self._give_up = math.inf
        self._address = address
        self._lock = threading.Lock()
        self._resource = Resource(
            {"service.name": "vifplugd", "service.version": __version__, "host.name": hostname}
        )
        self._scope = InstrumentationScope("vifplug", __version__)
        # its own words for a collector that is down come with every batch: ours come once
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._processor = BatchSpanProcessor(
            _counting(self, _endpoint(address), patience),
            max_queue_size=_QUEUE,
            schedule_delay_millis=_DELAY * 1000,
            max_export_batch_size=_BATCH,
        )

    def __call__(self, span: Span) -> None:
        """Have a span delivered, some time."""
        with self._lock:
            if self._waiting >= _QUEUE or self._give_up < math.inf:
                self.dropped += 1
                return
            self._waiting += 1
        self._processor.on_end(self._readable(span))

    def flush(self, seconds: float) -> bool:
        """Deliver now what waits; whether all of it was handed over in time."""
        return bool(self._processor.force_flush(int(seconds * 1000)))

    def close(self, seconds: float = _PATIENCE) -> None:
        """Deliver what waits, as far as that can be begun within ``seconds``; what comes later is dropped."""
        with self._lock:
            self._give_up = time.monotonic() + seconds
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own omission

    @property
    def too_late(self) -> bool:
        """Whether nothing more may be begun."""
        return time.monotonic() > self._give_up

    def ended(self, spans: int, delivered: bool) -> None:
        """A batch has been taken by the collector, or given up."""
        with self._lock:
            self._waiting -= spans
            if delivered:
                self.delivered += spans
            else:
                self.dropped += spans
            changed, self._down = self._down is delivered, not delivered
        if changed and delivered:
            _log.info("the collector at %s takes spans again", self._address)
        elif changed:
            _log.warning(
                "the collector at %s does not take spans: they are dropped until it does", self._address
            )

    def _readable(self, span: Span) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
        from opentelemetry.trace.status import Status, StatusCode

        trace = int(span.context.trace, 16)

        def context(span_id: str, *, remote: bool) -> SpanContext:
            return SpanContext(trace, int(span_id, 16), is_remote=remote, trace_flags=TraceFlags(1))

        kind = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
        return ReadableSpan(
            span.name,
            context=context(span.context.span, remote=False),
            parent=context(span.parent, remote=span.kind == "server") if span.parent else None,
            resource=self._resource,
            attributes=span.attributes,
            kind=kind[span.kind],
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=int(span.start * _NANO),
            end_time=int(span.end * _NANO),
            instrumentation_scope=self._scope,
        )


def _endpoint(address: str) -> str:
    """Where a collector takes spans: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request."""
    path = "/v1/traces"
    return address if address.endswith(path) else address.rstrip("/") + path


def _counting(otlp: Otlp, endpoint: str, patience: float) -> OTLPSpanExporter:  # type: ignore[name-defined]  # noqa: F821
    """An exporter that says what became of each batch."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Counting(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            delivered = False
            result = SpanExportResult.FAILURE
            try:
                if not otlp.too_late:
                    result = super().export(spans)
                delivered = result is SpanExportResult.SUCCESS
            finally:
                otlp.ended(len(spans), delivered)
            return result

    return Counting(endpoint, timeout=patience)
