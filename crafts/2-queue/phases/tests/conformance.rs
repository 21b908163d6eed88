//! Every phase keeps the contract, as far as it offers it.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::Log;
use queue::{LogConfig, sim::SimDisk};
use queue_phases::PHASES;
use std::sync::Arc;

/// On a disk in memory: the real one is slow at what the first phases do, and is used in `kill9.rs`.
fn check(number: usize, partitions: u32) {
    let phase = PHASES[number];
    conformance::queue::check(move || -> Arc<dyn Log> {
        let config = LogConfig { partitions, segment_bytes_max: 16 << 10, ..LogConfig::for_groups(&[]) };
        let opened = (phase.open_on)(SimDisk::new(1).outside(2), config).unwrap();
        assert_eq!((opened.recovery.records, opened.recovery.cut), (0, None));
        opened.log
    })
    .assert_all_hold();
}

macro_rules! every_phase {
    ($($name:ident $number:literal)*) => {$(
        #[test]
        fn $name() {
            check($number, 1);
            check($number, 3);
        }
    )*};
}

every_phase! {
    phase_0_keeps_the_contract 0
    phase_1_keeps_the_contract 1
    phase_2_keeps_the_contract 2
    phase_3_keeps_the_contract 3
    phase_4_keeps_the_contract 4
    phase_5_keeps_the_contract 5
    phase_6_keeps_the_contract 6
}
