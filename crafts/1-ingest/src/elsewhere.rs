//! One thread's way to answers that are not its own, and back: from the site's handlers, and from what it can take itself and
//! answer later.
//!
//! Both promise an answer under a number, and give it when the engine asks for what has come. A handler's request is copied
//! for another thread, and what its connection sends next waits for it. A deferred one ([`Deferred`]) has been read when it
//! is taken, here and now: the next may come at once, and only the answers wait.

use crate::{
    handlers::{Handlers, Mailbox},
    slots::{Answer, Reply},
};
use contracts::{
    http::{Deferred, Middleware, Request, Response},
    ingest::Site,
    queue::Ticket,
};
use std::{collections::HashMap, sync::Arc, task::Waker, time::Instant};

pub(crate) struct Elsewhere<'s> {
    middleware: &'s dyn Middleware,
    handlers: &'s Handlers,
    mailbox: Arc<Mailbox>,
    deferred: Option<Box<dyn Deferred>>,
    /// Requests that were taken and are not answered, by the numbers of their answers.
    taken: HashMap<u64, Taken>,
    /// Answers promised so far: their numbers.
    promised: u64,
}

/// What is kept of a request for when its answer is known.
struct Taken {
    at: Instant,
    /// The middleware's own.
    noted: u128,
}

impl<'s> Elsewhere<'s> {
    pub(crate) fn new(site: &Site<'s>, handlers: &'s Handlers) -> Self {
        Self {
            middleware: site.middleware,
            handlers,
            mailbox: Arc::default(),
            deferred: site.rest.deferred(),
            taken: HashMap::new(),
            promised: 0,
        }
    }

    /// Promises an answer, or has one already.
    pub(crate) fn promise(&mut self, request: &Request<'_>) -> Reply {
        self.promised += 1;
        let number = self.promised;
        let route = self.deferred.as_ref().map(|deferred| deferred.route());
        let promise = if route == Some((request.method, request.path)) {
            self.take(number, request).map(|()| Answer::Soon(number))
        } else {
            let submitted = self.handlers.submit(number, request, &self.mailbox);
            submitted.map(|()| Answer::Later(number)).map_err(Response::from)
        };
        promise.map_or_else(Reply::now, |answer| Reply { answer, ticket: Ticket(0) })
    }

    /// Publishes what was taken.
    pub(crate) fn flush(&mut self) {
        if let Some(deferred) = self.deferred.as_mut().filter(|_| !self.taken.is_empty()) {
            deferred.flush();
        }
    }

    pub(crate) fn set_waker(&mut self, waker: Waker) {
        self.mailbox.set_waker(waker.clone());
        if let Some(deferred) = &mut self.deferred {
            deferred.set_waker(waker);
        }
    }

    /// Moves the answers that are there to `out`.
    pub(crate) fn finished(&mut self, out: &mut Vec<(u64, Response)>) {
        self.mailbox.take(out);
        let before = out.len();
        if let Some(deferred) = self.deferred.as_mut().filter(|_| !self.taken.is_empty()) {
            deferred.finished(out);
        }
        self.tell(&out[before..]);
    }

    fn take(&mut self, number: u64, request: &Request<'_>) -> Result<(), Response> {
        let (at, middleware) = (Instant::now(), self.middleware);
        let admitted = middleware.before(request);
        let taken = admitted.and_then(|()| match &mut self.deferred {
            Some(deferred) => deferred.take(number, request),
            None => Err(Response::status(404)),
        });
        match &taken {
            Ok(()) => drop(self.taken.insert(number, Taken { at, noted: middleware.suspend() })),
            Err(refusal) => middleware.after(Some(request), refusal.status, at.elapsed()),
        }
        taken
    }

    /// Tells the middleware of deferred answers.
    fn tell(&mut self, answers: &[(u64, Response)]) {
        let Some(deferred) = self.deferred.as_ref().filter(|_| !answers.is_empty()) else { return };
        let (now, (method, path)) = (Instant::now(), deferred.route());
        for (number, response) in answers {
            let Some(Taken { at, noted }) = self.taken.remove(number) else { continue };
            self.middleware.resume(noted);
            let request = Request { method, path, query: "", headers: &[], body: b"", peer: None };
            self.middleware.after(Some(&request), response.status, now.duration_since(at));
        }
    }
}
