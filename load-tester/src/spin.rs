//! When to look again instead of going to sleep.
//!
//! A tester that is faster than its server sleeps between two answers, and then it is the *server* that pays: each
//! answer it writes has to wake the tester, and waking a sleeping core costs more than writing the answer (on a
//! virtual machine, several times more). So the loop looks a few times more before it sleeps, as long as looking
//! has paid off lately and nobody else wants the core. The time spent so is counted, and is not taken for work.

/// How long to look before going to sleep. Longer than a wake-up costs, shorter than anybody notices.
const SPIN_NS_MAX: u64 = 50_000;

/// Each failure in a row doubles the pause, up to that many waits.
const PAUSE_WAITS_MAX: u32 = 64;

/// Looking cannot take this long unless the processor was given to somebody else meanwhile.
const PREEMPTED_NS: u64 = 1_000_000;

/// Waits to sleep in after that: on a core that others want, a scheduler charges for looking and not for sleeping.
const PAUSE_WAITS_CONTENDED: u32 = 5_000;

/// Whether looking pays off, learnt from how it went.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    /// Waits to go straight to sleep in.
    pause: u32,
    /// The pause after the next failure.
    next_pause: u32,
    /// Time spent looking for what had not come yet.
    pub spent_ns: u64,
}

impl Spin {
    /// How long to look in a wait of at most `wait_ns`.
    pub(crate) fn budget_ns(&mut self, wait_ns: u64) -> u64 {
        if self.pause > 0 {
            self.pause -= 1;
            return 0;
        }
        wait_ns.min(SPIN_NS_MAX)
    }

    pub(crate) fn paid_off(&mut self, spent_ns: u64) {
        self.spent_ns += spent_ns;
        self.next_pause = 0;
        self.yield_if_contended(spent_ns);
    }

    pub(crate) fn was_in_vain(&mut self, spent_ns: u64) {
        self.spent_ns += spent_ns;
        self.next_pause = (self.next_pause * 2).clamp(1, PAUSE_WAITS_MAX);
        self.pause = self.next_pause;
        self.yield_if_contended(spent_ns);
    }

    fn yield_if_contended(&mut self, spent_ns: u64) {
        if spent_ns > PREEMPTED_NS {
            self.pause = PAUSE_WAITS_CONTENDED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `waits` waits are begun by looking, if it is always in vain.
    fn tried(spin: &mut Spin, waits: u32) -> u32 {
        let mut tried = 0;
        for _ in 0..waits {
            if spin.budget_ns(1_000_000) > 0 {
                tried += 1;
                spin.was_in_vain(1);
            }
        }
        tried
    }

    #[test]
    fn looking_in_vain_becomes_rare_and_success_brings_it_back() {
        let mut spin = Spin::default();
        tried(&mut spin, 200);
        assert_eq!(tried(&mut spin, 65 * 10), 10);
        while spin.budget_ns(1_000_000) == 0 {}
        spin.paid_off(7);
        assert_eq!(spin.budget_ns(1_000_000), SPIN_NS_MAX);
        assert_eq!(spin.budget_ns(10), 10);
    }

    #[test]
    fn on_a_core_that_others_want_it_sleeps() {
        let mut spin = Spin::default();
        spin.was_in_vain(PREEMPTED_NS + 1);
        assert_eq!(tried(&mut spin, PAUSE_WAITS_CONTENDED), 0);
        assert_eq!(tried(&mut spin, 1), 1);
    }
}
