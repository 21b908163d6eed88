//! The ring of lab 1.6 by itself: what a server that uses it shows once in a million requests, or never.
//!
//! A hand-over asks little of its ring: few frames lie in it, and two threads seldom meet at a slot. Here they meet at
//! each. What no test shows is an ordering that this machine keeps anyway: the model checker knows of those.

use crate::{
    Slot,
    check::{Check, Must, PATIENCE, Test, Unmet, broken, doing, ensure, expect},
};
use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The functions of a ring, as the learner's file has them. Its two ends are of types of their own.
pub struct Ring<P, O> {
    /// Makes one for so many items.
    pub ring: fn(usize) -> (P, O),
    /// Whether another item fits.
    pub has_room: fn(&mut P) -> bool,
    /// Adds an item, or gives it back.
    pub push: fn(&mut P, Item) -> Result<(), Item>,
    /// Whether there is none.
    pub is_empty: fn(&mut O) -> bool,
    /// Takes the oldest item.
    pub pop: fn(&mut O) -> Option<Item>,
}

// Derived, they would ask the same of the ends, of which there is none in it.
impl<P, O> Copy for Ring<P, O> {}
impl<P, O> Clone for Ring<P, O> {
    fn clone(&self) -> Self {
        *self
    }
}

/// What goes through a ring.
pub struct Item {
    /// Its number, so many times that it takes longer to be written than the other thread needs to look.
    numbers: [usize; COPIES],
    /// Counts the items there are, by being dropped with them.
    _held: Option<Arc<()>>,
}

/// How often an item says its number.
const COPIES: usize = 512;
/// Items that go from thread to thread …
const ITEMS: usize = 200_000;
/// … or as many as go in this time, where the threads share a core.
const CROSSING_MAX: Duration = Duration::from_secs(5);
/// More than there are slots in a ring of seven, however they are made.
const SLOTS_MAX: usize = 64;
/// After so many items the other thread is the slower one.
const TURN: usize = 1000;
/// A thread that finds nothing to do looks again so often before it lets others run.
const LOOKS: usize = 64;

impl Slot {
    /// The slot with the tests of the ring that it is made with, before all others: what is wrong with the ring is wrong with
    /// everything.
    #[must_use]
    pub fn on<P: Send + 'static, O: Send + 'static>(mut self, ring: Ring<P, O>) -> Self {
        let test = |name: &str, run: fn(Ring<P, O>) -> Check| {
            Test::new(name.to_owned(), 6..=u32::MAX, move || run(ring))
        };
        let tests = [
            test("a-ring-of-three-takes-three", takes_its_capacity),
            test("what-is-left-in-a-ring-is-dropped-with-it", drops_what_is_left),
            test("between-two-threads-each-item-comes-once-and-in-order", between_threads),
        ];
        self.tests.splice(0..0, tests);
        self
    }
}

impl Item {
    fn new(number: usize) -> Self {
        Self { numbers: [number; COPIES], _held: None }
    }

    fn held(held: &Arc<()>) -> Self {
        Self { _held: Some(held.clone()), ..Self::new(0) }
    }

    fn is(&self, number: usize) -> bool {
        // Written from one end to the other: half an item has an old number at one of them.
        self.numbers[0] == number && self.numbers[COPIES - 1] == number
    }
}

fn takes_its_capacity<P, O>(ring: Ring<P, O>) -> Check {
    for capacity in [3, 1, 2, 5, 8] {
        let sent = format!("one item after the other into a ring of {capacity}, until it is full");
        doing(&sent);
        let (mut pusher, mut popper) = (ring.ring)(capacity);
        // Again and again, so that every slot has been the first one.
        for lap in 0..10 {
            ensure(
                (ring.is_empty)(&mut popper),
                &sent,
                "it is empty before the first",
                "something is there",
            )?;
            let taken = fill(ring, &mut pusher, lap * capacity, capacity)?;
            let count = |items: usize| format!("{items} go in, and the next comes back");
            expect(&sent, count(capacity), count(taken))?;
            for number in lap * capacity..(lap + 1) * capacity {
                let is_next = (ring.pop)(&mut popper).is_some_and(|item| item.is(number));
                ensure(is_next, &sent, "they come out in their order", "they do not")?;
            }
            let is_over = (ring.pop)(&mut popper).is_none();
            ensure(is_over, &sent, "no more come out than went in", "one more comes out")?;
        }
    }
    Ok(())
}

/// Pushes until an item comes back, or twice too many have gone in; returns how many did.
fn fill<P, O>(ring: Ring<P, O>, pusher: &mut P, first: usize, capacity: usize) -> Result<usize, Unmet> {
    for taken in 0..2 * capacity {
        let has_room = (ring.has_room)(pusher);
        let pushed = (ring.push)(pusher, Item::new(first + taken));
        let sent = "`has_room`, and then `push`";
        ensure(has_room == pushed.is_ok(), sent, "they agree", format!("{has_room}, and the opposite"))?;
        if let Err(back) = pushed {
            let is_same = back.is(first + taken);
            return ensure(is_same, sent, "what does not fit comes back", "another comes back")
                .map(|()| taken);
        }
    }
    Ok(2 * capacity)
}

fn drops_what_is_left<P, O>(ring: Ring<P, O>) -> Check {
    let sent = "three items into a ring of three, one too many, one out again, and both ends are dropped";
    doing(sent);
    for pusher_first in [true, false] {
        let held = Arc::new(());
        let items = |count: usize| format!("{count} items");
        let (mut pusher, mut popper) = (ring.ring)(3);
        for _ in 0..3 {
            let pushed = (ring.push)(&mut pusher, Item::held(&held));
            ensure(pushed.is_ok(), sent, "three fit", "one comes back")?;
        }
        drop((ring.push)(&mut pusher, Item::held(&held)));
        drop((ring.pop)(&mut popper));
        expect(
            sent,
            format!("{} there before", items(2)),
            format!("{} there before", items(Arc::strong_count(&held) - 1)),
        )?;
        if pusher_first {
            drop(pusher);
            drop(popper);
        } else {
            drop(popper);
            drop(pusher);
        }
        expect(
            sent,
            format!("{} there after", items(0)),
            format!("{} there after", items(Arc::strong_count(&held) - 1)),
        )?;
    }
    Ok(())
}

fn between_threads<P: Send, O: Send>(ring: Ring<P, O>) -> Check {
    let sent = "items from one thread to another through a ring of seven, as fast as they go";
    doing(sent);
    let (mut pusher, mut popper) = (ring.ring)(7);
    // Every slot holds an old item before the threads begin: what comes too early is one of those, and not anything.
    for _ in 0..SLOTS_MAX {
        let came =
            (ring.push)(&mut pusher, Item::new(usize::MAX)).is_ok() && (ring.pop)(&mut popper).is_some();
        ensure(came, sent, "what goes in comes out", "it does not")?;
    }
    let over = Over::default();
    thread::scope(|scope| {
        let over = &over;
        let pushing = thread::Builder::new().name("pushes".to_owned());
        pushing.spawn_scoped(scope, move || push_all(ring, &mut pusher, over)).or_skip("a second thread")?;
        // Dropped when this thread is done, even by a panic: else the other would wait for room for ever.
        let _ends = Ends(over);
        pop_all(ring, &mut popper, sent)
    })
}

/// Nobody pops any more.
#[derive(Default)]
struct Over(AtomicBool);

struct Ends<'a>(&'a Over);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

fn push_all<P, O>(ring: Ring<P, O>, pusher: &mut P, over: &Over) {
    for number in 0..ITEMS {
        dawdle(number, 0);
        let (mut item, mut looks) = (Item::new(number), 0);
        while let Err(back) = (ring.push)(pusher, item) {
            if over.0.load(Ordering::Relaxed) {
                return;
            }
            item = back;
            look_again(&mut looks);
        }
    }
}

fn pop_all<P, O>(ring: Ring<P, O>, popper: &mut O, sent: &str) -> Check {
    let expected = "each comes once, whole, and in its order";
    let begun = Instant::now();
    for number in 0..ITEMS {
        dawdle(number, 1);
        let (mut looks, waiting) = (0, Instant::now());
        let item = loop {
            if let Some(item) = (ring.pop)(popper) {
                break item;
            }
            if waiting.elapsed() > PATIENCE {
                return broken(sent, expected, "no more come");
            }
            look_again(&mut looks);
        };
        ensure(item.is(number), sent, expected, "another comes than the next, or half of it")?;
        if begun.elapsed() > CROSSING_MAX {
            return Ok(());
        }
    }
    ensure((ring.pop)(popper).is_none(), sent, "no more come out than went in", "one more comes out")
}

/// Takes its time, more or less of it, when it is this thread's turn to: so the ring is full now and empty then, and the two
/// meet at all its slots.
fn dawdle(number: usize, whose: usize) {
    if number / TURN % 2 == whose {
        (0..number % LOOKS).for_each(|_| hint::spin_loop());
    }
}

fn look_again(looks: &mut usize) {
    *looks += 1;
    if (*looks).is_multiple_of(LOOKS) { thread::yield_now() } else { hint::spin_loop() }
}
