//! RESP, the protocol of Redis (redis.io, "Redis serialization protocol specification").

use super::fifo::Fifo;
use super::{Event, Response, quoted};

/// Longer lines than this are no RESP.
const LINE_LIMIT: usize = 64 * 1024;

/// Deeper nesting than this is refused.
const DEPTH_LIMIT: usize = 32;

/// One answer to each command, in order.
#[derive(Debug, Default)]
pub(crate) struct Redis {
    pending: Fifo<()>,
    input: Vec<u8>,
}

impl Redis {
    pub(super) fn push(&mut self) -> u64 {
        self.pending.push(())
    }

    pub(super) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), String> {
        self.input.extend_from_slice(bytes);
        while let Some(length) = value(&self.input, 0)? {
            let is_error = self.input.first() == Some(&b'-');
            let line = String::from_utf8_lossy(&self.input);
            let line = line.lines().next().unwrap_or_default().to_owned();
            self.input.drain(..length);
            let Some((key, ())) = self.pending.pop() else {
                continue;
            };
            events.push(match is_error {
                true => Event::Wrong {
                    key,
                    problem: format!("it was answered with {}", quoted(&line)),
                    received: length as u64,
                },
                false => Event::Answered {
                    key,
                    response: Response {
                        length: length as u64,
                        ..Response::default()
                    },
                },
            });
        }
        if let Some((key, ())) = self.pending.front()
            && !self.input.is_empty()
        {
            let received = self.input.len() as u64;
            events.push(Event::Progress { key, received });
        }
        Ok(())
    }
}

/// Returns the length of the value at the start of `input`, once it is whole.
fn value(input: &[u8], depth: usize) -> Result<Option<usize>, String> {
    let Some(kind) = input.first() else {
        return Ok(None);
    };
    if depth > DEPTH_LIMIT {
        return Err("an answer is nested too deeply".to_owned());
    }
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
        return match input.len() > LINE_LIMIT {
            true => Err("a line of an answer is too long".to_owned()),
            false => Ok(None),
        };
    };
    let text = String::from_utf8_lossy(input.get(1..end).unwrap_or_default());
    let number = || {
        let count = text.parse::<i64>();
        count.map_err(|_| format!("no number in an answer: {}", quoted(&text)))
    };
    let head = end + 2;
    match kind {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Ok(Some(head)),
        b'$' | b'=' | b'!' => {
            // A negative length is a missing value.
            let Ok(length) = usize::try_from(number()?) else {
                return Ok(Some(head));
            };
            let whole = head.saturating_add(length).saturating_add(2);
            Ok((input.len() >= whole).then_some(whole))
        }
        b'*' | b'~' | b'>' => elements(input, head, number()?, depth),
        b'%' => elements(input, head, number()?.saturating_mul(2), depth),
        _ => {
            let line = String::from_utf8_lossy(input.get(..end).unwrap_or_default());
            Err(format!("it is no RESP: {}", quoted(&line)))
        }
    }
}

fn elements(
    input: &[u8],
    mut at: usize,
    count: i64,
    depth: usize,
) -> Result<Option<usize>, String> {
    for _ in 0..count {
        match value(input.get(at..).unwrap_or_default(), depth + 1)? {
            Some(length) => at += length,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// Encodes a command.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::fed;
    use super::*;

    #[test]
    fn a_value_is_whole_at_its_last_byte() {
        for text in [
            "+PONG\r\n",
            ":12\r\n",
            "$5\r\nhello\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            "%1\r\n+key\r\n+value\r\n",
        ] {
            for cut in 0..text.len() {
                assert_eq!(
                    value(&text.as_bytes()[..cut], 0),
                    Ok(None),
                    "{text:?} {cut}"
                );
            }
            assert_eq!(value(text.as_bytes(), 0), Ok(Some(text.len())), "{text:?}");
        }
    }

    #[test]
    fn an_error_is_a_wrong_answer() {
        let mut redis = Redis::default();
        redis.push();
        let events = fed(|events| redis.feed(b"-LOADING\r\n", events)).unwrap();
        assert!(matches!(&events[..], [Event::Wrong { key: 0, .. }]));
        assert!(fed(|events| redis.feed(b"HTTP/1.1 400\r\n", events)).is_err());
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        assert_eq!(
            command(&["ECHO", "a b"]),
            b"*2\r\n$4\r\nECHO\r\n$3\r\na b\r\n"
        );
    }
}
