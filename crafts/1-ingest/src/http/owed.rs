//! Answers that are owed: those that were promised and are not there yet, and those that stand behind them.
//!
//! Answers leave in the order of their requests (RFC 9112 section 9.3.2). So once one is only promised, whatever comes behind
//! it waits here, unwritten, and no longer than for the last promise before it.

use super::answer::Form;
use crate::slots::Reply;
use contracts::{http::Response, queue::Ticket};
use std::collections::VecDeque;

/// Answers that one connection may be owed. Beyond, no further request is run.
pub(super) const OWED_MAX: usize = 1024;
/// For so many it keeps the memory.
const OWED_KEPT: usize = 8;
/// Bytes of bodies that wait here, beyond which no further request is run.
const OWED_BYTES_MAX: usize = super::output::OUTPUT_BYTES_MAX;

#[derive(Debug, Default)]
pub(super) struct Owed {
    queue: VecDeque<Due>,
    /// Bytes of the bodies in it.
    bytes: usize,
    /// Promised numbers that nobody has asked for yet.
    unnoted: Vec<u64>,
}

/// What is owed, with the form of the answer.
#[derive(Debug)]
enum Due {
    /// Not there yet. `blocks` is whether the next request waits for it.
    Promised {
        number: u64,
        form: Form,
        blocks: bool,
    },
    Answer(Reply, Form),
    /// The client is to send its body.
    Continue,
}

/// What can be written now.
pub(super) enum Written {
    Answer(Reply, Form),
    Continue,
}

impl Owed {
    pub(super) fn promise(&mut self, number: u64, form: Form, blocks: bool) {
        self.queue.push_back(Due::Promised { number, form, blocks });
        self.unnoted.push(number);
    }

    /// Puts an answer behind what is owed.
    pub(super) fn push(&mut self, reply: Reply, form: Form) {
        self.bytes += reply.memory_bytes();
        self.queue.push_back(Due::Answer(reply, form));
    }

    /// The same for the word to go on.
    pub(super) fn push_continue(&mut self) {
        self.queue.push_back(Due::Continue);
    }

    /// The promised answer is there. Does nothing if nobody waits for it any more.
    pub(super) fn fulfil(&mut self, number: u64, response: Response) {
        let is_it = |due: &&mut Due| matches!(due, Due::Promised { number: n, .. } if *n == number);
        if let Some(due) = self.queue.iter_mut().find(is_it)
            && let Due::Promised { form, .. } = *due
        {
            let reply = Reply::now(response);
            self.bytes += reply.memory_bytes();
            *due = Due::Answer(reply, form);
        }
    }

    /// Takes the first, if it is there.
    pub(super) fn pop_ready(&mut self) -> Option<Written> {
        let due = self.queue.pop_front_if(|due| !matches!(due, Due::Promised { .. }))?;
        if self.queue.is_empty() {
            self.queue.shrink_to(OWED_KEPT);
        }
        match due {
            Due::Answer(reply, form) => {
                self.bytes -= reply.memory_bytes();
                Some(Written::Answer(reply, form))
            }
            Due::Continue | Due::Promised { .. } => Some(Written::Continue),
        }
    }

    /// A promised number that was not asked for before.
    pub(super) fn next_unnoted(&mut self) -> Option<u64> {
        self.unnoted.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the next request waits for the last of them.
    pub(super) fn blocks(&self) -> bool {
        matches!(self.queue.back(), Some(Due::Promised { blocks: true, .. }))
    }

    /// Whether so much is owed that nothing more should be answered.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= OWED_MAX || self.bytes >= OWED_BYTES_MAX
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.queue.capacity() * size_of::<Due>()
    }

    /// The first ticket that holds one of them back.
    pub(super) fn waits_for(&self, settled: Ticket) -> Option<Ticket> {
        self.tickets().find(|ticket| *ticket > settled)
    }

    /// Forgets the first that waits for a ticket, and all behind it; `false` if none does.
    pub(super) fn forget_held(&mut self) -> bool {
        let is_held = |due: &Due| matches!(due, Due::Answer(reply, _) if reply.ticket > Ticket(0));
        let Some(first) = self.queue.iter().position(is_held) else { return false };
        for due in self.queue.drain(first..) {
            if let Due::Answer(reply, _) = due {
                self.bytes -= reply.memory_bytes();
            }
        }
        true
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.queue.iter().filter_map(|due| match due {
            Due::Answer(reply, _) => Some(reply.ticket),
            _ => None,
        })
    }
}
