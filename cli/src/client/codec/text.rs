//! Protocols of plain bytes and of lines.

use super::fifo::Fifo;
use super::{Event, Greeting, Response, quoted};

/// Longer answers are taken for a mistake.
const LINE_LIMIT: usize = 64 * 1024;

/// Every byte comes back.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    pending: Fifo<Vec<u8>>,
    received: usize,
}

impl Echo {
    pub(super) fn push(&mut self, bytes: &[u8]) -> u64 {
        self.pending.push(bytes.to_vec())
    }

    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), String> {
        while let Some((key, message)) = self.pending.front() {
            let rest = message.get(self.received..).unwrap_or_default();
            let n = rest.len().min(bytes.len());
            if bytes.get(..n) != rest.get(..n) {
                return Err("it is not an echo".to_owned());
            }
            bytes = bytes.get(n..).unwrap_or_default();
            self.received += n;
            let length = self.received as u64;
            if n < rest.len() {
                let received = length;
                events.push(Event::Progress { key, received });
                break;
            }
            self.received = 0;
            self.pending.pop();
            let response = Response {
                length,
                ..Response::default()
            };
            events.push(Event::Answered { key, response });
        }
        // The echo of what was sent too late to be owed may follow.
        Ok(())
    }
}

/// A line comes back for each line.
#[derive(Debug)]
pub(crate) struct Lines {
    pending: Fifo<()>,
    line: Vec<u8>,
    expected: Vec<String>,
    greeting: Greeting,
}

impl Lines {
    /// Takes any line for an answer, or only one that begins with a text of `expected`.
    pub(super) fn new(expected: Vec<String>, greeting: Greeting) -> Lines {
        Lines {
            pending: Fifo::default(),
            line: Vec::new(),
            expected,
            greeting,
        }
    }

    pub(super) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    pub(super) fn push(&mut self) -> u64 {
        self.pending.push(())
    }

    pub(super) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > LINE_LIMIT {
                    return Err(format!("a line is longer than {LINE_LIMIT} bytes"));
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
            let length = self.line.len() as u64 + 1;
            self.line.clear();
            if self.greeting.take() {
                continue;
            }
            // A line that nobody asked for, such as a farewell, is no answer.
            let Some((key, ())) = self.pending.pop() else {
                self.greeting.unasked += 1;
                continue;
            };
            let fits = |text: &String| line.starts_with(text.as_str());
            events.push(
                match self.expected.is_empty() || self.expected.iter().any(fits) {
                    true => {
                        let response = Response {
                            length,
                            ..Response::default()
                        };
                        Event::Answered { key, response }
                    }
                    false => {
                        let problem = format!("it was answered with {}", quoted(&line));
                        Event::Wrong {
                            key,
                            problem,
                            received: length,
                        }
                    }
                },
            );
        }
        if let Some((key, ())) = self.pending.front()
            && self.greeting.is_over()
            && !self.line.is_empty()
        {
            let received = self.line.len() as u64;
            events.push(Event::Progress { key, received });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fed;
    use super::*;

    #[test]
    fn an_echo_may_come_in_any_pieces() {
        let mut echo = Echo::default();
        let keys = [echo.push(b"one"), echo.push(b"two")];
        let events = fed(|events| echo.feed(b"on", events)).unwrap();
        assert_eq!(
            events,
            [Event::Progress {
                key: 0,
                received: 2
            }]
        );
        let events = fed(|events| echo.feed(b"etwo, and more", events)).unwrap();
        let answered: Vec<u64> = events
            .iter()
            .filter_map(|event| match event {
                Event::Answered { key, .. } => Some(*key),
                _ => None,
            })
            .collect();
        assert_eq!(answered, keys);
        echo.push(b"three");
        assert!(fed(|events| echo.feed(b"thus", events)).is_err());
    }

    #[test]
    fn a_line_is_an_answer_if_it_is_an_expected_one() {
        let mut lines = Lines::new(vec!["+PONG".to_owned()], Greeting::default());
        lines.push();
        lines.push();
        let events = fed(|events| lines.feed(b"+PONG\r\n-ERR\r\n", events)).unwrap();
        assert!(matches!(events[0], Event::Answered { key: 0, .. }));
        let Event::Wrong { key, received, .. } = events[1] else {
            panic!("{events:?}");
        };
        assert_eq!((key, received), (1, 6));
    }

    #[test]
    fn a_greeting_is_no_answer() {
        let mut lines = Lines::new(Vec::new(), Greeting::of(2));
        lines.push();
        assert!(
            fed(|events| lines.feed(b"220 hello\r\n220 w", events))
                .unwrap()
                .is_empty()
        );
        assert!(!lines.greeting().is_over());
        let events = fed(|events| lines.feed(b"elcome\r\n250", events)).unwrap();
        assert!(lines.greeting().is_over());
        assert!(matches!(events[..], [Event::Progress { key: 0, .. }]));
        let events = fed(|events| lines.feed(b" OK\r\n", events)).unwrap();
        assert!(matches!(events[..], [Event::Answered { key: 0, .. }]));
        fed(|events| lines.feed(b"421 farewell\r\n", events)).unwrap();
        assert_eq!(lines.greeting().unasked, 1);
    }
}
