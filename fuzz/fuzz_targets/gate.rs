//! The gate's protocol over threads of a model: the bytes choose who goes on,
//! and how far. Each thread takes the steps that the gate takes, one memory
//! access at a time, on the word that the gate uses.
//!
//! What is held after every access: the count is that of the guards, the phase
//! never goes back, nobody came in too late, and once all have finished what
//! they began, nobody waits for what is already there.
#![no_main]

#[allow(dead_code)]
#[path = "../../src/gate/word.rs"]
mod word;

use libfuzzer_sys::fuzz_target;

use crate::word::{Phase, Step, Word};

const THREADS: usize = 4;

/// Where a thread is between two accesses.
#[derive(Clone, Copy, Debug)]
enum At {
    Nowhere,
    /// It has loaded the word, and will try to change it.
    Loaded(Step, Word),
    /// It has changed the word, and will wake those to whom that is news.
    Wakes(Word),
    /// It has registered, and will look again.
    Registered,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    at: At,
    guards: usize,
    /// What it waits for, and whether it has been woken.
    waits: Option<(Phase, bool)>,
}

struct Model {
    word: Word,
    threads: [Thread; THREADS],
    door_closed: bool,
}

impl Model {
    fn begin(&mut self, id: usize, step: Step) {
        self.threads[id].at = At::Loaded(step, self.word);
    }

    /// The next access of a thread that is in the middle of something.
    fn go_on(&mut self, id: usize) {
        match self.threads[id].at {
            At::Nowhere => {}
            At::Loaded(step, before) => self.swap(id, step, before),
            At::Wakes(word) => {
                for thread in &mut self.threads {
                    if let Some((phase, woken)) = &mut thread.waits {
                        *woken |= word.phase() >= *phase;
                    }
                }
                self.threads[id].at = At::Nowhere;
            }
            At::Registered => {
                let thread = &mut self.threads[id];
                thread.at = At::Nowhere;
                if thread
                    .waits
                    .is_some_and(|(phase, _)| self.word.phase() >= phase)
                {
                    thread.waits = None;
                }
            }
        }
    }

    /// The compare-and-swap: what another has changed is loaded again.
    fn swap(&mut self, id: usize, step: Step, before: Word) {
        if before != self.word {
            self.threads[id].at = At::Loaded(step, self.word);
            return;
        }
        self.threads[id].at = At::Nowhere;
        let Ok(after) = before.step(step) else { return };
        if matches!(step, Step::Enter | Step::Join) {
            assert!(
                step == Step::Join || !self.door_closed,
                "S9: in by a closed accept_guard"
            );
            self.threads[id].guards += 1;
        }
        self.change(after);
        if after.is_news_after(before) {
            self.threads[id].at = At::Wakes(after);
        }
    }

    fn leave(&mut self, id: usize) {
        self.threads[id].guards -= 1;
        let before = self.word;
        let after = before.step(Step::Leave).expect("somebody lives");
        self.change(after);
        self.threads[id].at = match after.is_at_end() {
            true => At::Loaded(Step::End, after),
            false if after.is_news_after(before) => At::Wakes(after),
            false => At::Nowhere,
        };
    }

    fn change(&mut self, after: Word) {
        assert!(after.phase() >= self.word.phase(), "S1: {after:?}");
        self.word = after;
        self.door_closed |= after.phase() >= Phase::Settling;
        let guards: usize = self.threads.iter().map(|thread| thread.guards).sum();
        assert_eq!(after.guard_count(), guards, "S4: {after:?}");
    }

    fn act(&mut self, byte: u8) {
        let id = usize::from(byte) % THREADS;
        let what = usize::from(byte) / THREADS;
        let Thread { at, guards, waits } = self.threads[id];
        if !matches!(at, At::Nowhere) {
            return self.go_on(id);
        }
        match what % 5 {
            0 => self.begin(id, Step::Enter),
            1 if guards > 0 => self.begin(id, Step::Join),
            2 if guards > 0 => self.leave(id),
            3 => self.begin(id, Step::Advance(Phase::ALL[what / 5 % Phase::ALL.len()])),
            4 if waits.is_none() => {
                let phase = Phase::ALL[what / 5 % Phase::ALL.len()];
                self.threads[id].waits = Some((phase, false));
                self.threads[id].at = At::Registered;
            }
            _ => {}
        }
    }

    /// All finish what they began.
    fn finish(&mut self) {
        for _ in 0..4 * THREADS {
            (0..THREADS).for_each(|id| self.go_on(id));
        }
        for thread in &self.threads {
            assert!(matches!(thread.at, At::Nowhere), "it never comes to an end");
            if let Some((phase, woken)) = thread.waits {
                assert!(woken || self.word.phase() < phase, "L4: {phase} is there");
            }
        }
        assert!(
            !self.word.is_at_end(),
            "L2: nobody is left, and it is not over"
        );
    }
}

fuzz_target!(|bytes: &[u8]| {
    let thread = Thread {
        at: At::Nowhere,
        guards: 0,
        waits: None,
    };
    let mut model = Model {
        word: Word::NEW,
        threads: [thread; THREADS],
        door_closed: false,
    };
    // Half of the bytes go on with what was begun, so a hundred are enough.
    for byte in bytes.iter().take(100) {
        model.act(*byte);
    }
    model.finish();
});
