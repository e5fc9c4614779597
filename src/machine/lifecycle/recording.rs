//! A recording of a stop, which can be replayed.

use std::fmt;
use std::time::Duration;

use super::{Config, Input, Lifecycle, Output, UnexpectedInput};

/// All inputs of one stop, in order: the same inputs give the same outputs
/// ([S17](crate::docs::spec#s17)), so they tell the whole stop.
///
/// A server keeps one when it is asked to: see
/// [`Builder::record`](crate::Builder::record). Its text has a line for each
/// input, with the outputs that followed.
///
/// ```
/// use lameduck::machine::lifecycle::{Config, Input, Outcome, Output, Recording};
/// use std::time::Duration;
///
/// let mut recording = Recording::new(Config::default(), 1, 0, 100);
/// recording.push(Duration::ZERO, Input::Stop);
/// recording.push(Duration::from_millis(1), Input::ListenerClosed(0, Ok(())));
/// recording.push(Duration::from_millis(2), Input::Emptied);
///
/// let last = recording.replay().last().unwrap();
/// assert_eq!(last.outputs, [Output::Complete(Outcome::Clean)]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    config: Config,
    listeners: usize,
    hooks: usize,
    limit: usize,
    inputs: Vec<(Duration, Input)>,
    left_out: usize,
}

/// One step of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The time of the input, on the clock of the recording.
    pub at: Duration,
    /// The input.
    pub input: Input,
    /// Whether the input fitted.
    pub result: Result<(), UnexpectedInput>,
    /// The outputs that followed.
    pub outputs: Vec<Output>,
}

impl Recording {
    /// Creates an empty recording of the lifecycle that would be made with the
    /// same numbers, with room for `limit` inputs.
    pub fn new(config: Config, listeners: usize, hooks: usize, limit: usize) -> Recording {
        Recording {
            config,
            listeners,
            hooks,
            limit,
            inputs: Vec::new(),
            left_out: 0,
        }
    }

    /// Adds an input, if there is room for it.
    pub fn push(&mut self, now: Duration, input: Input) {
        if self.inputs.len() < self.limit {
            self.inputs.push((now, input));
        } else {
            self.left_out += 1;
        }
    }

    /// Returns the number of inputs that found no room; a replay then ends
    /// before the stop did.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Replays the inputs on a new lifecycle.
    pub fn replay(&self) -> impl Iterator<Item = Step> + '_ {
        let mut lifecycle = Lifecycle::new(self.config, self.listeners, self.hooks);
        self.inputs.iter().map(move |(at, input)| Step {
            at: *at,
            input: *input,
            result: lifecycle.handle(*at, *input),
            outputs: std::iter::from_fn(|| lifecycle.poll_output()).collect(),
        })
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recording {
            config,
            listeners,
            hooks,
            left_out,
            ..
        } = self;
        write!(f, "{listeners} listeners, {hooks} hooks, {config:?}")?;
        for step in self.replay() {
            write!(f, "\n{:>12.6} s  {:?}", step.at.as_secs_f64(), step.input)?;
            if step.result.is_err() {
                f.write_str(" (unexpected)")?;
            }
            if !step.outputs.is_empty() {
                write!(f, " -> {:?}", step.outputs)?;
            }
        }
        match left_out {
            0 => Ok(()),
            more => write!(f, "\nand {more} inputs more"),
        }
    }
}
