//! The claims of ingestion's contract on the learner's server: real sockets, and nothing known of what is inside.
//!
//! Each claim has a server of its own, with every slot of the phase, so that what one has broken does not show in the
//! next.

use crate::check::{ALL, Check, Must, PATIENCE, Test, Unmet, broken, eventually, name_of};
use benches::logs::TallyLog;
use conformance::{
    Report, Verdict,
    client::Url,
    http::{HttpClaim, Part, SUITES, Target, check_suite},
};
use contracts::{
    http::{ApiError, Bare, Request, Response},
    ingest::{IngestConfig, Shutdown, Site},
};
use ingest_phases::Phase;
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
};

/// The suite that is about ingestion alone.
const SUITE: &str = "http ingest";

/// Each claim as a test of this server.
pub(crate) fn claims(phase: &Phase) -> Vec<Test> {
    let suites = SUITES.iter().filter(|(name, _)| *name == SUITE);
    let claims = suites.flat_map(|(_, claims)| claims.iter());
    let phase = *phase;
    claims.map(|claim| Test::new(name_of(claim.says), ALL, move || check(&phase, claim))).collect()
}

fn check(phase: &Phase, claim: &'static HttpClaim) -> Check {
    let served = Served::start(phase)?;
    let authority = served.address.to_string();
    let url = Url::parse(&format!("http://{authority}")).must("the address of the server")?;
    let target = Arc::new(Target::new().with(Part::Ingest, url));
    let report = check_suite(&target, SUITE, std::slice::from_ref(claim));
    judge(&report, &authority)?;
    served.stop()
}

/// What a report says of its only claim. Where the server was, is left out.
pub(crate) fn judge(report: &Report, authority: &str) -> Check {
    report.outcomes.iter().try_for_each(|outcome| match &outcome.verdict {
        Verdict::Holds => Ok(()),
        Verdict::Skipped(why) => Err(Unmet::Skipped(why.clone())),
        Verdict::Broken(why) if authority.is_empty() => tell(outcome.says, why),
        Verdict::Broken(why) => tell(outcome.says, &why.replace(authority, "the server")),
    })
}

/// `what: expected this, got that`, taken apart. Whatever has another form is told as it is.
fn tell(says: &str, why: &str) -> Check {
    // The seed of what was drawn at random is another one in each run, unless the environment names one.
    let why = why.find(" (CONFORMANCE_SEED=").map_or(why, |at| &why[..at]);
    let parts =
        why.split_once(": expected ").or_else(|| why.strip_prefix("expected ").map(|rest| ("", rest)));
    let Some((sent, rest)) = parts else { return broken(says, "what the claim says", why) };
    let gone = ["; got ", ", got ", ", but "].iter().find_map(|word| rest.split_once(word));
    let (expected, observed) = gone.unwrap_or((rest, "something else"));
    broken(if sent.is_empty() { says } else { sent }, expected, observed)
}

/// A server under test.
struct Served {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Served {
    fn start(phase: &Phase) -> Result<Self, Unmet> {
        let listener = TcpListener::bind("127.0.0.1:0").or_skip("no port on 127.0.0.1")?;
        let address = listener.local_addr().or_skip("no address")?;
        let server = (phase.open)(IngestConfig::default(), Some(Arc::new(TallyLog::default())));
        let shutdown = Shutdown::new();
        let seen = shutdown.clone();
        let thread = thread::spawn(move || {
            let rest = |request: &Request<'_>| Response::from(ApiError::no_such_path(request.path));
            server.serve(&Site { listener, rest: &rest, middleware: &Bare, shutdown: seen })
        });
        Ok(Self { address, shutdown, thread })
    }

    fn stop(self) -> Check {
        const SENT: &str = "the word to stop, after all requests were answered";
        self.shutdown.set();
        // A blocking accept sees the flag when somebody comes; if nobody can any more, it has ended already.
        let _ = TcpStream::connect(self.address);
        if !eventually(|| self.thread.is_finished()) {
            let seconds = PATIENCE.as_secs();
            return broken(SENT, "a server that ends", &format!("one that still runs after {seconds} s"));
        }
        match self.thread.join() {
            Ok(ended) => ended.must(SENT),
            Err(_) => broken(SENT, "a server that ends", "a panic"),
        }
    }
}
