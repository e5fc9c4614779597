//! The fuzzer's seeds: readable scripts, written as the bytes that the fuzz
//! target reads them from. Each has to end as it says.

use std::path::Path;
use std::time::Duration;

use lameduck::Cause;
use lameduck::machine::Input::{Emptied, Escalate, HookDone, ListenerClosed, Tick};
use lameduck::machine::{Config, Input, Outcome, Stage};

use crate::alphabet::Act::{self, Botch, Oblige, Say};
use crate::alphabet::Pass::{self, *};
use crate::alphabet::{ACTS, DURATIONS, PASSES, Setup, Step};
use crate::run::Run;
use crate::scenario::{BAD, STOP};

struct Seed {
    name: &'static str,
    notice: Duration,
    settle: Duration,
    steps: &'static [(Pass, Act)],
    ends: Result<Outcome, Stage>,
}

const STOPS: Act = Say(STOP);
const HANDS_OVER: Act = Say(Input::Stop {
    cause: Cause::Successor,
});
const NONE: Duration = DURATIONS[0];
const SOME: Duration = DURATIONS[1];
const GO: (Pass, Act) = (Stand, Oblige);

const fn seed(
    name: &'static str,
    notice: Duration,
    ends: Result<Outcome, Stage>,
    steps: &'static [(Pass, Act)],
) -> Seed {
    Seed {
        name,
        notice,
        settle: NONE,
        steps,
        ends,
    }
}

// With two listeners four commands are carried out before Emptied, and with
// two hooks two after it.
#[rustfmt::skip]
const SEEDS: [Seed; 17] = [
    seed("clean-stop", NONE, Ok(Outcome::Clean),
        &[(Little, STOPS), GO, GO, GO, GO, GO, GO, GO]),
    seed("notice", SOME, Ok(Outcome::Clean),
        &[(Little, STOPS), (ToDeadline, Say(Tick)), GO, GO, GO, GO, GO, GO, GO]),
    Seed { settle: SOME, ..seed("settle", NONE, Ok(Outcome::Clean),
        &[(Little, STOPS), GO, GO, GO, GO, (ToDeadline, Say(Tick)), GO, GO, GO]) },
    seed("successor", SOME, Ok(Outcome::Clean),
        &[(Little, HANDS_OVER), GO, GO, GO, GO, GO, GO, GO]),
    seed("sweep-over", NONE, Ok(Outcome::Clean),
        &[(Stand, STOPS), (ToDeadline, Say(Tick)), GO, GO, GO, GO, GO, GO, GO]),
    seed("escalate-while-running", SOME, Ok(Outcome::Aborted),
        &[(Little, Say(Escalate)), GO, GO, GO, GO, GO]),
    seed("escalate-in-finish", NONE, Ok(Outcome::Aborted),
        &[(Stand, STOPS), GO, GO, GO, GO, (Little, Say(Escalate)), GO, GO, GO]),
    seed("grace-over", NONE, Ok(Outcome::Aborted),
        &[(Stand, STOPS), GO, GO, GO, GO, (ToDeadline, Say(Tick)), GO, GO, GO]),
    seed("abandoned", NONE, Ok(Outcome::Abandoned),
        &[(Stand, STOPS), (ToDeadline, Say(Tick)), (ToDeadline, Say(Tick)),
          (ShortOfDeadline, Say(Tick)), (ToDeadline, Say(Tick)), (Much, STOPS)]),
    seed("lost-ticks", SOME, Ok(Outcome::Abandoned),
        &[(Stand, STOPS), (PastEnd, Say(Emptied))]),
    seed("listener-fails-running", SOME, Ok(Outcome::Failed),
        &[(Little, Say(ListenerClosed(1, BAD))), (ToDeadline, Say(Tick)),
          GO, GO, GO, GO, GO]),
    seed("listener-fails-sweeping", NONE, Ok(Outcome::Failed),
        &[(Stand, STOPS), (Stand, Botch), GO, GO, GO, GO, GO]),
    seed("hook-fails", NONE, Ok(Outcome::Failed),
        &[(Stand, STOPS), GO, GO, GO, GO, GO, (Stand, Botch), GO]),
    seed("hook-hangs", NONE, Ok(Outcome::Aborted),
        &[(Stand, STOPS), GO, GO, GO, GO, GO, (ToDeadline, Say(Tick)),
          (ToDeadline, Say(Tick))]),
    seed("second-stop", SOME, Err(Stage::Notice),
        &[(Little, STOPS), (Stand, STOPS), (Back, STOPS), (ShortOfDeadline, STOPS)]),
    seed("clock-goes-wrong", SOME, Ok(Outcome::Abandoned),
        &[(Much, Say(Tick)), (ToZero, STOPS), (Back, Say(Tick)), (ToMax, Say(Tick)),
          (ToZero, Say(Tick))]),
    seed("nonsense", NONE, Err(Stage::Quiesce),
        &[(Stand, Say(Emptied)), (Stand, Say(HookDone(0, BAD))), (Stand, STOPS),
          (Stand, Say(ListenerClosed(usize::MAX, BAD))), (Stand, Say(Emptied))]),
];

impl Seed {
    fn setup(&self) -> Setup {
        let config = Config {
            grace: DURATIONS[4],
            notice: self.notice,
            sweep: DURATIONS[3],
            settle: self.settle,
            abort_timeout: DURATIONS[2],
        };
        let (listeners, hooks) = (2, 2);
        Setup {
            config,
            listeners,
            hooks,
        }
    }

    fn steps(&self) -> impl Iterator<Item = Step> {
        let step = |(pass, act): &(Pass, Act)| Step {
            pass: *pass,
            act: *act,
        };
        self.steps.iter().map(step)
    }

    fn bytes(&self) -> Vec<u8> {
        let Setup {
            config,
            listeners,
            hooks,
        } = self.setup();
        let parts = [
            config.grace,
            config.notice,
            config.sweep,
            config.settle,
            config.abort_timeout,
        ];
        let mut bytes: Vec<u8> = parts.iter().map(|part| index(&DURATIONS, part)).collect();
        bytes.extend([listeners, hooks].map(|count| count as u8));
        for step in self.steps() {
            bytes.extend([index(&PASSES, &step.pass), index(&ACTS, &step.act)]);
        }
        bytes
    }
}

fn index<T: PartialEq>(list: &[T], wanted: &T) -> u8 {
    let index = list.iter().position(|item| item == wanted);
    index.expect("a letter of the alphabet") as u8
}

#[test]
fn every_seed_ends_as_it_says() {
    for seed in &SEEDS {
        let mut run = Run::new(seed.setup());
        for step in seed.steps() {
            let _ = run.take(step);
        }
        let ended = run.outcome().ok_or(run.machine.stage());
        assert_eq!(ended, seed.ends, "{}", seed.name);
    }
}

#[test]
fn the_fuzzers_seeds_are_these() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/machine");
    if !folder.exists() {
        return; // The published package has no fuzzing.
    }
    for seed in &SEEDS {
        let path = folder.join(seed.name).with_extension("seed");
        if std::env::var_os("LAMEDUCK_BLESS").is_some() {
            std::fs::write(&path, seed.bytes()).expect("the seed can be written");
        }
        assert!(
            std::fs::read(&path).is_ok_and(|bytes| bytes == seed.bytes()),
            "{path:?} is not what the script gives\n\
             refresh it: LAMEDUCK_BLESS=1 cargo test --test machine seeds"
        );
    }
}
