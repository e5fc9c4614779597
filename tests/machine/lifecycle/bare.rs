//! A lifecycle without a reference beside it, for the tests by hand.

use std::time::Duration;

use lameduck::Phase;
use lameduck::machine::lifecycle::{
    Config, Failed, Input, Lifecycle, Outcome, Output, UnexpectedInput,
};

use super::alphabet::Setup;
use crate::ms;

pub(crate) const FAILED: Result<(), Failed> = Err(Failed);

/// Two listeners and two hooks. Of 100 ms the last 20 are for the hooks, and 10
/// before them for an abort: it aborts at 70, abandons at 80 and ends at 100.
pub(crate) fn plain() -> Setup {
    let mut config = Config::default();
    config.grace_period = ms(100);
    config.abort_timeout = ms(10);
    config.hook_reserve = ms(20);
    config.same_signal_window = ms(5);
    config.other_signal_window = ms(20);
    Setup {
        config,
        listeners: 2,
        hooks: 2,
    }
}

/// The same, and 15 ms of lame duck.
pub(crate) fn lame_duck() -> Setup {
    let mut setup = plain();
    setup.config.lame_duck = ms(15);
    setup
}

pub(crate) struct Bare {
    pub(crate) lifecycle: Lifecycle,
    /// All outputs so far.
    pub(crate) outputs: Vec<Output>,
}

impl Bare {
    pub(crate) fn new(setup: Setup) -> Bare {
        Bare {
            lifecycle: setup.lifecycle(),
            outputs: Vec::new(),
        }
    }

    pub(crate) fn give(
        &mut self,
        now: Duration,
        input: Input,
    ) -> (Result<(), UnexpectedInput>, Vec<Output>) {
        let (result, outputs) = feed(&mut self.lifecycle, now, input);
        self.outputs.extend(&outputs);
        (result, outputs)
    }

    /// Gives an input at so many milliseconds; returns the outputs.
    pub(crate) fn at(&mut self, millis: u64, input: Input) -> Vec<Output> {
        self.give(ms(millis), input).1
    }

    /// Gives an input that has to fit.
    #[track_caller]
    pub(crate) fn must(&mut self, millis: u64, input: Input) -> Vec<Output> {
        let (result, outputs) = self.give(ms(millis), input);
        assert_eq!(result, Ok(()), "at {millis} ms");
        outputs
    }

    /// Gives an input that must not fit.
    #[track_caller]
    pub(crate) fn refuses(&mut self, millis: u64, input: Input) {
        let (result, _) = self.give(ms(millis), input);
        assert!(result.is_err(), "{input:?} fits at {millis} ms");
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lifecycle.phase()
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.outputs.last() {
            Some(Output::Complete(outcome)) => Some(*outcome),
            _ => None,
        }
    }

    /// Closes both listeners.
    pub(crate) fn close(&mut self, millis: u64) {
        for id in 0..2 {
            self.must(millis, Input::ListenerClosed(id, Ok(())));
        }
    }

    /// Leads both hooks to their end.
    pub(crate) fn end_hooks(&mut self, millis: u64) {
        for id in 0..2 {
            self.must(millis, Input::HookDone(id, Ok(())));
        }
    }

    /// A stop that has come to a phase by 40 ms. While it drains, both
    /// listeners are closed.
    pub(crate) fn in_phase(phase: Phase) -> Bare {
        let mut bare = Bare::new(lame_duck());
        if phase >= Phase::LameDuck {
            bare.must(10, Input::Stop);
        }
        if phase >= Phase::Draining {
            bare.must(25, Input::Tick);
            bare.close(30);
        }
        if phase >= Phase::Aborting {
            bare.must(35, Input::Abort);
        }
        if phase == Phase::Stopped {
            bare.must(40, Input::Emptied);
            bare.end_hooks(40);
        }
        assert_eq!(bare.phase(), phase);
        bare
    }
}

/// Gives an input, and takes all outputs.
pub(crate) fn feed(
    lifecycle: &mut Lifecycle,
    now: Duration,
    input: Input,
) -> (Result<(), UnexpectedInput>, Vec<Output>) {
    let result = lifecycle.handle(now, input);
    let outputs = std::iter::from_fn(|| lifecycle.poll_output()).collect();
    (result, outputs)
}

/// Returns the place of an output among others.
pub(crate) fn place(outputs: &[Output], wanted: Output) -> Option<usize> {
    outputs.iter().position(|output| *output == wanted)
}
