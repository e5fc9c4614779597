//! What a machine was told, to be told again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Config, Fault, Ignored, Input, Machine, Output};
use crate::cause::{Cause, Signal};

/// All inputs of one stop, in order: who has them has all of it, as a machine
/// does the same again (S17).
///
/// A server keeps one when it is asked to: see
/// [`Builder::record`](crate::Builder::record). Its text has a line for each
/// input, with what the machine said to it; the text can be read again.
///
/// ```
/// use lameduck::machine::{Config, Input, Log, Outcome, Output};
/// use std::time::Duration;
///
/// let mut log = Log::new(Config::default(), 1, 0, 100);
/// log.push(Duration::ZERO, Input::Stop { cause: "done".into() });
/// log.push(Duration::from_millis(1), Input::ListenerQuiet(0));
/// log.push(Duration::from_millis(1), Input::ListenerClosed(0, Ok(())));
/// log.push(Duration::from_millis(2), Input::Emptied);
///
/// let again: Log = log.to_string().parse()?;
/// let last = again.replay().last().unwrap();
/// assert_eq!(last.said, [Output::Complete(Outcome::Clean)]);
/// # Ok::<(), lameduck::machine::LogError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
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
pub struct Replayed {
    /// When it came, on the clock of the recording.
    pub at: Duration,
    /// What came.
    pub input: Input,
    /// Whether it meant something.
    pub taken: Result<(), Ignored>,
    /// What the machine said to it.
    pub said: Vec<Output>,
}

impl Log {
    /// An empty log of the machine that would be made with the same numbers,
    /// with room for `limit` inputs.
    pub fn new(config: Config, listeners: usize, hooks: usize, limit: usize) -> Log {
        Log {
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
        match self.inputs.len() < self.limit {
            true => self.inputs.push((now, input)),
            false => self.left_out += 1,
        }
    }

    /// How many inputs found no room; a replay then ends before the stop did.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Tells it all to a new machine.
    pub fn replay(&self) -> impl Iterator<Item = Replayed> + '_ {
        let mut machine = Machine::new(self.config, self.listeners, self.hooks);
        self.inputs.iter().map(move |(at, input)| Replayed {
            at: *at,
            input: *input,
            taken: machine.handle(*at, *input),
            said: std::iter::from_fn(|| machine.poll_output()).collect(),
        })
    }
}

/// Seconds to the last digit, so that nothing is lost.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            grace,
            notice,
            sweep,
            settle,
            force_margin,
        } = self.config;
        let parts = [grace, notice, sweep, settle, force_margin];
        for (name, part) in PARTS.iter().zip(parts) {
            write!(f, "{name} {} ", Seconds(part))?;
        }
        let Log {
            listeners,
            hooks,
            left_out,
            ..
        } = self;
        write!(f, "listeners {listeners} hooks {hooks} left_out {left_out}")?;
        for step in self.replay() {
            write!(f, "\n{} {}", Seconds(step.at), Said(step.input))?;
            match step.taken {
                Ok(()) if step.said.is_empty() => {}
                Ok(()) => write!(f, "  -> {:?}", step.said)?,
                Err(_) => write!(f, "  -> ignored {:?}", step.said)?,
            }
        }
        Ok(())
    }
}

const PARTS: [&str; 5] = ["grace", "notice", "sweep", "settle", "force_margin"];

/// An input in words.
struct Said(Input);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = |result: Result<(), Fault>| match result {
            Ok(()) => "well",
            Err(Fault) => "badly",
        };
        match self.0 {
            Input::Stop { cause } => write!(f, "stop {}", cause.to_string().replace(' ', "_")),
            Input::Escalate => f.write_str("escalate"),
            Input::ListenerQuiet(id) => write!(f, "quiet {id}"),
            Input::ListenerClosed(id, how) => write!(f, "closed {id} {}", result(how)),
            Input::Emptied => f.write_str("emptied"),
            Input::HookDone(id, how) => write!(f, "hook {id} {}", result(how)),
            Input::Tick => f.write_str("tick"),
        }
    }
}

/// A text that is no [`Log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogError {
    line: usize,
    text: String,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not one of a log: `{}`", self.line, self.text)
    }
}

impl std::error::Error for LogError {}

impl FromStr for Log {
    type Err = LogError;

    /// What a machine said is left out of account: it says it again. Of a
    /// cause that the program gave in words, only that it did so is kept.
    fn from_str(text: &str) -> Result<Log, LogError> {
        let mut lines = text.lines().enumerate();
        let fail = |(line, text): (usize, &str)| LogError {
            line: line + 1,
            text: text.to_owned(),
        };
        let first = lines.next().unwrap_or((0, ""));
        let mut log = head(first.1).ok_or_else(|| fail(first))?;
        for line in lines {
            let (at, input) = step(line.1).ok_or_else(|| fail(line))?;
            log.inputs.push((at, input));
        }
        log.limit = log.inputs.len();
        Ok(log)
    }
}

fn head(line: &str) -> Option<Log> {
    let mut words = line.split_whitespace();
    let mut parts = [Duration::ZERO; 5];
    for (name, part) in PARTS.iter().zip(&mut parts) {
        (words.next()? == *name).then_some(())?;
        *part = seconds(words.next()?)?;
    }
    let mut count = |name: &str| -> Option<usize> {
        (words.next()? == name).then_some(())?;
        words.next()?.parse().ok()
    };
    let [listeners, hooks, left_out] =
        [count("listeners")?, count("hooks")?, count("left_out")?];
    let [grace, notice, sweep, settle, force_margin] = parts;
    let config = Config {
        grace,
        notice,
        sweep,
        settle,
        force_margin,
    };
    Some(Log {
        left_out,
        ..Log::new(config, listeners, hooks, 0)
    })
}

fn seconds(word: &str) -> Option<Duration> {
    let (seconds, nanos) = word.split_once('.')?;
    let nanos = (nanos.len() == 9).then(|| nanos.parse().ok())??;
    Some(Duration::new(seconds.parse().ok()?, nanos))
}

fn step(line: &str) -> Option<(Duration, Input)> {
    let line = line.split("->").next()?;
    let mut words = line.split_whitespace();
    let at = seconds(words.next()?)?;
    let what = words.next()?;
    let mut next = || words.next();
    let input = match what {
        "stop" => Input::Stop {
            cause: cause(next()?),
        },
        "escalate" => Input::Escalate,
        "quiet" => Input::ListenerQuiet(next()?.parse().ok()?),
        "closed" => Input::ListenerClosed(next()?.parse().ok()?, how(next()?)?),
        "emptied" => Input::Emptied,
        "hook" => Input::HookDone(next()?.parse().ok()?, how(next()?)?),
        "tick" => Input::Tick,
        _ => return None,
    };
    words.next().is_none().then_some((at, input))
}

fn how(word: &str) -> Option<Result<(), Fault>> {
    match word {
        "well" => Some(Ok(())),
        "badly" => Some(Err(Fault)),
        _ => None,
    }
}

fn cause(word: &str) -> Cause {
    let known = [
        Cause::Signal(Signal::Interrupt),
        Cause::Signal(Signal::Terminate),
        Cause::Signal(Signal::Quit),
        Cause::Signal(Signal::Hangup),
        Cause::Listener,
        Cause::Successor,
        Cause::Panic,
    ];
    let named = known
        .into_iter()
        .find(|cause| cause.to_string().replace(' ', "_") == word);
    named.unwrap_or(Cause::Request("a request, in a log"))
}
