//! One connection's protocol state: the engine owns the socket, this owns the meaning of its bytes.
//!
//! A request that arrives in one piece is read and answered where it stands. Only what is cut is copied, into the request
//! under way, and only what may not be answered yet, because the client does not take its answers, is held.

use super::{
    answer::{self, Form},
    body::Chunks,
    coding,
    date::DateLine,
    head::{self, Coding, Framing, Head, Headers, Progress},
    output::{self, Output},
    owed::{Owed, Written},
};
use crate::slots::{Answer, Lost, Reply, Worker};
use contracts::{
    file::FileSlice,
    http::{ApiError, Body, Request, Response},
    limits::HEAD_BYTES_MAX,
    queue::Ticket,
};
use std::{
    mem,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

/// Capacity for decoded bodies that a thread keeps.
const DECODED_KEPT_BYTES_MAX: usize = 1 << 20;

/// What a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Largest body, before and after decoding. Beyond: 413.
    pub body_bytes_max: usize,
    /// Whether more than one request is answered.
    pub keep_alive: bool,
}

/// What all connections of a thread share: buffers, of which none is needed between two calls, and the time.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A body that had to be decoded.
    body: Vec<u8>,
    now: Option<SystemTime>,
    date: DateLine,
}

impl Scratch {
    /// Says what time it is, for `Date` and for how long a refused request took. An engine calls it once a turn; without it
    /// there is no `Date`.
    pub fn set_time(&mut self, now: SystemTime) {
        self.now = Some(now);
        self.date.set(now);
    }

    fn since(&self, begun: Option<SystemTime>) -> Duration {
        let both = self.now.zip(begun);
        both.and_then(|(now, begun)| now.duration_since(begun).ok()).unwrap_or_default()
    }
}

/// One connection, from its first byte to its last.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    peer: Option<SocketAddr>,
    /// The request under way, empty between requests.
    partial: Partial,
    /// What follows requests that are not run yet, for want of room for their answers. `partial` is empty then.
    held: Vec<u8>,
    output: Output,
    served: u64,
    /// Answers that were promised, and those behind them. What is in `output` leaves before.
    owed: Owed,
    /// No request will be answered any more.
    closing: bool,
    /// The client has said all that it will say.
    input_ended: bool,
    /// The client has said, or may be saying, what nobody reads.
    unread: bool,
}

/// A request that is not whole.
#[derive(Debug, Default)]
struct Partial {
    /// Its head, then what there is of its body, decoded from its chunks.
    bytes: Vec<u8>,
    stage: Stage,
    begun: Option<SystemTime>,
}

#[derive(Debug)]
enum Stage {
    Head(Progress),
    /// The head is whole; the request will be when it has so many bytes.
    Length {
        head_bytes: usize,
        request_bytes: usize,
    },
    Chunked {
        head_bytes: usize,
        chunks: Chunks,
    },
}

impl Default for Stage {
    fn default() -> Self {
        Self::Head(Progress::default())
    }
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(settings: Settings, peer: Option<SocketAddr>) -> Self {
        Self {
            settings,
            peer,
            partial: Partial::default(),
            held: Vec::new(),
            output: Output::default(),
            served: 0,
            owed: Owed::default(),
            closing: false,
            input_ended: false,
            unread: false,
        }
    }

    /// Takes bytes that arrived and runs every request that is whole. Ends early, keeping the rest, once the answers that
    /// nobody took yet pass a bound; then the engine stops reading and calls [`Connection::resume`] later.
    pub fn feed<W: Worker>(&mut self, bytes: &[u8], scratch: &mut Scratch, worker: &mut W) {
        if self.held.is_empty() {
            let used = self.run(bytes, scratch, worker);
            self.hold(&bytes[used..]);
        } else {
            self.hold(bytes);
        }
    }

    /// Goes on with requests that were kept back, once their answers have room.
    pub fn resume<W: Worker>(&mut self, scratch: &mut Scratch, worker: &mut W) {
        let mut held = mem::take(&mut self.held);
        let used = self.run(&held, scratch, worker);
        if used < held.len() && !self.closing {
            held.drain(..used);
            self.held = held;
        } else {
            self.unread |= used < held.len();
            self.finish_input(scratch, worker);
        }
    }

    /// The number of an answer that was promised to this connection, each of them once: to note who waits for it.
    pub fn promised(&mut self) -> Option<u64> {
        self.owed.next_unnoted()
    }

    /// Whether an answer that was promised is not there yet.
    pub fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The promised answer of this number is there. It leaves when all that was promised before it has.
    pub fn fulfil(&mut self, number: u64, response: Response, scratch: &Scratch) {
        self.owed.fulfil(number, response);
        while let Some(written) = self.owed.pop_ready() {
            match written {
                Written::Continue => self.write_continue(),
                Written::Answer(reply, form) => {
                    let is_last = self.is_time_to_close();
                    self.write(reply, if is_last { form.last() } else { form }, scratch.date.as_bytes());
                    if is_last {
                        self.close();
                    }
                }
            }
        }
    }

    /// The client will send no more: a request cut short is refused with 400, then the connection ends.
    pub fn end_of_input<W: Worker>(&mut self, scratch: &mut Scratch, worker: &mut W) {
        self.input_ended = true;
        self.finish_input(scratch, worker);
    }

    /// Time is up. A request that has begun is refused with 408; the connection ends either way.
    pub fn time_out<W: Worker>(&mut self, scratch: &mut Scratch, worker: &mut W) {
        if self.is_reading() {
            let got = self.partial.bytes.len();
            let message = format!("the request did not arrive in time; {got} bytes of it did");
            self.refuse(ApiError::new(408, "request_timeout", message), scratch, worker);
        } else {
            self.owed.clear();
            self.close();
        }
    }

    /// Refuses what the client wants to send for want of memory or connections: 503 with `code`, then the connection ends.
    pub fn overload<W: Worker>(&mut self, code: &'static str, scratch: &mut Scratch, worker: &mut W) {
        if !self.closing {
            let message = "the server has no room for this now; try again later";
            self.refuse(ApiError::new(503, code, message).retry_after(1), scratch, worker);
        }
    }

    /// What may be sent now that tickets up to `settled` have settled.
    pub fn output(&self, settled: Ticket) -> &[u8] {
        self.output.ready(settled)
    }

    /// So many bytes of the output have been sent.
    pub fn wrote(&mut self, bytes: usize) {
        self.output.wrote(bytes);
    }

    /// The part of a file that may be sent now, when there is no output before it.
    pub fn output_file(&self) -> Option<&FileSlice> {
        self.output.ready_file()
    }

    /// So many bytes of the file have been sent.
    pub fn wrote_file(&mut self, bytes: u64) {
        self.output.wrote_file(bytes);
    }

    /// Whether anything may be sent now.
    pub fn has_output(&self, settled: Ticket) -> bool {
        !self.output(settled).is_empty() || self.output_file().is_some()
    }

    /// The ticket that the first answer not to be sent yet waits for.
    pub fn waits_for(&self, settled: Ticket) -> Option<Ticket> {
        self.output.waits_for(settled).or_else(|| self.owed.waits_for(settled))
    }

    /// What waited will never settle: its answers become one 503 `not_settled`, and the connection ends after it.
    pub fn lose(&mut self, lost: &Lost) {
        let is_any_held = self.output.forget_held();
        if is_any_held {
            self.owed.clear();
        }
        if is_any_held || self.owed.forget_held() {
            let error = ApiError::new(503, "not_settled", lost.to_string()).retry_after(1);
            self.push_last(error, b"");
        }
    }

    /// Whether the engine should read: not while answers pile up, nor once the connection ends.
    pub fn wants_input(&self) -> bool {
        let may_go_on = !self.closing && !self.input_ended && !self.waits_for_promises();
        may_go_on && self.held.is_empty() && !self.output.is_full()
    }

    /// Whether no request is run before a promised answer is there.
    pub fn waits_for_promises(&self) -> bool {
        self.owed.blocks() || self.owed.is_full()
    }

    /// Nothing half-read, nothing unsent.
    pub fn is_idle(&self) -> bool {
        !self.is_reading() && self.held.is_empty() && self.owed.is_empty() && self.output.is_empty()
    }

    /// Whether a request has begun to arrive and is not whole.
    pub fn is_reading(&self) -> bool {
        !self.partial.bytes.is_empty()
    }

    /// Requests so far that were answered, or will be; refused ones included.
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Everything has been sent, and nothing more will be: time to close.
    pub fn is_finished(&self) -> bool {
        self.closing && self.owed.is_empty() && self.output.is_empty()
    }

    /// Whether the client may still be sending what nobody will read. Closing at once would reset the connection, and the
    /// client might never see its answer: shut down the sending side and read on for a moment (RFC 9112 section 9.6).
    pub fn should_linger(&self) -> bool {
        self.closing && self.unread && !self.input_ended
    }

    /// The next answer is the last.
    pub fn close_after_reply(&mut self) {
        self.settings.keep_alive = false;
    }

    /// Bytes that its buffers hold.
    pub fn buffered_bytes(&self) -> usize {
        self.partial.bytes.capacity() + self.held.capacity() + self.output.capacity() + self.owed.bytes()
    }

    /// Reads requests until there is no more to read, or no room for answers; returns how far it came.
    fn run<W: Worker>(&mut self, bytes: &[u8], scratch: &mut Scratch, worker: &mut W) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.closing && !self.owed.blocks() {
            let rest = &bytes[at..];
            at += match &self.partial.stage {
                Stage::Head(_) if self.partial.bytes.is_empty() => {
                    if self.output.is_full() || self.owed.is_full() {
                        break;
                    }
                    self.begin(rest, scratch, worker)
                }
                Stage::Head(progress) => self.continue_head(*progress, rest, scratch, worker),
                Stage::Length { .. } | Stage::Chunked { .. } => self.continue_body(rest, scratch, worker),
            };
        }
        at
    }

    /// Reads what begins a request, and all of it if it is there. Returns how many bytes it took.
    fn begin<W: Worker>(&mut self, bytes: &[u8], scratch: &mut Scratch, worker: &mut W) -> usize {
        // Empty lines before a request are forgiven (RFC 9112 section 2.2).
        if bytes.starts_with(b"\r\n") {
            return 2;
        }
        let (mut progress, mut headers) = (Progress::default(), Headers::new());
        match head::read(bytes, &mut progress, &mut headers) {
            Ok(Some(head)) => match head.framing {
                Framing::Length(length) if length <= bytes.len() - head.bytes => {
                    let end = head.bytes + length;
                    if let Err(e) = self.check_length(length) {
                        self.refuse(e, scratch, worker);
                    } else {
                        self.answer(&head, &headers, &bytes[head.bytes..end], scratch, worker);
                    }
                    end
                }
                _ => {
                    self.partial.begun = scratch.now;
                    self.partial.bytes.extend_from_slice(&bytes[..head.bytes]);
                    let is_body_here = bytes.len() > head.bytes;
                    self.begin_body(head.bytes, head.framing, head.expects_continue && !is_body_here)
                        .unwrap_or_else(|e| self.refuse(e, scratch, worker));
                    head.bytes
                }
            },
            Ok(None) => {
                self.partial.begun = scratch.now;
                self.partial.bytes.extend_from_slice(bytes);
                self.partial.stage = Stage::Head(progress);
                bytes.len()
            }
            Err(e) => {
                self.refuse(e, scratch, worker);
                bytes.len()
            }
        }
    }

    /// Goes on with a head that was cut. Returns how many bytes it took.
    fn continue_head<W: Worker>(
        &mut self,
        mut progress: Progress,
        bytes: &[u8],
        scratch: &mut Scratch,
        worker: &mut W,
    ) -> usize {
        let before = self.partial.bytes.len();
        // One byte more than is allowed, so that it is seen to be too much.
        let taken = bytes.len().min(HEAD_BYTES_MAX + 1 - before);
        self.partial.bytes.extend_from_slice(&bytes[..taken]);
        if before == 1 && self.partial.bytes.starts_with(b"\r\n") {
            self.partial.bytes.clear();
            return 1;
        }
        let read = head::read(&self.partial.bytes, &mut progress, &mut Headers::new())
            .map(|head| head.map(|head| (head.bytes, head.framing, head.expects_continue)));
        match read {
            Ok(Some((head_bytes, framing, expects_continue))) => {
                let is_body_here = before + bytes.len() > head_bytes;
                self.partial.bytes.truncate(head_bytes);
                self.begin_body(head_bytes, framing, expects_continue && !is_body_here)
                    .unwrap_or_else(|e| self.refuse(e, scratch, worker));
                if framing == Framing::Length(0) {
                    self.answer_partial(head_bytes, scratch, worker);
                }
                head_bytes - before
            }
            Ok(None) => {
                self.partial.stage = Stage::Head(progress);
                taken
            }
            Err(e) => {
                self.refuse(e, scratch, worker);
                taken
            }
        }
    }

    /// The head is whole and stands in `partial`: whatever follows is its body.
    fn begin_body(
        &mut self,
        head_bytes: usize,
        framing: Framing,
        tell_to_continue: bool,
    ) -> Result<(), ApiError> {
        self.partial.stage = match framing {
            Framing::Length(length) => {
                self.check_length(length)?;
                Stage::Length { head_bytes, request_bytes: head_bytes + length }
            }
            Framing::Chunked => {
                Stage::Chunked { head_bytes, chunks: Chunks::new(self.settings.body_bytes_max) }
            }
        };
        match tell_to_continue {
            true if self.owed.is_empty() => self.write_continue(),
            true => self.owed.push_continue(),
            false => {}
        }
        Ok(())
    }

    fn check_length(&self, length: usize) -> Result<(), ApiError> {
        let bytes_max = self.settings.body_bytes_max;
        if length > bytes_max {
            let message = format!("a body of {length} bytes; the most is {bytes_max}");
            return Err(ApiError::new(413, "body_too_large", message));
        }
        Ok(())
    }

    /// Goes on with a body that was cut, and answers its request if it is whole. Returns how many bytes it took.
    fn continue_body<W: Worker>(&mut self, bytes: &[u8], scratch: &mut Scratch, worker: &mut W) -> usize {
        match self.partial.take_body(bytes) {
            Ok((taken, None)) => taken,
            Ok((taken, Some(head_bytes))) => {
                self.answer_partial(head_bytes, scratch, worker);
                taken
            }
            Err(e) => {
                self.refuse(e, scratch, worker);
                bytes.len()
            }
        }
    }

    /// The request under way has become whole.
    fn answer_partial<W: Worker>(&mut self, head_bytes: usize, scratch: &mut Scratch, worker: &mut W) {
        let mut request = mem::take(&mut self.partial.bytes);
        let (head, body) = request.split_at(head_bytes);
        let (mut progress, mut headers) = (Progress::default(), Headers::new());
        // Nothing of the head was kept but its bytes: to read them again costs less than to keep what they said.
        match head::read(head, &mut progress, &mut headers) {
            Ok(Some(head)) => self.answer(&head, &headers, body, scratch, worker),
            _ => unreachable!("this head has been read before"),
        }
        drop(headers);
        output::clear(&mut request);
        self.partial = Partial { bytes: request, ..Partial::default() };
    }

    /// A whole request.
    fn answer<W: Worker>(
        &mut self,
        head: &Head<'_>,
        headers: &Headers<'_>,
        body: &[u8],
        scratch: &mut Scratch,
        worker: &mut W,
    ) {
        let is_coded = head.coding != Coding::Identity && !body.is_empty();
        if is_coded
            && let Err(e) = coding::decode(head.coding, body, self.settings.body_bytes_max, &mut scratch.body)
        {
            return self.refuse(e, scratch, worker);
        }
        let request = Request {
            method: head.method,
            path: head.path,
            query: head.query,
            headers,
            body: if is_coded { &scratch.body } else { body },
            peer: self.peer,
        };
        let reply = worker.call(&request);
        let is_last = !(head.keep_alive && self.settings.keep_alive);
        let form = Form::of(head, is_last);
        match reply.answer {
            Answer::Later(number) => self.owed.promise(number, form, true),
            Answer::Soon(number) => self.owed.promise(number, form, false),
            _ => self.push(reply, form, scratch.date.as_bytes()),
        }
        self.served += 1;
        self.closing = is_last;
        if scratch.body.capacity() > DECODED_KEPT_BYTES_MAX {
            scratch.body = Vec::new();
        }
    }

    /// Writes an answer, if none is owed before it.
    fn push(&mut self, reply: Reply, form: Form, date: &[u8]) {
        if self.owed.is_empty() {
            self.write(reply, form, date);
        } else {
            self.owed.push(reply, form);
        }
    }

    fn write(&mut self, reply: Reply, form: Form, date: &[u8]) {
        answer::write(self.output.buffer(), &reply.answer, date, form);
        if let Answer::Other(Response { status, body: Body::Slices(slices), .. }) = reply.answer
            && form.sends_body(status)
        {
            self.output.push_files(slices);
        }
        self.output.hold(reply.ticket);
    }

    fn write_continue(&mut self) {
        self.output.buffer().extend_from_slice(answer::CONTINUE);
        self.output.hold(Ticket(0));
    }

    /// Whether the answer that is written now is the last, although nobody knew when its request came.
    fn is_time_to_close(&self) -> bool {
        !self.settings.keep_alive && !self.closing && self.owed.is_empty() && !self.is_reading()
    }

    fn hold(&mut self, rest: &[u8]) {
        if self.closing {
            self.unread |= !rest.is_empty();
        } else {
            self.held.extend_from_slice(rest);
        }
    }

    /// Where the client has said all and all was read: what is not whole never will be.
    fn finish_input<W: Worker>(&mut self, scratch: &mut Scratch, worker: &mut W) {
        if !self.input_ended || !self.held.is_empty() || self.closing || self.owed.blocks() {
            return;
        }
        match self.partial.cut_short() {
            Some(error) => self.refuse(error, scratch, worker),
            None => self.close(),
        }
    }

    fn refuse<W: Worker>(&mut self, error: ApiError, scratch: &mut Scratch, worker: &mut W) {
        worker.refused(error.status, scratch.since(self.partial.begun));
        self.served += 1;
        self.push_last(error, scratch.date.as_bytes());
    }

    fn push_last(&mut self, error: ApiError, date: &[u8]) {
        self.push(Reply::now(error), Form::REFUSAL, date);
        self.close();
        self.unread = true;
    }

    /// Nothing more is read, and what was read is given back.
    fn close(&mut self) {
        self.unread |= !self.held.is_empty();
        self.closing = true;
        self.held = Vec::new();
        self.partial = Partial::default();
    }
}

impl Partial {
    /// Takes what of `bytes` belongs to the body: how many, and the length of the head if the request is whole now.
    fn take_body(&mut self, bytes: &[u8]) -> Result<(usize, Option<usize>), ApiError> {
        match &mut self.stage {
            Stage::Head(_) => Ok((0, None)),
            Stage::Length { head_bytes, request_bytes } => {
                let taken = bytes.len().min(*request_bytes - self.bytes.len());
                reserve(&mut self.bytes, taken, *request_bytes);
                self.bytes.extend_from_slice(&bytes[..taken]);
                Ok((taken, (self.bytes.len() == *request_bytes).then_some(*head_bytes)))
            }
            Stage::Chunked { head_bytes, chunks } => {
                let taken = chunks.read(bytes, &mut self.bytes)?;
                Ok((taken, chunks.is_done().then_some(*head_bytes)))
            }
        }
    }

    /// What to say if no more of it comes; nothing, if it has not begun.
    fn cut_short(&self) -> Option<ApiError> {
        let all = self.bytes.len();
        let (at, message) = match &self.stage {
            Stage::Head(_) if all == 0 => return None,
            Stage::Head(_) => (all, "the connection closed within the head".to_owned()),
            Stage::Length { head_bytes, request_bytes } => {
                let (got, announced) = (all - head_bytes, request_bytes - head_bytes);
                (got, format!("the connection closed after {got} of {announced} bytes of the body"))
            }
            Stage::Chunked { head_bytes, .. } => {
                let got = all - head_bytes;
                (got, format!("the connection closed before the last chunk, after {got} bytes of the body"))
            }
        };
        Some(ApiError::bad_input("cut_short", at, message))
    }
}

/// Makes room for `more` bytes: twice what there was, but never beyond what was announced. Memory so follows what has
/// arrived, whatever was announced.
fn reserve(buffer: &mut Vec<u8>, more: usize, announced: usize) {
    let needed = buffer.len() + more;
    if needed > buffer.capacity() {
        let capacity = needed.max(announced.min(buffer.capacity() * 2));
        buffer.reserve_exact(capacity - buffer.len());
    }
}
