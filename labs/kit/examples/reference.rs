//! A lab's program as it is made for a learner, whose answer is the reference: the third step of ingestion.

use ingest::{parse::SinglePass, service::Server};
use ingest_phases::{
    engine::thread_per_connection::ThreadPerConnection, handoff::queue_writer::QueueWriter,
    limit::global::GlobalLimiter,
};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: lab_kit::CountingAllocator = lab_kit::CountingAllocator;

type Composition = Server<ThreadPerConnection, SinglePass, GlobalLimiter, QueueWriter>;

fn main() -> ExitCode {
    lab_kit::main(lab_kit::Lab {
        slug: "single-pass-json",
        phase: Some(3),
        slot: lab_kit::parse::<SinglePass>(),
        server: Some(lab_kit::server::<Composition>()),
    })
}
