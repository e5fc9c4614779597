//! The gate's protocol over threads of a model: the bytes choose which thread
//! goes on, and how far. Each thread takes the steps that the gate takes, one
//! memory access at a time, on the word that the gate uses.
//!
//! After every access the count is that of the guards, no progress is lost, and
//! nobody has come in too late. Once all have finished what they began, nobody
//! waits for what is already there.
#![no_main]

#[allow(dead_code)]
#[path = "../../src/gate/word.rs"]
mod word;

mod phase {
    pub(crate) use lameduck::Phase;
}

use libfuzzer_sys::fuzz_target;

use crate::phase::Phase;
use crate::word::{Progress, Step, Word};

const THREADS: usize = 4;

/// The thread that is the server's driver, and has its hold.
const DRIVER: usize = 0;

/// What a waiter waits for.
#[derive(Clone, Copy, Debug)]
enum Until {
    Progress(Progress),
    Last,
}

impl Until {
    fn is_reached(self, word: Word) -> bool {
        match self {
            Until::Progress(progress) => word.has_reached(progress),
            Until::Last => word.is_last(),
        }
    }
}

/// Where a thread is between two accesses.
#[derive(Clone, Copy, Debug)]
enum At {
    Nowhere,
    /// It has loaded the word, and will try to change it.
    Loaded(Step, Word),
    /// It has counted a guard that the gate refuses, and will take it back.
    Refused,
    /// It has changed the word, and will wake the waiters.
    Wakes(Word),
    /// It has registered, and will look again.
    Registered,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    at: At,
    guards: usize,
    /// What it waits for, and whether it was woken.
    waits: Option<(Until, bool)>,
}

struct Model {
    word: Word,
    threads: [Thread; THREADS],
    is_held: bool,
    /// Whether the gate has been closed to work from outside.
    was_closed: bool,
}

impl Model {
    fn begin(&mut self, id: usize, step: Step) {
        self.threads[id].at = At::Loaded(step, self.word);
    }

    /// Takes the next access of a thread that is in the middle of something.
    fn go_on(&mut self, id: usize) {
        match self.threads[id].at {
            At::Nowhere => {}
            At::Loaded(step, before) => self.swap(id, step, before),
            At::Refused => {
                self.threads[id].at = At::Nowhere;
                self.subtract(id);
            }
            At::Wakes(word) => {
                for thread in &mut self.threads {
                    if let Some((until, is_woken)) = &mut thread.waits {
                        *is_woken |= until.is_reached(word);
                    }
                }
                self.threads[id].at = At::Nowhere;
            }
            At::Registered => {
                let thread = &mut self.threads[id];
                thread.at = At::Nowhere;
                if thread
                    .waits
                    .is_some_and(|(until, _)| until.is_reached(self.word))
                {
                    thread.waits = None;
                }
            }
        }
    }

    /// The compare-and-swap: what another thread has changed is loaded again.
    fn swap(&mut self, id: usize, step: Step, before: Word) {
        if before != self.word {
            self.threads[id].at = At::Loaded(step, self.word);
            return;
        }
        self.threads[id].at = At::Nowhere;
        let Ok(after) = before.step(step) else { return };
        self.is_held &= step != Step::Release;
        self.change(after);
        if step == Step::Release {
            self.left(id, before, after);
        } else if after.needs_wake(before) {
            self.threads[id].at = At::Wakes(after);
        }
    }

    /// The addition, and the look at what was there before it.
    fn enter(&mut self, id: usize, step: Step) {
        let before = self.word;
        match before.step(step) {
            Ok(_) => {
                let is_late = step == Step::Enter && self.was_closed;
                assert!(!is_late, "S9: in by a closed gate");
                self.threads[id].guards += 1;
            }
            Err(_) => self.threads[id].at = At::Refused,
        }
        self.change(Word::from_bits(before.bits() + Word::ONE));
    }

    fn leave(&mut self, id: usize) {
        self.threads[id].guards -= 1;
        self.subtract(id);
    }

    fn subtract(&mut self, id: usize) {
        let before = self.word;
        let after = before.step(Step::Leave).expect("a guard is counted");
        self.change(after);
        if before.phase() != Phase::Running {
            self.left(id, before, after);
        }
    }

    fn left(&mut self, id: usize, before: Word, after: Word) {
        if after.is_at_end() {
            self.threads[id].at = At::Loaded(Step::End, self.word);
        } else if after.needs_wake(before) {
            self.threads[id].at = At::Wakes(after);
        }
    }

    fn change(&mut self, after: Word) {
        assert!(after.phase() >= self.word.phase(), "S1: {after:?}");
        let was_settled = self.word.has_reached(Progress::SETTLED);
        assert!(
            !was_settled || after.has_reached(Progress::SETTLED),
            "S1: {after:?}"
        );
        self.word = after;
        self.was_closed |= after.phase() >= Phase::Draining;
        let counted =
            |thread: &Thread| thread.guards + usize::from(matches!(thread.at, At::Refused));
        let guards: usize = self.threads.iter().map(counted).sum();
        assert_eq!(after.guard_count(), guards, "S4: {after:?}");
        // A server that abandons what is left goes to `Stopped` while it is held.
        let is_over = after.phase() == Phase::Stopped && !self.is_held && guards == 0;
        assert!(!is_over || !after.is_at_end(), "S3: {after:?}");
    }

    fn act(&mut self, byte: u8) {
        let id = usize::from(byte) % THREADS;
        let what = usize::from(byte) / THREADS;
        let Thread { at, guards, waits } = self.threads[id];
        if !matches!(at, At::Nowhere) {
            return self.go_on(id);
        }
        let phase = Phase::ALL[what / 7 % Phase::ALL.len()];
        let may_join = guards > 0 || id == DRIVER && self.is_held;
        match what % 7 {
            0 => self.enter(id, Step::Enter),
            1 if may_join => self.enter(id, Step::Join),
            2 if guards > 0 => self.leave(id),
            3 => self.begin(id, Step::Advance(phase)),
            4 if id == DRIVER && self.is_held => self.begin(id, Step::Release),
            5 => self.begin(id, Step::Settle),
            6 if waits.is_none() => {
                let until = match phase {
                    Phase::Running => Until::Last,
                    Phase::Draining => Until::Progress(Progress::SETTLED),
                    other => Until::Progress(Progress::of(other)),
                };
                self.threads[id].waits = Some((until, false));
                self.threads[id].at = At::Registered;
            }
            _ => {}
        }
    }

    /// Lets all finish what they began.
    fn finish(&mut self) {
        for _ in 0..4 * THREADS {
            (0..THREADS).for_each(|id| self.go_on(id));
        }
        for thread in &self.threads {
            assert!(matches!(thread.at, At::Nowhere), "it never comes to an end");
            if let Some((until, is_woken)) = thread.waits {
                assert!(is_woken || !until.is_reached(self.word), "L4: {until:?}");
            }
        }
        assert!(
            !self.word.is_at_end(),
            "L2: nothing is left, and it is not over"
        );
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let is_held = first % 2 == 1;
    let thread = Thread {
        at: At::Nowhere,
        guards: 0,
        waits: None,
    };
    let mut model = Model {
        word: if is_held { Word::NEW_HELD } else { Word::NEW },
        threads: [thread; THREADS],
        is_held,
        was_closed: false,
    };
    // Half of the bytes go on with what was begun, so a hundred are enough.
    for byte in bytes.iter().take(100) {
        model.act(*byte);
    }
    model.finish();
});
