//! The glue: routes of ingestion, parse × limit × handoff, seen by an engine as one [`App`].
//!
//! A request is counted against its client, read, and submitted; its answer waits for its ticket. Everything that is not
//! ingestion goes to [`Site::rest`], which makes every composition the HTTP engine of the other services too.

use crate::{
    elsewhere::Elsewhere,
    frame::Frame,
    handlers::{self, ClosesAtEnd, Form, HANDLERS, Handlers},
    slots::{
        Answer, App, Canonical, Engine, Handoff, Incoming, Limit, Lost, Parse, Reply, Row, Series, Sink,
        Submit, Worker,
    },
    wire::{Format, Taken, influx, prometheus, remote_write},
};
use contracts::{
    BatchError, TimestampMs,
    http::{ApiError, Request, Response},
    ingest::{Ingest, IngestConfig, Site},
    limits::CLIENT_ID_BYTES_MAX,
    queue::{Log, LogError, Ticket},
};
use memchr::memchr;
use std::{
    io,
    marker::PhantomData,
    net::IpAddr,
    sync::Arc,
    task::Waker,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Names the client, for its share and for its partition; without it the client is its address.
pub const CLIENT_HEADER: &str = "x-client-id";

/// A server whose slots are filled by types.
pub struct Server<E, P, L, H> {
    config: IngestConfig,
    log: Option<Arc<dyn Log>>,
    slots: PhantomData<Slots<E, P, L, H>>,
}

/// Four types that are named and never held.
type Slots<E, P, L, H> = fn() -> (E, P, L, H);

impl<E, P, L, H> Server<E, P, L, H> {
    /// A server that appends to `log`; without one it is only an HTTP engine.
    pub fn new(config: IngestConfig, log: Option<Arc<dyn Log>>) -> Self {
        Self { config, log, slots: PhantomData }
    }
}

impl<E: Engine, P: Parse, L: Limit, H: Handoff> Ingest for Server<E, P, L, H> {
    fn serve(&self, site: &Site<'_>) -> io::Result<()> {
        let handoff = self.log.clone().map(|log| H::open(&self.config, log)).transpose();
        let handoff = handoff.map_err(io::Error::other)?;
        let (limit, handlers) = (L::new(self.config.client_requests_max_per_s), Handlers::default());
        let service = Service::<P, L, H> {
            site,
            limit: &limit,
            handoff: handoff.as_ref(),
            handlers: (!E::MAY_WAIT).then_some(&handlers),
            form: if E::SENDS_FILES { Form::Files } else { Form::Bytes },
            parse: PhantomData,
        };
        let served = thread::scope(|scope| {
            let _closed_at_end = ClosesAtEnd(&handlers);
            for number in 0..if E::MAY_WAIT { 0 } else { HANDLERS } {
                let handler = thread::Builder::new().name(format!("handler-{number}"));
                handler.spawn_scoped(scope, || handlers.run(site, service.form))?;
            }
            E::serve(&self.config, site, &service)
        });
        let closed = handoff.map_or(Ok(()), |handoff| handoff.close().map_err(io::Error::other));
        served.and(closed)
    }
}

struct Service<'s, P, L, H> {
    site: &'s Site<'s>,
    limit: &'s L,
    handoff: Option<&'s H>,
    /// Who answers the rest, where the engine's threads may not wait for it.
    handlers: Option<&'s Handlers>,
    form: Form,
    parse: PhantomData<fn() -> P>,
}

impl<'s, P: Parse, L: Limit, H: Handoff> App for Service<'s, P, L, H> {
    type Worker = ServiceWorker<'s, P, L, H::Submit>;

    fn worker(&self) -> Result<Self::Worker, LogError> {
        let submit = self.handoff.map(H::submitter).transpose()?;
        Ok(ServiceWorker {
            site: self.site,
            limit: self.limit,
            intake: submit.map(|submit| Intake { submit, json: P::default(), formats: Formats::default() }),
            clock: Clock::default(),
            form: self.form,
            elsewhere: self.handlers.map(|handlers| Elsewhere::new(self.site, handlers)),
        })
    }
}

/// One thread's service.
struct ServiceWorker<'s, P, L, S> {
    site: &'s Site<'s>,
    limit: &'s L,
    /// What takes samples, where there is a log.
    intake: Option<Intake<P, S>>,
    clock: Clock,
    form: Form,
    /// Where the rest is answered, if this thread may not wait for it.
    elsewhere: Option<Elsewhere<'s>>,
}

struct Intake<P, S> {
    submit: S,
    json: P,
    formats: Formats,
}

#[derive(Default)]
struct Formats {
    influx: influx::LineProtocol,
    prometheus: prometheus::Exposition,
    remote_write: remote_write::RemoteWrite,
}

impl<P: Parse, L: Limit, S: Submit> Worker for ServiceWorker<'_, P, L, S> {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        match (Route::of(request), &mut self.intake, &mut self.elsewhere) {
            (Some(route), Some(intake), _) => {
                let (begun, arrived) = self.clock.begin();
                let reply = take(self.site, self.limit, intake, route, request, arrived);
                self.site.middleware.after(Some(request), reply.status(), self.clock.end(begun));
                reply
            }
            (.., Some(elsewhere)) => elsewhere.promise(request),
            _ => {
                self.clock.stop();
                Reply::now(handlers::answer(self.site, request, self.form))
            }
        }
    }

    fn refused(&mut self, status: u16, took: Duration) {
        self.site.middleware.after(None, status, took);
    }

    fn flush(&mut self) {
        self.clock.stop();
        if let Some(intake) = &mut self.intake {
            intake.submit.flush();
        }
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.flush();
        }
    }

    fn settled(&mut self) -> Result<Ticket, Lost> {
        self.intake.as_mut().map_or(Ok(Ticket(0)), |intake| intake.submit.settled())
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, Lost> {
        self.intake.as_mut().map_or(Ok(Ticket(0)), |intake| intake.submit.wait(upto, at_most))
    }

    fn set_waker(&mut self, waker: Waker) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.set_waker(waker.clone());
        }
        if let Some(intake) = &mut self.intake {
            intake.submit.set_waker(waker);
        }
    }

    fn finished(&mut self, out: &mut Vec<(u64, Response)>) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.finished(out);
        }
    }
}

/// What time it is, read once a request: where requests come sixteen at a time, three looks at the clock were a
/// twelfth of all work. A request begins when the one before it in the same turn has ended.
#[derive(Default)]
struct Clock {
    turn: Option<Turn>,
}

/// Requests that come one behind the other, without a wait in between.
struct Turn {
    /// The wall clock when it began.
    at: TimestampMs,
    /// How long its requests took.
    took: Duration,
    /// When the last of them ended.
    last: Instant,
}

impl Clock {
    /// When a request begins, and the same by the wall clock.
    fn begin(&mut self) -> (Instant, TimestampMs) {
        let begin = || Turn { at: now(), took: Duration::ZERO, last: Instant::now() };
        let turn = self.turn.get_or_insert_with(begin);
        let ms = i64::try_from(turn.took.as_millis()).unwrap_or(i64::MAX);
        (turn.last, TimestampMs(turn.at.0.saturating_add(ms)))
    }

    /// How long it took.
    fn end(&mut self, begun: Instant) -> Duration {
        let now = Instant::now();
        let took = now.duration_since(begun);
        if let Some(turn) = &mut self.turn {
            turn.last = now;
            turn.took += took;
        }
        took
    }

    /// Whatever comes next comes at a time of its own.
    fn stop(&mut self) {
        self.turn = None;
    }
}

/// Takes the samples of a request, unless the middleware forbids it.
fn take<P: Parse, S: Submit>(
    site: &Site<'_>,
    limit: &impl Limit,
    intake: &mut Intake<P, S>,
    route: Route,
    request: &Request<'_>,
    arrived: TimestampMs,
) -> Reply {
    let reply = site.middleware.before(request).map_err(Reply::now).and_then(|()| {
        let client = admit(limit, request, arrived).map_err(Reply::now)?;
        intake.take(route, request, client, arrived).map_err(Reply::now)
    });
    reply.unwrap_or_else(|refusal| refusal)
}

/// The ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Json,
    Influx,
    Prometheus,
    RemoteWrite,
}

impl Route {
    fn of(request: &Request<'_>) -> Option<Self> {
        if request.method != "POST" {
            return None;
        }
        match request.path {
            "/metrics" => Some(Self::Json),
            "/write" | "/api/v2/write" => Some(Self::Influx),
            "/api/v1/import/prometheus" => Some(Self::Prometheus),
            "/api/v1/write" => Some(Self::RemoteWrite),
            _ => None,
        }
    }
}

/// Counts the request against its client, which it returns.
fn admit<'r>(limit: &impl Limit, request: &Request<'r>, arrived: TimestampMs) -> Result<&'r str, ApiError> {
    let named = request.header(CLIENT_HEADER).unwrap_or_default();
    if named.len() > CLIENT_ID_BYTES_MAX {
        let message = format!("{CLIENT_HEADER} has {} bytes; the most is {CLIENT_ID_BYTES_MAX}", named.len());
        return Err(ApiError::new(400, "bad_client_id", message));
    }
    let mut address = [0; 16];
    let key = if named.is_empty() { address_key(request, &mut address) } else { named.as_bytes() };
    match limit.admit(key, arrived) {
        Ok(()) => Ok(named),
        Err(seconds) => {
            let message = "this client sends more requests than its share; see Retry-After";
            Err(ApiError::new(429, "rate_limited", message).retry_after(seconds))
        }
    }
}

/// The client's address, which is whom a client without a name is counted as.
fn address_key<'k>(request: &Request<'_>, key: &'k mut [u8; 16]) -> &'k [u8] {
    match request.peer.map(|peer| peer.ip()) {
        None => &[],
        Some(IpAddr::V4(v4)) => {
            key[..4].copy_from_slice(&v4.octets());
            &key[..4]
        }
        Some(IpAddr::V6(v6)) => {
            *key = v6.octets();
            // A household has 2^64 addresses of its own.
            &key[..8]
        }
    }
}

impl<P: Parse, S: Submit> Intake<P, S> {
    /// Takes the samples of a request.
    fn take(
        &mut self,
        route: Route,
        request: &Request<'_>,
        client: &str,
        arrived: TimestampMs,
    ) -> Result<Reply, ApiError> {
        check_content_type(route, request)?;
        let frame = self.submit.frame();
        frame.begin();
        let parsed = match route {
            Route::Json => {
                self.json.parse(request.body, arrived, &mut Named { frame, client }).map(Parsed::All)
            }
            _ => self.formats.parse(route, request, arrived, &mut Named { frame, client }).map(Parsed::Lines),
        };
        let parsed = parsed.inspect_err(|_| self.submit.frame().rollback())?;
        let ticket = if parsed.samples() == 0 { Ticket(0) } else { self.hand_over()? };
        let answer = match parsed {
            Parsed::All(count) => Answer::Accepted(count),
            Parsed::Lines(taken) if taken.refused == 0 => Answer::NoContent,
            Parsed::Lines(taken) => Answer::Other(partial_write(&taken).into()),
        };
        Ok(Reply { answer, ticket })
    }

    fn hand_over(&mut self) -> Result<Ticket, ApiError> {
        let submitted = self.submit.submit();
        submitted.inspect_err(|_| self.submit.frame().rollback()).map_err(|e| refusal(&e))
    }
}

enum Parsed {
    All(usize),
    Lines(Taken),
}

impl Parsed {
    fn samples(&self) -> usize {
        match self {
            Self::All(count) => *count,
            Self::Lines(taken) => taken.samples,
        }
    }
}

/// curl's default type is let through: whoever tries this out by hand should not have to know about types.
fn check_content_type(route: Route, request: &Request<'_>) -> Result<(), ApiError> {
    const CURL: &str = "application/x-www-form-urlencoded";
    let (takes, advice): (&[&str], _) = match route {
        Route::Json => (&["application/json", "text/json", "text/plain", CURL], "send application/json"),
        Route::RemoteWrite => (&["application/x-protobuf"], "send application/x-protobuf, remote write 1.0"),
        // Their clients send anything at all.
        Route::Influx | Route::Prometheus => return Ok(()),
    };
    let Some(value) = request.header_bytes("content-type") else { return Ok(()) };
    // Nearly all write the first one, and nothing else.
    let essence = if value == takes[0].as_bytes() { value } else { essence_of(value) };
    if takes.iter().any(|known| essence.eq_ignore_ascii_case(known.as_bytes())) {
        return Ok(());
    }
    Err(ApiError::new(415, "bad_content_type", advice))
}

fn essence_of(content_type: &[u8]) -> &[u8] {
    content_type[..memchr(b';', content_type).unwrap_or(content_type.len())].trim_ascii()
}

/// Gives every sample that names no client that of its request.
struct Named<'f> {
    frame: &'f mut Frame,
    client: &'f str,
}

impl Sink for Named<'_> {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        let client = if sample.client.is_empty() { self.client } else { sample.client };
        self.frame.push(&Incoming { client, ..*sample })
    }

    fn push_canonical(&mut self, sample: &Canonical<'_>) -> Result<(), BatchError> {
        let client = if sample.client.is_empty() { self.client } else { sample.client };
        self.frame.push_canonical(&Canonical { client, ..*sample })
    }

    fn push_row(&mut self, row: &Row<'_>) -> Result<(), BatchError> {
        let client = if row.client.is_empty() { self.client } else { row.client };
        self.frame.push_row(&Row { client, ..*row })
    }

    fn push_series(&mut self, series: &Series<'_>) -> Result<(), BatchError> {
        let client = if series.client.is_empty() { self.client } else { series.client };
        self.frame.push_series(&Series { client, ..*series })
    }
}

impl Formats {
    fn parse(
        &mut self,
        route: Route,
        request: &Request<'_>,
        arrived: TimestampMs,
        sink: &mut Named<'_>,
    ) -> Result<Taken, ApiError> {
        match route {
            Route::Influx => {
                self.influx.set_precision(request.param("precision").as_deref())?;
                self.influx.parse(request.body, arrived, sink)
            }
            Route::Prometheus => {
                let content_type = request.header_bytes("content-type").unwrap_or_default();
                let open = essence_of(content_type).eq_ignore_ascii_case(b"application/openmetrics-text");
                self.prometheus.set_open_metrics(open);
                self.prometheus.parse(request.body, arrived, sink)
            }
            Route::RemoteWrite | Route::Json => self.remote_write.parse(request.body, arrived, sink),
        }
    }
}

/// The good lines were taken, and the bad ones named.
fn partial_write(taken: &Taken) -> ApiError {
    let named: Vec<String> = taken.named.iter().map(|r| format!("line {}: {}", r.line, r.message)).collect();
    let more = taken.refused - named.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message = format!(
        "partial write: {} samples taken, {} lines dropped: {}{more}",
        taken.samples,
        taken.refused,
        named.join("; ")
    );
    let at = taken.named.first().map_or(0, |r| r.at);
    ApiError::bad_input("partial_write", at, message)
}

fn refusal(error: &LogError) -> ApiError {
    match error {
        LogError::Full => ApiError::of(503, "queue_full", error).retry_after(1),
        LogError::RecordTooLarge { .. } => ApiError::of(413, "record_too_large", error),
        // No time will mend these.
        LogError::AckTooStrong { .. } | LogError::NoSuchPartition { .. } => {
            ApiError::of(500, "misconfigured", error)
        }
        _ => ApiError::of(503, "queue_unavailable", error).retry_after(1),
    }
}

/// Milliseconds since 1970. A clock before that is broken, and gives samples of 1970.
fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
